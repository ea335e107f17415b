"""What a layer is: forward, jvp, vjp, and, if it has parameters, the pair (a, g).

The data format. A batch `x` has shape (N, ...), examples first. Vectors propagated
through the tape of a forward pass (tangents forward, cotangents back) have one more
axis in front, (K, N, ...): K vectors at once. A layer with parameters has one matrix
`W` of shape (d_in + 1, d_out), whose last row is the bias. For the k-th vector, example
n contributes to the gradient of W

    D_nk = sum_t a_nt g_nkt^T       a: (N, T, d_in + 1)      g: (K, N, T, d_out)

with t over the positions that share the weights (T = 1 for a dense layer). `read_a`
returns `a` from the tape, `read_g` returns `g` from the cotangents of the output.

To add a layer, subclass `Layer` and write `forward`, `jvp` and `vjp`. If it has a
weight, also set `blocks = 1` and write `init`, `shapes`, `read_a` and `read_g`. Write
`forward` out of place and ask its arrays for their namespace, so that autograd can
differentiate it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.checks import check_shape
from kfac_ref.errors import not_written
from kfac_ref.values import Value

Tape = Any  # what forward keeps for jvp, vjp and read_a


class Layer(Value):
    """Base class of all layers; by default it has no parameters."""

    blocks: int = 0  # number of parameter matrices
    mixes_examples: bool = False  # does an output depend on other examples?
    takes_integers: bool = False  # does the input x hold indices?

    def init(self, rng: np.random.Generator) -> list[np.ndarray]:
        """The `blocks` initial parameter matrices, on the host."""
        return []

    def shapes(self) -> list[tuple[int, int]]:
        """Shape (d_in + 1, d_out) of each parameter matrix."""
        return []

    def names(self) -> list[str]:
        """A name for each parameter matrix."""
        return [repr(self)] * self.blocks

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        """The output (N, ...) for the batch x (N, ...), and the tape."""
        raise not_written(self, "forward")

    def jvp(
        self, params: list[Array], tape: Tape, dparams: list[Array], dx: Array | None
    ) -> Array:
        """The output's tangents (K, N, ...), from those of parameters and input.

        `dparams` holds matrices (K, d_in + 1, d_out). `dx` is (K, N, ...), or None for
        zero, which only layers with parameters are given.
        """
        raise not_written(self, "jvp")

    def vjp(self, params: list[Array], tape: Tape, dy: Array) -> Array:
        """The input's cotangents (K, N, ...), from those of the output."""
        raise not_written(self, "vjp")

    def read_a(self, tape: Tape) -> Array:
        """a, (N, T, d_in + 1): the layer's input, a 1 appended if there is a bias."""
        raise not_written(self, "read_a")

    def read_g(self, tape: Tape, dy: Array) -> Array:
        """g, (K, N, T, d_out): the cotangents of the layer's output."""
        raise not_written(self, "read_g")

    # What a network calls: containers override these, single layers inherit them.

    def inputs(self, tape: Tape) -> list[Array]:
        """a of every block inside, in the order of the parameters."""
        return [self.read_a(tape)] if self.blocks else []

    def backward(
        self, params: list[Array], tape: Tape, dy: Array, input_needed: bool = True
    ) -> tuple[Array | None, list[Array]]:
        """The input's cotangents (None unless needed), and g of every block inside."""
        g = [self.read_g(tape, dy)] if self.blocks else []
        return (self.vjp(params, tape, dy) if input_needed else None), g

    def tangent(
        self, params: list[Array], tape: Tape, dparams: list[Array], dx: Array | None
    ) -> Array | None:
        """Like `jvp`, but without parameters a tangent of None (zero) stays None."""
        if dx is None and not self.blocks:
            return None
        return self.jvp(params, tape, dparams, dx)


def append_one(x: Array) -> Array:
    """[x, 1]: x with a 1 appended on the last axis."""
    xp = get_xp(x)
    return xp.concatenate([x, xp.ones((*x.shape[:-1], 1), dtype=x.dtype)], axis=-1)


def check_features(layer: Layer, x: Array, features: int | str) -> None:
    """Raise ShapeError, naming the layer, unless x is (N, ..., features).

    If `features` is a word, any number fits.
    """
    shape: Any = getattr(x, "shape", ())
    if len(shape) < 2 or shape[-1] != features:
        expected = ("N", *[None] * (len(shape) - 2), features)
        check_shape(f"input of {layer!r}", x, expected)
