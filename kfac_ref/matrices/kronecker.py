"""A Kronecker product: K-FAC's matrix for one layer."""

from __future__ import annotations

from kfac_ref.backend import Array, cholesky_solve, eigh, eigvalsh, get_xp
from kfac_ref.checks import check_alike
from kfac_ref.limits import check_overflow, norm
from kfac_ref.matrices.base import SymmetricMatrix
from kfac_ref.matrices.definite import (
    called,
    check_damping,
    check_exponent,
    check_symmetric,
    factorize,
    log_determinant,
    power,
    rounding_error,
    spectral_power,
)
from kfac_ref.matrices.eigen_kronecker import EigenKronecker, kronecker_product


class KroneckerProduct(SymmetricMatrix):
    """A (x) G = kron(A, G), A (d_in, d_in) and G (d_out, d_out) semi-definite.

    With vec row by row (A (x) G) vec(V) = vec(A V G^T), V (d_in, d_out); so the product
    of the inverse is A^-1 V G^-1. Martens & Grosse 2015, section 4.2.
    """

    def __init__(self, A: Array, G: Array, name: str = "", damped: bool = False):
        what = called(name, "KroneckerProduct")
        check_symmetric(f"{what}: factor A", A)
        check_symmetric(f"{what}: factor G", G)
        check_alike(what, A, G)
        self._set(A, G, name, damped)

    @classmethod
    def semidefinite(
        cls, A: Array, G: Array, name: str = "", damped: bool = False
    ) -> KroneckerProduct:
        """Trust factors known to be symmetric and semi-definite.

        Only their diagonals are checked, as in DenseMatrix.semidefinite.
        """
        for factor, M in (("A", A), ("G", G)):
            what = called(name, "KroneckerProduct")
            check_overflow(f"{what}: factor {factor}", get_xp(M).diagonal(M))
        made = cls.__new__(cls)
        made._set(A, G, name, damped)
        return made

    def _set(self, A: Array, G: Array, name: str, damped: bool) -> None:
        SymmetricMatrix.__init__(self, A, len(A) * len(G), name, damped)
        self.A, self.G = A, G

    @property
    def storage(self) -> int:
        return self.A.size + self.G.size

    def _to_dense(self) -> Array:
        return get_xp(self.A).kron(self.A, self.G)

    def _product(self, rows: Array) -> Array:
        return kronecker_product(self.A, self.G, rows)

    def _solve(self, rows: Array, damping: float) -> Array:
        if damping:
            return self._solve_in_eigenbasis(rows, damping)
        k, d_in, d_out = len(rows), len(self.A), len(self.G)
        V = rows.reshape(k, d_in, d_out).transpose(1, 0, 2)
        # one factor after the other: the memory of the first serves the second
        V = cholesky_solve(self._cholesky("A"), V.reshape(d_in, k * d_out))
        V = V.reshape(d_in, k, d_out).transpose(2, 1, 0)
        V = cholesky_solve(self._cholesky("G"), V.reshape(d_out, k * d_in))
        return V.reshape(d_out, k, d_in).transpose(1, 2, 0).reshape(k, self.size)

    def _solve_in_eigenbasis(self, rows: Array, damping: float) -> Array:
        """Return U_A [(U_A^T V U_G) / (l_A l_G^T + lambda)] U_G^T for each row vec(V).

        A = U_A diag(l_A) U_A^T, G = U_G diag(l_G) U_G^T.
        """
        (l_A, U_A), (l_G, U_G) = eigh(self.A), eigh(self.G)
        values = l_A[:, None] * l_G  # l_A l_G^T, (d_in, d_out)
        error = rounding_error(values, len(l_A) + len(l_G))
        inverse = spectral_power(values + damping, -1, damping, self.label, error)
        V = rows.reshape(-1, *values.shape)  # (k, d_in, d_out)
        return (U_A @ ((U_A.T @ V @ U_G) * inverse) @ U_G.T).reshape(len(V), -1)

    def power(
        self, exponent: float, damping: float = 0.0, name: str = ""
    ) -> SymmetricMatrix:
        """Return a Kronecker product without damping, an EigenKronecker with it."""
        exponent, damping = check_exponent(exponent), check_damping(damping)
        if damping:
            return self._damped(damping, exponent, called(name, self.name))
        A = power(self.A, exponent, 0.0, f"factor A of {self.label}")
        G = power(self.G, exponent, 0.0, f"factor G of {self.label}")
        damped = self.still_damped(exponent, damping)
        return KroneckerProduct.semidefinite(A, G, called(name, self.name), damped)

    def trace(self) -> float:
        xp = get_xp(self.A)
        return float(xp.trace(self.A)) * float(xp.trace(self.G))

    def logdet(self, damping: float = 0.0) -> float:
        damping = check_damping(damping)
        if damping:
            return -self._damped(damping, -1, self.label).logdet()
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
        """Return the same matrix in its eigenbasis: values l_A l_G^T, as computed."""
        (l_A, U_A), (l_G, U_G) = eigh(self.A), eigh(self.G)
        values = l_A[:, None] * l_G
        return EigenKronecker.orthonormal(
            U_A, U_G, values, self.name, damped=self.damped
        )

    def _cholesky(self, letter: str) -> Array:
        return factorize(getattr(self, letter), 0.0, f"factor {letter} of {self.label}")

    def _damped(self, damping: float, exponent: float, name: str) -> EigenKronecker:
        """Return U_A, U_G and (l_A l_G^T + lambda)^exponent, with their rounding."""
        E = self.diagonalized()
        rounding = rounding_error(E.values, len(self.A) + len(self.G))
        known = EigenKronecker.orthonormal(
            E.U_A, E.U_G, E.values, self.label, rounding, self.damped
        )
        return known.power(exponent, damping, name)
