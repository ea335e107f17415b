"""Parameters, checked before the first step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kfac_ref.backend import Array
from kfac_ref.errors import KfacTypeError, check_kind, describe
from kfac_ref.network import Network


def check_optimizer(optimizer: Any) -> None:
    """KfacTypeError unless it has what `train` calls; a class has not."""
    there = all(callable(getattr(optimizer, name, None)) for name in ("init", "step"))
    if isinstance(optimizer, type) or not there:
        raise KfacTypeError(
            "optimizer: expected one with init and step, such as "
            f"KFAC(network), found {describe(optimizer)}"
        )


def check_lambda_rule(options: Any) -> None:
    """None, a LevenbergMarquardt, or what can be called like one. KfacTypeError."""
    rule = options.lambda_rule
    moves = callable(rule) and callable(getattr(rule, "due", None))
    if rule is None or (moves and not isinstance(rule, type)):
        return
    raise KfacTypeError(
        f"{type(options).__name__} lambda_rule: expected a LevenbergMarquardt, such as "
        "LevenbergMarquardt(decay=0.95), or None, for a lambda that stays; found "
        f"{describe(rule)}"
    )


def check_state(optimizer: Any, state: Any) -> None:
    """KfacTypeError unless the state is one of this optimizer's."""
    kind = optimizer.state_type
    advice = f"of {type(optimizer).__name__}.init(params), or run.state"
    check_kind("state", state, kind, advice)


def check_batches(batches: Any) -> Iterator[tuple[Array, Any]]:
    """Pairs (x, y), one after the other. KfacTypeError."""
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
    """The parameters as a vector (P,). Raises ShapeError, NotFinite, and the like."""
    network.check_params(params)
    return network.flatten(params)
