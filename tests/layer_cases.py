"""One list of (layer, input shape), over which test_layers.py runs its laws.

A new layer is one new line. `witness` is autograd's Jacobian of the layer's own forward
code, all outputs by all parameters and inputs: it shares no code with jvp, vjp, a or g.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import autograd.numpy as anp
import numpy as np
from autograd import jacobian

from kfac_ref.layers import (
    AvgPool2d,
    BatchStandardize,
    Conv2d,
    Dense,
    Embedding,
    Flatten,
    Identity,
    Layer,
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

IMAGE = (3, 7, 5, 2)  # N, h, w, c
EXPLICIT = ((2, 0), (1, 3))


@dataclass(frozen=True, eq=False)
class Case:
    layer: Layer
    shape: tuple[int, ...]
    words: int = 0  # inputs are integers below this, if it is not 0

    def __str__(self):
        return f"{self.layer!r} {self.shape}"

    def draw(self):
        """Parameters, none of them special, and inputs, on the host."""
        rng = np.random.default_rng([*map(ord, str(self))])
        params = [W + 0.3 * rng.normal(size=W.shape) for W in self.layer.init(rng)]
        if self.words:
            return params, rng.integers(0, self.words, self.shape)
        return params, rng.normal(0.4, 1.0, self.shape)


FROZEN = {"mean": np.array([0.3, -0.7]), "variance": np.array([1.7, 0.2])}

CASES = [
    Case(Dense(5, 3), (7, 5)),
    Case(Dense(5, 3, bias=False), (7, 5)),
    Case(Dense(5, 3), (7, 2, 5)),
    Case(Dense(5, 3, bias=False), (7, 2, 4, 5)),
    Case(Tanh(), (7, 5)),
    Case(ReLU(), (7, 3, 5)),
    Case(Sigmoid(), (7, 5)),
    Case(Softplus(), (7, 3, 5)),
    Case(Identity(), (7, 5)),
    Case(Conv2d(2, 11, (3, 2)), IMAGE),
    Case(Conv2d(2, 11, (2, 3), bias=False), IMAGE),
    Case(Conv2d(2, 11, 3, stride=(3, 2), dilation=(1, 2)), IMAGE),
    Case(Conv2d(2, 11, (3, 2), padding="VALID"), IMAGE),
    Case(Conv2d(2, 11, (2, 3), stride=2, padding="VALID", dilation=(3, 1)), IMAGE),
    Case(Conv2d(2, 11, (3, 2), padding="CIRCULAR"), IMAGE),
    Case(Conv2d(2, 11, 3, stride=(2, 3), padding="CIRCULAR", dilation=2), IMAGE),
    Case(Conv2d(2, 11, (2, 7), stride=2, padding="CIRCULAR", bias=False), IMAGE),
    Case(Conv2d(2, 11, (3, 2), stride=(2, 1), padding=EXPLICIT), IMAGE),
    Case(Conv2d(2, 11, 1, stride=3, padding="SAME"), IMAGE),
    Case(MaxPool2d(2), IMAGE),
    Case(MaxPool2d((3, 2), stride=(2, 1)), IMAGE),
    Case(MaxPool2d((2, 3), padding="SAME"), IMAGE),
    Case(MaxPool2d((3, 2), stride=2, padding="CIRCULAR"), IMAGE),
    Case(AvgPool2d(2), IMAGE),
    Case(AvgPool2d((3, 2), stride=(2, 1)), IMAGE),
    Case(AvgPool2d((2, 3), padding="SAME"), IMAGE),
    Case(AvgPool2d((3, 2), stride=2, padding="CIRCULAR"), IMAGE),
    Case(ScaleShift(5), (7, 5)),
    Case(ScaleShift(2), IMAGE),
    Case(Embedding(11, 3), (7,), words=11),
    Case(Embedding(5, 3), (7, 4), words=5),
    Case(Flatten(), IMAGE),
    Case(BatchStandardize(), (7, 5)),
    Case(BatchStandardize(epsilon=0.3), IMAGE),
    Case(BatchStandardize(epsilon=0.3, **FROZEN), IMAGE),
    Case(LayerStandardize(), (7, 5)),
    Case(LayerStandardize(epsilon=0.3), (3, 2, 7, 5)),
    Case(Sequential([Tanh(), Dense(5, 4), Sigmoid(), Dense(4, 3)]), (7, 5)),
    Case(Sequential([Tanh(), Flatten()]), (7, 3, 5)),
    Case(Sequential([Embedding(11, 5), Tanh(), Dense(5, 3)]), (7, 2), words=11),
    Case(Residual([Tanh()]), (7, 5)),
    Case(Residual([ReLU(), Dense(5, 4), Tanh(), Dense(4, 5)]), (7, 5)),
    Case(
        Sequential(
            [
                Dense(5, 3),
                Residual([Dense(3, 4), Softplus(), Residual([Tanh()]), Dense(4, 3)]),
                Sequential([Tanh(), Sequential([Dense(3, 2)])]),
            ]
        ),
        (7, 5),
    ),
    Case(
        Sequential(
            [
                Conv2d(2, 3, (3, 2), stride=(2, 1)),
                LayerStandardize(epsilon=0.1),
                ScaleShift(3),
                ReLU(),
                Residual([Conv2d(3, 3, (2, 3), padding="CIRCULAR")]),
                MaxPool2d(2),
                Flatten(),
                Dense(12, 4),
            ]
        ),
        IMAGE,
    ),
    Case(Sequential([Dense(5, 3), BatchStandardize(), ScaleShift(3)]), (7, 5)),
]

WITH_PARAMETERS = [case for case in CASES if case.layer.blocks]


@dataclass(frozen=True)
class Witness:
    """The Jacobian of the flat output, its columns split into parameters and input."""

    y: np.ndarray
    parameters: np.ndarray  # (y.size, P)
    input: np.ndarray | None  # (y.size, x.size); None for integers


@cache
def witness(case: Case) -> Witness:
    """By autograd, on the host, once for all laws and backends."""
    params, x = case.draw()
    size = sum(W.size for W in params)

    def output(theta):
        own = unflatten(theta, [W.shape for W in params])
        image = x if case.words else theta[size:].reshape(x.shape)
        return case.layer.forward(own, image)[0].reshape(-1)

    reals = params if case.words else [*params, x]
    J = jacobian(output)(anp.concatenate([v.reshape(-1) for v in reals]))
    y = case.layer.forward(params, x)[0]
    return Witness(y, J[:, :size], None if case.words else J[:, size:])


def unflatten(vectors, shapes):
    """Vectors (..., P) as matrices (..., d_in + 1, d_out)."""
    ends = np.cumsum([0, *map(math.prod, shapes)])
    return [
        vectors[..., s:e].reshape(*vectors.shape[:-1], *shape)
        for s, e, shape in zip(ends[:-1], ends[1:], shapes, strict=True)
    ]
