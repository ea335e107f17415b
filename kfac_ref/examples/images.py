"""Labelled images for training and for the test, and how well a net classifies them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kfac_ref.backend import Array, asarray, get_xp
from kfac_ref.datasets import digits, mnist
from kfac_ref.network import Network
from kfac_ref.optimizer.training import Data
from kfac_ref.values import Value

CLASSES = 10
CHUNK = 500  # images evaluated at a time


@dataclass(frozen=True, eq=False)
class Images(Value):
    """Images (N, h, w, 1) and labels (N,), for training and for the test."""

    train: Data
    test: Data

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.train[0].shape[1:3]


def load(data: str, rng: np.random.Generator, held_out: slice) -> Images:
    """Load MNIST from the folder `data`, or split "digits" at random.

    Of the shuffled digits those at `held_out` are for the test. Raises ExtraMissing,
    DatasetMissing, DatasetError.
    """
    if data != "digits":
        return Images(*(mnist(data, split, flat=False) for split in ("train", "test")))
    x, y = digits()
    x, order = x.reshape(-1, 8, 8, 1), rng.permutation(len(x))
    train, test = (
        asarray(part, like=x) for part in (np.delete(order, held_out), order[held_out])
    )
    return Images((x[train], y[train]), (x[test], y[test]))


def evaluate(network: Network, params: list[Array], data: Data) -> tuple[float, float]:
    """Return the mean loss and the share of right answers."""
    x, y = data
    parts = [x[start : start + CHUNK] for start in range(0, len(x), CHUNK)]
    z = get_xp(x).concatenate([network.predict(params, part) for part in parts])
    right = get_xp(z).argmax(z, axis=-1) == y
    return float(network.distribution.loss(z, y).mean()), float(right.mean())
