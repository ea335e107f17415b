"""Who runs in the autoencoder race, at which settings, for how many updates.

The baselines run at the best settings of their grids, for which benchmarks/tuning has
every result; none of them lies at an edge. MNIST could not be tuned here (its files are
the user's), so "images" has the settings of "curves".
"""

from __future__ import annotations

from dataclasses import dataclass

from kfac_ref.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.network import Network
from kfac_ref.optimizer import KFAC, SGD, Adam
from kfac_ref.optimizer.training import Optimizer


@dataclass(frozen=True)
class Tuned:
    """What was tuned; the rest is said in `contestants`."""

    batch: int  # of the baselines
    updates: int
    sgd: tuple[float, float]  # learning rate, Nesterov momentum
    adam: tuple[float, float]  # learning rate, beta_1
    kfac_batch: int
    kfac_updates: int
    kfac: tuple[float, float]  # lambda at the start; its floor from the first change


TUNED = {
    "curves": Tuned(500, 2000, (0.01, 0.8), (0.002, 0.9), 1000, 250, (0.001, 0.001)),
    "small": Tuned(250, 1500, (0.02, 0.9), (0.01, 0.9), 500, 300, (0.03, 0.0003)),
}
TUNED["images"] = TUNED["curves"]


@dataclass(frozen=True)
class Contestant:
    """An optimizer, and how long it runs."""

    optimizer: Optimizer
    batch: int
    updates: int
    every: int  # updates after which its loss is looked at
    settings: str  # in words


def contestants(network: Network, tuned: Tuned) -> dict[str, Contestant]:
    """K-FAC first; then the baselines, each with a constant learning rate."""
    rate, momentum = tuned.sgd
    adam_rate, beta_1 = tuned.adam
    baseline = tuned.batch, tuned.updates, 20
    return {
        "K-FAC": Contestant(
            kfac(network, *tuned.kfac),
            tuned.kfac_batch,
            tuned.kfac_updates,
            5,
            f"lambda {tuned.kfac[0]:g}, after 5 updates at least {tuned.kfac[1]:g}",
        ),
        "SGD": Contestant(
            SGD(network, rate, momentum=momentum, nesterov=True),
            *baseline,
            f"learning rate {rate:g}, Nesterov momentum {momentum:g}",
        ),
        "Adam": Contestant(
            Adam(network, adam_rate, beta_1=beta_1),
            *baseline,
            f"learning rate {adam_rate:g}, beta_1 {beta_1:g}",
        ),
    }


def kfac(network: Network, lambda_: float, least: float) -> KFAC:
    """Algorithm 2 with the paper's momentum and shares of the batch; not its damping.

    lambda starts lower than the paper's 150, so that the first steps leave the plateau
    of the mean image; and from its first change, after 5 updates, it has a floor: rho
    is near 1 on the plateau, while nothing happens, and it would fall without end.
    gamma is sqrt(lambda + eta) throughout: the search for it would have to walk down
    from there by a factor of 0.6 in 20 updates. Inverses are made four times as often.
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
