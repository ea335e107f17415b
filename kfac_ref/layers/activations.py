"""Elementwise layers: tanh, ReLU, sigmoid, softplus, identity.

Arrays made on the way are reused (`up *= root`): allocating a new one takes as long as
the arithmetic. autograd's boxes have no in-place operators, so Python makes a new array
there.
"""

from __future__ import annotations

import math

from kfac_ref.backend import Array, get_xp
from kfac_ref.errors import not_written
from kfac_ref.layers.base import Layer, Tape


class Elementwise(Layer):
    """y = f(x); subclasses define f and its derivative, which is kept as the tape."""

    def function(self, x: Array) -> Array:
        raise not_written(self, "function")

    def derivative(self, x: Array, y: Array) -> Array:
        raise not_written(self, "derivative")

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        y = self.function(x)
        return y, self.derivative(x, y)  # computed once, not for every vector

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
    """y = max(x, 0); the derivative at 0 is 0."""

    def function(self, x: Array) -> Array:
        xp = get_xp(x)
        return xp.where(x <= 0, xp.zeros_like(x), x)  # NaN stays NaN

    def derivative(self, x: Array, y: Array) -> Array:
        return (x > 0).astype(x.dtype)


class Sigmoid(Elementwise):
    """y = 1 / (1 + exp(-x))."""

    def function(self, x: Array) -> Array:
        return self.forward([], x)[0]

    def derivative(self, x: Array, y: Array) -> Array:
        return self.forward([], x)[1]

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        up, down = halves(x)
        down += up
        root = 1.0 / down  # y (1 - y) would lose digits for y close to 1
        up *= root
        root *= root
        return up, root


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


def halves(x: Array) -> tuple[Array, Array]:
    """exp(x/2) and exp(-x/2), which give sigmoid(x) accurately in both tails.

    With r = 1 / (their sum), sigmoid(x) = exp(x/2) r, 1 - sigmoid(x) = exp(-x/2) r, and
    the product of the two is r^2. x is clipped so that nothing overflows; where it is,
    sigmoid(x) is already 0 or 1 to the last bit.
    """
    xp = get_xp(x)
    largest = 1.5 * math.log(float(xp.finfo(x.dtype).max))
    half = xp.clip(x, -largest, largest)
    half *= 0.5
    up = xp.exp(half)
    return up, 1.0 / up


def fold(x: Array) -> tuple[Array, Array]:
    """Return 1 where x > 0 and 0 elsewhere, and e = exp(-|x|), which cannot overflow.

    It uses products instead of `abs` and `where`: autograd then finds derivatives of
    every order at 0, and choosing entry by entry would take ten times as long.
    """
    positive = (x > 0).astype(x.dtype)
    sign = -2.0 * positive
    sign += 1.0
    return positive, get_xp(x).exp(x * sign)


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), computed as max(x, 0) + log(1 + exp(-|x|))."""
    xp, (_, e) = get_xp(x), fold(x)
    return xp.where(x > 0, x, xp.zeros_like(x)) + xp.log1p(e)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), accurate in both tails."""
    up, down = halves(x)
    down += up
    up /= down
    return up
