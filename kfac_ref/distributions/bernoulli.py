"""Independent Bernoulli distributions from logits (sigmoid cross-entropy)."""

from __future__ import annotations

import numpy as np

from kfac_ref.backend import Array, asarray, get_xp
from kfac_ref.distributions.base import Diagonal, check_dtype
from kfac_ref.errors import ValueRangeError, check_shape
from kfac_ref.layers.activations import fold, sigmoid


class Bernoulli(Diagonal):
    """p(y_c = 1|z) = 1 / (1 + exp(-z_c)), independent for each output c.

    Labels y have the shape of z: 0 or 1 (of any integer or boolean dtype, or z's), or
    soft labels in [0, 1], for which the loss is the cross-entropy. `sample` draws 0 or
    1 in z's dtype.
    """

    def __repr__(self) -> str:
        return "Bernoulli()"

    def check_labels(self, z: Array, y: Array) -> None:
        check_shape("labels", y, z.shape)
        check_dtype(z, y, also="biu")
        low, high = float(y.min()), float(y.max())
        if not (low >= 0 and high <= 1):
            raise ValueRangeError(
                "labels: expected 0, 1, or probabilities between them, found values "
                f"from {low:g} to {high:g}"
            )

    def nll(self, z: Array, y: Array) -> Array:
        sign, e, against = self._fold(z, y)
        return (against * (sign * z) + get_xp(z).log1p(e)).sum(axis=-1)

    def gradient(self, z: Array, y: Array) -> Array:
        sign, e, against = self._fold(z, y)  # p - y would lose digits for p close to y
        return sign * (against - (1.0 - against) * e) / (1.0 + e)

    def root_diagonal(self, z: Array) -> Array:
        _, root = fold(0.5 * z)  # exp(-|z|/2)
        return root / (1.0 + root * root)  # sqrt(p (1 - p))

    def sample(self, z: Array, rng: np.random.Generator, samples: int) -> Array:
        u = asarray(rng.random((samples, *z.shape)), like=z)
        return (u < sigmoid(z.astype(u.dtype))).astype(z.dtype)

    def _fold(self, z: Array, y: Array) -> tuple[Array, Array, Array]:
        """The sign of z, exp(-|z|), and the label's share of what z speaks against."""
        (positive, e), y = fold(z), y.astype(z.dtype)
        return 2.0 * positive - 1.0, e, positive * (1.0 - y) + (1.0 - positive) * y
