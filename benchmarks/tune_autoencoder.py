"""The grids of the autoencoder race: `python -m benchmarks.tune_autoencoder FORM`.

Every point is one training from a start that the race does not have (seed 100), as
long as the race; the point with the lowest final loss is what races/contestants.py
takes. After each point tuning/autoencoder_FORM.json is written, and what is in it is
not run again, so that the work can be put aside.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from kfac_ref.demo.problem import extra
from kfac_ref.errors import KfacError
from kfac_ref.files import write_whole
from kfac_ref.network import Network
from kfac_ref.optimizer import SGD, Adam, train
from kfac_ref.optimizer.training import Optimizer
from kfac_ref.races.autoencoder import make_problem
from kfac_ref.races.contestants import TUNED, kfac

SEED = 100
WATCHES = 8  # so often is the loss looked at
GRIDS = {  # SGD: learning rate, momentum; Adam: learning rate, beta_1; K-FAC: lambda
    "curves": {
        "SGD": ((0.001, 0.002, 0.003, 0.005, 0.01, 0.02), (0.5, 0.8, 0.9, 0.95, 0.99)),
        "Adam": ((0.0005, 0.001, 0.002, 0.003, 0.005, 0.01), (0.8, 0.9, 0.95)),
        "K-FAC": ((0.00003, 0.0001, 0.0003, 0.001), (0.0003, 0.001, 0.003, 0.01)),
    },
    "small": {
        "SGD": ((0.002, 0.005, 0.01, 0.02, 0.05), (0.5, 0.8, 0.9, 0.95, 0.99)),
        "Adam": ((0.0005, 0.001, 0.002, 0.005, 0.01, 0.02), (0.8, 0.9, 0.95)),
        "K-FAC": ((0.001, 0.003, 0.01, 0.03, 0.1), (0.0001, 0.0003, 0.001, 0.003)),
    },
}
NAMES = ("K-FAC", "SGD", "Adam")


def make(name: str, network: Network, point: tuple[float, float]) -> Optimizer:
    """The optimizer of a point of its grid."""
    first, second = point
    if name == "SGD":
        return SGD(network, first, momentum=second, nesterov=True)
    if name == "Adam":
        return Adam(network, first, beta_1=second)
    return kfac(network, first, second)


def length(form: str, name: str) -> tuple[int, int]:
    """The batch, and the number of updates: the race's."""
    tuned = TUNED[form]
    if name == "K-FAC":
        return tuned.kfac_batch, tuned.kfac_updates
    return tuned.batch, tuned.updates


def measure(
    form: str, name: str, point: tuple[float, float], batch: int, updates: int
) -> dict[str, Any]:
    """The watched losses; they end where the training diverges."""
    problem = make_problem(form)
    params, rng = problem.start(SEED)
    error = None
    with np.errstate(over="ignore"):
        try:
            run = train(
                make(name, problem.network, point),
                params,
                (problem.x, problem.x),
                batch,
                rng,
                updates=updates,
                evaluation=(problem.watched, problem.watched),
                evaluate_every=updates // WATCHES,
                progress=False,
            )
            found = run.history.evaluation
        except KfacError as raised:
            error, found = str(raised), np.array([])
    losses = [round(float(loss), 3) for loss in found[~np.isnan(found)]]
    return {"point": list(point), "losses": losses, "error": error}


def results(form: str) -> dict[str, Any]:
    """What has been measured."""
    path = place(form)
    if path.exists():
        return json.loads(path.read_text())
    lengths = {name: length(form, name) for name in NAMES}
    return {"form": form, "seed": SEED, "batch and updates": lengths, "points": {}}


def place(form: str) -> Path:
    return Path(__file__).parent / "tuning" / f"autoencoder_{form}.json"


def best(points: list[dict[str, Any]]) -> dict[str, Any]:
    """The point with the lowest final loss."""
    return min((p for p in points if p["losses"]), key=lambda p: p["losses"][-1])


def missing(form: str, name: str, only: Any) -> Iterator[tuple[float, float]]:
    known = [tuple(p["point"]) for p in results(form)["points"].get(name, [])]
    for point in product(*GRIDS[form][name]):
        if point not in known and (not only or point in only):
            yield point


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("form", choices=GRIDS)
    parser.add_argument("--contestant", choices=NAMES, action="append")
    parser.add_argument("--point", action="append", help="0.003,0.9: these alone")
    parser.add_argument("--length", action="append", help="1000,2000: another batch")
    options = parser.parse_args()
    only = [tuple(map(float, p.split(","))) for p in options.point or []]
    for name in options.contestant or NAMES:
        lengths = length(options.form, name)
        for point in [] if options.length else missing(options.form, name, only):
            keep(options.form, name, measure(options.form, name, point, *lengths))
        for text, point in product(options.length or [], only):
            batch, updates = map(int, text.split(","))
            found = {"batch": batch, "updates": updates}
            found |= measure(options.form, name, point, batch, updates)
            keep(options.form, f"{name}, another batch", found)


def keep(form: str, name: str, found: dict[str, Any]) -> None:
    """Say it, and write it into the file."""
    print(name, found, flush=True)
    kept = results(form)
    kept["points"].setdefault(name, []).append(found)
    content = json.dumps(kept).replace("}, {", "},\n{").replace("[{", "[\n{") + "\n"
    write_whole(place(form), content.encode())


if __name__ == "__main__":
    with extra("threadpoolctl").threadpool_limits(1):
        main()
