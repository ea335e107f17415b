"""The grids behind `kfac-ref train --compare`: `python -m benchmarks.tune_lbann`.

A run is one training of 20 epochs on the digits. Adam has three seeds at every point,
since near its best rate one seed in three ends in a spike; K-FAC, whose runs are
longer, has the first of them. After each run tuning/lbann_<model>.json is written; runs
in it are not repeated.

The training objective alone would choose settings under which the weights explode: with
K-FAC it falls to 1e-16 while the test objective rises to 6. So the best point has the
lowest training objective among those whose test objective is at most that of Adam at
LBANN's learning rate; means over the seeds. The same rule serves both.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean as mean
from typing import Any

from kfac_ref.examples.contest import DIVERGED, follow
from kfac_ref.examples.lbann.settings import KfacSettings, Settings
from kfac_ref.examples.lbann.training import make_contestant, make_problem
from kfac_ref.examples.running import write_json

HERE = Path(__file__).parent / "tuning"
ADAM = (1e-4, 3e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 3e-2, 1e-1)  # learning rates
KFAC = (  # optimizer, learning rate, act, err, target of err, decay
    ("sgd", 0.1, 0.01, 1.0, None, 0.99),  # LBANN's
    ("sgd", 0.5, 0.03, 1.0, None, 0.99),
    ("sgd", 1.0, 0.1, 1.0, None, 0.99),
    ("sgd", 1.0, 0.03, 1.0, None, 0.99),
    ("momentum", 0.03, 0.03, 1.0, 1e-2, 0.9),
)
STEPS = 200  # on the way from err to its target
NUMBERS = ("objective", "test_objective", "test_accuracy")  # by seed
Point = dict[str, Any]


def grid(model: str) -> list[Settings]:
    """Adam's points, then K-FAC's."""
    points = [Settings(model=model, learning_rate=rate) for rate in ADAM]
    for optimizer, rate, act, err, target, decay in KFAC:
        now = KfacSettings(
            damping_act=(act,),
            damping_err=(err,) if target is None else (err, target),
            damping_warmup_steps=100 if target is None else STEPS,
            kronecker_decay=decay,
        )
        points.append(Settings(model, optimizer, rate, kfac=now))
    return points


def key(settings: Settings) -> Point:
    """What identifies a point in the file."""
    own = {name: getattr(settings, name) for name in ("optimizer", "learning_rate")}
    kfac = asdict(settings.kfac) if settings.kfac else None
    return json.loads(json.dumps(own | {"kfac": kfac}))


def measure(settings: Settings) -> tuple[float | None, ...]:
    """NUMBERS of the last epoch; each is None if the training diverges."""
    problem = make_problem(settings)
    try:
        *_, course = follow(problem, make_contestant(settings, problem))
    except DIVERGED:
        return (None,) * len(NUMBERS)
    return tuple(course.rows[-1][name] for name in NUMBERS)


def fill(points: list[Point], settings: Settings) -> Iterator[Point]:
    """Run the seeds that this point still lacks; yield the point after each of them."""
    own = key(settings)
    if not any(own.items() <= point.items() for point in points):
        points.append(own | {name: [] for name in NUMBERS})
    point = next(point for point in points if own.items() <= point.items())
    wanted = 1 if settings.kfac else 3
    for seed in range(len(point["objective"]), wanted):
        found = measure(replace(settings, seed=seed))
        for name, value in zip(NUMBERS, found, strict=True):
            point[name].append(value)
        yield point


def best(points: list[Point]) -> dict[str, Point]:
    """The best point of Adam and of K-FAC, by the rule above."""
    done = [p for p in points if p["objective"] and None not in p["objective"]]
    first = [p for p in done if p["learning_rate"] == ADAM[0]]
    limit = mean(first[0]["test_objective"]) if first else math.inf
    fair = [point for point in done if mean(point["test_objective"]) <= limit]
    chosen = {}
    for name in ("Adam", "K-FAC"):
        mine = [p for p in fair if bool(p["kfac"]) == (name == "K-FAC")]
        if mine:
            chosen[name] = min(mine, key=lambda point: mean(point["objective"]))
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mlp", choices=("mlp", "cnn"))
    options = parser.parse_args()
    path = HERE / f"lbann_{options.model}.json"
    points = json.loads(path.read_text())["points"] if path.exists() else []
    for settings in grid(options.model):
        for point in fill(points, settings):
            print(point, flush=True)
            write_json(path, {"best": best(points), "points": points})
    print(best(points))


if __name__ == "__main__":
    main()
