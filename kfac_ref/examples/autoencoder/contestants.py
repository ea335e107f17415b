"""Who runs in the autoencoder race: settings, batches, numbers of updates.

Everybody runs at the best settings of a grid; benchmarks/tuning has all its results,
and no winner lies at an edge. The batch is the best, too, for so many images in all,
unless half of it takes much longer for little: for K-FAC twice the updates and 1 % less
loss, for Adam on "curves" 1.4 times the seconds and 3 % less. MNIST could not be tuned
here (its files are the user's), so "images" runs at the settings of "curves".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kfac_ref.examples.contest import Contestant
from kfac_ref.network import Network
from kfac_ref.optimizer import KFAC, SGD, Adam
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.optimizer.training import Optimizer
from kfac_ref.values import Value


@dataclass(frozen=True)
class Tuned(Value):
    """An optimizer's two settings, its batch, and the length of its race."""

    settings: tuple[float, float]
    batch: int
    updates: int


TUNED = {
    "curves": {
        "K-FAC": Tuned((0.0001, 0.003), 1000, 400),
        "SGD": Tuned((0.0025, 0.95), 125, 8000),
        "Adam": Tuned((0.001, 0.8), 125, 8000),
    },
    "small": {
        "K-FAC": Tuned((0.03, 0.0003), 500, 400),
        "SGD": Tuned((0.005, 0.95), 32, 11719),
        "Adam": Tuned((0.005, 0.9), 64, 5859),
    },
}
TUNED["images"] = TUNED["curves"]


def contestants(network: Network, form: str) -> dict[str, Contestant]:
    """Return K-FAC and the baselines, all with constant learning rates."""
    return {
        name: Contestant(
            MAKERS[name](network, *tuned.settings),
            tuned.batch,
            tuned.updates,
            WORDS[name].format(*tuned.settings),
        )
        for name, tuned in TUNED[form].items()
    }


def kfac(network: Network, damping: float, least: float) -> KFAC:
    """Algorithm 2 with the paper's momentum and shares of the batch, but other damping.

    lambda starts below the paper's 150, so that the first steps leave the plateau of
    the mean image. From its first change, after 5 updates, it has a floor: on the
    plateau rho is near 1 although nothing happens, and lambda would fall without end.
    gamma stays sqrt(lambda + eta): the search for it moves only by a factor of 0.6
    every 20 updates. Inverses are computed four times as often as in the paper.
    """
    return KFAC(
        network,
        tau_1=1 / 8,
        tau_2=1 / 4,
        inverse_every=5,
        gamma_every=0,
        damping=damping,
        adapt_damping=LevenbergMarquardt(minimum=least),
    )


MAKERS: dict[str, Callable[[Network, float, float], Optimizer]] = {
    "K-FAC": kfac,
    "SGD": partial(SGD, nesterov=True),  # (network, rate, momentum)
    "Adam": Adam,  # (network, rate, beta_1)
}
WORDS = {
    "K-FAC": "lambda {:g}, after 5 updates at least {:g}",
    "SGD": "learning rate {:g}, Nesterov momentum {:g}",
    "Adam": "learning rate {:g}, beta_1 {:g}",
}
