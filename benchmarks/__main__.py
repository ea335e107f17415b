"""Measure everything: `python -m benchmarks`, or `make bench`. See --help."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.cases import CASES
from benchmarks.peers import COMPARED, PEERS

ROOT = Path(__file__).parent.parent


# glibc keeps freed memory, instead of returning it and asking again page by page
KEEP_MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (7)")
    parser.add_argument("--task", default="", help="only tasks with this in their name")
    parser.add_argument(
        "--peers-python",
        default=os.environ.get("KFAC_REF_PEERS_PYTHON", sys.executable),
        help="the interpreter in which the peers are installed, with NumPy and SciPy "
        "(default: the variable KFAC_REF_PEERS_PYTHON, or this one)",
    )
    parser.add_argument("--no-peers", action="store_true", help="the baselines only")
    parser.add_argument(
        "--give-back",
        action="store_true",
        help="let glibc give freed memory back to the system, as it does by default",
    )
    parser.add_argument(
        "--out", type=Path, default=report.HERE / "results" / "latest.json"
    )
    parser.add_argument(
        "--merge", action="store_true", help="keep the other measurements of that file"
    )
    parser.add_argument(
        "--readme", action="store_true", help="put the tables into README.md, too"
    )
    return parser.parse_args()


def run(
    python: str, task: str, against: str, threads: int, rounds: int, give_back: bool
) -> dict:
    """Run one task in its own process, with so many BLAS threads; return its row."""
    number = str(threads)
    limits = dict.fromkeys(["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"], number)
    limits |= {"MKL_NUM_THREADS": number, "PYTHONPATH": str(ROOT)}
    limits |= {"JAX_PLATFORMS": "cpu", "KFAC_REF_BACKEND": "numpy"}
    limits |= {} if give_back else KEEP_MEMORY
    if threads == 1:  # the only thread limit that XLA heeds
        limits["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    done = subprocess.run(
        [python, "-m", "benchmarks.worker", task, against, str(rounds)],
        env=os.environ | limits,
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return {"task": task, "against": against, "threads": threads, "skipped": reason}


def machine() -> str:
    """The machine and the versions measured on, in one line."""
    import numpy
    import scipy

    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((x.split(": ")[1] for x in lines if x.startswith("model name")), cpu)
    versions = f"Python {platform.python_version()}, NumPy {numpy.__version__}"
    return f"{cpu}, {os.cpu_count()} cores; {versions}, SciPy {scipy.__version__}"


def main() -> int:
    given = options()
    rows: list[dict[str, Any]] = []
    for against in ["baseline", *([] if given.no_peers else PEERS)]:
        python = sys.executable if against == "baseline" else given.peers_python
        known = CASES if against == "baseline" else COMPARED
        for task in [task for task in known if given.task in task]:
            for threads in given.threads:
                row = run(python, task, against, threads, given.rounds, given.give_back)
                rows.append(row)
                print(report.table([row]).splitlines()[-1], flush=True)
    failed = [row for row in rows if row["against"] == "baseline" and "skipped" in row]
    over = "over" in map(report.verdict, rows)
    if given.merge and given.out.exists():
        rows = report.merge(json.loads(given.out.read_text())["rows"], rows)
    results = {"machine": machine(), "rounds": given.rounds, "rows": rows}
    report.write(results, given.out)
    if given.readme:
        report.refresh_readme(given.out)
    print("\n" + report.tables(results))
    return int(bool(failed) or over)


if __name__ == "__main__":
    sys.exit(main())
