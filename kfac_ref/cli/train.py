"""`kfac-ref train`: LBANN's MNIST example, with LBANN's names for its options."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from kfac_ref.cli.arguments import add_folder_and_backend, data, made_from, whole
from kfac_ref.errors import Unsupported
from kfac_ref.examples.lbann import race as lbann_race
from kfac_ref.examples.lbann import training as lbann
from kfac_ref.examples.lbann.models import MODELS
from kfac_ref.examples.lbann.settings import OPTIMIZERS, KfacSettings, Settings

OF_THE_RACE = ("model", "num_epochs", "mini_batch_size", "data", "seed")
KFAC = [field.name for field in fields(KfacSettings)]
ALL = [field.name for field in fields(Settings) if field.name != "kfac"]


def add(commands: Any) -> None:
    """Add the command and its options; those not given are absent after parsing.

    The options of LBANN's own script, such as --kfac-damping-act, are understood, too.
    """
    train = commands.add_parser(
        "train",
        help="LBANN's MNIST example: Adam, SGD or K-FAC on its mlp or cnn",
        description="Train LBANN's mlp or cnn on the digits or on MNIST, and print "
        "after every epoch what LBANN prints: objective, accuracy, run time, mean, "
        "maximum, minimum and standard deviation of the mini-batch time, and the "
        "test's objective and accuracy.",
    )
    train.set_defaults(run=_run)
    train.add_argument(
        "--compare",
        action="store_true",
        help="race Adam against K-FAC, both at LBANN's settings and tuned, on three "
        "seeds from SEED on; writes a figure",
    )
    _add_training(train)
    _add_kfac(train.add_argument_group("K-FAC"))
    add_folder_and_backend(train, lbann_race.FOLDER, "a file of numbers")


def _run(options: argparse.Namespace) -> None:
    with made_from(options):
        settings = _settings(vars(options))
    (lbann_race if options.compare else lbann).run(settings, options.out)


def _settings(given: dict[str, Any]) -> Settings:
    kfac = {name: given[name] for name in KFAC if name in given}
    settings = {name: given[name] for name in ALL if name in given}
    if given["compare"]:
        extra = [name for name in given if name in (*ALL, *KFAC, "kfac")]
        _refuse(set(extra) - set(OF_THE_RACE), "--compare has contestants of its own")
    elif "kfac" in given:
        settings["kfac"] = KfacSettings(**kfac)
    else:
        _refuse(kfac, "without --kfac there is no K-FAC to set")
    return Settings(**settings)


def _refuse(names: Any, reason: str) -> None:
    if names:
        given = ", ".join("--" + name.replace("_", "-") for name in sorted(names))
        raise Unsupported(f"{reason}: leave out {given}")


def _add_training(parser: Any) -> None:
    default = Settings()

    def add(name: str, *others: str, help: str, **kind: Any) -> None:
        text = f"{help} ({getattr(default, name.replace('-', '_'))})"
        names = [f"--{each}" for each in (name, *others)]
        parser.add_argument(*names, default=argparse.SUPPRESS, help=text, **kind)

    add("model", choices=MODELS, help="the network")
    add("optimizer", choices=OPTIMIZERS, help="momentum is SGD with 0.9")
    rate: Any = {"type": float, "metavar": "RATE"}
    number: Any = {"type": whole, "metavar": "NUMBER"}
    add("learning-rate", "optimizer-learning-rate", help="held fixed", **rate)
    add("num-epochs", "num_epochs", help="passes over the images", **number)
    add("mini-batch-size", "mini_batch_size", help="images in an update", **number)
    add("data", type=data, help="digits, or a folder with the four files of MNIST")
    add(
        "seed", type=whole, help="of the test images, initial weights, order of batches"
    )


def _add_kfac(parser: Any) -> None:
    """Add the options of K-FAC."""
    default = KfacSettings()

    def add(name: str, *others: str, help: str, **kind: Any) -> None:
        value = getattr(default, name.replace("-", "_"))
        shown = value[0] if isinstance(value, tuple) else value
        text = help if value is False else f"{help} ({shown})"
        names = [f"--{each}" for each in (name, f"kfac-{name}", *others)]
        parser.add_argument(*names, default=argparse.SUPPRESS, help=text, **kind)

    parser.add_argument(
        "--kfac",
        action="store_true",
        default=argparse.SUPPRESS,
        help="precondition the gradient of sgd or momentum with K-FAC",
    )
    numbers: Any = {"type": damping, "metavar": "X[,Y]"}
    steps: Any = {"type": whole, "metavar": "STEPS"}
    flag: Any = {"action": "store_true"}
    add("damping-act", help="added to A; X,Y moves from X towards Y", **numbers)
    add("damping-err", help="added to G; the same", **numbers)
    add("damping-warmup-steps", help="how slowly X moves towards Y", **steps)
    add("use-pi", help="split the damping by pi, computed from traces", **flag)
    add("update-interval-init", help="from one refresh to the next, at first", **steps)
    add("update-interval-target", help="the same in the end", **steps)
    add("update-interval-steps", help="on the way from init to target", **steps)
    add("compute-interval", "kfac-compute-interval-steps", help="at the least", **steps)
    add(
        "kronecker-decay",
        help="of the factors' moving average",
        type=float,
        metavar="SHARE",
    )
    add("use-eigen", help="eigendecompositions in place of Cholesky's", **flag)


def damping(text: str) -> tuple[float, ...]:
    """Parse one number, or two: from, to."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not 1 <= len(numbers) <= 2:
        raise argparse.ArgumentTypeError(
            f"expected a damping such as 0.03, or two such as 0.1,0.01, found {text!r}"
        )
    return numbers
