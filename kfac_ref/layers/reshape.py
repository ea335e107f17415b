"""Flatten: turns images or sequences into vectors."""

from __future__ import annotations

from kfac_ref.backend import Array
from kfac_ref.checks import check_shape
from kfac_ref.layers.base import Layer, Tape


class Flatten(Layer):
    """Reshapes (N, ...) to (N, features), row by row."""

    def __repr__(self) -> str:
        return "Flatten()"

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        if len(getattr(x, "shape", ())) < 2:
            check_shape(f"input of {self!r}", x, ("N", "..."))
        return x.reshape(x.shape[0], -1), x.shape

    def jvp(
        self, params: list[Array], tape: Tape, dparams: list[Array], dx: Array | None
    ) -> Array:
        assert dx is not None  # no parameters
        return dx.reshape(*dx.shape[:2], -1)

    def vjp(self, params: list[Array], tape: Tape, dy: Array) -> Array:
        return dy.reshape(dy.shape[0], *tape)
