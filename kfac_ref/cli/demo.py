"""`kfac-ref demo`: trains a small net and compares approximations of its Fisher."""

from __future__ import annotations

import argparse
from typing import Any

from kfac_ref.cli.arguments import add_folder_and_backend, data, made_from, sizes, whole
from kfac_ref.examples.demo import Settings, run


def add(commands: Any) -> None:
    """Add the command and its options."""
    demo = commands.add_parser(
        "demo",
        help="train a small net with K-FAC and measure its approximations",
        description="Train a small net with a few K-FAC steps, compute the exact "
        "Fisher and its approximations, print how far apart they are, draw figures.",
    )
    _add_options(demo)
    demo.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    with made_from(options):
        settings = Settings(
            steps=options.steps,
            hidden=options.net,
            data=options.data,
            seed=options.seed,
            out=options.out,
            damping=options.damping,
        )
    run(settings)


def _add_options(demo: argparse.ArgumentParser) -> None:
    add, default = demo.add_argument, Settings()
    add(
        "--steps",
        type=whole,
        default=default.steps,
        help="training steps before the comparison (%(default)s)",
    )
    add(
        "--net",
        type=sizes,
        default=default.hidden,
        metavar="SIZES",
        help=f"sizes of the hidden layers ({'-'.join(map(str, default.hidden))})",
    )
    add(
        "--data",
        type=data,
        default=default.data,
        help="digits, those of UCI that scikit-learn ships, or a folder with the "
        "training files of MNIST, gzipped or not (%(default)s)",
    )
    add(
        "--seed",
        type=whole,
        default=default.seed,
        help="of the initial weights and of the sampled labels (%(default)s)",
    )
    add(
        "--damping",
        type=float,
        default=default.damping,
        metavar="LAMBDA",
        help="lambda > 0 in F + lambda I (%(default)s)",
    )
    add_folder_and_backend(demo, default.out, "demo.json")
