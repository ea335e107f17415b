"""The grids of the autoencoder race: `python -m benchmarks.tune_autoencoder FORM NAME`.

Every point is one training from a start that the race does not have (seed 100), on so
many IMAGES in all, in batches of any size: a smaller batch has more updates. The point
with the lowest final loss is what kfac_ref/races/contestants.py takes. After each point
tuning/autoencoder_FORM.json is written, and what is in it is not run again.

The three axes of a grid are not multiplied out: from the best point so far we went one
step along each axis, both ways, until none was better. `--point` measures one more.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from kfac_ref.errors import KfacError
from kfac_ref.extras import optional
from kfac_ref.files import write_whole
from kfac_ref.optimizer import train
from kfac_ref.races.autoencoder import make_problem
from kfac_ref.races.contestants import MAKERS

SEED = 100
WATCHES = 8  # so often is the loss looked at
IMAGES = {  # the baselines': as many as they see in the race
    "curves": {"K-FAC": 250_000, "SGD": 1_000_000, "Adam": 1_000_000},
    "small": {"K-FAC": 150_000, "SGD": 375_000, "Adam": 375_000},
}
Point = list[float]  # rate and momentum or beta_1, or lambda and its floor; batch


def measure(form: str, name: str, point: Point) -> dict[str, Any]:
    """The watched losses; none where the training diverges."""
    problem = make_problem(form)
    params, rng = problem.start(SEED)
    first, second, batch = point
    updates = round(IMAGES[form][name] / batch)
    error, losses = None, []
    with np.errstate(over="ignore"):
        try:
            run = train(
                MAKERS[name](problem.network, first, second),
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
            losses = [round(float(loss), 3) for loss in found[~np.isnan(found)]]
        except KfacError as raised:
            error = str(raised)
    return {"point": point, "losses": losses, "error": error}


def results(form: str) -> dict[str, Any]:
    """What has been measured."""
    path = Path(__file__).parent / "tuning" / f"autoencoder_{form}.json"
    if path.exists():
        return json.loads(path.read_text())
    return {"form": form, "seed": SEED, "points": {}}


def keep(form: str, name: str, found: dict[str, Any]) -> None:
    """Say it, and write it into the file."""
    print(name, found, flush=True)
    kept = results(form)
    kept["points"].setdefault(name, []).append(found)
    content = json.dumps(kept).replace("}, {", "},\n{").replace("[{", "[\n{") + "\n"
    path = Path(__file__).parent / "tuning" / f"autoencoder_{form}.json"
    write_whole(path, content.encode())


def best(points: list[dict[str, Any]]) -> dict[str, Any]:
    """The point with the lowest final loss."""
    return min((p for p in points if p["losses"]), key=lambda p: p["losses"][-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("form", choices=IMAGES)
    parser.add_argument("contestant", choices=MAKERS)
    parser.add_argument("--point", action="append", required=True, help="0.01,0.8,125")
    options = parser.parse_args()
    measured = results(options.form)["points"].get(options.contestant, [])
    for text in options.point:
        first, second, batch = text.split(",")
        point: Point = [float(first), float(second), int(batch)]
        if point not in [p["point"] for p in measured]:
            found = measure(options.form, options.contestant, point)
            keep(options.form, options.contestant, found)


if __name__ == "__main__":
    with optional("threadpoolctl", "timing with one thread").threadpool_limits(1):
        main()
