"""What constructors of layers accept: sizes, pairs of sizes, paddings."""

from __future__ import annotations

from typing import Any

import numpy as np

from kfac_ref.errors import ValueRangeError, choose, describe
from kfac_ref.layers.patches import PADDINGS, Padding, Pair


def check_size(what: str, value: Any, least: int = 1) -> int:
    """`value` as an int; ValueRangeError unless it is an integer >= `least`."""
    if not _is_integer(value) or value < least:
        raise ValueRangeError(
            f"{what}: expected an integer of at least {least}, found {describe(value)}"
        )
    return int(value)


def check_pair(what: str, value: Any) -> Pair:
    """(vertical, horizontal), also from one number for both."""
    if _is_integer(value):
        value = (value, value)
    if not _is_pair(value):
        raise ValueRangeError(
            f"{what}: expected an integer or a pair (vertical, horizontal), "
            f"found {describe(value)}"
        )
    return check_size(what, value[0]), check_size(what, value[1])


def check_padding(what: str, value: Any) -> Padding:
    """A name in PADDINGS, or ((top, bottom), (left, right))."""
    if isinstance(value, str):
        return choose(what, value, PADDINGS)
    if not (_is_pair(value) and all(map(_is_pair, value))):
        raise ValueRangeError(
            f"{what}: expected one of {', '.join(PADDINGS)} or ((top, bottom), "
            f"(left, right)), found {describe(value)}"
        )
    (top, bottom), (left, right) = (
        (check_size(what, low, least=0), check_size(what, high, least=0))
        for low, high in value
    )
    return (top, bottom), (left, right)


def show_pair(pair: Pair) -> str:
    """A pair for a repr: one number where both are equal."""
    return str(pair[0] if pair[0] == pair[1] else pair)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2
