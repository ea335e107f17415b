"""Layers made of layers: a sequence of them, and the residual connection."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kfac_ref.backend import Array
from kfac_ref.checks import check_shape
from kfac_ref.errors import KfacTypeError, describe, located
from kfac_ref.layers.base import Layer, Tape


class Sequential(Layer):
    """Applies layers one after another; its parameters are theirs, in order."""

    def __init__(self, layers: list[Layer]):
        self.layers = [layers] if isinstance(layers, Layer) else list(layers)
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, Layer):
                raise KfacTypeError(
                    f"layer {i}: expected an instance, such as Tanh(), found "
                    f"{describe(layer)}"
                )
        self.takes_integers = bool(self.layers) and self.layers[0].takes_integers
        self.blocks = sum(layer.blocks for layer in self.layers)
        self.mixes_examples = any(layer.mixes_examples for layer in self.layers)

    def __repr__(self) -> str:
        return f"Sequential([{', '.join(map(repr, self.layers))}])"

    def init(self, rng: np.random.Generator) -> list[np.ndarray]:
        return [W for layer in self.layers for W in layer.init(rng)]

    def shapes(self) -> list[tuple[int, int]]:
        return [shape for layer in self.layers for shape in layer.shapes()]

    def names(self) -> list[str]:
        return [
            f"{i}: {name}"
            for i, layer in enumerate(self.layers)
            for name in layer.names()
        ]

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        tape = []
        for i, (layer, own) in enumerate(self._each(params)):
            with located(f"layer {i}"):
                x, kept = layer.forward(own, x)
            tape.append(kept)
        return x, tape

    def jvp(
        self, params: list[Array], tape: Tape, dparams: list[Array], dx: Array | None
    ) -> Array:
        tangents = (own for _, own in self._each(dparams))
        for (layer, own), kept, change in zip(
            self._each(params), tape, tangents, strict=True
        ):
            dx = layer.tangent(own, kept, change, dx)
        return dx

    def vjp(self, params: list[Array], tape: Tape, dy: Array) -> Array:
        return self.backward(params, tape, dy)[0]

    def inputs(self, tape: Tape) -> list[Array]:
        return [
            a
            for layer, kept in zip(self.layers, tape, strict=True)
            for a in layer.inputs(kept)
        ]

    def backward(
        self, params: list[Array], tape: Tape, dy: Array, input_needed: bool = True
    ) -> tuple[Array | None, list[Array]]:
        first = next((i for i, m in enumerate(self.layers) if m.blocks), len(tape))
        g: list[Array] = []
        for i, (layer, own) in reversed(list(enumerate(self._each(params)))):
            if i < first and not input_needed:
                return None, g
            needed = input_needed or i > first
            dy, inside = layer.backward(own, tape[i], dy, needed)
            g = inside + g
        return dy, g

    def _each(self, params: list[Array]) -> Iterator[tuple[Layer, list[Array]]]:
        """Yield each layer with its own parameters."""
        start = 0
        for layer in self.layers:
            yield layer, params[start : start + layer.blocks]
            start += layer.blocks


class Residual(Sequential):
    """y = x + f(x), where f is the layers inside and must keep the shape."""

    def __repr__(self) -> str:
        return f"Residual([{', '.join(map(repr, self.layers))}])"

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        y, tape = super().forward(params, x)
        check_shape(f"output of the layers inside {self!r}", y, x.shape)
        return x + y, tape

    def jvp(
        self, params: list[Array], tape: Tape, dparams: list[Array], dx: Array | None
    ) -> Array:
        dy = super().jvp(params, tape, dparams, dx)
        return dy if dx is None else dx + dy

    def backward(
        self, params: list[Array], tape: Tape, dy: Array, input_needed: bool = True
    ) -> tuple[Array | None, list[Array]]:
        dx, g = super().backward(params, tape, dy, input_needed)
        return (dy + dx if input_needed else None), g
