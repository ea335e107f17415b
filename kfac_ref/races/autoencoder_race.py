"""`kfac-ref race autoencoder`: K-FAC, SGD with momentum and Adam on a deep autoencoder.

The headline of TensorFlow K-FAC: the same loss in 14.7 times fewer updates and 3.8
times fewer seconds than SGD with momentum.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kfac_ref.errors import check_count
from kfac_ref.extras import check_extras, optional
from kfac_ref.files import make_folder, write_whole
from kfac_ref.optimizer.batches import check_batch_size
from kfac_ref.optimizer.training import History
from kfac_ref.plotting import race_figure, save
from kfac_ref.races.autoencoder import Problem, make_problem
from kfac_ref.races.contest import Finish, Histories, finish, run_contest
from kfac_ref.races.contestants import Contestant, contestants
from kfac_ref.values import Value

WINNER = "K-FAC"
POINTS = 40  # of a history that the JSON keeps


@dataclass(frozen=True)
class Settings(Value):
    """What the command line says. `data`: a folder with the files of MNIST."""

    small: bool = False
    data: Path | None = None
    seeds: int = 3
    out: Path = Path("figures")

    def __post_init__(self) -> None:
        check_count("seeds", self.seeds)
        super().__post_init__()

    @property
    def form(self) -> str:
        """The name of the problem."""
        if self.data is not None:
            return "images"
        return "small" if self.small else "curves"


def run(settings: Settings) -> list[Finish]:
    """Everything, from the images to the figure. Raises KfacError, OSError."""
    seeds = range(settings.seeds)
    make_folder(settings.out)
    check_extras("the race", "matplotlib", "threadpoolctl")
    problem = make_problem(settings.form, settings.data)
    who = contestants(problem.network, settings.form)
    for contestant in who.values():
        check_batch_size(contestant.batch, 0, len(problem.x))
    _announce(problem, who)
    threads = optional("threadpoolctl", "timing with one thread")
    with threads.threadpool_limits(1):  # as in the demo
        histories = run_contest(problem, who, seeds, _say)
    finishes = [finish(histories, WINNER, name) for name in who if name != WINNER]
    name = f"race_autoencoder_{settings.form}"
    numbers = _numbers(problem, who, histories, finishes)
    try:
        content = json.dumps(numbers) + "\n"
        write_whole(settings.out / f"{name}.json", content.encode())
        figure = race_figure(
            histories, _titles(finishes), problem.floor, "training loss over its floor"
        )
        save(figure, settings.out / f"{name}.png")
    finally:  # said even if it cannot be saved
        _say("\n".join(summarize(finishes)))
    print(f"{name}.png and {name}.json are in {settings.out}")
    return finishes


def summarize(finishes: list[Finish]) -> list[str]:
    """One line for each baseline, with the ratios of every seed."""
    return [
        f"{found.winner} was where {found.baseline} ended (loss "
        f"{', '.join(f'{target:.2f}' for target in found.targets)}) after "
        f"{_each(found.fewer_updates)} times fewer updates and "
        f"{_each(found.fewer_seconds)} times fewer seconds"
        for found in finishes
    ]


def _each(ratios: list[float]) -> str:
    """A ratio for each seed, or that it never came there."""
    return ", ".join(f"{ratio:.1f}" if ratio else "(never)" for ratio in ratios)


def _announce(problem: Problem, who: dict[str, Contestant]) -> None:
    sizes = [d - 1 for d, _ in problem.network.shapes] + [problem.x.shape[1]]
    _say(problem.description)
    _say(f"net {'-'.join(map(str, sizes))}: {problem.network.size:,} parameters")
    _say(f"loss on {len(problem.watched):,} images; no less than {problem.floor:.2f}")
    _say("one BLAS thread; the seconds are those of the steps alone")
    for name, contestant in who.items():
        _say(f"{name:<6} batches of {contestant.batch}, {contestant.words}")


def _say(line: str) -> None:
    print(line, flush=True)


def _titles(finishes: list[Finish]) -> tuple[str, str]:
    """The smallest ratio of all seeds, for each baseline."""
    parts = [
        ", ".join(f"{min(ratios):.1f} ({name})" for name, ratios in by_name)
        for by_name in (
            [(found.baseline, found.fewer_updates) for found in finishes],
            [(found.baseline, found.fewer_seconds) for found in finishes],
        )
    ]
    return f"times fewer updates: {parts[0]}", f"times fewer seconds: {parts[1]}"


def _numbers(
    problem: Problem,
    who: dict[str, Contestant],
    histories: Histories,
    finishes: list[Finish],
) -> dict[str, Any]:
    """What was measured, as JSON can hold it."""
    return {
        "data": problem.description,
        "parameters": problem.network.size,
        "floor": round(problem.floor, 4),
        "contestants": {
            name: {
                "settings": contestant.words,
                "batch": contestant.batch,
                "updates": contestant.updates,
                "seeds": [_thinned(history) for history in histories[name]],
            }
            for name, contestant in who.items()
        },
        "finishes": [_finish(found) for found in finishes],
    }


def _finish(found: Finish) -> dict[str, Any]:
    """What JSON has no number for, the infinite, becomes null."""

    def rounded(pairs: list[list[float]]) -> list[list[float | None]]:
        return [[round(n, 3) if math.isfinite(n) else None for n in p] for p in pairs]

    return {
        "winner": found.winner,
        "baseline": found.baseline,
        "targets": [round(target, 4) for target in found.targets],
        "updates": rounded(found.updates),
        "seconds": rounded(found.seconds),
        "fewer_updates": [round(ratio, 2) for ratio in found.fewer_updates],
        "fewer_seconds": [round(ratio, 2) for ratio in found.fewer_seconds],
    }


def _thinned(history: History) -> dict[str, list[float]]:
    """At most POINTS of the updates whose loss was watched, the last among them."""
    known = np.flatnonzero(~np.isnan(history.evaluation))
    step = math.ceil(len(known) / POINTS)
    few = known[::-1][::step][::-1]
    return {
        "update": history.update[few].tolist(),
        "seconds": [round(float(s), 3) for s in history.seconds[few]],
        "loss": [round(float(loss), 4) for loss in history.evaluation[few]],
    }
