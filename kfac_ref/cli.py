"""The command line: `kfac-ref demo`, or `python -m kfac_ref demo`."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn

from kfac_ref.backend import BACKENDS, current, use
from kfac_ref.demo import Settings, run
from kfac_ref.errors import KfacError


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or 2 after one line on stderr where the user can do something."""
    options = make_parser().parse_args(argv)
    try:
        with use(options.backend or current()):
            run(
                Settings(
                    steps=options.steps,
                    hidden=options.net,
                    data=options.data,
                    seed=options.seed,
                    out=options.out,
                    damping=options.damping,
                )
            )
    except (KfacError, OSError) as error:
        print(f"kfac-ref: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("kfac-ref: interrupted", file=sys.stderr)
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    """A wrong option is answered in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def make_parser() -> argparse.ArgumentParser:
    """Commands and options."""
    about = "The reference implementation of K-FAC."
    parser = _Parser(prog="kfac-ref", description=about)
    parser.add_argument("--version", action="version", version=f"kfac-ref {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="train a small net with K-FAC and measure its approximations",
        description="Train a small net with a few K-FAC steps, compute the exact "
        "Fisher and its approximations, print how far apart they are, draw figures.",
    )
    _add_options(demo)
    return parser


def _add_options(demo: argparse.ArgumentParser) -> None:
    add, default = demo.add_argument, Settings()
    add(
        "--steps",
        type=_count,
        default=default.steps,
        help="training steps before the comparison (%(default)s)",
    )
    add(
        "--net",
        type=_sizes,
        default=default.hidden,
        metavar="SIZES",
        help=f"sizes of the hidden layers ({'-'.join(map(str, default.hidden))})",
    )
    add(
        "--data",
        default=default.data,
        help="digits, those of UCI that scikit-learn ships, or a folder with the "
        "training files of MNIST, gzipped or not (%(default)s)",
    )
    add(
        "--seed",
        type=_count,
        default=default.seed,
        help="of the initial weights and of the sampled labels (%(default)s)",
    )
    add(
        "--out",
        type=Path,
        default=default.out,
        metavar="FOLDER",
        help="where figures and demo.json are written (%(default)s)",
    )
    add(
        "--damping",
        type=float,
        default=default.damping,
        metavar="LAMBDA",
        help="lambda in F + lambda I (%(default)s)",
    )
    add(
        "--backend",
        choices=BACKENDS,
        help="where the arrays live (as KFAC_REF_BACKEND says, or numpy)",
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(
            f"expected a whole number >= 0, found {text!r}"
        )
    return int(text)


def _sizes(text: str) -> tuple[int, ...]:
    sizes = text.split("-")
    if not all(size.isdecimal() and int(size) for size in sizes):
        raise argparse.ArgumentTypeError(
            f"expected sizes of hidden layers such as 20-20-20, found {text!r}"
        )
    return tuple(int(size) for size in sizes)


def _version() -> str:
    try:
        return version("kfac_ref")
    except PackageNotFoundError:
        return "(not installed)"
