"""The grids of the autoencoder race: `python -m benchmarks.tune_autoencoder FORM NAME`.

Each point is one training from a start that the race does not use (seed 100), on the
same number of IMAGES whatever the batch: a smaller batch makes more updates. The point
with the lowest final loss is what examples/autoencoder/contestants.py takes. After each
point tuning/autoencoder_FORM.json is written; points in it are not run again.

The three axes of a grid are not multiplied out: from the best point so far we went one
step along each axis, both ways, until none was better. `--point` measures one more.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from kfac_ref.errors import KfacError
from kfac_ref.examples.autoencoder.contestants import MAKERS
from kfac_ref.examples.autoencoder.problem import make_problem
from kfac_ref.examples.contest import Contestant, follow
from kfac_ref.examples.running import one_thread
from kfac_ref.files import write_whole

SEED = 100
WATCHES = 8  # how often the loss is evaluated
IMAGES = {  # for the baselines, as many as in the race
    "curves": {"K-FAC": 250_000, "SGD": 1_000_000, "Adam": 1_000_000},
    "small": {"K-FAC": 150_000, "SGD": 375_000, "Adam": 375_000},
}
Point = list[float]  # rate and momentum or beta_1, or lambda and its floor; batch


def measure(form: str, name: str, point: Point) -> dict[str, Any]:
    """The point, its watched losses (none if the training diverges), and the error."""
    problem = replace(make_problem(form), seed=SEED)
    first, second, batch = point
    updates = round(IMAGES[form][name] / batch)
    optimizer = MAKERS[name](problem.network, first, second)
    every = updates // WATCHES
    contestant = Contestant(optimizer, int(batch), updates, "", every)
    try:
        *_, course = follow(problem, contestant)
    except KfacError as error:
        return {"point": point, "losses": [], "error": str(error)}
    losses = [round(float(loss), 3) for loss in course["loss"]]
    return {"point": point, "losses": losses, "error": None}


def results(form: str) -> dict[str, Any]:
    """What has been measured."""
    path = Path(__file__).parent / "tuning" / f"autoencoder_{form}.json"
    if path.exists():
        return json.loads(path.read_text())
    return {"form": form, "seed": SEED, "points": {}}


def keep(form: str, name: str, found: dict[str, Any]) -> None:
    """Print the result, and add it to the file."""
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
    with one_thread():
        main()
