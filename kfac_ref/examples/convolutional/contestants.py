"""Who runs in the convolutional race: TensorFlow K-FAC's options, SGD, Adam.

From its guide (docs/examples/convolutional.md): a diagonal block for the first layer,
Kronecker blocks for the rest; statistics in every step, inverses in steps 0, 10, ...;
labels sampled; averages with decay 0.95 and no bias; lambda = 0.001; momentum 0.9 of
gradients (its momentum_type "adam", the default); batches of 128; kernels of 5 x 5 and
16 channels; max pooling over 3 x 3 with stride 2; no norm constraint, no L2.

Not from the guide: the residual block; the initial weights (Glorot's); the learning
rates, tuned on the digits by `python -m benchmarks.tune_convolutional` (the guide has
0.0001); the number of updates (its program speaks of 3000 to 6000).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kfac_ref.examples.contest import Contestant
from kfac_ref.network import Network
from kfac_ref.optimizer import KFAC, SGD, Adam, MovingAverage
from kfac_ref.optimizer.training import Optimizer

BATCH, MOMENTUM, DAMPING = 128, 0.9, 0.001
EVERY = 5  # updates between two evaluations
RATES = {"K-FAC": 0.002, "SGD with momentum": 0.05, "Adam": 0.02}


def tensorflow_kfac(network: Network, rate: float) -> KFAC:
    """K-FAC with the options of the guide.

    TensorFlow K-FAC adds lambda to a diagonal block, and damps the others by factored
    Tikhonov, as `by_kind`, the default, does here. Its A is a mean over the T
    positions, and lambda is divided by T; with its pi = sqrt(1/T) times ours that is
    the same damped matrix:

        T (A/T + pi sqrt(lambda/T) I) (x) (G + sqrt(lambda/T) / pi I)
    """
    return KFAC(
        network,
        structure=["diagonal"] + ["kronecker"] * (len(network.names) - 1),
        average=MovingAverage("debiased", 0.95),
        damping=DAMPING,
        adapt_damping=None,
        gamma_every=0,
        inverse_every=10,
        inverse_early=0,
        first_step=0,
        learning_rate=rate,
        momentum=MOMENTUM,
        momentum_of="gradient",
        l2=0.0,
    )


MAKERS: dict[str, Callable[[Network, float], Optimizer]] = {
    "K-FAC": tensorflow_kfac,
    "SGD with momentum": partial(SGD, momentum=MOMENTUM),
    "Adam": Adam,
}


def contestant(
    name: str, network: Network, rate: float, updates: int, every: int = EVERY
) -> Contestant:
    """One of MAKERS, at this learning rate."""
    words = f"learning rate {rate:g}"
    return Contestant(MAKERS[name](network, rate), BATCH, updates, words, every)
