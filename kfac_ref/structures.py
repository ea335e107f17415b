"""Question 2: what of the sum F = 1/N sum_n sum_k vec(D_nk) vec(D_nk)^T is kept?

Each function turns pairs (a, g) into a structured matrix:

    full                   everything                      F
    block_diagonal         one block per layer             F_ll
    diagonal               the diagonal                    [F_ll]_ii
    kronecker              A (x) G                         Martens & Grosse 2015, 3.1
    eigenvalue_corrected   its eigenbasis, F's second moments in it   George et al. 2018
    best_kronecker         argmin ||F_ll - X (x) Y||_F     Van Loan & Pitsianis 1993
    block_tridiagonal      the inverse has three bands     Martens & Grosse 2015, 4.3

where A = 1/N sum_nt a a^T and G = 1/(N T) sum_nkt g g^T (Grosse & Martens 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kfac_ref.backend import Array, eigh, get_xp
from kfac_ref.damping import factored_tikhonov
from kfac_ref.errors import Unsupported, check_kind, check_parameters, describe
from kfac_ref.estimates import Estimate
from kfac_ref.exact_blocks import add_stacked, dense_blocks
from kfac_ref.limits import check_overflow, check_room
from kfac_ref.matrices import (
    BlockDiagonal,
    BlockTridiagonalInverse,
    Dense,
    Diagonal,
    EigenKronecker,
    Kronecker,
    SymmetricMatrix,
)
from kfac_ref.matrices.definite import rounding_error
from kfac_ref.nearest_kronecker import nearest_kronecker
from kfac_ref.network import Network
from kfac_ref.pairs import MEMORY, Pairs, propagate
from kfac_ref.values import Value
from kfac_ref.words import translate

WIDE = "use structure 'diagonal' for this layer, or products (CurvatureProduct)"

Bases = list[tuple[Array, Array]]


def full(pairs: Pairs) -> Dense:
    """The whole matrix, (P, P), mean over examples."""
    _needs_gradients(pairs, "full")
    F = dense_blocks(pairs, range(len(pairs.shapes)))
    return Dense.semidefinite(F, name="whole matrix")


def block_diagonal(pairs: Pairs) -> BlockDiagonal:
    """The exact block of every layer."""
    _needs_gradients(pairs, "block_diagonal")
    named = enumerate(pairs.names)
    return BlockDiagonal(
        [Dense.semidefinite(dense_blocks(pairs, [i]), name=name) for i, name in named]
    )


def diagonal(pairs: Pairs) -> BlockDiagonal:
    """The diagonal of the matrix."""
    _needs_gradients(pairs, "diagonal")
    moments = _second_moments(pairs, None)
    named = zip(moments, pairs.names, strict=True)
    return BlockDiagonal([Diagonal(m.reshape(-1), name=name) for m, name in named])


def kronecker(pairs: Pairs) -> BlockDiagonal:
    """K-FAC: A (x) G for every layer."""
    named = zip(*kronecker_factors(pairs), pairs.names, strict=True)
    return BlockDiagonal([Kronecker.semidefinite(*block) for block in named])


def kronecker_factors(pairs: Pairs) -> tuple[list[Array], list[Array]]:
    """A = 1/N sum_nt a a^T and G = 1/(N T) sum_nkt g g^T of every layer."""
    for name, (d, o) in zip(pairs.names, pairs.shapes, strict=True):
        check_room(f"{name}: factor A or G", max(d, o), pairs.like, instead=WIDE)
    panel = pairs.memory // (4 * pairs.like.itemsize)
    A: list[Any] = [None] * len(pairs.shapes)
    G: list[Any] = [None] * len(pairs.shapes)
    for chunk in pairs.chunks():
        A = [_add_moment(*each, panel) for each in zip(A, chunk.a, strict=True)]
        for few in chunk.g_by_vectors(pairs.memory):
            G = [_add_moment(*each, panel) for each in zip(G, few, strict=True)]
            few.clear()  # before the next few are made
    for name, Ai, Gi, T in zip(pairs.names, A, G, pairs.positions, strict=True):
        Ai /= pairs.examples
        Gi /= pairs.examples * T
        for letter, M in (("A", Ai), ("G", Gi)):
            check_overflow(f"{name}: factor {letter}", get_xp(M).diagonal(M))
    return A, G


def _add_moment(total: Array | None, rows: Array, panel: int) -> Array:
    """total + X^T X over all axes but the last, symmetric to the last bit.

    In place, and beside a factor of more than `panel` numbers there is no second one.
    """
    X = rows.reshape(-1, rows.shape[-1])
    if X.shape[1] ** 2 > panel:
        if total is None:
            total = get_xp(X).zeros((X.shape[1], X.shape[1]), dtype=X.dtype)
        add_stacked(total, (0, 0), X, X, panel)
        return total
    new = X.T @ X
    if total is None:
        return new
    total += new
    return total


def eigenvalue_corrected(pairs: Pairs) -> BlockDiagonal:
    """E-KFAC: K-FAC's eigenbasis U_A (x) U_G with F's own second moments in it."""
    _needs_gradients(pairs, "eigenvalue_corrected")
    A, G = kronecker_factors(pairs)
    bases = [(eigh(Ai)[1], eigh(Gi)[1]) for Ai, Gi in zip(A, G, strict=True)]
    named = zip(bases, _second_moments(pairs, bases), pairs.names, strict=True)
    return BlockDiagonal(
        [
            EigenKronecker(
                *basis, values, name, rounding_error(values, sum(values.shape))
            )
            for basis, values, name in named
        ]
    )


def _second_moments(pairs: Pairs, bases: Bases | None) -> list[Array]:
    """1/N sum_nk (U_A^T D_nk U_G)^2, by element, for every layer: (d_in + 1, d_out)."""
    total: list[Any] = [0.0] * len(pairs.shapes)
    largest = max(d * o for d, o in pairs.shapes)
    shared = max(pairs.positions) > 1
    for chunk in pairs.chunks(2 * largest * pairs.count if shared else 0):
        a = chunk.a if bases is None else _rotate(chunk.a, [U for U, _ in bases])
        for few in [chunk.g()] if shared else chunk.g_by_vectors(pairs.memory):
            g = few if bases is None else _rotate(few, [U for _, U in bases])
            total = [s + _squares(*ag) for s, *ag in zip(total, a, g, strict=True)]
    return [s / pairs.examples for s in total]


def _rotate(arrays: list[Array], bases: list[Array]) -> list[Array]:
    return [x @ U for x, U in zip(arrays, bases, strict=True)]


def _squares(a: Array, g: Array) -> Array:
    """sum_nk D_nk^2, elementwise, D_nk = sum_t a_nt g_nkt^T."""
    if a.shape[1] == 1:  # (a g)^2 = a^2 g^2 needs no D
        return (a[:, 0] ** 2).T @ (g[:, :, 0] ** 2).sum(axis=0)
    D = get_xp(a).swapaxes(a, 1, 2) @ g  # (k, n, d_in + 1, d_out)
    return (D * D).sum(axis=(0, 1))


def best_kronecker(pairs: Pairs) -> BlockDiagonal:
    """The Kronecker product nearest to the exact block, in Frobenius norm."""
    _needs_gradients(pairs, "best_kronecker")
    A, G = kronecker_factors(pairs)
    blocks = [
        Kronecker(*nearest_kronecker(pairs, i, A[i], G[i]), name=name)
        for i, name in enumerate(pairs.names)
    ]
    return BlockDiagonal(blocks)


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
        blocks = [rule(Kronecker(A, G, name=name)) for A, G, name in named]
        for block in blocks:
            if not isinstance(block, Kronecker):
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
    A_next: list[Any] = [0.0] * (len(A) - 1)
    G_next: list[Any] = [0.0] * (len(A) - 1)
    for chunk in pairs.chunks():
        A_next = _add_cross(A_next, chunk.a)
        for few in chunk.g_by_vectors(pairs.memory):
            G_next = _add_cross(G_next, few)
    N = pairs.examples
    A_next, G_next = [M / N for M in A_next], [M / N for M in G_next]
    return ChainFactors(A, G, A_next, G_next, pairs.names)


def _add_cross(totals: list[Any], rows: list[Array]) -> list[Array]:
    """Add sum x_i x_{i+1}^T for every two neighbouring layers."""
    flat = [r.reshape(-1, r.shape[-1]) for r in rows]
    return [s + X.T @ Y for s, X, Y in zip(totals, flat[:-1], flat[1:], strict=True)]


def _needs_gradients(pairs: Pairs, structure: str) -> None:
    """Unsupported where D_nk, the gradients of single examples, are not at hand."""
    if pairs.mixes_examples:
        raise Unsupported(
            f"{structure}: a layer of this network mixes the examples of a batch "
            "(BatchStandardize), so that no gradient belongs to one example. The exact "
            "matrix is fisher_matrix(...) through products; structure 'kronecker' "
            "treats the pairs as if they did not mix, as other libraries do; or freeze "
            "the statistics: BatchStandardize(mean=..., variance=...)"
        )
    if pairs.subsampled:
        raise Unsupported(
            f"{structure}: needs all positions of an example, for its gradient is a "
            "sum over them; with a share of the positions use 'kronecker'"
        )


STRUCTURES: dict[str, Callable[..., SymmetricMatrix]] = {
    "full": full,
    "block_diagonal": block_diagonal,
    "diagonal": diagonal,
    "kronecker": kronecker,
    "eigenvalue_corrected": eigenvalue_corrected,
    "best_kronecker": best_kronecker,
    "block_tridiagonal": block_tridiagonal,
}


def make_structure(name: str, pairs: Pairs, **options: Any) -> SymmetricMatrix:
    """The structure of that name, or of another library's word for it.

    Raises UnknownName, with the closest name; ValueRangeError for options that it does
    not take, or that it lacks.
    """
    function = STRUCTURES[translate("structure", name, STRUCTURES)]
    check_kind("pairs", pairs, Pairs, "as propagate(...) gives them")
    check_parameters(f"structure {name!r}", function, options)
    return function(pairs, **options)


def curvature(
    network: Network,
    params: list[Array],
    x: Array,
    structure: str = "kronecker",
    estimate: str | Estimate = "expectation",
    *,
    y: Array | None = None,
    rng: np.random.Generator | None = None,
    samples: int | None = None,
    memory: int = MEMORY,
    **options: Any,
) -> SymmetricMatrix:
    """Questions 1 and 2 in one call: `make_structure(structure, propagate(...))`.

    `options` go to the structure: block_tridiagonal needs `damping`. Any estimate goes
    with any structure. Mean over the examples of the batch x.
    """
    function = STRUCTURES[translate("structure", structure, STRUCTURES)]
    where = f"curvature, structure {structure!r}"
    check_parameters(where, function, options, own="y rng samples memory")
    pairs = propagate(
        network, params, x, estimate, y=y, rng=rng, samples=samples, memory=memory
    )
    return function(pairs, **options)
