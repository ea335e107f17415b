"""A matrix that is stored as it is."""

from __future__ import annotations

from kfac_ref.backend import Array, eigh, eigvalsh, get_xp, solve_triangular
from kfac_ref.limits import check_overflow, check_room, norm
from kfac_ref.matrices.base import SymmetricMatrix
from kfac_ref.matrices.definite import (
    add_to_diagonal,
    called,
    check_damping,
    check_exponent,
    check_symmetric,
    factorize,
    log_determinant,
    rounding_error,
    spectral_power,
)


class DenseMatrix(SymmetricMatrix):
    """`matrix` (P, P), symmetric. Raises ShapeError, ValueRangeError if it is not."""

    def __init__(self, matrix: Array, name: str = ""):
        check_symmetric(called(name, "DenseMatrix"), matrix)
        super().__init__(matrix, len(matrix), name)
        self.matrix = matrix

    @classmethod
    def semidefinite(cls, matrix: Array, name: str = "") -> DenseMatrix:
        """A matrix known to be symmetric and semi-definite, by the way it was computed.

        Only its diagonal is checked: M_ij^2 <= M_ii M_jj, so if that is finite, all is.
        """
        check_overflow(called(name, "DenseMatrix"), get_xp(matrix).diagonal(matrix))
        made = cls.__new__(cls)
        SymmetricMatrix.__init__(made, matrix, len(matrix), name)
        made.matrix = matrix
        return made

    @property
    def storage(self) -> int:
        return self.size**2

    def to_dense(self) -> Array:
        return self.matrix  # it exists: there is nothing to check

    def _product(self, rows: Array) -> Array:
        return rows @ self.matrix

    def power(self, exponent: float, damping: float = 0.0) -> DenseMatrix:
        exponent, damping = check_exponent(exponent), check_damping(damping)
        result = power(self.matrix, exponent, damping, self.label)
        return DenseMatrix(result, self.name)

    def trace(self) -> float:
        return float(get_xp(self.matrix).trace(self.matrix))

    def logdet(self, damping: float = 0.0) -> float:
        L = factorize(self.matrix, check_damping(damping), self.label)
        return log_determinant(L)

    def eigenvalues(self) -> Array:
        return eigvalsh(self.matrix)

    def frobenius_norm(self) -> float:
        return norm(self.matrix)


def power(matrix: Array, exponent: float, damping: float, where: str) -> Array:
    """(matrix + lambda I)^exponent, as X X^T or X^T X, so that it is symmetric."""
    check_room(where, len(matrix), matrix, copies=2)
    if exponent == 1:
        return add_to_diagonal(matrix, damping)
    if exponent == -1:
        L = factorize(matrix, damping, where)
        X = solve_triangular(L, get_xp(L).eye(len(L), dtype=L.dtype))
        return X.T @ X  # L^-T L^-1
    values, U = eigh(add_to_diagonal(matrix, damping))
    rounding = rounding_error(values, len(values))
    root = spectral_power(values, exponent, damping, where, rounding)
    X = U * get_xp(root).sqrt(root)
    return X @ X.T  # U diag(values^exponent) U^T
