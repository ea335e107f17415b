"""Elementwise layers: tanh, ReLU, sigmoid, softplus, identity."""

from __future__ import annotations

from kfac_ref.backend import Array, get_xp
from kfac_ref.errors import not_written
from kfac_ref.layers.base import Layer, Tape


class Elementwise(Layer):
    """y = f(x); subclasses give f and, from x and y, its derivative (the tape)."""

    def function(self, x: Array) -> Array:
        raise not_written(self, "function")

    def derivative(self, x: Array, y: Array) -> Array:
        raise not_written(self, "derivative")

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        y = self.function(x)
        return y, self.derivative(x, y)  # once, not for every vector

    def jvp(
        self, params: list[Array], tape: Tape, dparams: list[Array], dx: Array | None
    ) -> Array:
        return dx * tape

    def vjp(self, params: list[Array], tape: Tape, dy: Array) -> Array:
        return dy * tape


class Tanh(Elementwise):
    """y = tanh(x)."""

    def function(self, x: Array) -> Array:
        return get_xp(x).tanh(x)

    def derivative(self, x: Array, y: Array) -> Array:
        return 1.0 - y * y


class ReLU(Elementwise):
    """y = x where x > 0, else 0; the derivative at 0 is 0."""

    def function(self, x: Array) -> Array:
        xp = get_xp(x)
        return xp.where(x > 0, x, xp.zeros_like(x))

    def derivative(self, x: Array, y: Array) -> Array:
        return (x > 0).astype(x.dtype)


class Sigmoid(Elementwise):
    """y = 1 / (1 + exp(-x))."""

    def function(self, x: Array) -> Array:
        return sigmoid(x)

    def derivative(self, x: Array, y: Array) -> Array:
        return y * sigmoid(-x)


class Softplus(Elementwise):
    """y = log(1 + exp(x))."""

    def function(self, x: Array) -> Array:
        return softplus(x)

    def derivative(self, x: Array, y: Array) -> Array:
        return sigmoid(x)


class Identity(Elementwise):
    """y = x."""

    def function(self, x: Array) -> Array:
        return x

    def derivative(self, x: Array, y: Array) -> Array:
        return get_xp(x).ones_like(x)


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    xp = get_xp(x)
    return xp.logaddexp(x, xp.zeros_like(x))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), accurate in both tails."""
    return get_xp(x).exp(-softplus(-x))
