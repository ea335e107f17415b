"""What a figure can show: checked before it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kfac_ref.backend import to_numpy
from kfac_ref.errors import ShapeError, ValueRangeError, check_finite
from kfac_ref.optimizer.training import History


def numbers(what: str, values: Any) -> np.ndarray:
    """The values on the host: one at least, all finite. ValueRangeError, NotFinite."""
    found = np.asarray(to_numpy(values) if hasattr(values, "dtype") else values)
    some(what, found.ravel(), "number")
    check_finite(what, found)
    return found


def some(what: str, values: Any, of: str) -> Any:
    """`values`, if there is at least one. ValueRangeError."""
    if len(values) == 0:
        raise ValueRangeError(f"{what}: expected at least one {of}, found none")
    return values


def same_length(what: str, values: Sequence, other: str, others: Sequence) -> None:
    """ShapeError unless both have the same number of entries."""
    if len(values) != len(others):
        raise ShapeError(
            f"{what}: expected as many entries as in {other}, {len(others)}, "
            f"found {len(values)}"
        )


def known(where: str, history: History, what: str) -> np.ndarray:
    """Where `what` of a history has a number, (updates,): at least once, all finite."""
    values = np.asarray(getattr(history, what))
    there = ~np.isnan(values)  # NaN: there was no evaluation
    some(f"{where}.{what}", values[there], "update with a number")
    check_finite(f"{where}.{what}", values[there])
    return there


def scale(*values: np.ndarray) -> str:
    """The axis that shows all of them: "log", or "linear" where one is not positive."""
    return "log" if all((v > 0).all() for v in values) else "linear"
