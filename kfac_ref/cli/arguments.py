"""What the options of all commands have in common."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from kfac_ref.backend import BACKENDS


class Parser(argparse.ArgumentParser):
    """A wrong option is answered in one line, and none may be abbreviated."""

    def __init__(self, **options: Any):
        super().__init__(**{"allow_abbrev": False} | options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def count(text: str) -> int:
    """A whole number >= 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(
            f"expected a whole number >= 0, found {text!r}"
        )
    return int(text)


def sizes(text: str) -> tuple[int, ...]:
    """Sizes of hidden layers, 20-20-20."""
    found = text.split("-")
    if not all(size.isdecimal() and int(size) for size in found):
        raise argparse.ArgumentTypeError(
            f"expected sizes of hidden layers such as 20-20-20, found {text!r}"
        )
    return tuple(int(size) for size in found)


def add_folder_and_backend(
    parser: argparse.ArgumentParser, folder: Path, numbers: str
) -> None:
    """--out, where figures and a file of numbers go, and --backend."""
    parser.add_argument(
        "--out",
        type=Path,
        default=folder,
        metavar="FOLDER",
        help=f"where figures and {numbers} are written (%(default)s)",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        help="where the arrays live (as KFAC_REF_BACKEND says, or numpy)",
    )
