"""The same case on the host and on the device, and how far apart the results are.

What is compared is unique: matrices, products, solves, never eigenvectors. The error
of an array is the Frobenius norm of the difference over that of the host's.
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
    """One computation; `group` is the line of the table on which it is counted."""

    group: str
    name: str
    compute: Callable[[Place], Results]


@dataclass(frozen=True, eq=False)
class Outcome(Value):
    """PASS, DIFFERS, FAILED (somewhere an error), or REFUSED (by both, alike)."""

    group: str
    name: str
    dtype: str
    verdict: str
    message: str = ""
    errors: dict[str, float] = field(default_factory=dict)

    @property
    def largest(self) -> float:
        """The largest relative error; 0 where nothing was computed."""
        return max(self.errors.values(), default=0.0)


def compare(case: Case, dtype: str, move: Callable[[np.ndarray], Any]) -> Outcome:
    """The case on the host and, its arrays moved by `move`, on the device."""
    kind = np.dtype(dtype).type
    expected = _attempt(case, Place(np.asarray, kind))
    found = _attempt(case, Place(move, kind))
    verdict, message, errors = _judge(expected, found, TOLERANCES[dtype])
    return Outcome(case.group, case.name, dtype, verdict, message, errors)


def _attempt(case: Case, place: Place) -> Results | Exception:
    """What the case gives, on the host; an error is kept, so that others go on."""
    try:
        found = case.compute(place)
        return {name: to_host(value) for name, value in found.items()}
    except Exception as error:
        return error


def to_host(value: Any) -> np.ndarray:
    """An array, a number, or a list of arrays one after the other."""
    if isinstance(value, list | tuple):
        return np.concatenate([to_host(one).ravel() for one in value])
    return np.asarray(value) if isinstance(value, int | float) else to_numpy(value)


def _judge(
    expected: Results | Exception, found: Results | Exception, tolerance: float
) -> tuple[str, str, dict[str, float]]:
    """The verdict, a message where there is something to say, and the errors."""
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
        if not errors[name] <= tolerance:  # NaN is not
            wrong.append(f"{name}: {_difference(found[name], array, tolerance)}")
    return "DIFFERS" if wrong else "PASS", "; ".join(wrong), errors


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """||found - expected|| / ||expected||; infinite for another shape or dtype."""
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
    """Its kind and its message, in a line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def compare_all(
    cases: Sequence[Case],
    move: Callable[[np.ndarray], Any],
    watch: Callable[[str], None],
) -> list[Outcome]:
    """Every case in float64 and in float32; `watch` is told each group in turn."""
    outcomes, group = [], ""
    for case in cases:
        if case.group != group:
            watch(group := case.group)
        outcomes += [compare(case, dtype, move) for dtype in TOLERANCES]
    return outcomes
