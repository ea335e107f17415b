"""Race 3: the convolutional example of TensorFlow K-FAC, against SGD and Adam.

From its guide (docs/examples/convolutional.md): a diagonal block for the first layer,
Kronecker blocks for the rest; statistics in every step, inverses in steps 0, 10, ...;
labels sampled; decay 0.95 of the averages, without bias; lambda = 0.001; momentum 0.9,
of gradients (its momentum_type "adam", the default); batches of 128; kernels of 5 x 5
and 16 channels; max pooling over 3 x 3 with stride 2; no norm constraint, no L2.

Not from there: the residual block; the initial weights (Glorot's); the learning rate,
tuned for each contestant by `python -m benchmarks.tune_convolutional` (the guide has
0.0001); the number of updates (its program speaks of 3000 to 6000).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kfac_ref.backend import Array, asarray, get_xp
from kfac_ref.datasets import digits, mnist
from kfac_ref.distributions import Categorical
from kfac_ref.errors import NotPositiveDefinite, check_count
from kfac_ref.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Residual
from kfac_ref.network import Network
from kfac_ref.optimizer import KFAC, SGD, Adam, MovingAverage, TrainingDiverged, train
from kfac_ref.optimizer.batches import check_batch_size
from kfac_ref.optimizer.training import Data, Optimizer
from kfac_ref.values import Value

DIVERGED = (TrainingDiverged, NotPositiveDefinite)  # numbers too large, or infinite
CLASSES, BATCH, MOMENTUM, DAMPING = 10, 128, 0.9, 0.001
EVERY = 5  # updates between two evaluations
PART = 2000  # images, at most, of each set that is evaluated
CHUNK = 500  # images evaluated at a time
RATES = {"K-FAC": 0.002, "SGD with momentum": 0.05, "Adam": 0.02}  # tuned on digits


@dataclass(frozen=True)
class Settings(Value):
    """What the command line says."""

    data: str = "digits"  # or a folder with the files of MNIST
    seed: int = 0
    updates: int = 100
    out: Path = Path("figures")

    def __post_init__(self) -> None:
        check_count("seed", self.seed, least=0)
        check_count("updates", self.updates)
        super().__post_init__()


@dataclass(frozen=True, eq=False)
class Problem(Value):
    """A net, where training begins, images and labels, and a sentence about them."""

    network: Network
    start: list[Array]
    training: Data  # x (N, h, w, 1), y (N,)
    test: Data
    description: str


@dataclass(frozen=True, eq=False)
class Result(Value):
    """What was seen before the first update and after every EVERY: (evaluations,)."""

    update: np.ndarray
    seconds: np.ndarray  # in the steps alone
    loss: np.ndarray  # mean over (at most PART) training images
    accuracy: np.ndarray  # on (at most PART) test images


def make_problem(data: str, seed: int) -> Problem:
    """Images split into training and test, and the net. Errors of the data sets."""
    rng = np.random.default_rng(seed)
    training, test = _load(data, rng)
    check_batch_size(BATCH, 0, len(training[0]))
    _, h, w, _ = training[0].shape
    network = make_network((h, w))
    counts = " and ".join(
        f"{len(x):,} {name} images"
        + (f" ({PART:,} evaluated)" if len(x) > PART else "")
        for name, (x, _) in (("training", training), ("test", test))
    )
    text = f"{data}: {counts}, {h} x {w} pixels"
    return Problem(network, network.init(rng), training, test, text)


def _load(data: str, rng: np.random.Generator) -> tuple[Data, Data]:
    """Digits, a fifth of them for the test; or MNIST as it is split."""
    if data != "digits":
        return mnist(data, "train", flat=False), mnist(data, "test", flat=False)
    x, y = digits()
    x = x.reshape(-1, 8, 8, 1)
    order = asarray(rng.permutation(len(x)), like=x)
    test, training = order[: len(x) // 5], order[len(x) // 5 :]
    return (x[training], y[training]), (x[test], y[test])


def make_network(
    image: tuple[int, int], channels: int = 16, kernel: int = 5, classes: int = CLASSES
) -> Network:
    """Convolution, pooling, a residual block of two convolutions, pooling, Dense."""
    h, w = (-(-size // 4) for size in image)  # halved twice, rounded up
    inside = [Conv2d(channels, channels, 3) for _ in range(2)]
    layers = [
        Conv2d(1, channels, kernel),
        ReLU(),
        MaxPool2d(3, 2, "SAME"),
        Residual([inside[0], ReLU(), inside[1]]),
        ReLU(),
        MaxPool2d(3, 2, "SAME"),
        Flatten(),
        Dense(h * w * channels, classes),
    ]
    return Network(layers, Categorical())


def tensorflow_kfac(network: Network, rate: float) -> KFAC:
    """K-FAC with the options of the guide.

    It adds lambda to a diagonal block, and damps the others by factored Tikhonov, as
    `by_kind`, the default, does. There A is a mean over the T positions, and lambda is
    divided by T; that is the same damped matrix, with its pi = sqrt(1/T) times ours:

        T (A/T + pi sqrt(lambda/T) I) (x) (G + sqrt(lambda/T) / pi I)
    """
    return KFAC(
        network,
        structure=["diagonal"] + ["kronecker"] * (len(network.names) - 1),
        average=MovingAverage("debiased", 0.95),
        lambda_=DAMPING,
        lambda_rule=None,
        gamma_every=0,
        inverse_every=10,
        inverse_early=0,
        first_step=0,
        learning_rate=rate,
        momentum=MOMENTUM,
        momentum_of="gradient",
        l2=0.0,
    )


CONTESTANTS: dict[str, Callable[[Network, float], Optimizer]] = {
    "K-FAC": tensorflow_kfac,
    "SGD with momentum": partial(SGD, momentum=MOMENTUM),
    "Adam": Adam,
}


def compete(
    name: str,
    problem: Problem,
    rate: float,
    seed: int,
    updates: int,
    every: int = EVERY,
) -> Result:
    """Train one contestant from the start. Raises one of DIVERGED, with its name."""
    optimizer = CONTESTANTS[name](problem.network, rate)
    accuracies: list[float] = []

    def evaluate(state: Any) -> float:
        params = optimizer.params(state)
        accuracies.append(measure(problem.network, params, problem.test)[1])
        return measure(problem.network, params, problem.training)[0]

    loss, rng = evaluate(optimizer.init(problem.start)), np.random.default_rng(seed)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # the steps look for it
            history = train(
                optimizer, problem.start, problem.training, BATCH, rng,
                updates=updates, evaluation=evaluate, evaluate_every=every,
            ).history  # fmt: skip
    except DIVERGED as error:
        error.args = (f"{name}, learning rate {rate:g}: {error}",)
        raise
    seen = (history.update % every == 0) | (history.update == updates)
    return Result(
        np.append(0, history.update[seen]),
        np.append(0.0, history.seconds[seen]),
        np.append(loss, history.evaluation[seen]),
        np.array(accuracies),
    )


def measure(network: Network, params: list[Array], data: Data) -> tuple[float, float]:
    """Mean loss and share of right answers, of at most PART examples."""
    x, y = (array[:PART] for array in data)
    parts = [x[start : start + CHUNK] for start in range(0, len(x), CHUNK)]
    z = get_xp(x).concatenate([network.predict(params, part) for part in parts])
    right = get_xp(z).argmax(z, axis=-1) == y
    return float(network.distribution.loss(z, y).mean()), float(right.mean())
