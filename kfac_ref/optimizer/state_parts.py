"""The numbers and vectors of a state: what each of them must be.

One function for each kind of part, (where, value, fit); each raises an error, naming
the part, if the value is none. state_matrices.py does the same for the matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kfac_ref.backend import Array, to_numpy
from kfac_ref.checks import check_alike, check_floats, check_shape
from kfac_ref.errors import KfacTypeError, ShapeError, ValueRangeError, describe
from kfac_ref.network import Network
from kfac_ref.optimizer.averages import Average
from kfac_ref.optimizer.state import Place
from kfac_ref.values import Value

LARGEST = 1e150  # of a number that is squared
MOST = 2**53  # of a number that is counted


@dataclass(frozen=True, eq=False)
class Fit(Value):
    """What the parts of a state have to fit: an optimizer, and theta."""

    optimizer: Any
    theta: Array

    @property
    def network(self) -> Network:
        return self.optimizer.network


def check_type(where: str, value: Any, *kinds: Any) -> None:
    if type(value) not in kinds:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise KfacTypeError(f"{where}: expected {names}, found {describe(value)}")


def whole(where: str, value: Any, fit: Fit) -> None:
    """0, 1, 2, ..."""
    check_type(where, value, int)
    if not 0 <= value <= MOST:
        raise ValueRangeError(
            f"{where}: expected from 0 to 2^53, found {describe(value)}"
        )


def size(where: str, value: Any, fit: Fit) -> None:
    """A number >= 0, whose square is finite."""
    check_type(where, value, float, int)
    if not 0 <= value <= LARGEST:
        raise ValueRangeError(
            f"{where}: expected from 0 to 1e150, found {describe(value)}"
        )


def vector(where: str, value: Any, fit: Fit) -> None:
    """Of theta's length, dtype and backend."""
    check_array(where, value, fit, (fit.network.size,))


def squares(where: str, value: Any, fit: Fit) -> None:
    """A vector of means of squares."""
    vector(where, value, fit)
    if float(value.min()) < 0:
        raise ValueRangeError(f"{where}: expected numbers >= 0, found {value.min()}")


def place(where: str, value: Any, fit: Fit) -> None:
    """None, or the order of an epoch and how many of its examples were used."""
    if value is None:
        return
    check_type(where, value, Place)
    check_shape(f"{where}.order", value.order, ("N",))
    order = np.sort(to_numpy(value.order))
    if order.dtype.kind not in "iu" or (order != np.arange(len(order))).any():
        raise ValueRangeError(f"{where}.order: expected a permutation of 0, 1, ...")
    whole(f"{where}.seen", value.seen, fit)
    if value.seen > len(order):
        raise ValueRangeError(
            f"{where}.seen: expected at most {len(order)}, found {value.seen}"
        )


def iterates(where: str, value: Any, fit: Fit) -> None:
    """An average of theta."""
    if check_average(where, value, fit):
        vector(f"{where}.value", value.value, fit)


def check_average(where: str, value: Any, fit: Fit) -> bool:
    """Check an average. Does it have a value?"""
    check_type(where, value, Average)
    whole(f"{where}.count", value.count, fit)
    size(f"{where}.total", value.total, fit)
    if (value.count == 0) != (value.value is None):
        raise ValueRangeError(
            f"{where}: expected a value if there is a count, found {value.count}"
        )
    return value.count > 0


def check_length(where: str, found: Any, length: int) -> None:
    check_type(where, found, list)
    if len(found) != length:
        raise ShapeError(f"{where}: expected {length}, found {len(found)}")


def check_array(where: str, value: Any, fit: Fit, shape: tuple[int, ...]) -> None:
    """Of this shape, finite, and of theta's dtype."""
    check_shape(where, value, shape)
    check_floats(where, value)
    check_alike(where, fit.theta, value)
