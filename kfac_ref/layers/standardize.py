"""Standardisation: the half of batch or layer normalisation that has no parameters.

For M numbers x_j with mean m and (biased) variance v, and s = sqrt(v + eps):

    y_j = (x_j - m) / s       dy = (dx - mean(dx) - y mean(y dx)) / s

The Jacobian (I - 1 1^T / M - y y^T / M) / s is symmetric, so jvp and vjp are the same.
Batch normalisation is `BatchStandardize(), ScaleShift(C)` (Ioffe & Szegedy 2015), layer
normalisation is `LayerStandardize(), ScaleShift(C)` (Ba, Kiros & Hinton 2016).
"""

from __future__ import annotations

import numpy as np

from kfac_ref.backend import Array, asarray, get_xp, to_numpy
from kfac_ref.checks import check_finite, check_number, check_shape
from kfac_ref.errors import ShapeError, ValueRangeError, describe, not_written
from kfac_ref.layers.base import Layer, Tape, check_features


class Standardize(Layer):
    """y = (x - mean) / sqrt(variance + epsilon); subclasses choose the axes."""

    def __init__(self, epsilon: float = 1e-5):
        what = f"{type(self).__name__}: epsilon"
        self.epsilon = check_number(what, epsilon)
        if not 0.0 < self.epsilon < float("inf"):
            raise ValueRangeError(
                f"{what}: expected a positive number, found {describe(epsilon)}"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(epsilon={self.epsilon:g})"

    def axes(self, x: Array) -> tuple[int, ...]:
        """The axes of x to average over, counted from the last."""
        raise not_written(self, "axes")

    def statistics(self, x: Array) -> tuple[Array, Array]:
        """Mean and biased variance of x; the axes averaged over have length 1."""
        axes = self.axes(x)
        mean = x.mean(axis=axes, keepdims=True)
        return mean, ((x - mean) ** 2).mean(axis=axes, keepdims=True)

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        check_features(self, x, "features")
        mean, variance = self.statistics(x)
        s = get_xp(x).sqrt(variance + self.epsilon)
        y = (x - mean) / s
        return y, (y, s)

    def jvp(
        self, params: list[Array], tape: Tape, dparams: list[Array], dx: Array | None
    ) -> Array:
        assert dx is not None  # no parameters
        return self.vjp(params, tape, dx)

    def vjp(self, params: list[Array], tape: Tape, dy: Array) -> Array:
        y, s = tape
        axes = self.axes(y)
        m, my = (v.mean(axis=axes, keepdims=True) for v in (dy, y * dy))
        return (dy - m - y * my) / s


class LayerStandardize(Standardize):
    """Standardises over the last axis: each position of each example separately."""

    def axes(self, x: Array) -> tuple[int, ...]:
        return (-1,)


class BatchStandardize(Standardize):
    """Standardises over all axes but the last: each channel separately.

    With the batch's own statistics the examples mix. With given ones, `mean` and
    `variance` (C,), they do not: the layer is a fixed affine map. `statistics` computes
    them from a batch. Given ones may be of any backend and float type, and are
    converted to x's. Raises ShapeError, ValueRangeError.
    """

    mixes_examples = True

    def __init__(
        self,
        epsilon: float = 1e-5,
        mean: Array | None = None,
        variance: Array | None = None,
    ):
        super().__init__(epsilon)
        if (mean is None) != (variance is None):
            raise ShapeError(
                "BatchStandardize: give both mean and variance, or neither"
            )
        self.given: tuple[np.ndarray, np.ndarray] | None = None
        if mean is not None:
            self.given = _flat("mean", mean), _flat("variance", variance)
            check_shape(
                "BatchStandardize: variance", self.given[1], self.given[0].shape
            )
            if (self.given[1] < 0).any():
                raise ValueRangeError(
                    "BatchStandardize: variance: an entry is negative"
                )
            self.mixes_examples = False

    def __repr__(self) -> str:
        given = ", mean=..., variance=..." if self.given else ""
        return f"BatchStandardize(epsilon={self.epsilon:g}{given})"

    def axes(self, x: Array) -> tuple[int, ...]:
        return tuple(range(-x.ndim, -1))

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        if self.given is None:
            return super().forward(params, x)
        check_features(self, x, len(self.given[0]))
        mean, variance = (asarray(v.astype(x.dtype), like=x) for v in self.given)
        s = get_xp(x).sqrt(variance + self.epsilon)
        return (x - mean) / s, (None, s)

    def vjp(self, params: list[Array], tape: Tape, dy: Array) -> Array:
        return super().vjp(params, tape, dy) if self.given is None else dy / tape[1]


def _flat(name: str, array: Array) -> np.ndarray:
    """Given statistics as (C,); `statistics` returns them as (1, ..., 1, C)."""
    check_finite(f"BatchStandardize: {name}", array)
    flat = to_numpy(array).reshape(-1)
    if array.shape[-1:] != flat.shape:
        raise ShapeError(
            f"BatchStandardize: {name}: expected one number per channel, "
            f"found shape {tuple(array.shape)}"
        )
    return flat
