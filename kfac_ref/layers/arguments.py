"""Checks of what layers' constructors take: sizes, pairs of sizes, paddings."""

from __future__ import annotations

from typing import Any

from kfac_ref.checks import check_count
from kfac_ref.errors import ValueRangeError, choose, describe
from kfac_ref.layers.patches import PADDINGS, Padding, Pair


def check_pair(what: str, value: Any) -> Pair:
    """The pair (vertical, horizontal); one number stands for both."""
    if hasattr(value, "__index__"):
        value = (value, value)
    if not _is_pair(value):
        raise ValueRangeError(
            f"{what}: expected a whole number or a pair (vertical, horizontal), "
            f"found {describe(value)}"
        )
    return check_count(what, value[0]), check_count(what, value[1])


def check_padding(what: str, value: Any) -> Padding:
    """The padding: a name in PADDINGS, or ((top, bottom), (left, right))."""
    if isinstance(value, str):
        return choose(what, value, PADDINGS)
    if not (_is_pair(value) and all(map(_is_pair, value))):
        raise ValueRangeError(
            f"{what}: expected one of {', '.join(PADDINGS)} or ((top, bottom), "
            f"(left, right)), found {describe(value)}"
        )
    (top, bottom), (left, right) = (
        (check_count(what, low, least=0), check_count(what, high, least=0))
        for low, high in value
    )
    return (top, bottom), (left, right)


def show_pair(pair: Pair) -> str:
    """The pair as a repr shows it: one number if both are equal."""
    return str(pair[0] if pair[0] == pair[1] else pair)


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2
