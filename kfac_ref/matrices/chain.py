"""The factors of a chain of layers, not damped yet: what block_tridiagonal averages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kfac_ref.backend import Array
from kfac_ref.errors import Unsupported, describe
from kfac_ref.matrices.base import SymmetricMatrix
from kfac_ref.matrices.block_tridiagonal import BlockTridiagonalInverse, check_chain
from kfac_ref.matrices.kronecker import KroneckerProduct


class ChainFactors(SymmetricMatrix):
    """The factors of F~'s three bands, as in BlockTridiagonalInverse but undamped.

    A[i] (x) G[i] are the diagonal blocks, A_next[i] (x) G_next[i] those between layers
    i and i + 1. The matrix of which they are part needs the inverses of A[i] and G[i],
    which may be singular; so all that can be done with it is to damp it: any rule that
    keeps a Kronecker product gives a BlockTridiagonalInverse. Everything else raises
    Unsupported. Martens & Grosse 2015, section 4.3.
    """

    def __init__(
        self,
        A: Sequence[Array],
        G: Sequence[Array],
        A_next: Sequence[Array],
        G_next: Sequence[Array],
        names: Sequence[str] = (),
    ):
        self._set(
            A, G, A_next, G_next,
            check_chain("ChainFactors", A, G, A_next, G_next, names),
        )  # fmt: skip

    @classmethod
    def semidefinite(
        cls,
        A: Sequence[Array],
        G: Sequence[Array],
        A_next: Sequence[Array],
        G_next: Sequence[Array],
        names: Sequence[str],
    ) -> ChainFactors:
        """Trust factors known to be those of a chain, by the way they were computed."""
        made = cls.__new__(cls)
        made._set(A, G, A_next, G_next, names)
        return made

    def _set(self, A: Any, G: Any, A_next: Any, G_next: Any, names: Any) -> None:
        self.A, self.G, self.names = list(A), list(G), list(names)
        self.A_next, self.G_next = list(A_next), list(G_next)
        size = sum(len(A_i) * len(G_i) for A_i, G_i in zip(A, G, strict=True))
        SymmetricMatrix.__init__(self, A[0], size, f"chain of {', '.join(names)}")

    @property
    def storage(self) -> int:
        return sum(M.size for M in self.A + self.G + self.A_next + self.G_next)

    def map_blocks(
        self, rule: Callable[[SymmetricMatrix], SymmetricMatrix]
    ) -> BlockTridiagonalInverse:
        """Damp every A_i (x) G_i by a rule that gives a Kronecker product again."""
        named = zip(self.A, self.G, self.names, strict=True)
        A, G = [], []
        for damped in [rule(KroneckerProduct.semidefinite(*one)) for one in named]:
            if not isinstance(damped, KroneckerProduct):
                raise Unsupported(
                    "block_tridiagonal: needs a damping rule that keeps a Kronecker "
                    f"product, as factored_tikhonov does; found {describe(damped)}"
                )
            A.append(damped.A)
            G.append(damped.G)
        return BlockTridiagonalInverse(A, G, self.A_next, self.G_next, self.names)

    def to_dense(self) -> Array:
        raise self._undamped()

    def power(
        self, exponent: float, damping: float = 0.0, name: str = ""
    ) -> SymmetricMatrix:
        raise self._undamped()

    def _product(self, rows: Array) -> Array:
        raise self._undamped()

    def _undamped(self) -> Unsupported:
        return Unsupported(
            f"{self.label}: block_tridiagonal's factors are no matrix before they are "
            "damped; damp them first, with factored_tikhonov(chain, damping) of "
            "kfac_ref.damping, and multiply, solve or densify what it returns; "
            "compare takes them with rule=factored_tikhonov"
        )
