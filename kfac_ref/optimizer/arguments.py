"""What is given to an optimizer, checked before the first step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from kfac_ref.backend import Array
from kfac_ref.checks import check_kind
from kfac_ref.errors import KfacTypeError, describe, require
from kfac_ref.network import Network


def check_optimizer(optimizer: Any) -> None:
    """KfacTypeError unless it has what `train` calls; a class has not."""
    there = all(callable(getattr(optimizer, name, None)) for name in ("init", "step"))
    if isinstance(optimizer, type) or not there:
        raise KfacTypeError(
            "optimizer: expected one with init and step, such as "
            f"KFAC(network), found {describe(optimizer)}"
        )


def check_adapt_damping(name: str, rule: Any) -> None:
    """KfacTypeError unless None, a LevenbergMarquardt, or callable like one."""
    moves = callable(rule) and callable(getattr(rule, "due", None))
    if rule is None or (moves and not isinstance(rule, type)):
        return
    raise KfacTypeError(
        f"{name} adapt_damping: expected a LevenbergMarquardt, such as "
        "LevenbergMarquardt(decay=0.95), or None, for a lambda that stays; found "
        f"{describe(rule)}"
    )


def check_size(what: str, value: float) -> None:
    """ValueRangeError unless a finite number >= 0."""
    require(0 <= value < math.inf, what, "a finite number >= 0", value)


def check_state(optimizer: Any, state: Any) -> None:
    """KfacTypeError unless it is a state of this optimizer."""
    kind = optimizer.state_type
    advice = f"of {type(optimizer).__name__}.init(params), or run.state"
    check_kind("state", state, kind, advice)


def check_batches(batches: Any) -> Iterator[tuple[Array, Any]]:
    """Yield the pairs (x, y). KfacTypeError if one is none."""
    if not isinstance(batches, Iterable):
        raise KfacTypeError(
            f"batches: expected pairs, as in [(x, y)]; found {describe(batches)}"
        )
    for batch in batches:
        if not isinstance(batch, list | tuple) or len(batch) != 2:
            raise KfacTypeError(
                f"batches: expected pairs (x, y), found {describe(batch)}"
            )
        yield batch[0], batch[1]


def starting_point(network: Network, params: list[Array]) -> Array:
    """Return the parameters as a vector (P,). Raises what `check_params` raises."""
    network.check_params(params)
    return network.flatten(params)
