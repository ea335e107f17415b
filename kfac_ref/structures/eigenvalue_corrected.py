"""E-KFAC: K-FAC's eigenbasis, the exact second moments in it. George et al. 2018.

In the basis U_A (x) U_G the pairs are (U_A^T a, U_G^T g), and what is wanted is the
diagonal of the sum there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kfac_ref.backend import Array, eigh
from kfac_ref.matrices import BlockDiagonalMatrix, EigenKronecker
from kfac_ref.matrices.definite import rounding_error
from kfac_ref.pairs import Pairs, common
from kfac_ref.structures.diagonal import second_moments
from kfac_ref.structures.gradients import needs_gradients
from kfac_ref.structures.kronecker import kronecker_factors


def eigenvalue_corrected(pairs: Pairs) -> BlockDiagonalMatrix:
    """K-FAC's eigenbasis with F's own second moments in it, for every layer."""
    needs_gradients(pairs, "eigenvalue_corrected")
    A, G = kronecker_factors(pairs)
    U_A, U_G = [eigh(M)[1] for M in A], [eigh(M)[1] for M in G]
    values = second_moments(rotated(pairs, U_A, U_G))
    errors = [rounding_error(v, sum(v.shape)) for v in values]
    named = zip(U_A, U_G, values, pairs.names, errors, strict=True)
    return BlockDiagonalMatrix([EigenKronecker.orthonormal(*block) for block in named])


@dataclass(frozen=True, eq=False)
class Rotated(Pairs):
    """Pairs in another basis: (U_A^T a, U_G^T g) for every layer."""

    whole: Pairs
    U_A: list[Array]
    U_G: list[Array]

    @property
    def a(self) -> list[Array]:
        return [a @ U for a, U in zip(self.whole.a, self.U_A, strict=True)]

    def g(self, first: int = 0, last: int | None = None) -> list[Array]:
        g = self.whole.g(first, last)
        return [gi @ U for gi, U in zip(g, self.U_G, strict=True)]

    def part(self, start: int, stop: int) -> Pairs:
        whole = self.whole.part(start, stop)
        return replace(self, examples=stop - start, whole=whole)


def rotated(pairs: Pairs, U_A: list[Array], U_G: list[Array]) -> Pairs:
    """The same pairs in the basis U_A (x) U_G of every layer."""
    return Rotated(**common(pairs), whole=pairs, U_A=U_A, U_G=U_G)
