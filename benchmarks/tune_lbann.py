"""The grids behind `kfac-ref train --compare`: `python -m benchmarks.tune_lbann`.

Every point of a grid is one training of 20 epochs on the digits, with seed 0; the race
runs the best of them on three seeds. After each point tuning/lbann_<model>.json is
written; what is in it is not run again.

The training objective alone would choose settings under which the weights explode: it
falls to 1e-10 while the test objective rises to 6. So the best point is the one with
the lowest training objective among those whose test objective is not above that of
Adam at LBANN's learning rate. The same rule serves both optimizers.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from kfac_ref.errors import KfacError
from kfac_ref.races.lbann import make_job, write_json
from kfac_ref.races.lbann_settings import KfacSettings, Settings

HERE = Path(__file__).parent / "tuning"
ADAM = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # learning rates
RATES, ACTIVATIONS = (1.0, 0.3, 0.1), (0.03, 0.1, 0.01)
NAMES = ("optimizer", "rate", "act", "err")
Point = dict[str, Any]


def grid(model: str) -> list[Settings]:
    """Adam's rates; K-FAC's and act with err = 1, LBANN's; and once a smaller err."""
    points = [Settings(model=model, learning_rate=rate) for rate in ADAM]
    pairs = [(rate, act, 1.0) for rate, act in product(RATES, ACTIVATIONS)]
    for rate, act, err in [*pairs, (0.1, 0.01, 0.1)]:
        now = KfacSettings(damping_act=(act,), damping_err=(err,))
        points.append(replace(points[0], optimizer="sgd", learning_rate=rate, kfac=now))
    return points


def key(settings: Settings) -> Point:
    """What a point is, in the file."""
    point: Point = {"optimizer": settings.optimizer, "rate": settings.learning_rate}
    if settings.kfac:
        point |= {"act": settings.kfac.damping_act[0]}
        point |= {"err": settings.kfac.damping_err[0]}
    return point


def measure(settings: Settings) -> Point:
    """What the last epoch says; None for an objective after a divergence."""
    try:
        *_, last = make_job(settings).epochs()
    except KfacError as error:
        return {"objective": None, "error": str(error)}
    return {
        "objective": last.objective,
        "test_objective": last.test_objective,
        "test_accuracy": last.test_accuracy,
    }


def best(points: list[Point]) -> dict[str, Point]:
    """The best point of Adam and of K-FAC, by the rule above."""
    done = [point for point in points if point["objective"] is not None]
    adam = {p["rate"]: p["test_objective"] for p in done if p["optimizer"] == "adam"}
    fair = [point for point in done if point["test_objective"] <= adam[1e-4]]
    chosen = {}
    for name in ("Adam", "K-FAC"):
        mine = [p for p in fair if (p["optimizer"] == "adam") == (name == "Adam")]
        if mine:
            chosen[name] = min(mine, key=lambda point: point["objective"])
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mlp", choices=("mlp", "cnn"))
    parser.add_argument("--points", type=int, help="at most so many new ones")
    options = parser.parse_args()
    path = HERE / f"lbann_{options.model}.json"
    points = json.loads(path.read_text())["points"] if path.exists() else []
    known = [{name: point.get(name) for name in NAMES} for point in points]
    new = [
        settings
        for settings in grid(options.model)
        if {name: key(settings).get(name) for name in NAMES} not in known
    ]
    for settings in new[: options.points]:
        points.append(key(settings) | measure(settings))
        print(points[-1], flush=True)
        write_json(path, {"best": best(points), "points": points})
    print(best(points))


if __name__ == "__main__":
    main()
