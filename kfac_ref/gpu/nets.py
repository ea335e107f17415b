"""The nets on which host and device are compared: every layer, every distribution.

    chain    dense layers with and without bias, a softmax         N = 23
    images   convolutions, pooling, standardisation, four losses   N = 19, T > 1
    words    an embedding, and outputs at every position           N = 19, T = 4
    mixing   a layer that mixes the examples of a batch            N = 17

They are small and well conditioned, so that rounding stays far below the tolerances. No
two eigenvalues of a factor are close: otherwise the eigenbasis that E-KFAC takes would
be one of many, and two machines would rightly differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kfac_ref.backend import Array
from kfac_ref.distributions import (
    Bernoulli,
    Categorical,
    Joint,
    Normal,
    NormalMeanVariance,
    Poisson,
)
from kfac_ref.layers import (
    AvgPool2d,
    BatchStandardize,
    Conv2d,
    Dense,
    Embedding,
    Flatten,
    Identity,
    LayerStandardize,
    MaxPool2d,
    ReLU,
    Residual,
    ScaleShift,
    Sequential,
    Sigmoid,
    Softplus,
    Tanh,
)
from kfac_ref.network import Network
from kfac_ref.values import Value

SEED = 20150601
WORDS = [4, 6, 8, 10, 13, 16, 19]  # how often each word occurs: no two alike

Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Place(Value):
    """Where a case is computed, and in which precision."""

    move: Callable[[np.ndarray], Array]
    dtype: type

    def put(self, host: Any) -> Any:
        """Move a host array, or a list of them; floats become `dtype`."""
        if isinstance(host, list):
            return [self.put(one) for one in host]
        return self.move(host.astype(self.dtype) if host.dtype.kind == "f" else host)


@dataclass(frozen=True, eq=False)
class Problem(Value):
    """A network, its parameters, a batch with labels, and vectors, all at one place."""

    network: Network
    params: list[Array]
    x: Array
    y: Any
    place: Place

    def normal(self, *shape: int) -> Array:
        """Standard normal numbers of this shape, the same at every place."""
        return self.place.put(generator().standard_normal(shape))

    @property
    def v(self) -> Array:
        """Two random vectors, (P, 2)."""
        return self.normal(self.network.size, 2)


def generator() -> Rng:
    """A generator that gives host and device the same random numbers."""
    return np.random.default_rng(SEED)


def problem(name: str, place: Place) -> Problem:
    """The net of that name, with generic parameters and labels drawn from it."""
    rng = generator()
    network, x = NETS[name](rng)
    initial = network.body.init(rng)
    params = [W + 0.2 * rng.standard_normal(W.shape) for W in initial]
    z, _ = network.forward(params, x)
    y = network.distribution.sample(z, rng, 1)
    y = [part[0] for part in y] if isinstance(y, list) else y[0]
    return Problem(network, place.put(params), place.put(x), place.put(y), place)


def _chain(rng: Rng) -> tuple[Network, np.ndarray]:
    layers = [
        Dense(5, 4),
        Tanh(),
        Dense(4, 7, bias=False),
        Sigmoid(),
        Dense(7, 5),
        Softplus(),
        Dense(5, 3),
    ]
    return Network(layers, Categorical()), rng.normal(0.3, 1.0, (23, 5))


def _images(rng: Rng) -> tuple[Network, np.ndarray]:
    mean, variance = np.array([0.3, -0.2, 0.6]), np.array([1.7, 2.3, 1.9])
    layers = [
        Conv2d(2, 3, (3, 2), stride=(2, 1), padding="CIRCULAR"),
        LayerStandardize(epsilon=0.3),
        ScaleShift(3),
        Residual([ReLU(), Conv2d(3, 3, (2, 3), bias=False), Identity()]),
        BatchStandardize(mean=mean, variance=variance),
        MaxPool2d(2, stride=1),
        AvgPool2d((1, 2), padding="SAME"),
        Flatten(),
        Dense(12, 11),
    ]
    losses = Joint(
        [
            (Categorical(), 4, 1.0),
            (Normal(0.7), 3, 0.4),
            (Bernoulli(), 2, 1.5),
            (Poisson(), 2, 0.6),
        ]
    )
    return Network(layers, losses), rng.standard_normal((19, 6, 5, 2))


def _words(rng: Rng) -> tuple[Network, np.ndarray]:
    x = rng.permutation(np.repeat(np.arange(7), WORDS)).reshape(19, 4)
    return Network([Embedding(7, 5), Tanh(), Dense(5, 4)], NormalMeanVariance()), x


def _mixing(rng: Rng) -> tuple[Network, np.ndarray]:
    layers = [
        Dense(5, 4),
        BatchStandardize(epsilon=0.1),
        ScaleShift(4),
        Sequential([Tanh(), Dense(4, 3)]),
    ]
    squares = Normal(0.5, normalized=False)
    return Network(layers, squares), rng.standard_normal((17, 5))


NETS: dict[str, Callable[[Rng], tuple[Network, np.ndarray]]] = {
    "chain": _chain,
    "images": _images,
    "words": _words,
    "mixing": _mixing,
}
