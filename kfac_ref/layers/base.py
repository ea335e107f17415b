"""What a layer is: forward, jvp, vjp, and where it has parameters the pair (a, g).

The data format. A batch `x` has shape (N, ...): examples first. Whatever is propagated
through the tape of a forward pass (tangents forward, cotangents back) has one axis more
in front, (K, N, ...): K vectors at once. A layer with parameters has one matrix `W` of
shape (d_in + 1, d_out), the bias its last row, and its share of the gradient of the
k-th vector for example n is

    D_nk = sum_t a_nt g_nkt^T       a: (N, T, d_in + 1)      g: (K, N, T, d_out)

with t over the positions that share the weights (T = 1 for a dense layer). `read_a`
and `read_g` give these two, `a` from the tape, `g` from the cotangent of the output.

To add a layer: subclass `Layer`; write `forward`, `jvp`, `vjp`; where it has a weight
set `blocks = 1` and write `init`, `read_a`, `read_g`, too. Forward code is out of
place and asks its arrays for their namespace, so that autograd can differentiate it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.errors import check_shape, not_written
from kfac_ref.values import Value

Tape = Any  # what forward keeps for jvp, vjp and read_a


class Layer(Value):
    """Base of all layers; by itself it has no parameters."""

    blocks: int = 0  # number of parameter matrices
    mixes_examples: bool = False  # does an output depend on other examples?
    takes_integers: bool = False  # is the input x a table of indices?

    def init(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Initial parameter matrices, on the host: `blocks` of them."""
        return []

    def shapes(self) -> list[tuple[int, int]]:
        """Shape (d_in + 1, d_out) of each parameter matrix."""
        return []

    def names(self) -> list[str]:
        """A name for each parameter matrix."""
        return [repr(self)] * self.blocks

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        """Output (N, ...) for the batch x (N, ...), and the tape."""
        raise not_written(self, "forward")

    def jvp(
        self, params: list[Array], tape: Tape, dparams: list[Array], dx: Array | None
    ) -> Array:
        """Tangents (K, N, ...) of the output, from those of parameters and input.

        dparams has matrices (K, d_in + 1, d_out); dx is (K, N, ...), or None for zero
        (only layers with parameters are called with None).
        """
        raise not_written(self, "jvp")

    def vjp(self, params: list[Array], tape: Tape, dy: Array) -> Array:
        """Cotangents (K, N, ...) of the input, from those of the output."""
        raise not_written(self, "vjp")

    def read_a(self, tape: Tape) -> Array:
        """a, (N, T, d_in + 1): the layer's input, a 1 appended if there is a bias."""
        raise not_written(self, "read_a")

    def read_g(self, tape: Tape, dy: Array) -> Array:
        """g, (K, N, T, d_out): what arrives at the layer's output."""
        raise not_written(self, "read_g")

    # What a network calls; containers override these, single layers inherit them.

    def inputs(self, tape: Tape) -> list[Array]:
        """a of every block inside, in the order of the parameters."""
        return [self.read_a(tape)] if self.blocks else []

    def backward(
        self, params: list[Array], tape: Tape, dy: Array, input_needed: bool = True
    ) -> tuple[Array | None, list[Array]]:
        """Cotangents of the input (None unless needed), and g of every block inside."""
        g = [self.read_g(tape, dy)] if self.blocks else []
        return (self.vjp(params, tape, dy) if input_needed else None), g

    def tangent(
        self, params: list[Array], tape: Tape, dparams: list[Array], dx: Array | None
    ) -> Array | None:
        """`jvp`, where a tangent that is None (zero) stays None without parameters."""
        if dx is None and not self.blocks:
            return None
        return self.jvp(params, tape, dparams, dx)


def append_one(x: Array) -> Array:
    """[x, 1]: the homogeneous coordinate, last on the last axis."""
    xp = get_xp(x)
    return xp.concatenate([x, xp.ones((*x.shape[:-1], 1), dtype=x.dtype)], axis=-1)


def check_features(layer: Layer, x: Array, features: int | str) -> None:
    """ShapeError, naming the layer, unless x is (N, ..., features).

    A word in place of the number of features fits any number.
    """
    shape: Any = getattr(x, "shape", ())
    if len(shape) < 2 or shape[-1] != features:
        expected = ("N", *[None] * (len(shape) - 2), features)
        check_shape(f"input of {layer!r}", x, expected)
