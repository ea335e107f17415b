"""What all values share: plain numbers, comparison by content, copies.

A value is its public attributes. Two are equal if they are of one class and these
agree: arrays in backend, dtype, shape and entries, everything else by its own `==`. NaN
equals NaN here, so a copy always equals its original. Attributes that begin with an
underscore are derived from the rest and ignored.

Values that may hold arrays, or can be changed, are not hashable, like lists and arrays.
Frozen dataclasses of plain numbers are (schedules, estimates, ...).
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache, partial
from typing import Any

import numpy as np

from kfac_ref.backend import get_xp
from kfac_ref.calls import check_words, words_of
from kfac_ref.checks import (
    check_count,
    check_flag,
    check_number,
    check_real,
    is_function,
)
from kfac_ref.errors import KfacTypeError, describe


class Value:
    """Base class of everything that is compared by content."""

    __array_ufunc__ = None  # `array == value` is False, not an array of answers
    __hash__ = None  # type: ignore[assignment]

    def __new__(cls, *args: Any, **options: Any) -> Any:
        """Check the keywords alone; copying passes none."""
        kind: Any = cls
        known = words_of(kind)
        if known is not None:
            check_words(cls.__name__, known, options)
        if known == [] and args:  # nothing else would check them
            found = describe(args)
            raise KfacTypeError(f"{cls.__name__}: takes no arguments, found {found}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Convert a dataclass's int, float and bool fields to Python's own types."""
        kind: Any = type(self)
        shown = getattr(kind, "shown", kind.__name__)
        for name, words in _numbers(kind):
            plain = _plain(f"{shown} {name}", getattr(self, name), words)
            object.__setattr__(self, name, plain)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self is other or same(_content(self), _content(other))


def _content(value: Any) -> dict[str, Any]:
    return {k: v for k, v in vars(value).items() if not k.startswith("_")}


@cache
def _numbers(kind: Any) -> list[tuple[str, list[str]]]:
    """The fields that are numbers or schedules, with the words of their annotations.

    ("step", ["int"]), ("ratio", ["float", "None"])
    """
    found = []
    for field in fields(kind):
        annotation: Any = field.type
        is_class = isinstance(annotation, type)
        words = [annotation.__name__] if is_class else str(annotation).split(" | ")
        if {"int", "float", "bool", "Schedule"} & set(words):
            found.append((field.name, words))
    return found


def _plain(what: str, value: Any, words: list[str]) -> Any:
    """`value`, converted to its annotation. Raises KfacTypeError, ValueRangeError."""
    scheduled = "Schedule" in words
    if ("None" in words and value is None) or (scheduled and is_function(value)):
        return value
    if "float" in words:
        expected = "a number or a schedule" if scheduled else "a number"
        return (check_real if "int" in words else check_number)(what, value, expected)
    if scheduled:
        raise KfacTypeError(
            f"{what}: expected a schedule, such as Constant(0.1), found "
            f"{describe(value)}"
        )
    return check_flag(what, value) if "bool" in words else check_count(what, value, 0)


def same(a: Any, b: Any) -> bool:
    """Whether a and b have the same content."""
    if a is b:
        return True
    if _is_array(a) or _is_array(b):
        return _is_array(a) and _is_array(b) and _same_arrays(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, partial):
        return same((a.func, a.args, a.keywords), (b.func, b.args, b.keywords))
    if isinstance(a, np.random.Generator):
        return same(a.bit_generator.state, b.bit_generator.state)
    return bool(a == b) or (isinstance(a, float) and a != a and b != b)


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "ndim")


def _same_arrays(a: Any, b: Any) -> bool:
    xp = get_xp(a)
    if xp is not get_xp(b) or a.dtype != b.dtype or a.shape != b.shape:
        return False
    return bool(xp.all((a == b) | ((a != a) & (b != b))))
