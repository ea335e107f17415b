"""What a training leaves behind: a number for each update."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from kfac_ref.values import Value


@dataclass(frozen=True, eq=False)
class History(Value):
    """A number for each update, (updates,), on the host; NaN if there is none."""

    update: np.ndarray  # its number, counted by the state from 1
    epoch: np.ndarray  # examples seen in this call, over N; after the update
    seconds: np.ndarray  # spent in the steps of this call; evaluation not counted
    batch: np.ndarray  # its size
    loss: np.ndarray  # h on the batch, before the update
    evaluation: np.ndarray  # after the update
    damping: np.ndarray  # for the next update
    alpha: np.ndarray
    mu: np.ndarray


def numbers_of(trace: Any) -> list[float]:
    """Return lambda, alpha and mu of a trace, of KFAC or of a baseline."""
    outcome = getattr(trace, "outcome", trace)
    proposal = getattr(trace, "proposal", trace)
    found = (outcome.damping, proposal.alpha, proposal.mu)
    return [math.nan if number is None else number for number in found]


def make_history(rows: list[list[float]]) -> History:
    """Turn a row for each update into a column for each number."""
    columns = np.array(rows, dtype=np.float64).reshape(-1, 9).T.copy()
    update, epoch, seconds, batch, *others = columns
    return History(update.astype(int), epoch, seconds, batch.astype(int), *others)
