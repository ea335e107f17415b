"""Who runs in the autoencoder race, at which settings, for how many updates.

Everybody runs at the best settings of a grid, for which benchmarks/tuning has every
result; none of them lies at an edge. The batch is the best, too, for the same number of
images, but where half of it is slow: for K-FAC (twice the updates, 1 % less loss) and
for Adam on "curves" (1.4 times the seconds, 3 % less). MNIST could not be tuned here
(its files are the user's), so "images" has the settings of "curves".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kfac_ref.network import Network
from kfac_ref.optimizer import KFAC, SGD, Adam
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.optimizer.training import Optimizer
from kfac_ref.values import Value

WATCHES = 100  # so often, at most, is the loss of a contestant looked at


@dataclass(frozen=True)
class Tuned(Value):
    """Two settings of an optimizer, what they are called, and the race it runs."""

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


@dataclass(frozen=True, eq=False)
class Contestant(Value):
    """An optimizer, and how long it runs."""

    optimizer: Optimizer
    batch: int
    updates: int
    words: str  # its settings

    @property
    def every(self) -> int:
        """Updates after which its loss is looked at."""
        return max(1, self.updates // WATCHES)


def contestants(network: Network, form: str) -> dict[str, Contestant]:
    """K-FAC first; then the baselines, each with a constant learning rate."""
    return {
        name: Contestant(
            MAKERS[name](network, *tuned.settings),
            tuned.batch,
            tuned.updates,
            WORDS[name].format(*tuned.settings),
        )
        for name, tuned in TUNED[form].items()
    }


def kfac(network: Network, lambda_: float, least: float) -> KFAC:
    """Algorithm 2 with the paper's momentum and shares of the batch; not its damping.

    lambda starts lower than the paper's 150, so that the first steps leave the plateau
    of the mean image; and from its first change, after 5 updates, it has a floor: rho
    is near 1 on the plateau, while nothing happens, and it would fall without end.
    gamma is sqrt(lambda + eta) throughout: the search for it would have to walk down
    from there by a factor of 0.6 in 20 updates. Inverses are made four times as often.
    A batch of half the size would need twice the updates for about the same loss.
    """
    return KFAC(
        network,
        tau_1=1 / 8,
        tau_2=1 / 4,
        inverse_every=5,
        gamma_every=0,
        lambda_=lambda_,
        lambda_rule=LevenbergMarquardt(minimum=least),
    )


def sgd(network: Network, rate: float, momentum: float) -> SGD:
    """With Nesterov's momentum."""
    return SGD(network, rate, momentum=momentum, nesterov=True)


def adam(network: Network, rate: float, beta_1: float) -> Adam:
    """With beta_2 = 0.999."""
    return Adam(network, rate, beta_1=beta_1)


MAKERS: dict[str, Callable[[Network, float, float], Optimizer]] = {
    "K-FAC": kfac,
    "SGD": sgd,
    "Adam": adam,
}
WORDS = {
    "K-FAC": "lambda {:g}, after 5 updates at least {:g}",
    "SGD": "learning rate {:g}, Nesterov momentum {:g}",
    "Adam": "learning rate {:g}, beta_1 {:g}",
}
