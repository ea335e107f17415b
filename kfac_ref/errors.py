"""What can go wrong, said for people: where, what was expected, what was found.

Every error of the package derives from `KfacError` and from the built-in exception
that fits, so `except ValueError` works as usual.
"""

from __future__ import annotations

import difflib
import math
import operator
import reprlib
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np

FLOATS = ("float64", "float32")
LARGEST = 2**63 - 1  # whole number


class KfacError(Exception):
    """Any error that this package raises on purpose; it survives pickle and copy."""

    def __reduce__(self) -> Any:
        """As made by the built-in base, whatever the arguments of its constructor."""
        reduced: Any = super().__reduce__()
        kind, message, *attributes = reduced
        return _remake, (kind, message), *attributes


def _remake(kind: type[KfacError], message: tuple) -> KfacError:
    error = kind.__new__(kind, *message)
    builtin: Any = next(b for b in kind.__mro__ if b.__module__ == "builtins")
    builtin.__init__(error, *message)
    return error


class ShapeError(KfacError, ValueError):
    """An array has another shape than the layer or argument needs."""


class ValueRangeError(KfacError, ValueError):
    """An array holds values that are not finite, or outside their range."""


class NotFinite(ValueRangeError):
    """An array holds NaN or infinity."""


class TooLarge(MemoryError, KfacError):  # in this order: MemoryError has a __new__
    """A dense array that does not fit into memory; nothing was allocated."""


class UnknownName(KfacError, ValueError):
    """A name that is not on the list; the message suggests the closest one."""


class KfacTypeError(KfacError, TypeError):
    """An argument is of another kind than what is needed, such as a class."""


class BackendError(KfacError, TypeError):
    """Arrays of two backends meet, or a backend does not answer."""


class Unsupported(KfacError, TypeError):
    """Mathematics forbids what was asked; the message says why."""


class ExtraMissing(KfacError, ImportError):
    """A package that the core does without is not installed; how to install it."""


class NotPositiveDefinite(KfacError, ArithmeticError):
    """A matrix that has no Cholesky factor, with lambda and its condition number.

    `eigenvalues` on the host, lambda included; the condition number is the largest
    absolute value over the smallest. The message says what the matrix is: indefinite,
    singular, singular to rounding (one of 1 / eps or more, even if all eigenvalues come
    out positive), or not finite.
    """

    def __init__(self, where: str, damping: float, eigenvalues: Iterable[float]):
        eps = float(np.finfo(getattr(eigenvalues, "dtype", np.float64)).eps)
        values = [float(v) for v in eigenvalues]
        sizes = [abs(v) for v in values]
        self.damping, self.smallest, self.largest = damping, min(values), max(values)
        self.condition = max(sizes) / min(sizes) if min(sizes) else math.inf
        if not all(map(math.isfinite, values)):
            super().__init__(
                f"{where} is not finite: with lambda = {damping:g} some of its "
                f"{len(values)} eigenvalues are NaN or infinite; are the numbers that "
                "it is made of too large?"
            )
            return
        singular, rounding = self._explain(max(sizes), len(values), eps)
        super().__init__(
            f"{where} is not positive definite{singular}: with lambda = {damping:g} "
            f"its eigenvalues run from {self.smallest:.3g} to {self.largest:.3g} "
            f"(condition number {self.condition:.3g}{rounding}); use a larger damping"
        )

    def _explain(self, largest: float, count: int, eps: float) -> tuple[str, str]:
        """Where the smallest eigenvalue is not clearly negative: what it is then."""
        if self.smallest == 0:
            return " but singular", ""
        if self.smallest < -count * eps * largest:
            return "", ""
        resolved = f"; {count} rows with eps = {eps:.2g} do not resolve that"
        return " but singular to rounding", resolved


class _Description(reprlib.Repr):
    """repr, cut to a line; of an array its shape and dtype: values may be far away."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring, self.maxother = 60, 120

    def repr_instance(self, x: Any, level: int) -> str:
        if is_dataclass(x) and hasattr(type(x).__repr__, "__wrapped__"):
            return self._by_fields(x, level)  # for dataclass's own repr shows arrays
        is_array = all(hasattr(x, name) for name in ("shape", "dtype", "ndim"))
        if not is_array or isinstance(x, np.generic | type):
            return super().repr_instance(x, level)
        kind = f"{type(x).__module__.split('.')[0]}.{type(x).__name__}"
        return f"{kind} of shape {tuple(x.shape)}, {x.dtype}"

    def _by_fields(self, x: Any, level: int) -> str:
        each = (f"{f.name}={self.repr1(getattr(x, f.name), 1)}" for f in fields(x))
        shown = f"{type(x).__name__}({', '.join(each)})"
        few = self.maxother - 3
        return shown if len(shown) <= self.maxother else f"{shown[:few]}..."

    def repr_int(self, x: int, level: int) -> str:
        try:
            return super().repr_int(x, level)
        except ValueError:  # Python writes no more than 4,300 digits
            return f"a whole number of {x.bit_length()} bits"

    def repr_dict(self, x: dict, level: int) -> str:  # in its own order
        few = list(islice(x.items(), self.maxdict if level > 0 else 0))
        shown = [": ".join(self.repr1(v, level - 1) for v in pair) for pair in few]
        return "{" + ", ".join(shown + ["..."] * (len(few) < len(x))) + "}"


describe = _Description().repr  # what was found, for messages


def choose(
    what: str, name: Any, known: Iterable[str], others: Iterable[str] = ()
) -> str:
    """`name` if it is one of `known`; otherwise UnknownName with a suggestion.

    `others` are words that may be suggested, too, but are not listed.
    """
    known = list(known)
    if isinstance(name, Hashable) and name in known:
        return name
    hint = suggestion(name, [*others, *known])
    raise UnknownName(
        f"unknown {what} {describe(name)}: {hint}known: {', '.join(known)}"
    )


def suggestion(name: Any, known: Iterable[str], cutoff: float = 0.4) -> str:
    """did you mean 'samples'? (for 'sample'); nothing where no word is near."""
    folded = {k.lower(): k for k in known}  # so that 'same' is near to 'SAME'; the
    # last of those that differ in nothing else
    word = name.lower() if isinstance(name, str) else ""
    near = difflib.get_close_matches(word, folded, n=1, cutoff=cutoff)
    return f"did you mean {folded[near[0]]!r}? " if near else ""


def require(fits: bool, what: str, expected: str, found: object) -> None:
    """ValueRangeError unless it fits; write `fits` so that NaN does not."""
    if not fits:
        raise ValueRangeError(f"{what}: expected {expected}, found {describe(found)}")


def check_kind(what: str, value: Any, kind: type, advice: str = "") -> None:
    """KfacTypeError unless `value` is an instance of that class."""
    if not isinstance(value, kind):
        raise KfacTypeError(
            f"{what}: expected a {kind.__name__}{advice and ', '}{advice}; found "
            f"{describe(value)}"
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
    from kfac_ref.backend import get_xp

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
    from kfac_ref.backend import get_xp

    xp = get_xp(array)
    traced = xp.__name__ == "autograd.numpy"  # it cannot go back through a vdot
    if not traced and bool(xp.isfinite(xp.vdot(array, array))):
        return True  # no dot, which warns of an overflow
    return bool(xp.all(xp.isfinite(array)))


@contextmanager
def located(where: str) -> Iterator[None]:
    """Put `where` (a layer, an argument) before the message of an error inside."""
    try:
        yield
    except (ShapeError, ValueRangeError, BackendError) as error:
        error.args = (f"{where}: {error}",)  # it keeps its kind and its attributes
        raise error from error.__cause__


def not_written(instance: Any, method: str) -> NotImplementedError:
    """The error of a base class for a method that a subclass should have."""
    return NotImplementedError(
        f"{type(instance).__name__} has no method {method!r}; write it, as the module "
        f"of {type(instance).__mro__[-2].__name__} says"
    )


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
