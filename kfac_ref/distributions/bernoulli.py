"""Independent Bernoulli distributions from logits (sigmoid cross-entropy)."""

from __future__ import annotations

import numpy as np

from kfac_ref.backend import Array, asarray, get_xp
from kfac_ref.checks import check_shape
from kfac_ref.distributions.base import Diagonal, check_dtype
from kfac_ref.errors import ValueRangeError
from kfac_ref.layers.activations import fold, halves, sigmoid


class Bernoulli(Diagonal):
    """p(y_c = 1|z) = 1 / (1 + exp(-z_c)), independently for each output c.

    Labels y have the shape of z. They are 0 or 1, in z's dtype or any integer or
    boolean one, or soft labels in [0, 1], whose loss is the cross-entropy. `sample`
    draws 0 or 1 in z's dtype.
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
        positive, e = fold(z)
        y = y.astype(z.dtype, copy=False)
        against = (positive - y) * z  # max(z, 0) - y z
        against += get_xp(z).log1p(e)
        return against.sum(axis=-1)

    def gradient(self, z: Array, y: Array) -> Array:
        (up, down), y = halves(z), y.astype(z.dtype, copy=False)
        # (1 - y) p - y (1 - p); p - y would lose digits for p close to y
        difference = (1.0 - y) * up
        difference -= y * down
        up += down
        difference /= up
        return difference

    def root_diagonal(self, z: Array) -> Array:
        _, root = fold(0.5 * z)  # exp(-|z|/2)
        return root / (1.0 + root * root)  # sqrt(p (1 - p))

    def sample(self, z: Array, rng: np.random.Generator, samples: int) -> Array:
        u = asarray(rng.random((samples, *z.shape)), like=z)
        return (u < sigmoid(z.astype(u.dtype))).astype(z.dtype)
