"""`kfac-ref race convolutional`: TensorFlow K-FAC's example against SGD and Adam."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from kfac_ref.checks import check_count
from kfac_ref.examples.contest import (
    Contestant,
    Course,
    Finish,
    check_batches,
    finish,
    ratio,
    reach,
    run_contest,
)
from kfac_ref.examples.convolutional.contestants import (
    BATCH,
    MOMENTUM,
    RATES,
    contestant,
)
from kfac_ref.examples.convolutional.problem import Problem, make_problem
from kfac_ref.examples.running import one_thread, publish
from kfac_ref.extras import check_extras
from kfac_ref.files import make_folder
from kfac_ref.optimizer import KFAC
from kfac_ref.plotting.style import ERROR, look, new_figure, styled, tall
from kfac_ref.plotting.words import legend_beside
from kfac_ref.values import Value

NAME, WINNER = "race_convolutional", "K-FAC"
Who = Mapping[str, Contestant]
Results = Mapping[str, Course]


@dataclass(frozen=True)
class Settings(Value):
    """What the command line says."""

    data: str = "digits"  # or a folder with the files of MNIST
    seed: int = 0
    updates: int = 100
    out: Path = Path("figures")

    def __post_init__(self) -> None:
        check_count("seed", self.seed, least=0)
        check_count("updates", self.updates)
        super().__post_init__()


def run(settings: Settings) -> None:
    """Run the whole race, up to the figure. Raises KfacError, OSError."""
    began = perf_counter()
    make_folder(settings.out)
    check_extras("the race", "matplotlib", "threadpoolctl")
    with one_thread():
        problem = make_problem(settings.data, settings.seed)
        who = {
            name: contestant(name, problem.network, rate, settings.updates)
            for name, rate in RATES.items()
        }
        check_batches(problem, who)
        print(f"{problem.description}\nnet: {problem.network!r}", flush=True)
        courses = run_contest([problem], who, partial(arrived, who))
    results = {name: problem.from_start(course) for name, [course] in courses.items()}
    found = numbers(settings, problem, who, results)
    draw = partial(race_figure, results)
    publish(settings.out, NAME, found, {NAME: draw}, found["summary"])
    took = perf_counter() - began
    print(f"{NAME}.png and {NAME}.json are in {settings.out}; {took:.0f} s in all")


def arrived(who: Who, name: str, seed: int, course: Course) -> None:
    """Print where a contestant ended."""
    last = course.rows[-1]
    print(
        f"{name}, {who[name].words}: training loss {last['loss']:.3g}, "
        f"test accuracy {last['accuracy']:.2%} after {last['update']} updates, "
        f"{last['seconds']:.2f} s",
        flush=True,
    )


def best_baseline(results: Results) -> str:
    """The baseline with the lowest final training loss."""
    baselines = [name for name in results if name != WINNER]
    return min(baselines, key=lambda name: results[name]["loss"][-1])


def numbers(
    settings: Settings, problem: Problem, who: Who, results: Results
) -> dict[str, Any]:
    """What was measured, as JSON can hold it."""
    kfac: Any = who[WINNER].optimizer
    best = best_baseline(results)
    courses = {name: [course] for name, course in results.items()}
    races = {
        name: against(finish(courses, WINNER, name))
        for name in results
        if name != WINNER
    }
    return {
        "data": problem.description,
        "network": repr(problem.network),
        "parameters": problem.network.size,
        "structure": dict(zip(problem.network.names, kfac.structures, strict=True)),
        "settings": {
            "seed": settings.seed,
            "updates": settings.updates,
            "batch_size": BATCH,
            "momentum": MOMENTUM,
            "damping": kfac.options.inversion.damping,
            "inverse_every": kfac.options.inversion.inverse_every,
            "statistics_every": kfac.options.statistics.statistics_every,
        },
        "contestants": {
            name: _contestant(who[name], course, results[best]["loss"][-1])
            for name, course in results.items()
        },
        "best_baseline": best,
        "against": races,
        "summary": [summarize(name, race) for name, race in races.items()],
    }


def _contestant(who: Any, course: Course, target: float) -> dict[str, Any]:
    last, own = course.rows[-1], who.optimizer
    updates, seconds = reach(course, target)
    own = own.options.practice if isinstance(own, KFAC) else own
    return {
        "learning_rate": own.learning_rate,
        "final_training_loss": _short(last["loss"]),
        "final_test_accuracy": _short(last["accuracy"]),
        "updates_to_target": _short(updates),
        "seconds_to_target": _short(seconds),
        "history": {
            field: [_short(row[field]) for row in course.rows] for field in last
        },
    }


def against(found: Finish) -> dict[str, Any]:
    """Return a finish of one seed, rounded; null where K-FAC never got there."""
    [updates], [seconds] = found.updates, found.seconds
    return {
        "target_loss": _short(found.targets[0]),
        "updates": [_short(number) for number in updates],
        "ratio_of_updates": _short(found.fewer_updates[0]) or None,
        "seconds": [_short(number) for number in seconds],
        "ratio_of_seconds": _short(found.fewer_seconds[0]) or None,
    }


def _short(number: float) -> float | None:
    """Four digits are enough; a whole number stays one, and infinity becomes null."""
    if not math.isfinite(number):
        return None
    return int(number) if number == int(number) else float(f"{number:.4g}")


def summarize(baseline: str, race: dict[str, Any]) -> str:
    """The result against a baseline in a sentence."""
    goal = f"the final training loss of {baseline}, {race['target_loss']:.3g}"
    if race["ratio_of_updates"] is None:
        return f"K-FAC did not reach {goal}."
    (u, v), (s, t) = race["updates"], race["seconds"]
    return (
        f"K-FAC reached {goal}, after {v} updates instead of {u} (ratio "
        f"{ratio(u, v):.3g}) and {t:.2f} s instead of {s:.2f} s (ratio "
        f"{ratio(s, t):.3g})."
    )


@styled
def race_figure(results: Results) -> Any:
    """Training loss and test error, by update and by second; the loss to reach grey."""
    figure = new_figure(10.0, 2 * tall(len(results), 3.0))
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    curves: tuple[list[Any], list[Any]] = ([], [])
    for i, (name, course) in enumerate(results.items()):
        rows = (course["loss"], 100 * (1 - course["accuracy"]))
        for axes, values, unit, named in zip(
            panels, rows, ("", "%"), curves, strict=True
        ):
            label = f"{name}: {values[-1]:.3g}{unit}"
            for ax, along in zip(axes, ("update", "seconds"), strict=True):
                curve = ax.plot(course[along], values, label=label, **look(i))
            named.extend(curve)
    best = best_baseline(results)
    grey = {"color": ERROR, "linewidth": 0.8, "label": f"where {best} ended"}
    marks = [ax.axhline(results[best]["loss"][-1], **grey) for ax in panels[0]]
    panels[0][0].set(ylabel="training loss (nats)", yscale="log")
    panels[1][0].set(ylabel="test error (%), up to 20", ylim=(0, 20))
    panels[1][0].set_xlabel("updates")
    panels[1][1].set_xlabel("seconds in the steps, one thread")
    panels[0][0].set_title("K-FAC with a diagonal first block, by update")
    panels[0][1].set_title("by second")
    legend_beside(panels[0][1], [*curves[0], marks[1]], title="at the end")
    legend_beside(panels[1][1], curves[1], title="at the end")
    return figure
