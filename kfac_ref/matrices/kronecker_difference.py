"""A (x) G - C (x) D: what conditioning leaves of a Kronecker product."""

from __future__ import annotations

from kfac_ref.backend import Array, eigh, get_xp, solve_triangular
from kfac_ref.checks import check_alike, check_shape
from kfac_ref.matrices.base import SymmetricMatrix
from kfac_ref.matrices.definite import (
    called,
    check_damping,
    check_symmetric,
    factorize,
    log_determinant,
    spectral_power,
)
from kfac_ref.matrices.eigen_kronecker import kronecker_product


class KroneckerDifference(SymmetricMatrix):
    """A (x) G - C (x) D, positive definite; A, C (d_in, d_in), G, D (d_out, d_out).

    With A = L L^T and L^-1 C L^-T = E diag(s_A) E^T we have A = R R^T and C =
    R diag(s_A) R^T, where R = L E; likewise for G and D. So, with K = R^-T = L^-T E,

        inverse = (K_A (x) K_G) diag(1 - s_A s_G^T)^-1 (K_A (x) K_G)^T

    Martens & Grosse 2015, appendix B (there with symmetric roots in place of L). The
    factorisations are made once, at construction, which raises NotPositiveDefinite.
    """

    def __init__(self, A: Array, G: Array, C: Array, D: Array, name: str = ""):
        what = called(name, "KroneckerDifference")
        for letter, factor in zip("AGCD", (A, G, C, D), strict=True):
            check_symmetric(f"{what}: factor {letter}", factor)
        check_shape(f"{what}: factor C", C, tuple(A.shape))
        check_shape(f"{what}: factor D", D, tuple(G.shape))
        check_alike(what, A, G, C, D)
        super().__init__(A, len(A) * len(G), name)
        self.A, self.G, self.C, self.D = A, G, C, D
        self._K_A, s_A, logdet_A = _diagonalize(A, C, f"factor A of {self.label}")
        self._K_G, s_G, logdet_G = _diagonalize(G, D, f"factor G of {self.label}")
        values = 1 - get_xp(A).outer(s_A, s_G)
        rounding = (len(A) + len(G)) * float(get_xp(A).finfo(self.dtype).eps)
        where = f"{self.label}, relative to its first product A (x) G,"
        self._inverse_values = spectral_power(values, -1, 0.0, where, rounding)
        relative = float(get_xp(A).log(values).sum())
        self._logdet = len(G) * logdet_A + len(A) * logdet_G + relative

    @property
    def storage(self) -> int:
        return self.A.size + self.G.size + self.C.size + self.D.size

    def _to_dense(self) -> Array:
        kron = get_xp(self.A).kron
        return kron(self.A, self.G) - kron(self.C, self.D)

    def _product(self, rows: Array) -> Array:
        first = kronecker_product(self.A, self.G, rows)
        return first - kronecker_product(self.C, self.D, rows)

    def _solve(self, rows: Array, damping: float) -> Array:
        if damping:
            return super()._solve(rows, damping)
        V = kronecker_product(self._K_A.T, self._K_G.T, rows)
        V = V * self._inverse_values.reshape(-1)
        return kronecker_product(self._K_A, self._K_G, V)

    def trace(self) -> float:
        tr = get_xp(self.A).trace
        first = float(tr(self.A)) * float(tr(self.G))
        return first - float(tr(self.C)) * float(tr(self.D))

    def logdet(self, damping: float = 0.0) -> float:
        return super().logdet(damping) if check_damping(damping) else self._logdet


def _diagonalize(A: Array, C: Array, where: str) -> tuple[Array, Array, float]:
    """Return K and s with K^T A K = I, K^T C K = diag(s); and log det A."""
    L = factorize(A, 0.0, where)
    half = solve_triangular(L, C)  # L^-1 C
    s, E = eigh(solve_triangular(L, half.T))  # of L^-1 C L^-T
    return solve_triangular(L, E, transpose=True), s, log_determinant(L)
