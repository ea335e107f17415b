"""The dense layer y = [x, 1] W."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.checks import check_count, check_flag
from kfac_ref.layers.base import Layer, Tape, append_one, check_features
from kfac_ref.layers.initializers import Initializer, glorot


@dataclass(repr=False, eq=False)
class Dense(Layer):
    """y = [x, 1] W on the last axis; axes between first and last are positions t.

    W is (d_in + 1, d_out), its last row the bias; without bias it is (d_in, d_out).
    Martens & Grosse 2015, section 2.1: s_l = W_l a_{l-1}, here transposed.
    """

    d_in: int
    d_out: int
    bias: bool = True
    initializer: Initializer = field(default=glorot)
    blocks = 1

    def __post_init__(self) -> None:
        self.d_in = check_count("Dense: d_in", self.d_in)
        self.d_out = check_count("Dense: d_out", self.d_out)
        self.bias = check_flag("Dense: bias", self.bias)

    def __repr__(self) -> str:
        return f"Dense({self.d_in}, {self.d_out}{'' if self.bias else ', bias=False'})"

    def shapes(self) -> list[tuple[int, int]]:
        return [(self.d_in + self.bias, self.d_out)]

    def init(self, rng: np.random.Generator) -> list[np.ndarray]:
        return [self.initializer(rng, self.shapes()[0], bias=self.bias)]

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        check_features(self, x, self.d_in)
        get_xp(params[0], x)  # raises if backends differ
        a = append_one(x) if self.bias else x
        y = a.reshape(-1, a.shape[-1]) @ params[0]
        return y.reshape(*x.shape[:-1], self.d_out), a  # (N, ..., d_out)

    def jvp(
        self, params: list[Array], tape: Tape, dparams: list[Array], dx: Array | None
    ) -> Array:
        a = tape.reshape(-1, tape.shape[-1])  # (N*T, d_in + 1)
        dy = (a @ dparams[0]).reshape(-1, *tape.shape[:-1], self.d_out)
        if dx is None:
            return dy
        rows = dx.reshape(-1, self.d_in) @ params[0][: self.d_in]
        dy += rows.reshape(dy.shape)
        return dy

    def vjp(self, params: list[Array], tape: Tape, dy: Array) -> Array:
        rows = dy.reshape(-1, self.d_out)  # one matrix product for all vectors
        dx = rows @ params[0][: self.d_in].T
        return dx.reshape(*dy.shape[:-1], self.d_in)

    def read_a(self, tape: Tape) -> Array:
        return tape.reshape(tape.shape[0], -1, tape.shape[-1])  # (N, T, d_in + 1)

    def read_g(self, tape: Tape, dy: Array) -> Array:
        return dy.reshape(*dy.shape[:2], -1, self.d_out)  # (K, N, T, d_out)
