"""How far is an approximation M from the exact matrix F? The numbers, one by one.

    Frobenius     ||M - F||_F / ||F||_F
    spectral      ||M - F||_2 / ||F||_2
    inverse       ||(M + lambda I)^-1 - (F + lambda I)^-1||_F / ||(F + lambda I)^-1||_F
    angle         between u and v, in degrees
    norm ratio    ||u|| / ||v||,    ||u||^2 = u^T (F + lambda I) u

u = (M + lambda I)^-1 grad is the preconditioned gradient of the approximation, and
v = (F + lambda I)^-1 grad the exact natural gradient. M and F are matrices of any kind.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from kfac_ref.backend import Array, asarray, get_xp, to_numpy
from kfac_ref.calls import door
from kfac_ref.checks import check_shape
from kfac_ref.errors import ShapeError, ValueRangeError
from kfac_ref.limits import norm
from kfac_ref.matrices import SymmetricMatrix
from kfac_ref.matrices.base import check_matrix
from kfac_ref.matrices.definite import add_to_diagonal, check_damping


@door
def relative_frobenius_error(
    approximation: SymmetricMatrix, exact: SymmetricMatrix
) -> float:
    """Return ||M - F||_F / ||F||_F; ValueRangeError if F is zero."""
    D = difference(approximation, exact)
    return norm(D) / not_zero(exact, exact.frobenius_norm())


@door
def relative_spectral_error(
    approximation: SymmetricMatrix, exact: SymmetricMatrix
) -> float:
    """Return ||M - F||_2 / ||F||_2, by Lanczos iterations; ValueRangeError as above."""
    D = difference(approximation, exact)
    return spectral_norm(D) / not_zero(exact, spectral_norm(exact.to_dense()))


def not_zero(exact: SymmetricMatrix, size: float) -> float:
    """Return `size`, by which an error is divided; ValueRangeError if it is zero."""
    if size == 0.0:
        raise ValueRangeError(
            f"{exact.label}: the exact matrix is zero, so an error relative to it has "
            "no value; do any errors arrive at this layer?"
        )
    return size


@door
def inverse_error(
    approximation: SymmetricMatrix, exact: SymmetricMatrix, damping: float
) -> float:
    """Return the relative Frobenius error of (M + lambda I)^-1."""
    check_matrix("approximation", approximation)
    check_matrix("exact", exact)
    return relative_frobenius_error(
        approximation.inverse(damping), exact.inverse(damping)
    )


@door
def angle(
    approximation: SymmetricMatrix,
    exact: SymmetricMatrix,
    gradient: Array,
    damping: float,
) -> float:
    """Return degrees between the preconditioned gradient (P,) and the natural one."""
    return angle_between(*_solved(approximation, exact, gradient, damping))


@door
def damped_norm_ratio(
    approximation: SymmetricMatrix,
    exact: SymmetricMatrix,
    gradient: Array,
    damping: float,
) -> float:
    """Return ||u|| / ||v||, ||u||^2 = u^T (F + lambda I) u: is the step too long?"""
    u, v = _solved(approximation, exact, gradient, damping)
    check_direction("gradient", gradient)
    return damped_norm(u, exact, damping) / damped_norm(v, exact, damping)


def _solved(
    approximation: SymmetricMatrix,
    exact: SymmetricMatrix,
    gradient: Array,
    damping: float,
) -> tuple[Array, Array]:
    """Return the preconditioned gradient (P,), and the exact natural one."""
    check_matrix("approximation", approximation)
    check_matrix("exact", exact)
    check_shape("gradient", gradient, (exact.size,))
    return approximation.solve(gradient, damping), exact.solve(gradient, damping)


@door
def spectral_norm(matrix: Array) -> float:
    """Return the largest absolute eigenvalue of a symmetric array (ARPACK, CPU)."""
    size = len(matrix)
    if size == 1 or not bool(get_xp(matrix).any(matrix)):
        return abs(float(matrix[0, 0]))  # ARPACK wants two rows, and not only zeros

    def product(v: np.ndarray) -> np.ndarray:
        return to_numpy(matrix @ asarray(v.astype(matrix.dtype), like=matrix))

    operator = LinearOperator(
        matrix.shape, matvec=product, dtype=np.dtype(matrix.dtype)
    )
    start = np.cos(np.arange(size)).astype(operator.dtype)  # along no axis or block
    value = eigsh(operator, k=1, v0=start, return_eigenvectors=False)
    return abs(float(value[0]))


@door
def angle_between(u: Array, v: Array) -> float:
    """Return degrees between two vectors, accurate for small angles, too (Kahan)."""
    check_direction("angle", u, v)
    u, v = _unit(u), _unit(v)
    return math.degrees(2 * math.atan2(norm(u - v), norm(u + v)))


def check_direction(what: str, *vectors: Array) -> None:
    """Raise ValueRangeError for a zero vector: no angle or ratio to it has a value."""
    for v in vectors:
        if not bool(get_xp(v).any(v != 0)):
            raise ValueRangeError(
                f"{what}: expected a vector that is not zero, for a zero has no "
                "direction; is the training at a stationary point, or do no errors "
                "arrive at this layer?"
            )


def _unit(v: Array) -> Array:
    """Return v over its norm, by way of numbers whose squares are in range."""
    v = v / get_xp(v).max(get_xp(v).abs(v))
    return v / get_xp(v).linalg.norm(v)


@door
def damped_norm(v: Array, exact: SymmetricMatrix, damping: float) -> float:
    """Return sqrt(v^T (F + lambda I) v)."""
    damping, size = check_damping(damping), norm(v)
    if size == 0.0:
        return 0.0
    v = _unit(v)
    return size * math.sqrt(float(v @ (exact @ v)) + damping)


def difference(
    approximation: SymmetricMatrix, exact: SymmetricMatrix, inside: float = 0.0
) -> Array:
    """Return M - F as an array (P, P); of an M with damping `inside`, M less that."""
    check_matrix("approximation", approximation)
    check_matrix("exact", exact)
    inside = check_damping(inside)
    if approximation.size != exact.size:
        raise ShapeError(
            f"approximation {approximation.label}: expected a matrix of the size of "
            f"the exact one, {exact.size}, found {approximation.size}"
        )
    return add_to_diagonal(approximation.to_dense(), -inside) - exact.to_dense()
