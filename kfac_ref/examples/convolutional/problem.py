"""The problem of the convolutional race: images of digits, and a small residual net."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kfac_ref.backend import Array
from kfac_ref.distributions import Categorical
from kfac_ref.examples.contest import Course, Lap
from kfac_ref.examples.images import CLASSES, Images, evaluate, load
from kfac_ref.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Residual
from kfac_ref.network import Network
from kfac_ref.optimizer.training import Data
from kfac_ref.values import Value

HELD_OUT = slice(1797 // 5)  # a fifth of the digits
PART = 2000  # images, at most, of each set that is evaluated


@dataclass(frozen=True, eq=False)
class Problem(Value):
    """A net, its initial parameters, images, and a sentence about them."""

    seed: int
    network: Network
    params: list[Array]
    images: Images
    description: str

    @property
    def data(self) -> Data:
        return self.images.train

    def start(self) -> tuple[list[Array], np.random.Generator]:
        """The initial parameters, and a new generator for batches and labels."""
        return self.params, np.random.default_rng(self.seed)

    def look(self, lap: Lap) -> dict[str, float]:
        return self.measure(lap.params)

    def measure(self, params: list[Array]) -> dict[str, float]:
        """The loss on PART training images, the accuracy on PART test images."""
        (x, y), (x_test, y_test) = self.images.train, self.images.test
        _, accuracy = evaluate(self.network, params, (x_test[:PART], y_test[:PART]))
        loss, _ = evaluate(self.network, params, (x[:PART], y[:PART]))
        return {"loss": loss, "accuracy": accuracy}

    def from_start(self, course: Course) -> Course:
        """The course, preceded by what is seen before the first update."""
        first = {"update": 0, "seconds": 0.0} | self.measure(self.params)
        return Course([first, *course.rows])


def make_problem(data: str, seed: int) -> Problem:
    """Load the images, make the net. Raises the errors of `load`."""
    rng = np.random.default_rng(seed)
    images = load(data, rng, HELD_OUT)
    h, w = images.size
    network = make_network((h, w))
    counts = " and ".join(
        f"{len(x):,} {name} images"
        + (f" ({PART:,} evaluated)" if len(x) > PART else "")
        for name, (x, _) in (("training", images.train), ("test", images.test))
    )
    text = f"{data}: {counts}, {h} x {w} pixels"
    return Problem(seed, network, network.init(rng), images, text)


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
