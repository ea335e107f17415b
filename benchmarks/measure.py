"""Interleaved timing: A B A B ..., medians, wall and processor time.

In its turn a short function is called repeatedly. The first call does not count: it
finds the caches and the memory allocator as the other function left them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Time:
    """Medians over the rounds, in milliseconds; cpu is summed over all threads."""

    wall: float
    cpu: float


def interleaved(
    functions: list[Callable[[], Any]], rounds: int, seconds: float = 0.5
) -> list[Time]:
    """The time of each function: the median over the rounds of each turn's median.

    A turn takes about `seconds`, and at least one call. One extra round warms up; if
    all rounds would take more than two minutes, only three are made.
    """
    warm = _round(functions, seconds)
    if rounds * sum(time.wall for time in warm) > 120e3:
        rounds = 3
    turns = [_round(functions, seconds) for _ in range(rounds)]
    return [_median(list(times)) for times in zip(*turns, strict=True)]


def _round(functions: list[Callable[[], Any]], seconds: float) -> list[Time]:
    times = []
    for function in functions:
        gc.collect()
        times.append(_turn(function, seconds))
    return times


def _turn(function: Callable[[], Any], seconds: float) -> Time:
    times = [_call(function)]
    while sum(t.wall for t in times) < 1e3 * seconds:
        times.append(_call(function))
    return _median(times[1:] or times)


def _call(function: Callable[[], Any]) -> Time:
    wall, cpu = time.perf_counter(), time.process_time()
    function()  # freeing what it returns is timed, too, for all alike
    return Time(1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu))


def _median(times: list[Time]) -> Time:
    return Time(median(t.wall for t in times), median(t.cpu for t in times))


def relative_error(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The largest relative error of the arrays, in Frobenius norm."""
    return max(
        float(np.linalg.norm(f - e) / np.linalg.norm(e))
        for f, e in zip(found, expected, strict=True)
    )
