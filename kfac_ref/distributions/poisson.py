"""Independent Poisson distributions from log rates (count regression)."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from kfac_ref.backend import Array, asarray, get_xp, to_numpy
from kfac_ref.checks import check_shape
from kfac_ref.distributions.base import Diagonal, check_dtype
from kfac_ref.errors import ValueRangeError

LARGEST_RATE = 9e18  # draws are 64-bit integers


class Poisson(Diagonal):
    """p(y_c|z) = r^y exp(-r) / y! with rate r = exp(z_c), independently for each c.

    Labels y have the shape of z: the integers 0, 1, 2, ..., in an integer dtype or z's.
    The loss includes log y!. `sample` draws in z's dtype; it raises ValueRangeError if
    a rate exceeds LARGEST_RATE.
    """

    def __repr__(self) -> str:
        return "Poisson()"

    def check_labels(self, z: Array, y: Array) -> None:
        check_shape("labels", y, z.shape)
        check_dtype(z, y, also="iu")
        low = float(y.min())
        whole = y.dtype.kind in "iu" or bool((y == get_xp(y).floor(y)).all())
        if not (low >= 0 and whole):
            raise ValueRangeError(
                "labels: expected the integers 0, 1, 2, ..., found "
                f"{f'the smallest {low:g}' if whole else 'fractions'}"
            )

    def nll(self, z: Array, y: Array) -> Array:
        log_factorial = asarray(gammaln(to_numpy(y) + 1.0).astype(z.dtype), like=y)
        return (get_xp(z).exp(z) - y.astype(z.dtype) * z + log_factorial).sum(axis=-1)

    def gradient(self, z: Array, y: Array) -> Array:
        return get_xp(z).exp(z) - y.astype(z.dtype)

    def root_diagonal(self, z: Array) -> Array:
        return get_xp(z).exp(0.5 * z)

    def sample(self, z: Array, rng: np.random.Generator, samples: int) -> Array:
        log_rate = to_numpy(z).astype(np.float64)
        if not log_rate.max() <= np.log(LARGEST_RATE):
            raise ValueRangeError(
                f"outputs of Poisson: can sample for log rates up to "
                f"{np.log(LARGEST_RATE):.4g}, found {log_rate.max():g}"
            )
        counts = rng.poisson(np.exp(log_rate), (samples, *z.shape))
        return asarray(counts.astype(z.dtype), like=z)
