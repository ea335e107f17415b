"""The embedding: one row of W for each word."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.checks import check_count, check_shape
from kfac_ref.errors import Unsupported, ValueRangeError
from kfac_ref.layers.base import Layer, Tape
from kfac_ref.layers.initializers import Initializer, glorot


@dataclass(repr=False, eq=False)
class Embedding(Layer):
    """y = W[x]: word x selects row x of W (V, d_out); later axes of x are positions t.

    It is a dense layer without bias on one-hot inputs, which are its `a`. Integers have
    neither tangents nor cotangents, so an embedding can only be the first layer.
    """

    words: int
    d_out: int
    initializer: Initializer = field(default=glorot)
    blocks = 1
    takes_integers = True

    def __post_init__(self) -> None:
        self.words = check_count("Embedding: words", self.words)
        self.d_out = check_count("Embedding: d_out", self.d_out)

    def __repr__(self) -> str:
        return f"Embedding({self.words}, {self.d_out})"

    def shapes(self) -> list[tuple[int, int]]:
        return [(self.words, self.d_out)]

    def init(self, rng: np.random.Generator) -> list[np.ndarray]:
        fans = 1, self.d_out  # a one-hot input has one nonzero entry
        return [self.initializer(rng, self.shapes()[0], bias=False, fans=fans)]

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        self._check(x)
        get_xp(params[0], x)  # raises if backends differ
        return params[0][x], (x, params[0].dtype)  # (N, ..., d_out)

    def jvp(
        self, params: list[Array], tape: Tape, dparams: list[Array], dx: Array | None
    ) -> Array:
        if dx is not None:
            self._no_derivative("tangent")
        return dparams[0][:, tape[0]]  # (K, N, ..., d_out)

    def vjp(self, params: list[Array], tape: Tape, dy: Array) -> NoReturn:
        self._no_derivative("cotangent")

    def read_a(self, tape: Tape) -> Array:
        x, dtype = tape
        words = get_xp(x).arange(self.words)
        return (x.reshape(x.shape[0], -1, 1) == words).astype(dtype)  # (N, T, V)

    def read_g(self, tape: Tape, dy: Array) -> Array:
        return dy.reshape(*dy.shape[:2], -1, self.d_out)  # (K, N, T, d_out)

    def _check(self, x: Array) -> None:
        where = f"input of {self!r}"
        if len(getattr(x, "shape", ())) == 0:
            check_shape(where, x, ("N",))
        if x.dtype.kind not in "iu":
            raise ValueRangeError(f"{where}: expected integers, found {x.dtype}")
        low, high = int(x.min()), int(x.max())
        if low < 0 or high >= self.words:
            raise ValueRangeError(
                f"{where}: expected integers from 0 to {self.words - 1}, one per word; "
                f"found values from {low} to {high}"
            )

    def _no_derivative(self, what: str) -> NoReturn:
        raise Unsupported(
            f"{self!r}: its input is made of integers, which have no {what}; an "
            "embedding must be the first layer"
        )
