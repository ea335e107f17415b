"""Checks whether a GPU computes what the host computes, and how fast.

nets.py       small nets of every layer and distribution
cases.py      what is computed on both: structures, estimates, rules, exact products
steps.py      twenty steps of every optimizer
comparing.py  a case on the host and on the device, and the verdict
tasks.py      the tasks of benchmarks/, and the matrix products in them
timing.py     the tasks on the device, beside the card's own matrix products
device.py     the card
report.py     the table, and a file with the numbers

It needs only NumPy, SciPy and CuPy. The core imports nothing from here.
"""

from __future__ import annotations

import sys
from pathlib import Path

from kfac_ref.files import NotWritable, make_folder, write_whole
from kfac_ref.gpu.cases import all_cases
from kfac_ref.gpu.comparing import compare_all
from kfac_ref.gpu.device import find_device
from kfac_ref.gpu.report import as_json, numbers, passed, table
from kfac_ref.gpu.timing import time_all

__all__ = ["run"]


def run(out: Path) -> int:
    """Compare, time, write `out` and print; return 0, or 1 if anything differs.

    Raises BackendError if no card answers, NotWritable if `out` cannot be written.
    """
    device = find_device()
    _check_place(out)
    outcomes = compare_all(all_cases(), device.move, _say)
    tasks, times = time_all(device, _say)
    outcomes += tasks
    write_whole(out, as_json(numbers(device, outcomes, times)))
    print(f"{table(device, outcomes, times)}\n\nall numbers: {out}", flush=True)
    return 0 if passed(outcomes) else 1


def _check_place(out: Path) -> None:
    """Raise NotWritable, before the work, if `out` cannot be written."""
    if out.is_dir():
        raise NotWritable(f"{out}: expected a file to write to, found a folder")
    make_folder(out.parent)


def _say(what: str) -> None:
    """Show what is being done if stderr is a terminal."""
    if sys.stderr and sys.stderr.isatty():
        print(f"\r\x1b[K{what} ...", end="", file=sys.stderr, flush=True)
