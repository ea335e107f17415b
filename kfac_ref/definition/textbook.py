"""The five usual log p(y|z), as in a textbook, and all their outcomes.

z is the output for one example, (C,) or (..., C); log p is summed over positions. The
number of outcomes is a product over all outputs, so C must be small.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.special

from kfac_ref.definition.load import load_autograd

Array = np.ndarray


def categorical_log_prob(z: Any, y: Any) -> Any:
    """log softmax(z)_y."""
    np = load_autograd().numpy
    picked = np.sum(np.eye(z.shape[-1])[y] * z)
    return picked - np.sum(np.log(np.sum(np.exp(z), axis=-1)))


def bernoulli_log_prob(z: Any, y: Any) -> Any:
    """y log p + (1 - y) log(1 - p), p = 1 / (1 + exp(-z))."""
    np = load_autograd().numpy
    p = 1 / (1 + np.exp(-z))
    return np.sum(y * np.log(p) + (1 - y) * np.log(1 - p))


def normal_log_prob(z: Any, y: Any, variance: float = 1.0) -> Any:
    """log N(y; z, variance)."""
    np = load_autograd().numpy
    return np.sum(-((y - z) ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2)


def normal_mean_variance_log_prob(z: Any, y: Any) -> Any:
    """log N(y; m, exp(s)), z = [m, s]."""
    np = load_autograd().numpy
    D = z.shape[-1] // 2
    mean, variance = z[..., :D], np.exp(z[..., D:])
    return np.sum(
        -((y - mean) ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2
    )


def poisson_log_prob(z: Any, y: Any) -> Any:
    """y log r - r - log y!, r = exp(z)."""
    autograd = load_autograd()
    rate = autograd.numpy.exp(z)
    log_factorial = autograd.scipy.special.gammaln(y + 1)
    return autograd.numpy.sum(y * autograd.numpy.log(rate) - rate - log_factorial)


def categorical_outcomes(z: Array) -> tuple[list, Array]:
    """Every choice of a class at each position, with its probability."""
    rows = np.exp(z).reshape(-1, z.shape[-1])
    each = [(np.arange(len(row)), row / row.sum()) for row in rows]
    return _product(each, z.shape[:-1])


def bernoulli_outcomes(z: Array) -> tuple[list, Array]:
    """Every array of zeros and ones, with its probability."""
    p = 1 / (1 + np.exp(-z.ravel()))
    return _product([((0.0, 1.0), (1 - p_c, p_c)) for p_c in p], z.shape)


def normal_outcomes(
    z: Array, variance: float = 1.0, nodes: int = 3
) -> tuple[list, Array]:
    """Gauss-Hermite rule, exact for polynomials of degree < 2 nodes in each output."""
    t, w = np.polynomial.hermite_e.hermegauss(nodes)
    each = [(m + variance**0.5 * t, w / w.sum()) for m in z.ravel()]
    return _product(each, z.shape)


def normal_mean_variance_outcomes(z: Array, nodes: int = 3) -> tuple[list, Array]:
    """Gauss-Hermite rule; gradient gradient^T has degree 4, so 3 nodes suffice."""
    mean, log_variance = np.split(z, 2, axis=-1)
    t, w = np.polynomial.hermite_e.hermegauss(nodes)
    pairs = zip(mean.ravel(), log_variance.ravel(), strict=True)
    each = [(m + np.exp(s / 2) * t, w / w.sum()) for m, s in pairs]
    return _product(each, mean.shape)


def poisson_outcomes(z: Array, tail: float = 1e-17) -> tuple[list, Array]:
    """0, 1, 2, ... until all larger counts together have probability below `tail`."""

    def counts(rate: float) -> tuple[Array, Array]:
        last = 0
        while scipy.special.pdtrc(last, rate) >= tail:
            last += 1
        y = np.arange(last + 1.0)
        return y, np.exp(y * np.log(rate) - rate - scipy.special.gammaln(y + 1))

    return _product([counts(np.exp(z_c)) for z_c in z.ravel()], z.shape)


def _product(each: Iterable[tuple], shape: tuple[int, ...]) -> tuple[list, Array]:
    """Joint outcomes of independent ones: labels of `shape`, and probabilities."""
    labels, p = zip(*each, strict=True)
    joint = [np.reshape(y, shape) for y in itertools.product(*labels)]
    return joint, np.array([np.prod(p_y) for p_y in itertools.product(*p)])
