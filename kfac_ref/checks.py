"""The doors: what public functions ask of their arguments, in full.

Each check names the argument (`what`), what was expected and what was found, and
raises an error of errors.py. What stands behind a door trusts it, and says so.
"""

from __future__ import annotations

import operator
from numbers import Real
from typing import Any

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.errors import (
    FLOATS,
    KfacTypeError,
    NotFinite,
    ShapeError,
    ValueRangeError,
    describe,
    located,
    require,
)

LARGEST = 2**63 - 1  # whole number


def check_kind(what: str, value: Any, kind: type, advice: str = "") -> None:
    """KfacTypeError unless `value` is an instance of that class."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise KfacTypeError(
            f"{what}: expected {article} {kind.__name__}{advice and ', '}{advice}; "
            f"found {describe(value)}"
        )


def is_function(value: Any) -> bool:
    """Can it be called, and is it more than a class of which no instance was made?"""
    return callable(value) and not isinstance(value, type)


def check_names(what: str, names: Any) -> None:
    """KfacTypeError unless a list of strings."""
    several = isinstance(names, list | tuple)
    if not several or not all(isinstance(name, str) for name in names):
        raise KfacTypeError(
            f"{what}: expected a list of names, found {describe(names)}"
        )


def check_shape(what: str, array: Any, expected: tuple) -> None:
    """Compare a shape with `expected`, in which None or a word fits any size."""
    if not hasattr(array, "shape"):
        raise ShapeError(
            f"{what}: expected an array of shape {_show(expected)}, "
            f"found {type(array).__name__}"
        )
    fits = len(array.shape) == len(expected) and all(
        not isinstance(e, int) or e == s
        for e, s in zip(expected, array.shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"{what}: expected shape {_show(expected)}, found {tuple(array.shape)}"
        )


def _show(expected: tuple) -> str:
    words = ["any" if e is None else str(e) for e in expected]
    return f"({', '.join(words)}{',' if len(words) == 1 else ''})"


def check_batch(what: str, array: Any) -> None:
    """A batch: at least one example along the first axis, every number finite."""
    if not hasattr(array, "shape") or len(array.shape) == 0:
        raise ShapeError(
            f"{what}: expected an array with a first axis of examples, "
            f"found {type(array).__name__}"
        )
    if 0 in array.shape:
        raise ShapeError(
            f"{what}: the batch is empty, its shape is {tuple(array.shape)}"
        )
    check_finite(what, array)


def check_finite(what: str, array: Any) -> None:
    """NotFinite if a number of `array` is NaN or infinite."""
    with located(what):
        xp = get_xp(array)
    if array.dtype.kind not in "biuf":
        raise ValueRangeError(
            f"{what}: expected real numbers, found an array of {array.dtype}"
        )
    if array.dtype.kind != "f":
        return
    if not all_finite(array):
        wrong = int(xp.sum(~xp.isfinite(array)))
        raise NotFinite(f"{what}: {wrong} of {array.size} numbers are NaN or infinite")


def all_finite(array: Any) -> bool:
    """Is no number of an array of floats NaN or infinite?

    If the sum of their squares is finite, they all are. BLAS takes it with all threads,
    and writes no array. The numbers are looked at only where it may be an overflow.
    """
    xp = get_xp(array)
    traced = xp.__name__ == "autograd.numpy"  # it cannot go back through a vdot
    if not traced and bool(xp.isfinite(xp.vdot(array, array))):
        return True  # no dot, which warns of an overflow
    return bool(xp.all(xp.isfinite(array)))


def check_count(what: str, value: Any, least: int = 1) -> int:
    """`value` as Python's int if it is a whole number >= `least`; ValueRangeError.

    Any type of integer is one, and a 0-d array of integers; a bool is none.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool | np.bool_) or number < least:
        raise ValueRangeError(
            f"{what}: expected a whole number >= {least}, found {describe(value)}"
        )
    if number > LARGEST:
        raise ValueRangeError(
            f"{what}: expected a whole number up to {LARGEST:.2g}, as sizes of arrays "
            f"are, found {describe(value)}"
        )
    return number


def check_number(what: str, value: Any, expected: str = "a number") -> float:
    """`value` as Python's float, NaN and infinity included; KfacTypeError.

    ValueRangeError where float64 ends before the number does, as before 10**400.

    Any type of real number is one, and a 0-d array of them; a bool or a string is none.
    float32 arrays stay float32 beside it: NumPy's float64 would change them.
    """
    known = isinstance(value, Real) and not isinstance(value, bool)
    if known or (getattr(value, "ndim", None) == 0 and value.dtype.kind in "iuf"):
        try:
            return float(value)
        except OverflowError:
            raise ValueRangeError(
                f"{what}: expected {expected} in the range of float64, which ends at "
                f"{np.finfo(np.float64).max:.2g}, found {describe(value)}"
            ) from None
    raise KfacTypeError(f"{what}: expected {expected}, found {describe(value)}")


def check_real(what: str, value: Any, expected: str = "a number") -> int | float:
    """As `check_number`, but a whole number stays an int."""
    number = check_number(what, value, expected)
    try:
        return operator.index(value)
    except TypeError:
        return number


def check_share(what: str, share: float) -> float:
    """`share` as Python's float, in (0, 1]; ValueRangeError, KfacTypeError."""
    number = check_number(what, share)
    require(0.0 < number <= 1.0, what, "a share in (0, 1]", number)
    return number


def check_flag(what: str, value: Any) -> bool:
    """`value` as Python's bool if it is True or False; KfacTypeError."""
    is_array = getattr(value, "ndim", None) == 0 and value.dtype.kind == "b"
    if isinstance(value, bool) or is_array:
        return bool(value)
    raise KfacTypeError(f"{what}: expected True or False, found {describe(value)}")


def check_float_type(what: str, dtype: Any) -> np.dtype:
    """float64 or float32 of this machine's byte order; ValueRangeError for others."""
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = ""
    if name not in FLOATS:
        raise ValueRangeError(
            f"{what}: expected float64 or float32, found {describe(dtype)}"
        )
    return np.dtype(name)


def check_generator(rng: Any) -> None:
    """Randomness comes from a numpy.random.Generator that the caller passes."""
    if not isinstance(rng, np.random.Generator):
        raise ValueRangeError(
            f"rng: expected a numpy.random.Generator, found {type(rng).__name__}; make "
            "one with numpy.random.default_rng(seed)"
        )


def check_floats(what: str, array: Array) -> None:
    """Raise ShapeError or ValueRangeError unless finite floats, at least one."""
    check_float_kind(what, array)
    check_finite(what, array)


def check_float_kind(what: str, array: Array) -> None:
    """ShapeError or ValueRangeError unless float32 or float64, and not empty."""
    if array.size == 0:
        raise ShapeError(f"{what}: found an empty array of shape {tuple(array.shape)}")
    if array.dtype.name not in ("float32", "float64"):
        raise ValueRangeError(
            f"{what}: expected float64 or float32, found {array.dtype}; use astype"
        )


def check_alike(what: str, *arrays: Array) -> None:
    """Raise BackendError or ValueRangeError unless of one backend and one dtype."""
    get_xp(*arrays)
    dtypes = sorted({array.dtype.name for array in arrays})
    if len(dtypes) > 1:
        raise ValueRangeError(
            f"{what}: expected arrays of one dtype, found {' and '.join(dtypes)}; "
            "use astype"
        )
