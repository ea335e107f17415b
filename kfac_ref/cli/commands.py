"""All commands, and the exit codes."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from kfac_ref.backend import current, use
from kfac_ref.cli import INTERRUPTED, demo, gpu, race, train
from kfac_ref.cli.arguments import Parser
from kfac_ref.errors import KfacError
from kfac_ref.optimizer import Diverged

COMMANDS = (demo, race, train, gpu)
DONE, FAILED, REFUSED, UNREAD = 0, 1, 2, 141  # 128 + SIGPIPE
CODES = {
    DONE: "done",
    FAILED: "the work failed",
    REFUSED: "the work was not begun: options, data or folder do not fit",
    INTERRUPTED: "interrupted",
    UNREAD: "nobody reads the output any more",
}


def run(argv: list[str] | None = None) -> int:
    """Run a command, return its exit code; report what users can mend on one line."""
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        return UNREAD
    except (KfacError, OSError, MemoryError) as error:
        failed = isinstance(error, ArithmeticError | Diverged)  # numerical failure
        refused = isinstance(error, KfacError) and not failed
        return _say(_words(error), REFUSED if refused else FAILED)


def _run(argv: list[str] | None) -> int:
    try:
        options = make_parser().parse_args(argv)
        with use(options.backend or current()):
            return options.run(options) or DONE
    except SystemExit as exit:  # after --help, --version or a wrong option
        return int(exit.code or DONE)


def _words(error: BaseException) -> str:
    """The error's message, on one line."""
    if isinstance(error, OSError) and error.errno and not error.filename:
        return f"cannot write the output: {error.strerror}"
    return " ".join(str(error).split()) or "not enough memory"


def _say(message: str, code: int) -> int:
    with suppress(OSError):  # stderr may be closed
        print(f"kfac-ref: {message}", file=sys.stderr, flush=True)
    return code


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands and options."""
    codes = "; ".join(f"{code} {words}" for code, words in CODES.items())
    parser = Parser(
        prog="kfac-ref",
        description="The reference implementation of K-FAC.",
        epilog=f"Exit code: {codes}.",
    )
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
