"""The grids behind `kfac-ref train --compare`: `python -m benchmarks.tune_lbann`.

Every point of a grid is one training of 20 epochs on the digits, for Adam on three
seeds, for K-FAC on the first of them (a step of the mlp costs nine times Adam's). After
each point tuning/lbann_<model>.json is written; what is in it is not run again.

The training objective alone would choose settings under which the weights explode: it
falls to 1e-10 while the test objective rises to 6. So the best point is the one with
the lowest training objective among those whose test objective is not above that of
Adam at LBANN's learning rate. The same rule serves both optimizers.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from kfac_ref.errors import KfacError
from kfac_ref.races.lbann import make_job, write_json
from kfac_ref.races.lbann_settings import KfacSettings, Settings

HERE = Path(__file__).parent / "tuning"
ADAM = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # learning rates
RATES, ACTIVATIONS = (0.1, 0.3, 1.0), (0.01, 0.03, 0.1)
SEEDS = (0, 1, 2)
Point = dict[str, Any]


def adam_grid(model: str) -> list[list[Settings]]:
    """For each point, its settings for each seed."""
    return [
        [Settings(model=model, learning_rate=rate, seed=seed) for seed in SEEDS]
        for rate in ADAM
    ]


def kfac_grid(model: str) -> list[list[Settings]]:
    """Errors + 1 as in LBANN's recipe: G is far below, so only rate / err matters."""
    return [
        [
            Settings(
                model=model,
                optimizer="sgd",
                learning_rate=rate,
                kfac=KfacSettings(damping_act=(act,), damping_err=(1.0,)),
            )
        ]
        for rate, act in product(RATES, ACTIVATIONS)
    ]


def key(settings: Settings) -> Point:
    """What a point is, in the file."""
    point: Point = {"optimizer": settings.optimizer, "rate": settings.learning_rate}
    if settings.kfac:
        point |= {"act": settings.kfac.damping_act[0]}
        point |= {"err": settings.kfac.damping_err[0]}
    return point


def measure(each: list[Settings]) -> Point:
    """The last objectives for each seed; None after a divergence."""
    objective, test, right = [], [], []
    for settings in each:
        try:
            *_, last = make_job(settings).epochs()
        except KfacError as error:
            return {"objective": None, "error": str(error)}
        objective.append(last.objective)
        test.append(last.test_objective)
        right.append(last.test_accuracy)
    return {"objective": objective, "test_objective": test, "test_accuracy": right}


def best(points: list[Point]) -> dict[str, Point]:
    """The best point of Adam and of K-FAC, by the rule above."""
    done = [point for point in points if point["objective"]]
    limit = next(
        np.mean(point["test_objective"])
        for point in done
        if (point["optimizer"], point["rate"]) == ("adam", 1e-4)
    )
    fair = [point for point in done if np.mean(point["test_objective"]) <= limit]
    chosen = {}
    for name in ("Adam", "K-FAC"):
        mine = [p for p in fair if (p["optimizer"] == "adam") == (name == "Adam")]
        if mine:
            chosen[name] = min(mine, key=lambda p: np.mean(p["objective"]))
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mlp", choices=("mlp", "cnn"))
    parser.add_argument("--points", type=int, help="at most so many new ones")
    options = parser.parse_args()
    path = HERE / f"lbann_{options.model}.json"
    points = json.loads(path.read_text())["points"] if path.exists() else []
    known = [
        {name: p.get(name) for name in ("optimizer", "rate", "act", "err")}
        for p in points
    ]
    grid = adam_grid(options.model) + kfac_grid(options.model)
    new = [g for g in grid if {"act": None, "err": None} | key(g[0]) not in known]
    for each in new[: options.points]:
        points.append(key(each[0]) | measure(each))
        print(points[-1], flush=True)
        write_json(path, {"best": best(points), "points": points})
    print(best(points))


if __name__ == "__main__":
    main()
