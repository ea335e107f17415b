"""The engine of the races: train every contestant, look at it on the way, compare.

A race has a problem for each seed, and contestants. On a problem all contestants begin
at the same parameters with the same generator. They train in laps; after each lap the
problem looks at where they are, and its numbers become a row of the course.

    follow             one contestant on one problem, lap by lap
    run_contest        every contestant on every problem
    reach, finish      when a loss was first reached; how much earlier the winner was
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from kfac_ref.backend import Array
from kfac_ref.errors import NotPositiveDefinite
from kfac_ref.examples.running import progress
from kfac_ref.optimizer import TrainingDiverged
from kfac_ref.optimizer.batches import check_batch_size
from kfac_ref.optimizer.training import Data, History, Optimizer, train
from kfac_ref.values import Value

DIVERGED = (TrainingDiverged, NotPositiveDefinite)  # numbers too large, or infinite
LAPS = 100  # at most, unless a contestant says after how many updates


@dataclass(frozen=True, eq=False)
class Contestant(Value):
    """An optimizer, and how long it trains."""

    optimizer: Optimizer
    batch: int
    updates: int
    words: str  # its settings, to be printed
    every: int = 0  # updates of a lap; 0: a hundredth of all

    @property
    def lap(self) -> int:
        return self.every or max(1, self.updates // LAPS)


@dataclass(frozen=True, eq=False)
class Lap(Value):
    """Several updates, and the parameters after them."""

    params: list[Array]
    history: History  # of these updates
    seconds: float  # batches included; those of `history` are of the steps alone


class Problem(Protocol):
    """What the contestants of a seed have in common."""

    @property
    def seed(self) -> int: ...

    @property
    def data(self) -> Data: ...

    def start(self) -> tuple[list[Array], np.random.Generator]:
        """Return the initial parameters, and a generator for all that follows."""

    def look(self, lap: Lap) -> dict[str, float]:
        """Return the numbers to keep; `reach` and `finish` compare the "loss"."""


@dataclass(frozen=True, eq=False)
class Course(Value):
    """What was seen of one training: a row for each lap.

    A row has the number of updates so far ("update"), the seconds spent in their steps
    alone ("seconds"), and what the problem's `look` returned.
    """

    rows: list[dict[str, float]]

    def __getitem__(self, name: str) -> np.ndarray:
        """One number from each row, (rows,)."""
        return np.array([row[name] for row in self.rows])

    def history(self) -> History:
        """The losses as the evaluations of a `History`, for `plotting.race_figure`."""
        none = np.full(len(self.rows), np.nan)
        others = [none, self["loss"], none, none, none]
        return History(self["update"], none, self["seconds"], none, *others)


Courses = dict[str, list[Course]]  # by contestant, one for each problem
Say = Callable[[str, int, Course], Any]  # is told contestant, seed and course


def follow(problem: Problem, contestant: Contestant) -> Iterator[Course]:
    """Train; after each lap yield the course so far. Raises the errors of `train`."""
    optimizer, left = contestant.optimizer, contestant.updates
    state: Any
    state, rng = problem.start()
    rows: list[dict[str, float]] = []
    seconds = 0.0
    while left:
        count, began = min(contestant.lap, left), perf_counter()
        with np.errstate(over="ignore", invalid="ignore"):  # the steps look for it
            run = train(
                optimizer, state, problem.data, contestant.batch, rng,
                updates=count, progress=False,
            )  # fmt: skip
            took, state, left = perf_counter() - began, run.state, left - count
            seen = problem.look(Lap(optimizer.params(state), run.history, took))
        seconds += float(run.history.seconds[-1])
        rows.append({"update": state.step, "seconds": seconds} | seen)
        yield Course([*rows])


def run_contest(
    problems: Iterable[Problem],
    contestants: Mapping[str, Contestant],
    arrived: Say | None = None,
    passing: Say | None = None,
) -> Courses:
    """Train every contestant on every problem.

    `arrived` is called when a contestant has ended, `passing` after each of its laps,
    in place of a progress bar. Raises DIVERGED, with the contestant's name.
    """
    found: Courses = {name: [] for name in contestants}
    for problem in problems:
        for name, contestant in contestants.items():
            course = _compete(problem, name, contestant, passing)
            found[name].append(course)
            if arrived:
                arrived(name, problem.seed, course)
    return found


def _compete(
    problem: Problem, name: str, contestant: Contestant, passing: Say | None
) -> Course:
    """Train one contestant to the end."""
    laps: Iterable[Course] = follow(problem, contestant)
    if passing is None:
        laps = progress(laps, name, math.ceil(contestant.updates / contestant.lap))
    try:
        for course in laps:
            if passing:
                passing(name, problem.seed, course)
    except DIVERGED as error:
        error.args = (f"{name}, {contestant.words}: {error}",)
        raise
    return course


def check_batches(problem: Problem, contestants: Mapping[str, Contestant]) -> None:
    """Raise ValueRangeError if a batch is larger than the data."""
    for contestant in contestants.values():
        check_batch_size(contestant.batch, 0, len(problem.data[0]))


@dataclass(frozen=True, eq=False)
class Finish(Value):
    """How much earlier `winner` was where `baseline` ended; one entry per problem.

    A ratio is the baseline's number over the winner's: 15 means 15 times fewer. If the
    winner never got there, it is 0.
    """

    winner: str
    baseline: str
    targets: list[float]  # the losses at which the baseline ended
    updates: list[list[float]]  # baseline's, winner's; infinite: never reached
    seconds: list[list[float]]

    @property
    def fewer_updates(self) -> list[float]:
        return [ratio(*pair) for pair in self.updates]

    @property
    def fewer_seconds(self) -> list[float]:
        return [ratio(*pair) for pair in self.seconds]


def finish(courses: Courses, winner: str, baseline: str) -> Finish:
    """Find when the winner, and the baseline itself, reached the latter's last loss."""
    targets, updates, seconds = [], [], []
    for theirs, ours in zip(courses[baseline], courses[winner], strict=True):
        targets.append(float(theirs["loss"][-1]))
        both = [reach(course, targets[-1]) for course in (theirs, ours)]
        updates.append([update for update, _ in both])
        seconds.append([second for _, second in both])
    return Finish(winner, baseline, targets, updates, seconds)


def reach(course: Course, target: float) -> tuple[float, float]:
    """Updates and seconds until the loss was `target` or less; infinite if never."""
    there = np.flatnonzero(course["loss"] <= target)
    if not len(there):
        return math.inf, math.inf
    row = course.rows[there[0]]
    return float(row["update"]), float(row["seconds"])


def ratio(baseline: float, winner: float) -> float:
    """How many times fewer the winner needed; 1 if both were there from the start."""
    return baseline / winner if winner else 1.0
