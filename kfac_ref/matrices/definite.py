"""Positive definite, or an error that says how far from it: what all kinds share."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement

from kfac_ref.backend import (
    Array,
    cholesky,
    eigh,
    get_xp,
    solve_triangular,
    to_numpy,
)
from kfac_ref.checks import (
    all_finite,
    check_finite,
    check_float_kind,
    check_number,
    check_shape,
)
from kfac_ref.errors import (
    KfacTypeError,
    NotPositiveDefinite,
    ShapeError,
    ValueRangeError,
    describe,
    located,
)
from kfac_ref.limits import check_room

TILE = 256  # rows and columns that are compared with their mirror images at a time
EXPONENTS = (-1, -0.5, 0.5, 1)


def called(name: str, kind: str) -> str:
    """Return what messages call a matrix: its name, else its kind. KfacTypeError."""
    if not isinstance(name, str):
        raise KfacTypeError(f"name: expected words, found {describe(name)}")
    return name or kind


def check_damping(damping: float) -> float:
    """Return lambda as Python's float; ValueRangeError unless finite and >= 0."""
    try:
        value = check_number("damping", damping)
    except (KfacTypeError, ValueRangeError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueRangeError(
            f"damping: expected a finite number >= 0, found {describe(damping)}"
        )
    return value


def check_exponent(exponent: float) -> float:
    """Return the exponent as Python's float; ValueRangeError unless in EXPONENTS."""
    is_number = not isinstance(exponent, bool) and not getattr(exponent, "ndim", 0)
    if not is_number or exponent not in EXPONENTS:
        raise ValueRangeError(
            "power: expected an exponent of -1, -1/2, 1/2 or 1, found "
            f"{describe(exponent)}"
        )
    return float(exponent)


def check_vector(what: str, v: Array, size: int, like: Array) -> None:
    """Check what a matrix with `like` inside multiplies or solves for.

    Raises ShapeError, BackendError, ValueRangeError or NotFinite unless v is (size,) or
    (size, k), of the backend and the dtype of `like`, and finite. That is one pass over
    v; inside, `_product` and `_solve` are called, which do not look.
    """
    if getattr(v, "ndim", 0) not in (1, 2) or v.shape[0] != size:
        found = tuple(v.shape) if hasattr(v, "shape") else type(v).__name__
        raise ShapeError(
            f"{what}: expected shape ({size},) or ({size}, k), found {found}"
        )
    if type(v) is not type(like):
        with located(what):
            get_xp(like, v)
    if v.dtype != like.dtype and v.dtype.name != like.dtype.name:  # names are slow
        expected = like.dtype.name
        advice = f"use v.astype({expected!r})"
        if v.dtype.kind == "c":
            advice = "give v.real and v.imag one after the other"
        raise ValueRangeError(
            f"{what}: expected {expected}, as the matrix has, found {v.dtype}; {advice}"
        )
    if not all_finite(v):
        check_finite(what, v)


def check_symmetric(what: str, matrix: Array) -> None:
    """Raise ShapeError or ValueRangeError unless square, finite and symmetric.

    Entries may differ from their mirror image by 1000 eps of the largest: what rounding
    leaves in a sum over a million examples. Factorisations read one triangle only.
    """
    check_shape(what, matrix, (None, None))
    check_shape(what, matrix, (matrix.shape[0], matrix.shape[0]))
    check_float_kind(what, matrix)
    asymmetry, largest = _asymmetry(matrix)
    if math.isnan(largest):
        check_finite(what, matrix)
    if asymmetry > 1000 * float(get_xp(matrix).finfo(matrix.dtype).eps) * largest:
        raise ValueRangeError(
            f"{what}: expected a symmetric matrix, found entries that differ from "
            f"their mirror images by up to {asymmetry:.3g} (largest: {largest:.3g})"
        )


def _asymmetry(matrix: Array) -> tuple[float, float]:
    """Return max |M - M^T| and max |M|, or NaN if a number is not finite.

    Tile by tile, above the diagonal: a tile and its mirror image stay in cache, and
    no second matrix of that size is needed.
    """
    xp, asymmetry, largest = get_xp(matrix), 0.0, 0.0
    starts = range(0, len(matrix), TILE)
    for p, q in combinations_with_replacement(starts, 2):
        upper = matrix[p : p + TILE, q : q + TILE]
        lower = matrix[q : q + TILE, p : p + TILE].T
        size = float(xp.max(xp.abs(upper)))
        difference = float(xp.max(xp.abs(upper - lower))) if size < math.inf else 0.0
        if not size + difference < math.inf:
            return math.nan, math.nan
        largest, asymmetry = max(largest, size), max(asymmetry, difference)
    return asymmetry, largest


def add_to_diagonal(matrix: Array, damping: float) -> Array:
    """Return matrix + lambda I; if lambda = 0, the same array."""
    if damping == 0:
        return matrix
    damped = matrix.copy()  # contiguous, so the reshape is a view of it
    diagonal = damped.reshape(-1)[:: len(matrix) + 1]
    diagonal += damping
    return damped


def factorize(matrix: Array, damping: float, where: str) -> Array:
    """Return the lower Cholesky factor of matrix + lambda I; NotPositiveDefinite.

    The eigenvalues that the error names are computed only after a failure.
    """
    check_room(where, len(matrix), matrix, copies=2)  # damped, and the factor
    damped = add_to_diagonal(matrix, damping)
    L = cholesky(damped)
    if L is None:
        raise NotPositiveDefinite(where, damping, to_numpy(eigh(damped)[0]))
    return L


def log_determinant(L: Array) -> float:
    """Return log det(L L^T)."""
    xp = get_xp(L)
    return 2 * float(xp.sum(xp.log(xp.diagonal(L))))


def spectral_power(
    values: Array, exponent: float, damping: float, where: str, rounding: float = 0.0
) -> Array:
    """Raise eigenvalues (lambda already added) to a power; `rounding` is their error.

    The negative powers need values above `rounding`. The root counts those between
    -rounding and rounding as zero. Otherwise NotPositiveDefinite.
    """
    if exponent == 1:
        return values
    xp = get_xp(values)
    smallest = float(xp.min(values))
    if smallest < -rounding or (exponent < 0 and smallest <= rounding):
        raise NotPositiveDefinite(where, damping, to_numpy(values).ravel())
    if exponent == -1:
        return 1 / values
    root = xp.sqrt(xp.where(values > rounding, values, xp.zeros_like(values)))
    return root if exponent == 0.5 else 1 / root


def rounding_error(values: Array, size: int) -> float:
    """Return size * eps * (largest absolute value): the error of eigenvalues."""
    xp = get_xp(values)
    return size * float(xp.finfo(values.dtype).eps) * float(xp.max(xp.abs(values)))


def power(matrix: Array, exponent: float, damping: float, where: str) -> Array:
    """Return (matrix + lambda I)^exponent, as X X^T or X^T X, so it is symmetric."""
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
