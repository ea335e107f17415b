"""A Kronecker product: K-FAC's matrix for one layer."""

from __future__ import annotations

from copy import copy

from kfac_ref.backend import Array, cholesky_solve, eigh, eigvalsh, get_xp
from kfac_ref.limits import check_overflow, norm
from kfac_ref.matrices.base import SymmetricMatrix
from kfac_ref.matrices.definite import (
    called,
    check_alike,
    check_damping,
    check_exponent,
    check_symmetric,
    factorize,
    log_determinant,
    rounding_error,
)
from kfac_ref.matrices.dense import power
from kfac_ref.matrices.eigen_kronecker import EigenKronecker, kronecker_product


class KroneckerProduct(SymmetricMatrix):
    """A (x) G = kron(A, G), A (d_in, d_in) and G (d_out, d_out) semi-definite.

    With vec row by row (A (x) G) vec(V) = vec(A V G^T), V (d_in, d_out); so the product
    of the inverse is A^-1 V G^-1. Martens & Grosse 2015, section 4.2.
    """

    def __init__(self, A: Array, G: Array, name: str = ""):
        what = called(name, "KroneckerProduct")
        check_symmetric(f"{what}: factor A", A)
        check_symmetric(f"{what}: factor G", G)
        check_alike(what, A, G)
        super().__init__(A, len(A) * len(G), name)
        self.A, self.G = A, G

    @classmethod
    def semidefinite(cls, A: Array, G: Array, name: str = "") -> KroneckerProduct:
        """Factors known to be semi-definite; as DenseMatrix.semidefinite."""
        for factor, M in (("A", A), ("G", G)):
            check_overflow(f"{name}: factor {factor}", get_xp(M).diagonal(M))
        made = cls.__new__(cls)
        SymmetricMatrix.__init__(made, A, len(A) * len(G), name)
        made.A, made.G = A, G
        return made

    @property
    def storage(self) -> int:
        return self.A.size + self.G.size

    def _to_dense(self) -> Array:
        return get_xp(self.A).kron(self.A, self.G)

    def _product(self, rows: Array) -> Array:
        return kronecker_product(self.A, self.G, rows)

    def _solve(self, rows: Array, damping: float) -> Array:
        if damping:
            return self._damped(damping, -1)._product(rows)
        k, d_in, d_out = len(rows), len(self.A), len(self.G)
        V = rows.reshape(k, d_in, d_out).transpose(1, 0, 2)
        # one factor after the other: the memory of the first serves the second
        V = cholesky_solve(self._cholesky("A"), V.reshape(d_in, k * d_out))
        V = V.reshape(d_in, k, d_out).transpose(2, 1, 0)
        V = cholesky_solve(self._cholesky("G"), V.reshape(d_out, k * d_in))
        return V.reshape(d_out, k, d_in).transpose(1, 2, 0).reshape(k, self.size)

    def power(self, exponent: float, damping: float = 0.0) -> SymmetricMatrix:
        """A Kronecker product without damping, an EigenKronecker with damping."""
        exponent, damping = check_exponent(exponent), check_damping(damping)
        if damping:
            return self._damped(damping, exponent)
        A = power(self.A, exponent, 0.0, f"factor A of {self.label}")
        G = power(self.G, exponent, 0.0, f"factor G of {self.label}")
        return self._with(A, G, self.name)

    def trace(self) -> float:
        xp = get_xp(self.A)
        return float(xp.trace(self.A)) * float(xp.trace(self.G))

    def logdet(self, damping: float = 0.0) -> float:
        damping = check_damping(damping)
        if damping:
            return -self._damped(damping, -1).logdet()
        logdet_A = log_determinant(self._cholesky("A"))
        logdet_G = log_determinant(self._cholesky("G"))
        return len(self.G) * logdet_A + len(self.A) * logdet_G

    def eigenvalues(self) -> Array:
        xp = get_xp(self.A)
        l_A, l_G = eigvalsh(self.A), eigvalsh(self.G)
        values = xp.sort(xp.outer(l_A, l_G).reshape(-1))
        check_overflow(f"eigenvalues of {self.label}", values)
        return values

    def frobenius_norm(self) -> float:
        return norm(self.A) * norm(self.G)

    def diagonalized(self) -> EigenKronecker:
        """The same matrix in its eigenbasis: values l_A l_G^T, as they are computed."""
        l_A, U_A = eigh(self.A)
        l_G, U_G = eigh(self.G)
        values = get_xp(l_A).outer(l_A, l_G)
        return EigenKronecker(U_A, U_G, values, self.name)

    def _with(self, A: Array, G: Array, name: str) -> KroneckerProduct:
        """Other factors, known to be symmetric: they are not checked again."""
        other = copy(self)
        other.A, other.G, other.name, other._like = A, G, name, A
        return other

    def _cholesky(self, letter: str) -> Array:
        return factorize(getattr(self, letter), 0.0, f"factor {letter} of {self.label}")

    def _damped(self, damping: float, exponent: float) -> EigenKronecker:
        """U_A, U_G and (l_A l_G^T + lambda)^exponent."""
        E = self.diagonalized()
        E.rounding = rounding_error(E.values, len(self.A) + len(self.G))
        return E.power(exponent, damping)
