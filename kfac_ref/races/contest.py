"""A race: every contestant from the same start, on the same batches, for every seed.

`run_contest` trains, `Contest.finish` asks when each one reached what another ended at.
The loss that counts is the mean over the watched images, without L2; seconds are those
of the steps alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kfac_ref.optimizer.training import History, train
from kfac_ref.races.autoencoder import Problem
from kfac_ref.races.contestants import Contestant
from kfac_ref.values import Value

Histories = dict[str, list[History]]  # by contestant, one for each seed


@dataclass(frozen=True, eq=False)
class Finish(Value):
    """How much earlier `winner` was where `baseline` ended; one entry for each seed.

    A ratio is the baseline's number over the winner's: 15 means 15 times fewer. Where
    the winner did not come so far it is 0.
    """

    winner: str
    baseline: str
    targets: list[float]  # the loss at which the baseline ended, nats
    updates: list[list[float]]  # baseline's, winner's; infinite: it never came there
    seconds: list[list[float]]

    @property
    def fewer_updates(self) -> list[float]:
        return _ratios(self.updates)

    @property
    def fewer_seconds(self) -> list[float]:
        return _ratios(self.seconds)


def run_contest(
    problem: Problem,
    contestants: Mapping[str, Contestant],
    seeds: Sequence[int],
    say: Callable[[str], None] = print,
) -> Histories:
    """Train everybody; `say` gets a line when one has arrived. Raises Diverged."""
    found: Histories = {name: [] for name in contestants}
    for seed in seeds:
        for name, contestant in contestants.items():
            params, rng = problem.start(seed)
            run = train(
                contestant.optimizer,
                params,
                (problem.x, problem.x),
                contestant.batch,
                rng,
                updates=contestant.updates,
                evaluation=(problem.watched, problem.watched),
                evaluate_every=contestant.every,
            )
            history = run.history
            found[name].append(history)
            say(
                f"seed {seed}  {name:<6} {contestant.updates:>6,} updates "
                f"{history.seconds[-1]:>7.1f} s  loss {history.evaluation[-1]:.2f}"
            )
    return found


def finish(histories: Histories, winner: str, baseline: str) -> Finish:
    """When the winner was where the baseline ended; both by their watched losses."""
    pairs = list(zip(histories[baseline], histories[winner], strict=True))
    targets = [float(other.evaluation[-1]) for other, _ in pairs]
    reached = [
        [_reach(history, target) for history in pair]
        for pair, target in zip(pairs, targets, strict=True)
    ]
    updates, seconds = ([[at[i] for at in both] for both in reached] for i in (0, 1))
    return Finish(winner, baseline, targets, updates, seconds)


def _reach(history: History, target: float) -> tuple[float, float]:
    """The update and the second after which the loss was `target` or less."""
    there = np.flatnonzero(history.evaluation <= target)  # NaN is not
    if not len(there):
        return math.inf, math.inf
    return float(history.update[there[0]]), float(history.seconds[there[0]])


def _ratios(pairs: list[list[float]]) -> list[float]:
    return [baseline / winner for baseline, winner in pairs]
