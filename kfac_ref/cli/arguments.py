"""What the options of all commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from kfac_ref.backend import BACKENDS
from kfac_ref.errors import KfacError, describe

DIGITS = 4000  # most digits of a number; Python reads 4300


class Parser(argparse.ArgumentParser):
    """Answers a wrong option in one line, and allows no abbreviations."""

    def __init__(self, **options: Any):
        super().__init__(**{"allow_abbrev": False} | options)
        self.set_defaults(parser=self)  # the chosen command's

    def error(self, message: str) -> NoReturn:
        line = " ".join(message.split())
        self.exit(2, f"{self.prog}: {line}; see {self.prog} --help\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Report unknown arguments as the command's own, not its parent's."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def _print_message(self, message: str, file: Any = None) -> None:
        """Fail if help cannot be written; argparse would ignore it."""
        if file is sys.stdout:
            file.write(message)
        else:
            super()._print_message(message, file)


@contextmanager
def made_from(options: argparse.Namespace) -> Iterator[None]:
    """Turn errors of the settings made inside into one line from the command."""
    try:
        yield
    except KfacError as error:
        options.parser.error(str(error))


def whole(text: str) -> int:
    """Parse a whole number; the settings check its range."""
    if not text.removeprefix("-").isdecimal() or len(text) > DIGITS:
        raise argparse.ArgumentTypeError(
            f"expected a whole number, found {describe(text)}"
        )
    return int(text)


def place(text: str) -> Path:
    """Parse a file or a folder; '' is refused, since it would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError(
            "expected a path, found ''; the current folder is ."
        )
    return Path(text)


def data(text: str) -> str:
    """Parse the name of a data set, or a folder."""
    place(text)
    return text


def sizes(text: str) -> tuple[int, ...]:
    """Parse sizes of hidden layers, such as 20-20-20."""
    found = text.split("-")
    if not all(size.isdecimal() and int(size) for size in found):
        raise argparse.ArgumentTypeError(
            f"expected sizes of hidden layers such as 20-20-20, found {text!r}"
        )
    return tuple(int(size) for size in found)


def add_folder_and_backend(
    parser: argparse.ArgumentParser, folder: Path, numbers: str
) -> None:
    """Add --out, for figures and a file of numbers, and --backend."""
    parser.add_argument(
        "--out",
        type=place,
        default=folder,
        metavar="FOLDER",
        help=f"where figures and {numbers} are written (%(default)s)",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        help="where the arrays live (as KFAC_REF_BACKEND says, or numpy)",
    )
