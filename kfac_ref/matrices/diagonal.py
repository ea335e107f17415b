"""A diagonal matrix."""

from __future__ import annotations

from kfac_ref.backend import Array, get_xp
from kfac_ref.checks import check_floats, check_shape
from kfac_ref.limits import norm
from kfac_ref.matrices.base import SymmetricMatrix
from kfac_ref.matrices.definite import (
    called,
    check_damping,
    check_exponent,
    spectral_power,
)


class DiagonalMatrix(SymmetricMatrix):
    """diag(values), values (P,). Taken at their word: positive definite means > 0."""

    def __init__(self, values: Array, name: str = "", damped: bool = False):
        check_shape(called(name, "DiagonalMatrix"), values, ("P",))
        check_floats(called(name, "DiagonalMatrix"), values)
        super().__init__(values, len(values), name, damped)
        self.values = values

    @property
    def storage(self) -> int:
        return self.size

    def _to_dense(self) -> Array:
        return get_xp(self.values).diag(self.values)

    def _product(self, rows: Array) -> Array:
        return rows * self.values

    def _solve(self, rows: Array, damping: float) -> Array:
        return rows * self._power(-1, damping)

    def power(
        self, exponent: float, damping: float = 0.0, name: str = ""
    ) -> DiagonalMatrix:
        exponent, damping = check_exponent(exponent), check_damping(damping)
        values, damped = (
            self._power(exponent, damping),
            self.still_damped(exponent, damping),
        )
        return DiagonalMatrix(values, called(name, self.name), damped)

    def _power(self, exponent: float, damping: float) -> Array:
        return spectral_power(self.values + damping, exponent, damping, self.label)

    def trace(self) -> float:
        return float(self.values.sum())

    def logdet(self, damping: float = 0.0) -> float:
        inverse = self._power(-1, check_damping(damping))
        return -float(get_xp(inverse).log(inverse).sum())

    def eigenvalues(self) -> Array:
        return get_xp(self.values).sort(self.values)

    def frobenius_norm(self) -> float:
        return norm(self.values)
