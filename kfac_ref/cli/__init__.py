"""The command line: `kfac-ref COMMAND`, or `python -m kfac_ref COMMAND`.

Every command has a file here, with its options (`add`) and what it does with them.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import PackageNotFoundError, version

from kfac_ref.backend import current, use
from kfac_ref.cli import demo, race, train
from kfac_ref.cli.arguments import Parser
from kfac_ref.errors import KfacError

COMMANDS = (demo, race, train)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or 2 after one line on stderr where the user can do something."""
    options = make_parser().parse_args(argv)
    try:
        with use(options.backend or current()):
            options.run(options)
    except (KfacError, OSError) as error:
        print(f"kfac-ref: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("kfac-ref: interrupted", file=sys.stderr)
        return 130
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Commands and options."""
    about = "The reference implementation of K-FAC."
    parser = Parser(prog="kfac-ref", description=about)
    parser.add_argument("--version", action="version", version=f"kfac-ref {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def _version() -> str:
    try:
        return version("kfac_ref")
    except PackageNotFoundError:
        return "(not installed)"
