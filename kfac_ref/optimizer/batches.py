"""Batches: the examples in a seeded order, and how far one has come in it.

An epoch is a permutation of the examples, drawn from the generator when it begins, and
is cut into batches from its start. Every batch has the size that was asked for: if the
examples at the end are too few for one more, they are left out of this epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from itertools import count
from typing import Any

import numpy as np

from kfac_ref.backend import Array, asarray
from kfac_ref.calls import door
from kfac_ref.checks import check_count
from kfac_ref.errors import ShapeError, require
from kfac_ref.optimizer.baselines import Number, value_at
from kfac_ref.optimizer.schedules import Bounded, Exponential, Schedule
from kfac_ref.optimizer.state import Place


@door
def growing_batches(first: int, last: int, update: int = 500) -> Schedule:
    """m_k = min(m_1 exp((k - 1) / b), N) in update k, b such that m_update = N.

    m_1 = first, N = last. Martens & Grosse 2015, section 13: from 1000, m_500 = N.
    """
    first, last = check_count("first", first), check_count("last", last)
    update = check_count("update", update, least=2)
    return Bounded(Exponential.through(first, last, update - 1), high=last)


def batches(
    x: Array, size: Number, rng: np.random.Generator, state: Any, epochs: int | None
) -> Iterator[tuple[Array, Place]]:
    """Yield the indices of the examples in each batch, and the place after it."""
    N, step, place = len(x), state.step, getattr(state, "place", None)
    order, seen = (place.order, place.seen) if place else (x[:0], N)
    if place and len(order) != N:
        raise ShapeError(
            f"data: the state comes from inside an epoch of {len(order)} examples, "
            f"found {N}; train on the same, or begin a new epoch: "
            "dataclasses.replace(state, place=None)"
        )
    for _ in count() if epochs is None else range(epochs):
        if seen + check_batch_size(size, step, N) > N:
            order, seen = asarray(rng.permutation(N), like=x), 0
        while seen + (m := check_batch_size(size, step, N)) <= N:
            seen, step = seen + m, step + 1
            yield order[seen - m : seen], Place(order, seen)


def check_batch_size(size: Number, step: int, N: int) -> int:
    """Return the batch size after `step` steps. KfacTypeError, ValueRangeError."""
    value = value_at(size, step)
    m = round(value) if math.isfinite(value) else 0
    expected = f"from 1 to {N}, the number of examples"
    require(1 <= m <= N, f"batch_size of update {step + 1}", expected, value)
    return m


def at_place(place: Place | None, state: Any) -> Any:
    """Return a copy of the state at this place in the epoch."""
    moved = copy(state)
    vars(moved).update(place=place)  # of dataclasses and others, frozen or not
    return moved
