"""Options and parameters, checked before the first step.

A number becomes Python's own: NumPy's float64 would turn float32 arrays into float64.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

from kfac_ref.backend import Array
from kfac_ref.errors import KfacTypeError, check_count, describe
from kfac_ref.network import Network


def make_float(options: Any, *names: str, none: bool = False) -> None:
    """Each of these attributes a float; None and schedules stay where `none` is true.

    Raises KfacTypeError, naming the option.
    """
    for name in names:
        value = getattr(options, name)
        if none and (value is None or callable(value)):
            continue
        if isinstance(value, bool) or not isinstance(value, Real):
            raise KfacTypeError(
                f"{type(options).__name__} {name}: expected a number, found "
                f"{describe(value)}"
            )
        object.__setattr__(options, name, float(value))


def make_whole(options: Any, *names: str) -> None:
    """Each of these attributes a whole number >= 0. Raises ValueRangeError."""
    for name in names:
        value = check_count(name, getattr(options, name), least=0)
        object.__setattr__(options, name, value)


def starting_point(network: Network, params: list[Array]) -> Array:
    """The parameters as a vector (P,). Raises ShapeError, NotFinite, and the like."""
    network.check_params(params)
    return network.flatten(params)
