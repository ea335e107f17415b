"""The demo's data and net, and the limit on their size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from kfac_ref.backend import Array
from kfac_ref.checks import check_count
from kfac_ref.datasets import digits, mnist, shrink
from kfac_ref.distributions import Categorical
from kfac_ref.errors import KfacError, located, require
from kfac_ref.examples.images import CLASSES
from kfac_ref.layers import Dense, Layer, Tanh
from kfac_ref.network import Network
from kfac_ref.values import Value

LARGEST = 6000  # parameters
EXAMPLES = 2000  # at most so many
INPUTS = 64  # at most so many pixels


class TooLarge(KfacError, ValueError):
    """The exact Fisher would not fit into the memory or the time of a demo."""


@dataclass(frozen=True)
class Settings(Value):
    """What the command line says. Martens & Grosse 2015, figures 2 to 6: the net."""

    steps: int = 7
    hidden: tuple[int, ...] = (20, 20, 20, 20, 20)
    data: str = "digits"  # or a folder with the files of MNIST
    seed: int = 0
    out: Path = Path("figures")
    damping: float = 0.03

    def __post_init__(self) -> None:
        check_count("steps", self.steps, least=0)
        check_count("seed", self.seed, least=0)
        super().__post_init__()
        positive = "a finite number > 0 (the exact Fisher is singular)"
        require(0 < self.damping < math.inf, "damping", positive, self.damping)
        hidden = tuple(check_count("hidden", units) for units in self.hidden)
        object.__setattr__(self, "hidden", hidden)


@dataclass(frozen=True, eq=False)
class Problem(Value):
    """A net, its initial parameters, a batch, and a sentence about the data."""

    settings: Settings
    network: Network
    params: list[Array]  # where training begins
    x: Array  # (N, inputs)
    y: Array  # (N,)
    description: str
    rng: np.random.Generator


def make_problem(settings: Settings) -> Problem:
    """Load the data, make the net. Raises TooLarge and the errors of the data sets."""
    x, y, description = _load(settings.data)
    sizes = [x.shape[1], *settings.hidden, CLASSES]
    check_size(sizes)
    layers: list[Layer] = []
    for d_in, d_out in pairwise(sizes):
        layers += [Dense(d_in, d_out), Tanh()]
    network = Network(layers[:-1], Categorical())
    rng = np.random.default_rng(settings.seed)
    return Problem(settings, network, network.init(rng), x, y, description, rng)


def check_size(sizes: list[int]) -> None:
    """Raise TooLarge for a net whose exact Fisher is too much for a demo."""
    P = sum((d + 1) * o for d, o in pairwise(sizes))
    if P > LARGEST:
        raise TooLarge(
            f"a net of {'-'.join(map(str, sizes))} has {P:,} parameters: its exact "
            f"Fisher would take {8e-9 * P * P:,.1f} GB, several times over, and a "
            "time that grows with the cube; expected at most "
            f"{LARGEST:,} parameters: choose fewer or smaller hidden layers with --net"
        )


def _load(data: str) -> tuple[Array, Array, str]:
    """Return x (N, pixels), y (N,), and a sentence about them."""
    if data == "digits":
        x, y = digits()
        return x, y, f"UCI digits: {len(x):,} images of 8 x 8 pixels"
    images, y = mnist(data, "train", flat=False)
    N, H, W, _ = images.shape
    factor = math.ceil(math.sqrt(H * W / INPUTS))
    with located(f"{data}: shrinking its images to at most {INPUTS} pixels"):
        few = shrink(images[:EXAMPLES], factor)
    text = f"{data}: the first {len(few):,} of {N:,} images, {H} x {W} pixels"
    if factor > 1:
        text += (
            f", shrunk to {few.shape[1]} x {few.shape[2]} (means over {factor} x "
            f"{factor} pixels) so that the exact Fisher fits"
        )
    return few.reshape(len(few), -1), y[:EXAMPLES], text
