"""The problem of the autoencoder race: images, and the net that must compress them.

    curves   784-400-200-100-50-25-6 and mirrored, CURVES (Martens & Grosse 2015, 13)
    small    196-100-50-6 and mirrored, CURVES of 14 x 14 pixels: ends within a minute
    images   784-1000-500-250-30 and mirrored, for MNIST files given by the user

Hinton & Salakhutdinov 2006, with tanh units and a linear code. Initial weights are
sparse, as in Sutskever et al. 2013 for tanh: from Glorot's, every optimizer lingers on
the plateau where it reconstructs the mean image.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.datasets import curves, mnist
from kfac_ref.distributions import Bernoulli
from kfac_ref.examples.contest import Lap
from kfac_ref.layers import Dense, Layer, Tanh
from kfac_ref.layers.initializers import sparse
from kfac_ref.network import Network
from kfac_ref.optimizer.training import Data
from kfac_ref.values import Value

DATA_SEED = 2006  # CURVES are the same for every seed of the race
CONNECTIONS, SCALE, HIDDEN_BIAS = 15, 0.25, 0.5
DTYPE = np.float32


@dataclass(frozen=True)
class Form(Value):
    """The hidden sizes down to the code; how many CURVES, and their side in pixels.

    The loss is watched on the first `watched` training images.
    """

    encoder: tuple[int, ...]
    watched: int
    images: int = 0
    side: int = 0


FORMS = {
    "curves": Form((400, 200, 100, 50, 25, 6), 2000, images=20_000, side=28),
    "small": Form((100, 50, 6), 1000, images=4_000, side=14),
    "images": Form((1000, 500, 250, 30), 2000),
}


@dataclass(frozen=True, eq=False)
class Problem(Value):
    """Images x (N, pixels) that are their own labels, and the net that encodes them."""

    description: str
    network: Network
    x: Array
    watched: Array  # (n, pixels), a part of x
    floor: float  # the entropy of the watched pixels in nats: no loss is below it
    seed: int = 0

    @property
    def data(self) -> Data:
        return self.x, self.x

    def start(self) -> tuple[list[Array], np.random.Generator]:
        """Draw the parameters; return them and the generator for all that follows."""
        rng = np.random.default_rng(self.seed)
        return self.network.init(rng, DTYPE), rng

    def look(self, lap: Lap) -> dict[str, float]:
        """The loss on the watched images, without L2."""
        loss = self.network.loss(lap.params, self.watched, self.watched)
        return {"loss": float(loss)}


def make_problem(form: str, folder: str | Path | None = None) -> Problem:
    """Make a form by name; "images" needs a folder. Raises the errors of `mnist`."""
    settings = FORMS[form]
    if folder is None:
        rng = np.random.default_rng(DATA_SEED)
        x = curves(settings.images, rng, settings.side, DTYPE)
        text = f"CURVES: {len(x):,} images of {settings.side} x {settings.side} pixels"
    else:
        x, _ = mnist(folder, dtype=DTYPE)
        text = f"{folder}: {len(x):,} images of {x.shape[1]} pixels"
    network = autoencoder((x.shape[1], *settings.encoder))
    watched = x[: settings.watched]
    return Problem(text, network, x, watched, entropy(watched))


def autoencoder(encoder: tuple[int, ...]) -> Network:
    """encoder[0]-...-encoder[-1] and back: tanh, but a linear code and output.

    The outputs are the logits of independent pixels in [0, 1] (Bernoulli).
    """
    sizes = [*encoder, *encoder[-2::-1]]
    layers: list[Layer] = []
    for i, (d_in, d_out) in enumerate(pairwise(sizes)):
        last = i == len(sizes) - 2
        few = min(CONNECTIONS, d_in)
        initializer = sparse(few, SCALE, 0.0 if last else HIDDEN_BIAS)
        layers.append(Dense(d_in, d_out, initializer=initializer))
        if not last and i != len(encoder) - 2:
            layers.append(Tanh())
    return Network(layers, Bernoulli())


def entropy(x: Array) -> float:
    """The mean over images of sum -x log x - (1 - x) log(1 - x), in nats."""
    xp = get_xp(x)
    x = x.astype(np.float64)
    inside = (x > 0) & (x < 1)
    p = xp.where(inside, x, 0.5)
    bits = xp.where(inside, -p * xp.log(p) - (1 - p) * xp.log(1 - p), 0.0)
    return float(bits.sum(axis=1).mean())
