"""A matrix that is diagonal in the basis U_A (x) U_G of a Kronecker product."""

from __future__ import annotations

from kfac_ref.backend import Array, get_xp
from kfac_ref.checks import check_alike, check_floats, check_number, check_shape
from kfac_ref.errors import ValueRangeError
from kfac_ref.limits import check_overflow, norm, quiet_overflow
from kfac_ref.matrices.base import SymmetricMatrix
from kfac_ref.matrices.definite import (
    called,
    check_damping,
    check_exponent,
    spectral_power,
)


def kronecker_product(A: Array, G: Array, rows: Array) -> Array:
    """Return vec(A V G^T) = (A (x) G) vec(V) for each row vec(V); A, G any shape."""
    V = rows.reshape(len(rows), A.shape[1], G.shape[1])  # (k, d_in, d_out)
    return (A @ V @ G.T).reshape(len(rows), -1)


class EigenKronecker(SymmetricMatrix):
    """(U_A (x) U_G) diag(vec(values)) (U_A (x) U_G)^T.

    U_A (d_in, d_in) and U_G (d_out, d_out) have orthonormal columns, the eigenvectors;
    values (d_in, d_out) are the eigenvalues, so positive definite means all > 0; or all
    above `rounding`, the error of values that were computed.
    George et al. 2018, section 3: with values = E[(U_A^T a g^T U_G)^2] this is EK-FAC.
    """

    def __init__(
        self,
        U_A: Array,
        U_G: Array,
        values: Array,
        name: str = "",
        rounding: float = 0.0,
        damped: bool = False,
    ):
        what = called(name, "EigenKronecker")
        check_shape(f"{what}: values", values, ("d_in", "d_out"))
        check_floats(f"{what}: values", values)
        _check_orthonormal(f"{what}: U_A", U_A, values.shape[0])
        _check_orthonormal(f"{what}: U_G", U_G, values.shape[1])
        check_alike(what, U_A, U_G, values)
        rounding = check_number(f"{what}: rounding", rounding)
        if not rounding >= 0:
            raise ValueRangeError(f"{what}: rounding: expected >= 0, found {rounding}")
        self._set(U_A, U_G, values, name, rounding, damped)

    @classmethod
    def orthonormal(
        cls,
        U_A: Array,
        U_G: Array,
        values: Array,
        name: str = "",
        rounding: float = 0.0,
        damped: bool = False,
    ) -> EigenKronecker:
        """Trust eigenvectors known to be orthonormal, as those of `eigh`."""
        check_overflow(f"{called(name, 'EigenKronecker')}: values", values)
        made = cls.__new__(cls)
        made._set(U_A, U_G, values, name, rounding, damped)
        return made

    def _set(
        self,
        U_A: Array,
        U_G: Array,
        values: Array,
        name: str,
        rounding: float,
        damped: bool,
    ) -> None:
        SymmetricMatrix.__init__(self, values, values.size, name, damped)
        self.U_A, self.U_G, self.values = U_A, U_G, values
        self.rounding = rounding

    @property
    def storage(self) -> int:
        return self.U_A.size + self.U_G.size + self.size

    def _to_dense(self) -> Array:
        U = get_xp(self.values).kron(self.U_A, self.U_G)
        return (U * self.values.reshape(-1)) @ U.T

    def _product(self, rows: Array) -> Array:
        return self._scale(rows, self.values)

    def _solve(self, rows: Array, damping: float) -> Array:
        return self._scale(rows, self._power(-1, damping))

    def power(
        self, exponent: float, damping: float = 0.0, name: str = ""
    ) -> EigenKronecker:
        exponent, damping = check_exponent(exponent), check_damping(damping)
        values = self._power(exponent, damping)
        rounding = self.rounding if exponent == 1 else 0.0
        return EigenKronecker.orthonormal(
            self.U_A,
            self.U_G,
            values,
            called(name, self.name),
            rounding,
            self.still_damped(exponent, damping),
        )

    def trace(self) -> float:
        return float(self.values.sum())

    def logdet(self, damping: float = 0.0) -> float:
        inverse = self._power(-1, check_damping(damping))
        return -float(get_xp(inverse).log(inverse).sum())

    def eigenvalues(self) -> Array:
        return get_xp(self.values).sort(self.values.reshape(-1))

    def frobenius_norm(self) -> float:
        return norm(self.values)

    def _scale(self, rows: Array, values: Array) -> Array:
        """Rotate into the eigenbasis, multiply by `values`, rotate back."""
        coordinates = kronecker_product(self.U_A.T, self.U_G.T, rows)
        return kronecker_product(self.U_A, self.U_G, coordinates * values.reshape(-1))

    def _power(self, exponent: float, damping: float) -> Array:
        values = self.values + damping
        return spectral_power(values, exponent, damping, self.label, self.rounding)


@quiet_overflow
def _check_orthonormal(what: str, U: Array, size: int) -> None:
    """Raise ValueRangeError unless U^T U = I, up to 1000 eps."""
    check_shape(what, U, (size, size))
    check_floats(what, U)
    xp = get_xp(U)
    error = float(xp.max(xp.abs(U.T @ U - xp.eye(size, dtype=U.dtype))))
    if not error <= 1000 * float(xp.finfo(U.dtype).eps):
        raise ValueRangeError(
            f"{what}: expected orthonormal columns (eigenvectors), found U^T U that "
            f"differs from the identity by up to {error:.3g}"
        )
