"""`kfac-ref race autoencoder`: K-FAC, SGD with momentum and Adam on a deep autoencoder.

The headline of TensorFlow K-FAC: the same loss in 14.7 times fewer updates and 3.8
times fewer seconds than SGD with momentum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from kfac_ref.checks import check_count
from kfac_ref.examples.autoencoder.contestants import contestants
from kfac_ref.examples.autoencoder.problem import Problem, make_problem
from kfac_ref.examples.contest import (
    Contestant,
    Course,
    Courses,
    Finish,
    check_batches,
    finish,
    run_contest,
)
from kfac_ref.examples.running import one_thread, publish
from kfac_ref.extras import check_extras
from kfac_ref.files import make_folder
from kfac_ref.plotting import race_figure
from kfac_ref.values import Value

WINNER = "K-FAC"
POINTS = 40  # of a course that the JSON keeps
Who = Mapping[str, Contestant]


@dataclass(frozen=True)
class Settings(Value):
    """What the command line says. `data`: a folder with the files of MNIST."""

    small: bool = False
    data: Path | None = None
    seeds: int = 3
    out: Path = Path("figures")

    def __post_init__(self) -> None:
        check_count("seeds", self.seeds)
        super().__post_init__()

    @property
    def form(self) -> str:
        """The name of the problem."""
        if self.data is not None:
            return "images"
        return "small" if self.small else "curves"


def run(settings: Settings) -> list[Finish]:
    """Run the whole race, up to the figure. Raises KfacError, OSError."""
    make_folder(settings.out)
    check_extras("the race", "matplotlib", "threadpoolctl")
    with one_thread():
        problem = make_problem(settings.form, settings.data)
        who = contestants(problem.network, settings.form)
        check_batches(problem, who)
        announce(problem, who)
        problems = [replace(problem, seed=seed) for seed in range(settings.seeds)]
        courses = run_contest(problems, who, partial(arrived, who))
    finishes = [finish(courses, WINNER, name) for name in who if name != WINNER]
    name, floor = f"race_autoencoder_{settings.form}", problem.floor
    titles, what = _titles(finishes), "training loss over its floor"
    lines = {name: [run.history() for run in runs] for name, runs in courses.items()}
    draw = partial(race_figure, lines, titles, floor, what)
    found = numbers(problem, who, courses, finishes)
    summary = summarize(finishes)
    publish(settings.out, name, found, {name: draw}, summary, indent=None)
    print(f"{name}.png and {name}.json are in {settings.out}")
    return finishes


def announce(problem: Problem, who: Who) -> None:
    """Print what is about to be run."""
    sizes = [d - 1 for d, _ in problem.network.shapes] + [problem.x.shape[1]]
    print(
        problem.description,
        f"net {'-'.join(map(str, sizes))}: {problem.network.size:,} parameters",
        f"loss on {len(problem.watched):,} images; no less than {problem.floor:.2f}",
        "one BLAS thread; the seconds are those of the steps alone",
        *(f"{name:<6} batches of {c.batch}, {c.words}" for name, c in who.items()),
        sep="\n",
        flush=True,
    )


def arrived(who: Who, name: str, seed: int, course: Course) -> None:
    """Print where a contestant ended."""
    print(
        f"seed {seed}  {name:<6} {who[name].updates:>6,} updates "
        f"{course['seconds'][-1]:>7.1f} s  loss {course['loss'][-1]:.2f}",
        flush=True,
    )


def summarize(finishes: list[Finish]) -> list[str]:
    """One line for each baseline, with the ratios of every seed."""
    return [
        f"{found.winner} was where {found.baseline} ended (loss "
        f"{', '.join(f'{target:.2f}' for target in found.targets)}) after "
        f"{_each(found.fewer_updates)} times fewer updates and "
        f"{_each(found.fewer_seconds)} times fewer seconds"
        for found in finishes
    ]


def _each(ratios: list[float]) -> str:
    return ", ".join(f"{ratio:.1f}" if ratio else "(never)" for ratio in ratios)


def _titles(finishes: list[Finish]) -> tuple[str, str]:
    """For updates and for seconds: the smallest ratio of all seeds by baseline."""

    def smallest(what: str) -> str:
        parts = [f"{min(getattr(f, what)):.1f} ({f.baseline})" for f in finishes]
        return f"times {what.replace('_', ' ')}: {', '.join(parts)}"

    return smallest("fewer_updates"), smallest("fewer_seconds")


def numbers(
    problem: Problem, who: Who, courses: Courses, finishes: list[Finish]
) -> dict[str, Any]:
    """What was measured, as JSON can hold it."""
    return {
        "data": problem.description,
        "parameters": problem.network.size,
        "floor": round(problem.floor, 4),
        "contestants": {
            name: {
                "settings": contestant.words,
                "batch": contestant.batch,
                "updates": contestant.updates,
                "seeds": [thinned(course) for course in courses[name]],
            }
            for name, contestant in who.items()
        },
        "finishes": [_finish(found) for found in finishes],
    }


def _finish(found: Finish) -> dict[str, Any]:
    """A finish, rounded; the infinite, for which JSON has no number, becomes null."""

    def rounded(pairs: list[list[float]]) -> list[list[float | None]]:
        return [[round(n, 3) if math.isfinite(n) else None for n in p] for p in pairs]

    return {
        "winner": found.winner,
        "baseline": found.baseline,
        "targets": [round(target, 4) for target in found.targets],
        "updates": rounded(found.updates),
        "seconds": rounded(found.seconds),
        "fewer_updates": [round(ratio, 2) for ratio in found.fewer_updates],
        "fewer_seconds": [round(ratio, 2) for ratio in found.fewer_seconds],
    }


def thinned(course: Course) -> dict[str, list[float]]:
    """At most POINTS rows of the course, evenly spaced, the last among them."""
    few = course.rows[::-1][:: math.ceil(len(course.rows) / POINTS)][::-1]
    return {
        "update": [row["update"] for row in few],
        "seconds": [round(row["seconds"], 3) for row in few],
        "loss": [round(row["loss"], 4) for row in few],
    }
