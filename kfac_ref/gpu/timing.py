"""Compares the tasks on the device with the host, and times them beside bare products.

Ours and the bare products take turns, after two warm-up calls of each; the median
counts. A call ends when the device has finished its work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from kfac_ref.backend import Array, solve_triangular
from kfac_ref.gpu.comparing import (
    TOLERANCES,
    Case,
    Outcome,
    Results,
    compare,
    describe,
)
from kfac_ref.gpu.device import Device
from kfac_ref.gpu.nets import Place
from kfac_ref.gpu.tasks import TASKS, Arrays, Product
from kfac_ref.values import Value

GROUP = "tasks of benchmarks/"
WARM, FEWEST, MOST, ENOUGH = 2, 5, 100, 2000.0  # calls, and milliseconds in all


@dataclass(frozen=True, eq=False)
class Time(Value):
    """Medians of `calls` calls, in milliseconds."""

    task: str
    dtype: str
    ours: float
    bare: float
    calls: int

    @property
    def ratio(self) -> float:
        return self.ours / self.bare


def task_cases() -> list[Case]:
    """The tasks at full size, compared like everything else."""
    return [Case(GROUP, name, partial(_task, name)) for name in TASKS]


def _task(name: str, place: Place) -> Results:
    arrays = enumerate(TASKS[name](place).ours())
    return {f"array {i}": array for i, array in arrays}


def time_all(
    device: Device, watch: Callable[[str], None]
) -> tuple[list[Outcome], list[Time]]:
    """Compare every task in float64 and float32, and time it if it passes."""
    outcomes, times = [], []
    for case in task_cases():
        watch(f"timing {case.name}")
        for dtype in TOLERANCES:
            outcome = compare(case, dtype, device.move)
            if outcome.verdict == "PASS":
                try:
                    times.append(time_one(case.name, dtype, device))
                except Exception as error:
                    message = f"while it was timed: {describe(error)}"
                    outcome = replace(outcome, verdict="FAILED", message=message)
            outcomes.append(outcome)
    return outcomes, times


def time_one(name: str, dtype: str, device: Device) -> Time:
    """Time a task and its bare products, in turns."""
    task = TASKS[name](Place(device.move, np.dtype(dtype).type))
    bare = bare_products(device.xp, np.dtype(dtype), task.products, task.factors)
    ours, other = in_turns([task.ours, bare], device.milliseconds)
    return Time(name, dtype, median(ours), median(other), len(ours))


def in_turns(
    functions: Sequence[Callable[[], Any]],
    milliseconds: Callable[[Callable[[], Any]], float],
) -> list[list[float]]:
    """The times of each function's calls, in turns A B A B ..., without warm-up."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(-WARM, MOST):
        for function, own in zip(functions, times, strict=True):
            took = milliseconds(function)
            if turn >= 0:
                own.append(took)
        if turn + 1 >= FEWEST and sum(map(sum, times)) >= ENOUGH:
            break
    return times


def bare_products(
    xp: Any, dtype: np.dtype, products: list[Product], factors: Sequence[Any]
) -> Callable[[], Arrays]:
    """A function that makes the matrix products and Cholesky calls, on ready operands.

    For each pair of sizes (d, o), it factorises both factors and solves with them for a
    (d, o) matrix.
    """
    pairs = [(_full(xp, dtype, m, k), _full(xp, dtype, k, n)) for m, k, n in products]
    blocks = [
        (_definite(xp, dtype, d), _definite(xp, dtype, o), _full(xp, dtype, d, o))
        for d, o in factors
    ]

    def bare() -> Arrays:
        found = [left @ right for left, right in pairs]
        for A, G, V in blocks:
            found.append(_solve(xp, G, _solve(xp, A, V).T))
        return found

    return bare


def _solve(xp: Any, M: Array, right: Array) -> Array:
    """M^-1 right, by a Cholesky factorisation and two triangular solves."""
    L = xp.linalg.cholesky(M)
    return solve_triangular(L, solve_triangular(L, right), transpose=True)


def _full(xp: Any, dtype: np.dtype, rows: int, columns: int) -> Array:
    """An operand; its entries do not matter as long as products stay finite."""
    return xp.full((rows, columns), 0.5, dtype=dtype)


def _definite(xp: Any, dtype: np.dtype, size: int) -> Array:
    return xp.full((size, size), 0.5, dtype=dtype) + xp.eye(size, dtype=dtype)
