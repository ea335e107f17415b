"""The categorical distribution from logits (softmax cross-entropy)."""

from __future__ import annotations

import numpy as np

from kfac_ref.backend import Array, asarray, get_xp
from kfac_ref.checks import check_shape
from kfac_ref.distributions.base import Distribution
from kfac_ref.errors import ValueRangeError


class Categorical(Distribution):
    """p(y = c|z) = exp(z_c) / sum_j exp(z_j); labels y are integers in [0, C).

    If the top class has almost all the probability, its 1 - p would be pure rounding
    error, so it is never formed. Gradients and columns of B sum to zero over the
    classes, which gives the top entry from the others; and F_z (v + c 1) = F_z v for
    any c, so the top entry of v can be shifted to zero.
    """

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
        xp, top = get_xp(z), self._top(z)
        shifted = self._shift(top, z)
        others = xp.sum(xp.exp(shifted) * (1.0 - top), axis=-1)
        return xp.log1p(others) - xp.sum(shifted * self._one_hot(z, y), axis=-1)

    def gradient(self, z: Array, y: Array) -> Array:
        return self._balance(self._top(z), self.probabilities(z) - self._one_hot(z, y))

    def root_product(self, z: Array, u: Array) -> Array:
        p = self.probabilities(z)
        q = get_xp(p).sqrt(p)
        product = q * u - p * (q * u).sum(axis=-1, keepdims=True)  # diag(q) - p q^T
        return self._balance(self._top(z), product)

    def root_transpose(self, z: Array, v: Array) -> Array:
        p, v = self.probabilities(z), self._shift(self._top(z), v)
        return get_xp(p).sqrt(p) * (v - (p * v).sum(axis=-1, keepdims=True))

    def fisher_product(self, z: Array, v: Array) -> Array:
        p, v = self.probabilities(z), self._shift(self._top(z), v)
        return p * (v - (p * v).sum(axis=-1, keepdims=True))  # diag(p) - p p^T

    def sample(self, z: Array, rng: np.random.Generator, samples: int) -> Array:
        u = asarray(rng.random((samples, *z.shape[:-1], 1)), like=z)
        total = get_xp(z).cumsum(self.probabilities(z.astype(u.dtype)), axis=-1)
        below = total[..., :-1] / total[..., -1:]  # so rounding never draws p_c = 0
        return (u >= below).sum(axis=-1)  # inverse of the distribution function

    def probabilities(self, z: Array) -> Array:
        """softmax(z), of the shape of z."""
        xp = get_xp(z)
        e = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
        return e / xp.sum(e, axis=-1, keepdims=True)

    def _one_hot(self, z: Array, y: Array) -> Array:
        classes = get_xp(y).arange(z.shape[-1])
        return (y[..., None] == classes).astype(z.dtype)

    def _top(self, z: Array) -> Array:
        """1 at the largest entry of z, 0 elsewhere."""
        return self._one_hot(z, get_xp(z).argmax(z, axis=-1))

    def _shift(self, top: Array, v: Array) -> Array:
        """v minus its top entry."""
        return v - (top * v).sum(axis=-1, keepdims=True)

    def _balance(self, top: Array, w: Array) -> Array:
        """w with its top entry set so that the sum is zero; `_shift` transposed."""
        return w - top * w.sum(axis=-1, keepdims=True)
