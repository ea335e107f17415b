"""A training loop: batches in a seeded order, and a record of what happened.

Only the state and the generator pass from one update to the next; the place in the
epoch (batches.py) is part of the state. So a training that was saved, by `save_state`
of `run.state` or of a state that `evaluation` was given, goes on bit for bit wherever
it stopped, and many calls of `train`, between which one may look, print or save, equal
one long call. The data must be the same, in the same order; only their number is
checked: inside an epoch `train` refuses to go on with another one.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np

from kfac_ref.backend import Array
from kfac_ref.calls import door
from kfac_ref.checks import (
    check_count,
    check_flag,
    check_generator,
    check_number,
    check_real,
    is_function,
)
from kfac_ref.errors import KfacTypeError, ShapeError, describe, require
from kfac_ref.extras import optional
from kfac_ref.network import Network
from kfac_ref.optimizer.arguments import check_optimizer
from kfac_ref.optimizer.baselines import Number
from kfac_ref.optimizer.batches import at_place, batches
from kfac_ref.optimizer.history import History, make_history, numbers_of
from kfac_ref.optimizer.stages import Diverged
from kfac_ref.values import Value

Data = tuple[Array, Any]  # x, y; y is a list of labels where there are several losses


class Optimizer(Protocol):
    """What KFAC and the baselines have in common.

    A state counts the steps done in `step`; `train` sets its `place` in the epoch.
    """

    @property
    def network(self) -> Network: ...

    def init(self, params: list[Array]) -> Any: ...

    def step(
        self, state: Any, x: Array, y: Array, rng: np.random.Generator
    ) -> tuple[Any, Any]: ...

    def params(self, state: Any) -> list[Array]: ...


@dataclass(frozen=True, eq=False)
class Run(Value):
    """Where a training ended, and its history."""

    state: Any
    history: History


class TrainingDiverged(Diverged):
    """Diverged, with the training so far: `run.state` is the last good state."""

    def __init__(self, error: Diverged, run: Run):
        super().__init__(error.stage, error.layer)
        self.run = run
        self.args = (f"in update {run.state.step + 1}: {error}",)


@door
def train(
    optimizer: Optimizer,
    start: Any,
    data: Data,
    batch_size: Number,
    rng: np.random.Generator,
    *,
    updates: int | None = None,
    epochs: int | None = None,
    evaluation: Data | Callable[[Any], float] | None = None,
    evaluate_every: int = 1,
    progress: bool = True,
) -> Run:
    """Train from parameters (a list) or from a state, for `updates` or for `epochs`.

    A state from inside an epoch first finishes that one, which counts as an epoch.
    batch_size: a number, or a schedule of the state's updates, rounded. evaluation:
    data on which to take the mean loss (without L2), or a function of the state; after
    every `evaluate_every` updates and after the last. With `progress`, a bar is shown
    if standard error is a terminal. Raises ValueRangeError, ShapeError,
    TrainingDiverged, ExtraMissing (a terminal, but no tqdm), and the errors of a step.
    """
    check_optimizer(optimizer)
    x, y = _pair("data", data)
    _check_examples(x, y)
    check_generator(rng)
    updates, epochs = _check_length(updates, epochs)
    evaluate_every = check_count("evaluate_every", evaluate_every)
    if not is_function(batch_size):
        expected = "a number or a schedule"
        batch_size = check_real("batch_size", batch_size, expected)
    state = optimizer.init([*start]) if isinstance(start, list | tuple) else start
    if isinstance(state, type) or not hasattr(state, "step"):
        raise KfacTypeError(
            "start: expected parameters, a list, or a state of the optimizer, found "
            f"{describe(start)}"
        )
    if evaluation is not None and not is_function(evaluation):
        _pair("evaluation", evaluation)
    stream = islice(batches(x, batch_size, rng, state, epochs), updates)
    if check_flag("progress", progress) and watched():
        stream = _bar(stream, updates)
    rows: list[list[float]] = []
    seen, seconds = 0, 0.0
    for chosen, place in stream:
        began = time.perf_counter()
        try:
            state, trace = optimizer.step(state, *_select(x, y, chosen), rng)
        except Diverged as error:
            raise TrainingDiverged(error, Run(state, make_history(rows))) from error
        seconds += time.perf_counter() - began
        state = at_place(place, state)
        seen += len(chosen)
        due = evaluation is not None and state.step % evaluate_every == 0
        value = _evaluate(optimizer, state, evaluation) if due else math.nan
        row = [state.step, seen / len(x), seconds, len(chosen), trace.loss, value]
        rows.append([*row, *numbers_of(trace)])
    if rows and evaluation is not None and not due:
        rows[-1][5] = _evaluate(optimizer, state, evaluation)
    return Run(at_place(None, state) if epochs else state, make_history(rows))


def watched() -> bool:
    """Is standard error a terminal? It may be closed, or None."""
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False


def _select(x: Array, y: Any, chosen: Array) -> tuple[Array, Any]:
    several = isinstance(y, list | tuple)
    return x[chosen], [part[chosen] for part in y] if several else y[chosen]


def _pair(what: str, data: Any) -> Data:
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise KfacTypeError(
            f"{what}: expected a pair (x, y), y a list of labels where there are "
            f"several losses; found {type(data).__name__}"
        )
    return data[0], data[1]


def _check_examples(x: Array, y: Any) -> None:
    """Check that x and all labels have the same N."""
    labels = y if isinstance(y, list | tuple) else [y]
    for part in (x, *labels):
        if not getattr(part, "shape", ()):
            raise KfacTypeError(
                f"data: expected arrays of examples, found {describe(part)}"
            )
    for part in labels:
        if len(part) != len(x):
            raise ShapeError(
                f"data: expected as many labels as inputs, {len(x)}, found {len(part)}"
            )


def _check_length(
    updates: int | None, epochs: int | None
) -> tuple[int | None, int | None]:
    found = {"updates": updates, "epochs": epochs}
    given = {name: number for name, number in found.items() if number is not None}
    fits = len(given) == 1
    require(fits, "length of the training", "either updates or epochs, >= 1", found)
    whole = {name: check_count(name, number) for name, number in given.items()}
    return whole.get("updates"), whole.get("epochs")


def _evaluate(optimizer: Optimizer, state: Any, evaluation: Any) -> float:
    if callable(evaluation):
        expected = "a number from the function"
        return check_number("evaluation", evaluation(state), expected)
    x, y = evaluation
    return float(optimizer.network.loss(optimizer.params(state), x, y))


def _bar(stream: Iterable, total: int | None) -> Any:
    tqdm = optional("tqdm", "the progress bar", ", or train with progress=False").tqdm
    return tqdm(stream, desc="training", total=total, unit="update", leave=False)
