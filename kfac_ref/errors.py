"""What can go wrong, said for people: where, what was expected, what was found.

Every error of the package derives from `KfacError` and from the built-in exception
that fits, so `except ValueError` works as usual.
"""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any

import numpy as np

FLOATS = ("float64", "float32")


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
    base = next(kind for kind in type(instance).__mro__[::-1] if hasattr(kind, method))
    return NotImplementedError(
        f"{type(instance).__name__} has no method {method!r}; write it, as the module "
        f"of {base.__name__} says"
    )
