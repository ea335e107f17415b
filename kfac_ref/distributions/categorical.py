"""The categorical distribution from logits (softmax cross-entropy)."""

from __future__ import annotations

import numpy as np

from kfac_ref.backend import Array, asarray, get_xp
from kfac_ref.distributions.base import Distribution
from kfac_ref.errors import ValueRangeError, check_shape


class Categorical(Distribution):
    """p(y = c|z) = exp(z_c) / sum_j exp(z_j); labels y are integers in [0, C)."""

    def __repr__(self) -> str:
        return "Categorical()"

    def check_labels(self, z: Array, y: Array) -> None:
        check_shape("labels", y, z.shape[:-1])
        if y.dtype.kind not in "iu":
            raise ValueRangeError(f"labels: expected integers, found {y.dtype}")
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= z.shape[-1]:
            raise ValueRangeError(
                f"labels: expected integers from 0 to {z.shape[-1] - 1} (one per "
                f"class), found values from {low} to {high}"
            )

    def nll(self, z: Array, y: Array) -> Array:
        xp = get_xp(z)
        shifted = z - xp.max(z, axis=-1, keepdims=True)
        log_sum = xp.log(xp.sum(xp.exp(shifted), axis=-1))
        return log_sum - xp.sum(shifted * self._one_hot(z, y), axis=-1)

    def gradient(self, z: Array, y: Array) -> Array:
        return self.probabilities(z) - self._one_hot(z, y)

    def root_product(self, z: Array, u: Array) -> Array:
        p, q = self._p_and_root(z)
        return q * u - p * (q * u).sum(axis=-1, keepdims=True)  # diag(q) - p q^T

    def root_transpose(self, z: Array, v: Array) -> Array:
        p, q = self._p_and_root(z)
        return q * (v - (p * v).sum(axis=-1, keepdims=True))

    def fisher_product(self, z: Array, v: Array) -> Array:
        p = self.probabilities(z)
        return p * (v - (p * v).sum(axis=-1, keepdims=True))  # diag(p) - p p^T

    def sample(self, z: Array, rng: np.random.Generator, samples: int) -> Array:
        u = asarray(rng.random((samples, *z.shape[:-1], 1)), like=z)
        total = get_xp(z).cumsum(self.probabilities(z.astype(u.dtype)), axis=-1)
        below = total[..., :-1] / total[..., -1:]  # so that no rounding draws p_c = 0
        return (u >= below).sum(axis=-1)  # inverse of the distribution function

    def probabilities(self, z: Array) -> Array:
        """softmax(z), the shape of z."""
        xp = get_xp(z)
        e = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
        return e / xp.sum(e, axis=-1, keepdims=True)

    def _p_and_root(self, z: Array) -> tuple[Array, Array]:
        p = self.probabilities(z)
        return p, get_xp(p).sqrt(p)

    def _one_hot(self, z: Array, y: Array) -> Array:
        classes = get_xp(y).arange(z.shape[-1])
        return (y[..., None] == classes).astype(z.dtype)
