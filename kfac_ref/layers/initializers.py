"""Initial weights: Glorot, LeCun, He, and the sparse initialisation of Martens.

An initializer is called as `initializer(rng, shape, bias=..., fans=None)`. `shape` is
that of the parameter matrix, (d_in + 1, d_out), or (d_in, d_out) without bias. `fans`
is (fan_in, fan_out) if they differ from (d_in, d_out), as in a convolution. It returns
a float64 matrix on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kfac_ref.calls import door
from kfac_ref.checks import check_count
from kfac_ref.errors import ValueRangeError
from kfac_ref.values import Value

Initializer = Callable[..., np.ndarray]
Fans = tuple[int, int] | None


@door
def glorot(
    rng: np.random.Generator, shape: tuple[int, int], bias: bool, fans: Fans = None
) -> np.ndarray:
    """Uniform, variance 2 / (fan_in + fan_out); zero biases (Glorot & Bengio 2010)."""
    d_in, d_out = shape[0] - bias, shape[1]
    fan_in, fan_out = fans or (d_in, d_out)
    limit = np.sqrt(6.0 / (fan_in + fan_out))
    return _with_bias(rng.uniform(-limit, limit, (d_in, d_out)), bias, 0.0)


@door
def lecun(
    rng: np.random.Generator, shape: tuple[int, int], bias: bool, fans: Fans = None
) -> np.ndarray:
    """Normal with variance 1 / fan_in; zero biases (LeCun et al. 1998, section 4.6)."""
    return _normal(rng, shape, bias, fans, 1.0)


@door
def he(
    rng: np.random.Generator, shape: tuple[int, int], bias: bool, fans: Fans = None
) -> np.ndarray:
    """Normal with variance 2 / fan_in; zero biases (He et al. 2015, eq. 10)."""
    return _normal(rng, shape, bias, fans, 2.0)


@dataclass(frozen=True)
class sparse(Value):
    """An initializer: each unit gets `connections` incoming weights from N(0, scale^2).

    All its other weights are zero, and every bias is `hidden_bias` (Martens 2010,
    section 5). For tanh units, Sutskever et al. 2013 take scale 0.25 and bias 0.5.
    Raises ValueRangeError for a layer with fewer inputs than connections.
    """

    connections: int = 15
    scale: float = 1.0
    hidden_bias: float = 0.0

    def __post_init__(self) -> None:
        check_count("sparse: connections", self.connections)
        super().__post_init__()

    def __call__(
        self,
        rng: np.random.Generator,
        shape: tuple[int, int],
        bias: bool,
        fans: Fans = None,
    ) -> np.ndarray:
        d_in, d_out = shape[0] - bias, shape[1]
        if d_in < self.connections:
            raise ValueRangeError(
                f"sparse: expected a layer of at least {self.connections} inputs, one "
                f"for each connection, found {d_in}; use sparse(connections={d_in})"
            )
        first = np.arange(d_in)[:, None] < np.full(d_out, self.connections)
        chosen = rng.permuted(first, axis=0)  # each column separately
        weights = rng.normal(0.0, self.scale, (d_in, d_out))
        return _with_bias(np.where(chosen, weights, 0.0), bias, self.hidden_bias)


def _normal(
    rng: np.random.Generator,
    shape: tuple[int, int],
    bias: bool,
    fans: Fans,
    variance: float,
) -> np.ndarray:
    """Normal with variance `variance / fan_in`; zero biases."""
    d_in, d_out = shape[0] - bias, shape[1]
    fan_in = fans[0] if fans else d_in
    weights = rng.normal(0.0, np.sqrt(variance / fan_in), (d_in, d_out))
    return _with_bias(weights, bias, 0.0)


def _with_bias(weights: np.ndarray, bias: bool, value: float) -> np.ndarray:
    row = np.full((1, weights.shape[1]), value)
    return np.concatenate([weights, row]) if bias else weights
