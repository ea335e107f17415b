"""Scale and shift: the half of batch or layer normalisation that has parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.checks import check_count
from kfac_ref.layers.base import Layer, Tape, append_one, check_features


@dataclass(repr=False, eq=False)
class ScaleShift(Layer):
    """y = x * W[0] + W[1] on the last axis; W is (2, C), initially ones and zeros.

    The pair (a, g): channel c of position t counts as a position t' = (t, c) of its
    own. Its input is a scalar and a 1, and it uses only column c of W:

        a_nt' = [x_ntc, 1]  (d_in + 1 = 2)      g_knt' = g_kntc e_c  (d_out = C)

    so column c of sum_t' a g^T is sum_t g_kntc [x_ntc, 1]^T. With T*C positions of size
    C, `g` is mostly zeros: exact, but wasteful.
    """

    channels: int
    blocks = 1

    def __post_init__(self) -> None:
        self.channels = check_count("ScaleShift: channels", self.channels)

    def __repr__(self) -> str:
        return f"ScaleShift({self.channels})"

    def shapes(self) -> list[tuple[int, int]]:
        return [(2, self.channels)]

    def init(self, rng: np.random.Generator) -> list[np.ndarray]:
        return [np.stack([np.ones(self.channels), np.zeros(self.channels)])]

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        check_features(self, x, self.channels)
        get_xp(params[0], x)  # raises if backends differ
        return x * params[0][0] + params[0][1], x

    def jvp(
        self, params: list[Array], tape: Tape, dparams: list[Array], dx: Array | None
    ) -> Array:
        K, C = len(dparams[0]), self.channels
        rows = dparams[0].reshape(K, 2, *[1] * (tape.ndim - 1), C)  # (K, 2, 1, ..., C)
        dy = tape * rows[:, 0] + rows[:, 1]
        return dy if dx is None else dy + dx * params[0][0]

    def vjp(self, params: list[Array], tape: Tape, dy: Array) -> Array:
        return dy * params[0][0]

    def read_a(self, tape: Tape) -> Array:
        return append_one(tape.reshape(tape.shape[0], -1, 1))  # (N, T*C, 2)

    def read_g(self, tape: Tape, dy: Array) -> Array:
        units = get_xp(dy).eye(self.channels, dtype=dy.dtype)  # e_c
        g = dy[..., None] * units
        return g.reshape(*dy.shape[:2], -1, self.channels)  # (K, N, T*C, C)
