"""What race 3 leaves behind: a summary, a figure, and its numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import numpy as np

from kfac_ref.extras import check_extras, optional
from kfac_ref.files import make_folder, write_whole
from kfac_ref.plotting.style import ERROR, look, new_figure, save, styled, tall
from kfac_ref.plotting.words import legend_beside
from kfac_ref.races.convolutional import (
    BATCH,
    MOMENTUM,
    RATES,
    Problem,
    Result,
    Settings,
    compete,
    make_problem,
    tensorflow_kfac,
)

NAME, KFAC_NAME = "race_convolutional", "K-FAC"
Results = Mapping[str, Result]


def run(settings: Settings) -> None:
    """The whole race, printed, drawn and written. Raises KfacError, OSError."""
    began = perf_counter()
    make_folder(settings.out)
    check_extras("the race", "matplotlib", "threadpoolctl")
    results = {}
    with optional("threadpoolctl", "timing with one thread").threadpool_limits(1):
        problem = make_problem(settings.data, settings.seed)
        print(f"{problem.description}\nnet: {problem.network!r}", flush=True)
        for name, rate in RATES.items():
            results[name] = compete(
                name, problem, rate, settings.seed, settings.updates
            )
            print(describe(name, results[name]), flush=True)
    found = numbers(settings, problem, results)
    try:
        content = json.dumps(found, indent=1) + "\n"
        write_whole(settings.out / f"{NAME}.json", content.encode())
        save(race_figure(results), settings.out / f"{NAME}.png")
    finally:  # said even if it cannot be saved
        print(*found["summary"], sep="\n", flush=True)
    took = perf_counter() - began
    print(f"{NAME}.png and {NAME}.json are in {settings.out}; {took:.0f} s in all")


def describe(name: str, result: Result) -> str:
    """Where a contestant ended, in a line."""
    return (
        f"{name}, learning rate {RATES[name]:g}: training loss {result.loss[-1]:.3g}, "
        f"test accuracy {result.accuracy[-1]:.2%} after {result.update[-1]} updates, "
        f"{result.seconds[-1]:.2f} s"
    )


def best_baseline(results: Results) -> str:
    """The name of the one with the lowest final training loss, K-FAC aside."""
    baselines = [name for name in results if name != KFAC_NAME]
    return min(baselines, key=lambda name: results[name].loss[-1])


def reached(result: Result, loss: float) -> tuple[int, float] | None:
    """Updates and seconds until an evaluation has this loss or less; None: never."""
    there = np.flatnonzero(result.loss <= loss)
    if not len(there):
        return None
    return int(result.update[there[0]]), float(result.seconds[there[0]])


def numbers(settings: Settings, problem: Problem, results: Results) -> dict[str, Any]:
    """Everything, as JSON can hold it."""
    kfac = tensorflow_kfac(problem.network, RATES[KFAC_NAME])
    best = best_baseline(results)
    races = {name: against(results, name) for name in results if name != KFAC_NAME}
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
            "damping": kfac.lambda_,
            "inverse_every": kfac.inverse_every,
            "statistics_every": kfac.statistics_every,
        },
        "contestants": {
            name: _contestant(name, result, results[best].loss[-1])
            for name, result in results.items()
        },
        "best_baseline": best,
        "against": races,
        "summary": [summarize(name, race) for name, race in races.items()],
    }


def against(results: Results, baseline: str) -> dict[str, Any]:
    """Updates and seconds to the final training loss of a baseline: its own, K-FAC's.

    A ratio is the baseline's number over K-FAC's: above 1 K-FAC is ahead. None: K-FAC
    did not come so far.
    """
    target = results[baseline].loss[-1]
    theirs, ours = (reached(results[name], target) for name in (baseline, KFAC_NAME))
    assert theirs is not None  # its own final loss
    found: dict[str, Any] = {"target_loss": _short(target)}
    for i, unit in enumerate(("updates", "seconds")):
        found[unit] = [_short(theirs[i]), ours and _short(ours[i])]
        found[f"ratio_of_{unit}"] = ours and _short(theirs[i] / ours[i])
    return found


def summarize(baseline: str, race: dict[str, Any]) -> str:
    """The result against a baseline in a sentence."""
    goal = f"the final training loss of {baseline}, {race['target_loss']:.3g}"
    if race["ratio_of_updates"] is None:
        return f"K-FAC did not reach {goal}."
    (u, v), (s, t) = race["updates"], race["seconds"]
    return (
        f"K-FAC reached {goal}, after {v} updates instead of {u} (ratio {u / v:.3g}) "
        f"and {t:.2f} s instead of {s:.2f} s (ratio {s / t:.3g})."
    )


def _contestant(name: str, result: Result, target: float) -> dict[str, Any]:
    there = reached(result, target)
    return {
        "learning_rate": RATES[name],
        "final_training_loss": _short(result.loss[-1]),
        "final_test_accuracy": _short(result.accuracy[-1]),
        "updates_to_target": there and there[0],
        "seconds_to_target": there and _short(there[1]),
        "history": {
            field: [_short(v) for v in column] for field, column in vars(result).items()
        },
    }


def _short(number: float) -> float:
    """Four digits are enough; a whole number stays one."""
    return int(number) if number == int(number) else float(f"{number:.4g}")


@styled
def race_figure(results: Results) -> Any:
    """Training loss and test error, by update and by second; the loss to reach grey."""
    figure = new_figure(10.0, 2 * tall(len(results), 3.0))
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    curves: tuple[list[Any], list[Any]] = ([], [])
    for i, (name, result) in enumerate(results.items()):
        rows = (result.loss, 100 * (1 - result.accuracy))
        for axes, values, unit, named in zip(
            panels, rows, ("", "%"), curves, strict=True
        ):
            label = f"{name}: {values[-1]:.3g}{unit}"
            for ax, along in zip(axes, (result.update, result.seconds), strict=True):
                curve = ax.plot(along, values, label=label, **look(i))
            named.extend(curve)
    best = best_baseline(results)
    grey = {"color": ERROR, "linewidth": 0.8, "label": f"where {best} ended"}
    marks = [ax.axhline(results[best].loss[-1], **grey) for ax in panels[0]]
    panels[0][0].set(ylabel="training loss (nats)", yscale="log")
    panels[1][0].set(ylabel="test error (%), up to 20", ylim=(0, 20))
    panels[1][0].set_xlabel("updates")
    panels[1][1].set_xlabel("seconds in the steps, one thread")
    panels[0][0].set_title("K-FAC with a diagonal first block, by update")
    panels[0][1].set_title("by second")
    legend_beside(panels[0][1], [*curves[0], marks[1]], title="at the end")
    legend_beside(panels[1][1], curves[1], title="at the end")
    return figure
