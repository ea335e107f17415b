"""`kfac-ref race RACE`: runs the races that made K-FAC known, one command each.

Each race has two functions here: one adds its options, the other runs it.
"""

from __future__ import annotations

import argparse
from typing import Any

from kfac_ref.cli.arguments import (
    add_folder_and_backend,
    data,
    made_from,
    place,
    whole,
)
from kfac_ref.examples.autoencoder import race as autoencoder
from kfac_ref.examples.convolutional import race as convolutional


def add(commands: Any) -> None:
    """Add the command, and the races with their options."""
    race = commands.add_parser(
        "race",
        help="race K-FAC against SGD and Adam",
        description="Train with K-FAC and its rivals at tuned settings; print the "
        "results, draw a figure, and write the numbers beside it.",
    )
    races = race.add_subparsers(dest="race", required=True, metavar="RACE")
    _add_autoencoder(races)
    _add_convolutional(races)


def _add_autoencoder(races: Any) -> None:
    """Add the autoencoder and its options."""
    default = autoencoder.Settings()
    parser = races.add_parser(
        "autoencoder",
        help="a deep autoencoder, on CURVES or on MNIST",
        description="The headline of TensorFlow K-FAC: how many times fewer updates "
        "and seconds K-FAC needs to the final training loss of SGD with momentum.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--small",
        action="store_true",
        help="images of 14 x 14 pixels and a small net: ends within a minute",
    )
    which.add_argument(
        "--data",
        type=place,
        metavar="FOLDER",
        help="the training files of MNIST, gzipped or not: a net of 784-1000-500-250-30"
        " and mirrored; without it CURVES are drawn, 784-400-200-100-50-25-6",
    )
    parser.add_argument(
        "--seeds",
        type=whole,
        default=default.seeds,
        help="how many races are run, seeds 0, 1, ... (%(default)s)",
    )
    add_folder_and_backend(parser, default.out, "race_autoencoder_*.json")
    parser.set_defaults(run=_run_autoencoder)


def _run_autoencoder(options: argparse.Namespace) -> None:
    with made_from(options):
        settings = autoencoder.Settings(
            small=options.small,
            data=options.data,
            seeds=options.seeds,
            out=options.out,
        )
    autoencoder.run(settings)


def _add_convolutional(races: Any) -> None:
    """Add the convolutional net and its options."""
    default = convolutional.Settings()
    parser = races.add_parser(
        "convolutional",
        help="a residual convolutional net, its first block diagonal",
        description="The convolutional example of TensorFlow K-FAC: a diagonal block "
        "for the first layer, Kronecker blocks for the rest, inverses every 10 steps.",
    )
    parser.add_argument(
        "--data",
        type=data,
        default=default.data,
        help="digits, those of UCI that scikit-learn ships, or a folder with the four "
        "files of MNIST, gzipped or not (%(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=whole,
        default=default.seed,
        help="of the split, the initial weights and the batches (%(default)s)",
    )
    parser.add_argument(
        "--updates",
        type=whole,
        default=default.updates,
        help="of each contestant (%(default)s)",
    )
    add_folder_and_backend(parser, default.out, "race_convolutional.json")
    parser.set_defaults(run=_run_convolutional)


def _run_convolutional(options: argparse.Namespace) -> None:
    with made_from(options):
        settings = convolutional.Settings(
            data=options.data,
            seed=options.seed,
            updates=options.updates,
            out=options.out,
        )
    convolutional.run(settings)
