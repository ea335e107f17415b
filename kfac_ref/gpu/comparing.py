"""Computes a case on the host and on the device, and says how far apart they are.

Only what is unique is compared: matrices, products, solves, never eigenvectors. The
error of an array is the Frobenius norm of the difference over that of the host's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kfac_ref.backend import to_numpy
from kfac_ref.errors import Unsupported
from kfac_ref.gpu.nets import Place
from kfac_ref.values import Value

TOLERANCES = {"float64": 1e-12, "float32": 1e-5}

Results = dict[str, Any]  # by name: arrays, numbers, or lists of them


@dataclass(frozen=True, eq=False)
class Case(Value):
    """One computation; the table counts it on the line `group`."""

    group: str
    name: str
    compute: Callable[[Place], Results]


@dataclass(frozen=True, eq=False)
class Outcome(Value):
    """Its verdict is PASS, DIFFERS, FAILED (either raised) or REFUSED (both, alike)."""

    group: str
    name: str
    dtype: str
    verdict: str
    message: str = ""
    errors: dict[str, float] = field(default_factory=dict)

    @property
    def largest(self) -> float:
        """The largest relative error; 0 if nothing was computed."""
        return max(self.errors.values(), default=0.0)


def compare(case: Case, dtype: str, move: Callable[[np.ndarray], Any]) -> Outcome:
    """Compute the case on the host and, with arrays moved by `move`, on the device."""
    kind = np.dtype(dtype).type
    expected = _attempt(case, Place(np.asarray, kind))
    found = _attempt(case, Place(move, kind))
    verdict, message, errors = _judge(expected, found, TOLERANCES[dtype])
    return Outcome(case.group, case.name, dtype, verdict, message, errors)


def _attempt(case: Case, place: Place) -> Results | Exception:
    """The case's results on the host, or its error, so that other cases go on."""
    try:
        found = case.compute(place)
        return {name: to_host(value) for name, value in found.items()}
    except Exception as error:
        return error


def to_host(value: Any) -> np.ndarray:
    """An array, a number, or a list of arrays (concatenated), as a host array."""
    if isinstance(value, list | tuple):
        return np.concatenate([to_host(one).ravel() for one in value])
    return np.asarray(value) if isinstance(value, int | float) else to_numpy(value)


def _judge(
    expected: Results | Exception, found: Results | Exception, tolerance: float
) -> tuple[str, str, dict[str, float]]:
    """The verdict, a message if there is something to say, and the relative errors."""
    refusals = [str(r) for r in (expected, found) if isinstance(r, Unsupported)]
    if len(refusals) == 2 and refusals[0] == refusals[1]:
        return "REFUSED", refusals[0], {}
    for where, result in (("host", expected), ("device", found)):
        if isinstance(result, Exception):
            return "FAILED", f"on the {where}: {describe(result)}", {}
    assert not isinstance(expected, Exception) and not isinstance(found, Exception)
    if list(expected) != list(found):
        return "DIFFERS", f"host: {list(expected)}, device: {list(found)}", {}
    errors, wrong = {}, []
    for name, array in expected.items():
        errors[name] = relative_error(found[name], array)
        if not errors[name] <= tolerance:  # also if NaN
            wrong.append(f"{name}: {_difference(found[name], array, tolerance)}")
    return "DIFFERS" if wrong else "PASS", "; ".join(wrong), errors


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """||found - expected|| / ||expected||; infinite if shape or dtype differ."""
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return math.inf
    if (found == expected).all():
        return 0.0
    if expected.dtype.kind not in "fiu":
        return math.inf
    size = float(np.linalg.norm(expected.astype(np.float64)))
    error = float(np.linalg.norm(found.astype(np.float64) - expected))
    return error / size if size and math.isfinite(error) else math.inf


def _difference(found: np.ndarray, expected: np.ndarray, tolerance: float) -> str:
    """What differs, in words."""
    for what in ("shape", "dtype"):
        here, there = getattr(expected, what), getattr(found, what)
        if here != there:
            return f"{what} {there} instead of {here}"
    return f"relative error {relative_error(found, expected):.1e} > {tolerance:g}"


def describe(error: Exception) -> str:
    """The error's type and message, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def compare_all(
    cases: Sequence[Case],
    move: Callable[[np.ndarray], Any],
    watch: Callable[[str], None],
) -> list[Outcome]:
    """Compare every case in float64 and float32; `watch` is told each new group."""
    outcomes, group = [], ""
    for case in cases:
        if case.group != group:
            watch(group := case.group)
        outcomes += [compare(case, dtype, move) for dtype in TOLERANCES]
    return outcomes
