"""Checks and measures one task in its own process; prints one line of JSON.

usage: python -m benchmarks.worker TASK AGAINST ROUNDS    (AGAINST: baseline, or a peer)
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from benchmarks.cases import CASES
from benchmarks.measure import Time, interleaved, relative_error

PEERS_ERROR = 1e-10  # a little more than for a baseline


def measure(task: str, against: str, rounds: int) -> dict[str, Any]:
    """The two times, in milliseconds, and how far apart the two results are."""
    row = {"task": task, "against": against, "threads": threads()}
    case = CASES[task](False)
    other, compare = case.baseline, case.compare
    if against == "baseline":
        row["bound"] = case.bound
    else:
        from benchmarks.peers import Absent, find

        try:
            other, compare, row["version"] = find(against, task, case)
        except Absent as reason:
            return row | {"skipped": str(reason)}
    error = relative_error(*compare(case.ours(), other()))
    if not error <= (case.tolerance if against == "baseline" else PEERS_ERROR):
        return row | {"skipped": f"another result: relative error {error:.1e}"}
    ours, others = interleaved([case.ours, other], rounds)
    row |= times(ours, others) | {"error": error}
    for name, functions in case.stages.items():
        stage = times(*interleaved(list(functions), rounds))
        row.setdefault("stages", []).append({"stage": name} | stage)
    return row


def times(ours: Time, others: Time) -> dict[str, list[float]]:
    return {"ours": [ours.wall, ours.cpu], "other": [others.wall, others.cpu]}


def threads() -> int:
    """The number of threads that the BLAS libraries were told to use."""
    return int(os.environ["OPENBLAS_NUM_THREADS"])


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
