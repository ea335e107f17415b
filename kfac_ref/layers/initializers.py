"""Initial weights: Glorot, LeCun, He, and the sparse initialisation of Martens.

An initializer is called as `initializer(rng, shape, bias=..., fans=None)`, with the
shape of the parameter matrix (d_in + 1, d_out), or (d_in, d_out) without bias, and
returns a float64 matrix on the host. `fans` is (fan_in, fan_out) where they differ from
(d_in, d_out), as in a convolution.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Initializer = Callable[..., np.ndarray]
Fans = tuple[int, int] | None


def glorot(
    rng: np.random.Generator, shape: tuple[int, int], bias: bool, fans: Fans = None
) -> np.ndarray:
    """Uniform with variance 2 / (fan_in + fan_out); zero biases (Glorot & Bengio 2010)."""
    d_in, d_out = shape[0] - bias, shape[1]
    fan_in, fan_out = fans or (d_in, d_out)
    limit = np.sqrt(6.0 / (fan_in + fan_out))
    return _with_bias(rng.uniform(-limit, limit, (d_in, d_out)), bias, 0.0)


def _with_bias(weights: np.ndarray, bias: bool, value: float) -> np.ndarray:
    row = np.full((1, weights.shape[1]), value)
    return np.concatenate([weights, row]) if bias else weights
