"""`kfac-ref gpu`: checks whether a GPU computes what the host computes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kfac_ref.cli.arguments import place
from kfac_ref.gpu import run


def add(commands: Any) -> None:
    """Add the command and its option."""
    gpu = commands.add_parser(
        "gpu",
        help="compare a GPU with the host, and time it",
        description="Compute everything on the host and on the GPU: structures, "
        "estimates, damping rules, exact products, the quadratic model, twenty steps "
        "of every optimizer. Print how far they are apart, then the times of the "
        "benchmarks' tasks beside the card's own matrix products. Exit code 1 if "
        "anything differs, 2 if no card answers. Needs CuPy, and nothing else.",
    )
    gpu.add_argument(
        "--out",
        type=place,
        default=Path("kfac-ref-gpu.json"),
        metavar="FILE",
        help="where all numbers are written (%(default)s)",
    )
    gpu.set_defaults(run=_run, backend="numpy")  # arrays are made on the host


def _run(options: argparse.Namespace) -> int:
    return run(options.out)
