"""Learning rates of the convolutional race: `python -m benchmarks.tune_convolutional`.

Name the contestants to tune; without a name all of them are tuned.

Every learning rate of a grid trains as long as in the race, from other starts and on
other splits of the digits (seeds 1, 2, 3). The best has the lowest geometric mean of
the final training losses; a rate that diverges with any seed is out. The results go to
tuning/convolutional.json, one contestant at a time.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

from kfac_ref.errors import choose
from kfac_ref.examples.contest import DIVERGED, follow
from kfac_ref.examples.convolutional.contestants import MAKERS, contestant
from kfac_ref.examples.convolutional.problem import Problem, make_problem
from kfac_ref.examples.running import one_thread

RESULTS = Path(__file__).parent / "tuning" / "convolutional.json"
SEEDS, UPDATES = [1, 2, 3], 100
GRIDS = {
    "K-FAC": [0.0001, 0.0005, 0.001, 0.002, 0.003, 0.005],  # the first: the guide's
    "SGD with momentum": [0.01, 0.02, 0.05, 0.1, 0.2, 0.5],
    "Adam": [0.001, 0.002, 0.005, 0.01, 0.02, 0.05],
}


def final_loss(name: str, problem: Problem, rate: float) -> float | None:
    """The training loss at the end; None if the training diverges."""
    who = contestant(name, problem.network, rate, UPDATES, every=UPDATES)
    try:
        *_, course = follow(problem, who)
    except DIVERGED:
        return None
    return float(f"{course['loss'][-1]:.4g}")


def score(losses: list[float | None]) -> float:
    """The geometric mean; infinite if a loss is missing."""
    known = [loss for loss in losses if loss is not None]
    if len(known) < len(losses):
        return math.inf
    return math.exp(sum(map(math.log, known)) / len(known))


def tune(name: str) -> dict:
    """The final losses for every rate, and the best rate."""
    problems = [make_problem("digits", seed) for seed in SEEDS]
    losses: dict[float, list[float | None]] = {}
    for rate in GRIDS[name]:
        losses[rate] = [final_loss(name, problem, rate) for problem in problems]
        print(f"{name}, learning rate {rate:g}: {losses[rate]}", flush=True)
    best = min(losses, key=lambda rate: score(losses[rate]))
    if best in (GRIDS[name][0], GRIDS[name][-1]):
        raise SystemExit(f"{name}: the best rate, {best:g}, is at an edge of the grid")
    return {"best": best, "losses": {f"{rate:g}": row for rate, row in losses.items()}}


def main(names: list[str]) -> None:
    for name in [choose("contestant", n, MAKERS) for n in names or MAKERS]:
        tuned = tune(name)
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        results[name] = tuned
        ordered = {name: results[name] for name in MAKERS if name in results}
        content = {"updates": UPDATES, "seeds": SEEDS} | ordered
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    with one_thread():
        main(sys.argv[1:])
