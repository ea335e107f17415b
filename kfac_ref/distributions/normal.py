"""Normal distributions: with a fixed variance, or with the log variance as output."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kfac_ref.backend import Array, asarray, get_xp
from kfac_ref.calls import door
from kfac_ref.checks import check_shape
from kfac_ref.distributions.base import Diagonal, check_dtype
from kfac_ref.errors import ShapeError, Unsupported, ValueRangeError, describe


@dataclass(frozen=True)
class Normal(Diagonal):
    """p(y|z) = N(y; z, variance I); labels have the shape and the dtype of z.

    -log p = |y - z|^2 / (2 variance) + C/2 log(2 pi variance), F_z = I / variance.
    normalized=False drops the second term, which is constant in z.
    """

    variance: float = 1.0
    normalized: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.variance < math.inf):
            raise ValueRangeError(
                "variance of Normal: expected a positive finite number, found "
                f"{describe(self.variance)}"
            )

    def check_labels(self, z: Array, y: Array) -> None:
        check_shape("labels", y, z.shape)
        check_dtype(z, y)

    def nll(self, z: Array, y: Array) -> Array:
        squares = (0.5 / self.variance * (y - z) ** 2).sum(axis=-1)
        if not self.normalized:
            return squares
        return squares + 0.5 * z.shape[-1] * math.log(2 * math.pi * self.variance)

    def gradient(self, z: Array, y: Array) -> Array:
        return (z - y) / self.variance

    def root_diagonal(self, z: Array) -> Array:
        return get_xp(z).full(z.shape, self.variance**-0.5, dtype=z.dtype)

    def sample(self, z: Array, rng: np.random.Generator, samples: int) -> Array:
        return z + math.sqrt(self.variance) * _standard_normal(z, z.shape, rng, samples)


@door
def squared_error() -> Normal:
    """|y - z|^2 with no factor 1/2: the normal distribution of variance 1/2, F_z = 2 I.

    This is the squared error loss of KFAC-JAX and TensorFlow K-FAC. Half the squared
    error, with F_z = I, is `Normal(1.0, normalized=False)`.
    """
    return Normal(0.5, normalized=False)


class NormalMeanVariance(Diagonal):
    """p(y|z) = N(y; m, exp(s)) for z = [m, s]: D means, then D log variances.

    Labels have shape (..., D) and the dtype of z (..., 2D). z are not natural
    parameters: with r = y - m, for each of the D outputs

        F_z = diag(exp(-s), 1/2)        H_z = [[exp(-s),    r exp(-s)      ],
                                               [r exp(-s),  r^2 exp(-s) / 2]]

    and det H_z = -r^2 exp(-2s) / 2 < 0, so the Hessian is indefinite and has no real
    root.
    """

    natural = False

    def __repr__(self) -> str:
        return "NormalMeanVariance()"

    def check_labels(self, z: Array, y: Array) -> None:
        check_shape("labels", y, (*z.shape[:-1], self._outputs(z)))
        check_dtype(z, y)

    def nll(self, z: Array, y: Array) -> Array:
        t, s = self._standardize(z, y)
        return (0.5 * (t * t + s + math.log(2 * math.pi))).sum(axis=-1)

    def gradient(self, z: Array, y: Array) -> Array:
        xp = get_xp(z)
        t, s = self._standardize(z, y)
        return xp.concatenate([-t * xp.exp(-0.5 * s), 0.5 - 0.5 * t * t], axis=-1)

    def root_diagonal(self, z: Array) -> Array:
        xp = get_xp(z)
        s = z[..., self._outputs(z) :]
        return xp.concatenate(
            [xp.exp(-0.5 * s), xp.full(s.shape, 0.5**0.5, dtype=z.dtype)], axis=-1
        )

    def hessian_product(self, z: Array, y: Array, v: Array) -> Array:
        xp, D = get_xp(z), self._outputs(z)
        t, s = self._standardize(z, y)
        v_m, v_s = xp.exp(-0.5 * s) * v[..., :D], v[..., D:]
        w_m, w_s = v_m + t * v_s, t * v_m + 0.5 * t * t * v_s
        return xp.concatenate([xp.exp(-0.5 * s) * w_m, w_s], axis=-1)

    def hessian_root_product(self, z: Array, y: Array, u: Array) -> Array:
        raise self._no_root()

    def hessian_root_transpose(self, z: Array, y: Array, v: Array) -> Array:
        raise self._no_root()

    def sample(self, z: Array, rng: np.random.Generator, samples: int) -> Array:
        D = self._outputs(z)
        shape = (*z.shape[:-1], D)
        sigma = get_xp(z).exp(0.5 * z[..., D:])
        return z[..., :D] + sigma * _standard_normal(z, shape, rng, samples)

    def _outputs(self, z: Array) -> int:
        """D, half the length of z's last axis. Raises ShapeError if that is odd."""
        if z.shape[-1] % 2:
            raise ShapeError(
                "outputs of NormalMeanVariance: expected an even number on the last "
                "axis, means and then as many log variances, found shape "
                f"{tuple(z.shape)}"
            )
        return z.shape[-1] // 2

    def _standardize(self, z: Array, y: Array) -> tuple[Array, Array]:
        """t = r exp(-s/2), and s; r^2 exp(-s) would overflow before t^2 does."""
        D = self._outputs(z)
        m, s = z[..., :D], z[..., D:]
        return (y - m) * get_xp(z).exp(-0.5 * s), s

    def _no_root(self) -> Unsupported:
        return Unsupported(
            "the Hessian of NormalMeanVariance has no real square root: it is "
            "indefinite, since for every output its determinant is -r^2 e^{-2s}/2 < 0, "
            "with r = y - mean and s = log variance; use the Fisher, or products with "
            "the Hessian (hessian_product)"
        )


def _standard_normal(
    z: Array, shape: tuple[int, ...], rng: np.random.Generator, samples: int
) -> Array:
    """Standard normal numbers (samples, *shape), like z but drawn on the host."""
    return asarray(rng.standard_normal((samples, *shape)).astype(z.dtype), like=z)
