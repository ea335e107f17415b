"""Reports what was found, as a table and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from kfac_ref.gpu.comparing import TOLERANCES, Outcome
from kfac_ref.gpu.device import Device, versions
from kfac_ref.gpu.timing import Time

PASSING = ("PASS", "REFUSED")


def passed(outcomes: list[Outcome]) -> bool:
    """Whether the device agrees with the host in everything."""
    return all(outcome.verdict in PASSING for outcome in outcomes)


def table(device: Device, outcomes: list[Outcome], times: list[Time]) -> str:
    """The device, a line for each group, a line for each failure, then the times."""
    lines = [_head(device), "", _row("device against host", "cases", *TOLERANCES, "")]
    for group in dict.fromkeys(outcome.group for outcome in outcomes):
        lines.append(_group(group, [o for o in outcomes if o.group == group]))
    refused = sum(outcome.verdict == "REFUSED" for outcome in outcomes)
    bounds = ", ".join(f"{bound:g} in {dtype}" for dtype, bound in TOLERANCES.items())
    lines += [
        "",
        f"Largest relative errors (Frobenius norm); bounds: {bounds}.",
        f"Of {len(outcomes)} comparisons {refused} are of what mathematics forbids: "
        "both refuse them in the same words.",
    ]
    wrong = [outcome for outcome in outcomes if outcome.verdict not in PASSING]
    lines += ["", *map(_complaint, wrong)] if wrong else []
    return "\n".join([*lines, "", *_times(times)])


def numbers(
    device: Device, outcomes: list[Outcome], times: list[Time]
) -> dict[str, Any]:
    """Everything that was measured, in types that JSON can hold."""
    return {
        "passed": passed(outcomes),
        "device": device.facts,
        "host": versions(),
        "tolerances": TOLERANCES,
        "comparisons": [_plain(outcome) for outcome in outcomes],
        "times, ms": [asdict(time) | {"ratio": time.ratio} for time in times],
    }


def as_json(found: dict[str, Any]) -> bytes:
    return (json.dumps(found, indent=1, allow_nan=False) + "\n").encode()


def _head(device: Device) -> str:
    """The card and the versions, on one line."""
    facts = device.facts | versions()
    name = facts.pop("name")
    words = [f"{what} {value}" for what, value in facts.items()]
    return f"{name}: {'; '.join(words)}"


def _group(group: str, outcomes: list[Outcome]) -> str:
    """A group's line: the largest error in each precision, and the worst verdict."""
    errors = [
        max((o.largest for o in outcomes if o.dtype == dtype), default=0.0)
        for dtype in TOLERANCES
    ]
    found = {outcome.verdict for outcome in outcomes}
    verdict = next((v for v in ("FAILED", "DIFFERS", "PASS") if v in found), "REFUSED")
    return _row(group, str(len(outcomes)), *(f"{e:.1e}" for e in errors), verdict)


def _row(group: str, cases: str, *others: str) -> str:
    *errors, verdict = others
    return (
        f"{group:<34} {cases:>5}"
        + "".join(f"{e:>10}" for e in errors)
        + (f"  {verdict}" if verdict else "")
    )


def _complaint(outcome: Outcome) -> str:
    return (
        f"{outcome.verdict} {outcome.group}: {outcome.name}, {outcome.dtype}: "
        f"{outcome.message}"
    )


def _times(times: list[Time]) -> list[str]:
    """Ours beside the bare products, in milliseconds."""
    if not times:
        return ["Nothing was timed."]
    lines = [
        f"{'task, on the device':<34} {'':>8}{'ours, ms':>10}{'bare, ms':>10} ratio"
    ]
    for time in times:
        lines.append(
            f"{time.task:<34} {time.dtype:>8}{time.ours:>10.2f}{time.bare:>10.2f}"
            f"{time.ratio:>6.2f}"
        )
    words = "bare: the matrix products and Cholesky calls of the task alone; medians"
    return [*lines, "", words]


def _plain(outcome: Outcome) -> dict[str, Any]:
    """The outcome for JSON, where infinity, which JSON lacks, becomes null."""
    errors = {
        name: error if math.isfinite(error) else None
        for name, error in outcome.errors.items()
    }
    return asdict(outcome) | {"errors": errors}
