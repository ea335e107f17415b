"""What each part of a state must be, in one table: CHECKS.

It is checked before a state is saved and after it is loaded. From a state that passes,
one can step; numbers that become too large on the way are Diverged, as always.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from kfac_ref.checks import check_floats, check_shape
from kfac_ref.errors import KfacTypeError
from kfac_ref.optimizer.state import State
from kfac_ref.optimizer.state_matrices import curvature, damped, inverse
from kfac_ref.optimizer.state_parts import (
    Fit,
    iterates,
    place,
    size,
    squares,
    vector,
    whole,
)

CHECKS: dict[str, Callable[[str, Any, Fit], None]] = {  # of all states, by their names
    "theta": vector,
    "velocity": vector,
    "direction": vector,
    "m": vector,
    "v": squares,
    "average": curvature,
    "iterates": iterates,
    "damping": size,
    "gamma": size,
    "damped": damped,
    "inverse": inverse,
    "step": whole,
    "place": place,
}


def check_state(optimizer: Any, state: Any) -> None:
    """KfacError, naming the part, unless it is a state of this optimizer."""
    kind = getattr(optimizer, "state_type", State)
    if not isinstance(state, kind):
        raise KfacTypeError(
            f"state: expected one of {type(optimizer).__name__}, a {kind.__name__}, "
            f"found a {type(state).__name__}; of a run it is run.state"
        )
    check_shape("state.theta", state.theta, ("P",))
    check_floats("state.theta", state.theta)
    fit = Fit(optimizer, state.theta)
    for field in fields(state):
        CHECKS[field.name](f"state.{field.name}", getattr(state, field.name), fit)
