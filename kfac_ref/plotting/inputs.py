"""Checks what a figure is to show, before it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kfac_ref.backend import to_numpy
from kfac_ref.checks import check_finite, check_kind
from kfac_ref.errors import (
    KfacError,
    KfacTypeError,
    ShapeError,
    ValueRangeError,
    describe,
    located,
)
from kfac_ref.optimizer.history import History


def numbers(what: str, values: Any, axes: tuple[int, ...] = (1,)) -> np.ndarray:
    """Real numbers on the host: at least one, all finite, along so many `axes`.

    Raises KfacTypeError, ShapeError, ValueRangeError, NotFinite, BackendError.
    """
    found = _array(what, values)
    if found.ndim not in axes:
        raise ShapeError(
            f"{what}: expected numbers along {' or '.join(map(str, axes))} axes, found "
            f"an array of shape {found.shape}"
        )
    some(what, found.ravel(), "number")
    check_finite(what, found)
    return found


def _array(what: str, values: Any) -> np.ndarray:
    if not isinstance(values, list | tuple | range):
        with located(what):
            return to_numpy(values)
    try:
        found = np.asarray(values)
    except (KfacError, TypeError, ValueError):  # ragged, or something else inside
        found = np.asarray(None)
    if found.dtype.kind not in "iuf":
        raise KfacTypeError(f"{what}: expected numbers, found {describe(values)}")
    return found


def named(what: str, values: Any, of: str, empty: bool = False) -> Mapping:
    """`values`, if a dict, not empty. Raises KfacTypeError, ValueRangeError."""
    if not isinstance(values, Mapping):
        raise KfacTypeError(
            f"{what}: expected a dict from each {of}'s name to what is drawn of it, "
            f"found {describe(values)}"
        )
    return values if empty else some(what, values, of)


def several(what: str, values: Any, of: str) -> Sequence:
    """`values`, if a nonempty list or tuple. Raises KfacTypeError, ValueRangeError."""
    if not isinstance(values, list | tuple):
        raise KfacTypeError(
            f"{what}: expected a list, one {of} or more, found {describe(values)}"
        )
    return some(what, values, of)


def words(what: str, *texts: Any) -> None:
    """Raise KfacTypeError unless all texts are strings."""
    for text in texts:
        if not isinstance(text, str):
            raise KfacTypeError(f"{what}: expected words, found {describe(text)}")


def some(what: str, values: Any, of: str) -> Any:
    """`values`, if there is at least one. Raises ValueRangeError."""
    if len(values) == 0:
        raise ValueRangeError(f"{what}: expected at least one {of}, found none")
    return values


def same_length(what: str, values: Any, other: str, others: Any) -> None:
    """Raise ShapeError unless both have the same number of entries."""
    if len(values) != len(others):
        raise ShapeError(
            f"{what}: expected as many entries as in {other}, {len(others)}, "
            f"found {len(values)}"
        )


def known(where: str, history: History, what: str) -> np.ndarray:
    """Mask (updates,): where `what` has a number; at least once, and all finite."""
    check_kind(where, history, History, "as of train(...).history")
    values = np.asarray(getattr(history, what))
    there = ~np.isnan(values)  # NaN: there was no evaluation
    some(f"{where}.{what}", values[there], "update with a number")
    check_finite(f"{where}.{what}", values[there])
    return there


def scale(*values: np.ndarray) -> str:
    """The scale that shows all values: "log", or "linear" if one is not positive."""
    return "log" if all((v > 0).all() for v in values) else "linear"
