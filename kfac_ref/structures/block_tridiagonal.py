"""The inverse has three bands of blocks. Martens & Grosse 2015, section 4.3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kfac_ref.backend import Array
from kfac_ref.damping import factored_tikhonov
from kfac_ref.errors import Unsupported, describe
from kfac_ref.matrices import BlockTridiagonalInverse, KroneckerProduct
from kfac_ref.pairs import Pairs
from kfac_ref.structures.kronecker import kronecker_factors
from kfac_ref.values import Value


def block_tridiagonal(pairs: Pairs, damping: float) -> BlockTridiagonalInverse:
    """The matrix whose inverse is block-tridiagonal and that agrees with K-FAC's F~ on
    the three bands; the diagonal factors are damped (factored Tikhonov) before.

    Raises Unsupported where positions are shared, NotPositiveDefinite where damping is
    too small (cross-entropy makes the last G singular, so zero is too small).
    """
    return chain_factors(pairs).damped(lambda block: factored_tikhonov(block, damping))


@dataclass(frozen=True, eq=False)
class ChainFactors(Value):
    """The factors of the three bands of F~, not damped yet: what can be averaged."""

    A: list[Array]
    G: list[Array]
    A_next: list[Array]  # E[a_i a_{i+1}^T]
    G_next: list[Array]
    names: list[str]

    def __repr__(self) -> str:
        return f"ChainFactors({self.size} x {self.size}, {', '.join(self.names)})"

    @property
    def size(self) -> int:
        """P"""
        return sum(len(A) * len(G) for A, G in zip(self.A, self.G, strict=True))

    def damped(self, rule: Callable[[Any], Any]) -> BlockTridiagonalInverse:
        """Every A_i (x) G_i damped by a rule that gives a Kronecker product again."""
        named = zip(self.A, self.G, self.names, strict=True)
        blocks = [rule(KroneckerProduct(A, G, name=name)) for A, G, name in named]
        for block in blocks:
            if not isinstance(block, KroneckerProduct):
                raise Unsupported(
                    "block_tridiagonal: needs a damping rule that keeps a Kronecker "
                    f"product, as factored_tikhonov does; found {describe(block)}"
                )
        A, G = [block.A for block in blocks], [block.G for block in blocks]
        return BlockTridiagonalInverse(A, G, self.A_next, self.G_next, self.names)


def chain_factors(pairs: Pairs) -> ChainFactors:
    """A_ij and G_ij of every layer and of every two neighbours. Raises Unsupported."""
    if max(pairs.positions) > 1 or pairs.subsampled:
        raise Unsupported(
            "block_tridiagonal: the section 4.3 of the paper couples the layers of a "
            "fully connected chain; a layer here shares its weights over positions"
        )
    A, G = kronecker_factors(pairs)
    A_next, G_next = pairs.mean(cross_moments)
    return ChainFactors(A, G, A_next, G_next, pairs.names)


def cross_moments(arrays: list[Array]) -> Iterator[Array]:
    """sum x_i x_{i+1}^T for every two neighbouring layers."""
    rows = [x.reshape(-1, x.shape[-1]) for x in arrays]
    for X, Y in pairwise(rows):
        yield X.T @ Y
