"""Adam against K-FAC on LBANN's example: whose training objective is lower?

Four contestants on the same seeds (images held out, first weights, order of batches):
each optimizer at the settings that LBANN published, and at the best of a grid,
benchmarks/tuning/lbann_<model>.json. LBANN's published run on MNIST: 0.00160 for Adam
after 20 epochs, 0.000145 for K-FAC, a ratio of 11, at 9.4 times the time of an epoch.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from kfac_ref.examples.contest import Course, check_batches, run_contest
from kfac_ref.examples.lbann.settings import KfacSettings, Settings
from kfac_ref.examples.lbann.training import make_contestant, make_problem
from kfac_ref.examples.running import publish
from kfac_ref.extras import check_extras
from kfac_ref.files import make_folder
from kfac_ref.plotting.style import APPROXIMATION, new_figure, styled
from kfac_ref.plotting.words import legend_beside

FOLDER, SEEDS = Path("figures"), 3
PUBLISHED: dict[str, dict[str, Any]] = {
    "Adam": {"learning_rate": 1e-4},
    "K-FAC": {
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "kfac": KfacSettings(damping_act=(0.01,), damping_err=(1.0,)),
    },
}
TUNED: dict[str, dict[str, Any]] = {  # on the mlp; also used for the cnn
    "Adam": {"learning_rate": 1e-3},
    "K-FAC": {
        "optimizer": "momentum",
        "learning_rate": 0.03,
        "kfac": KfacSettings(
            damping_act=(0.03,),
            damping_err=(1.0, 0.01),
            damping_warmup_steps=200,
            kronecker_decay=0.9,
        ),
    },
}
PAIRS = {  # of ratios: Adam, K-FAC
    "both as published": ("Adam, as published", "K-FAC, as published"),
    "both tuned": ("Adam, tuned", "K-FAC, tuned"),
    "K-FAC as published, Adam tuned": ("Adam, tuned", "K-FAC, as published"),
}
Record = dict[str, Any]


def contestants(base: Settings) -> dict[str, Settings]:
    """The settings of each contestant; `base` has what they share."""
    found = {}
    for which, of in (("as published", PUBLISHED), ("tuned", TUNED)):
        for name, own in of.items():
            found[f"{name}, {which}"] = replace(base, **own)
    return found


def run(base: Settings, out: Path = FOLDER) -> Record:
    """Run every contestant on every seed; write lbann_<model>.png and .json."""
    make_folder(out)
    check_extras("the race", "matplotlib")
    record, name = _race(base), f"lbann_{base.model}"
    draw = partial(race_figure, record)
    publish(out, name, record, {name: draw}, summarize(record))
    print(f"{name}.png and .json are in {out}")
    return record


def _race(base: Settings) -> Record:
    first, settings = make_problem(base), contestants(base)
    who = {name: make_contestant(own, first) for name, own in settings.items()}
    check_batches(first, who)
    seeds = range(base.seed, base.seed + SEEDS)
    others = (make_problem(replace(base, seed=seed)) for seed in seeds[1:])
    courses = run_contest(chain([first], others), who, passing=passing)
    runs = {
        name: [reduced(*pair) for pair in zip(seeds, found, strict=True)]
        for name, found in courses.items()
    }
    return {
        "data": first.description,
        "parameters": first.network.size,
        "settings": {name: _own(own) for name, own in settings.items()},
        "runs": runs,
        "ratios": ratios(runs),
        "slowdown": slowdown(runs),
    }


def _own(settings: Settings) -> Record:
    own = asdict(settings)
    del own["seed"], own["data"]  # differs by run; a folder of this machine
    return own


def passing(name: str, seed: int, course: Course) -> None:
    """Print the last epoch in a line."""
    epoch = course.rows[-1]
    print(
        f"{name}, seed {seed}, epoch {len(course.rows)}: objective "
        f"{epoch['objective']:.4g}, test accuracy {epoch['test_accuracy']:.2%}, "
        f"{epoch['run_time']:.2f} s",
        flush=True,
    )


def reduced(seed: int, course: Course) -> Record:
    """The curves, and the other numbers of the last epoch."""
    last = course.rows[-1]
    return {
        "seed": seed,
        "objective": course["objective"].tolist(),
        "seconds": np.cumsum(course["run_time"]).tolist(),
        "accuracy": last["accuracy"],
        "test_objective": last["test_objective"],
        "test_accuracy": last["test_accuracy"],
    }


def ratios(runs: dict[str, list[Record]]) -> dict[str, list[float]]:
    """Adam's last training objective over K-FAC's, for each seed."""
    return {
        pair: [
            a["objective"][-1] / k["objective"][-1]
            for a, k in zip(runs[adam], runs[kfac], strict=True)
        ]
        for pair, (adam, kfac) in PAIRS.items()
    }


def slowdown(runs: dict[str, list[Record]]) -> float:
    """K-FAC's time over Adam's, for all epochs at the published settings."""
    adam, kfac = (
        sum(run["seconds"][-1] for run in runs[name])
        for name in PAIRS["both as published"]
    )
    return kfac / adam


def summarize(record: Record) -> list[str]:
    """The table of the race, and the ratios."""
    lines = [f"{'':20}  objective (seeds)              test objective  test accuracy"]
    for name, runs in record["runs"].items():
        seeds = "  ".join(f"{run['objective'][-1]:8.3g}" for run in runs)
        test, right = (
            np.mean([run[field] for run in runs])
            for field in ("test_objective", "test_accuracy")
        )
        lines.append(f"{name:20}  {seeds:29}  {test:14.3g}  {right:13.2%}")
    for pair, values in record["ratios"].items():
        seeds = ", ".join(f"{value:.3g}" for value in values)
        lines.append(f"{pair}: Adam's objective over K-FAC's is {seeds}")
    return [*lines, f"an epoch of K-FAC takes {record['slowdown']:.1f} times Adam's"]


@styled
def race_figure(record: Record) -> Any:
    """The training objective by epoch and by second, a thin line for each seed."""
    figure = new_figure(10.0, 4.0)
    left, right = figure.subplots(1, 2, sharey=True)
    curves = []
    for name, runs in record["runs"].items():
        colour = APPROXIMATION if name.startswith("K-FAC") else "black"
        line = "-" if name.endswith("tuned") else "--"
        mean = np.mean([run["objective"][-1] for run in runs])
        look = {"color": colour, "linewidth": 1.1, "label": f"{name}: {mean:.2g}"}
        for run in runs:
            epochs = np.arange(1, len(run["objective"]) + 1)
            curve = left.plot(epochs, run["objective"], line, **look)
            right.plot(run["seconds"], run["objective"], line, **look)
        curves += curve
    both = [
        np.mean(record["ratios"][pair]) for pair in ("both as published", "both tuned")
    ]
    left.set_title(
        f"K-FAC's objective is\n{both[0]:.3g} times lower as published, "
        f"{both[1]:.3g} times tuned"
    )
    right.set_title(f"an epoch of K-FAC takes {record['slowdown']:.1f} times as long")
    left.set(xlabel="epochs", ylabel="training objective (nats)", yscale="log")
    left.xaxis.get_major_locator().set_params(integer=True)
    right.set(xlabel="seconds", xscale="log")
    legend_beside(right, curves, title="a line for each seed; means:")
    return figure
