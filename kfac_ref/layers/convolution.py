"""The two-dimensional convolution: a dense layer on patches."""

from __future__ import annotations

import numpy as np

from kfac_ref.backend import Array
from kfac_ref.checks import check_count, check_flag, check_shape
from kfac_ref.errors import located
from kfac_ref.layers.arguments import check_padding, check_pair, show_pair
from kfac_ref.layers.base import Layer, Tape
from kfac_ref.layers.dense import Dense
from kfac_ref.layers.initializers import Initializer, glorot
from kfac_ref.layers.patches import Grid, Padding, Pair, make_grid


class Conv2d(Layer):
    """y_t = [patch_t, 1] W for every output pixel t; images are (N, h, w, c_in), NHWC.

    W is (kh*kw*c_in + 1, c_out): the patch in the order (kh, kw, c), then the bias as
    the last row. `kernel`, `stride` and `dilation` are numbers or pairs (vertical,
    horizontal).

    padding: "VALID" adds none. "SAME" adds zeros, so that the output has ceil(h/stride)
    rows: `total // 2` rows above and the rest below (TensorFlow's and JAX's rule), with
    `total = max(0, (ceil(h/stride) - 1) * stride + (kh - 1) * dilation + 1 - h)`.
    "CIRCULAR" adds as many, but repeats the image. ((top, bottom), (left, right)) says
    how many zeros to add. A padded pixel is like any other: the 1 for the bias is 1 in
    every patch.

    Grosse & Martens 2016, section 2.2: a_nt are the patches, one for each output pixel.
    """

    blocks = 1

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int | Pair,
        stride: int | Pair = 1,
        padding: Padding = "SAME",
        dilation: int | Pair = 1,
        bias: bool = True,
        initializer: Initializer = glorot,
    ):
        self.c_in = check_count("Conv2d: c_in", c_in)
        self.c_out = check_count("Conv2d: c_out", c_out)
        self.kernel = check_pair("Conv2d: kernel", kernel)
        self.stride = check_pair("Conv2d: stride", stride)
        self.padding = check_padding("Conv2d: padding", padding)
        self.dilation = check_pair("Conv2d: dilation", dilation)
        self.initializer = initializer
        bias = check_flag("Conv2d: bias", bias)
        self.dense = Dense(
            self.kernel[0] * self.kernel[1] * self.c_in, self.c_out, bias
        )

    def __repr__(self) -> str:
        shown = [f"{self.c_in}, {self.c_out}, {show_pair(self.kernel)}"]
        if self.stride != (1, 1):
            shown.append(f"stride={show_pair(self.stride)}")
        if self.padding != "SAME":
            shown.append(f"padding={self.padding!r}")
        if self.dilation != (1, 1):
            shown.append(f"dilation={show_pair(self.dilation)}")
        if not self.dense.bias:
            shown.append("bias=False")
        return f"Conv2d({', '.join(shown)})"

    def shapes(self) -> list[tuple[int, int]]:
        return self.dense.shapes()

    def init(self, rng: np.random.Generator) -> list[np.ndarray]:
        area = self.kernel[0] * self.kernel[1]
        fans = area * self.c_in, area * self.c_out
        shape, bias = self.shapes()[0], self.dense.bias
        return [self.initializer(rng, shape, bias=bias, fans=fans)]

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        check_shape(f"input of {self!r}", x, ("N", "h", "w", self.c_in))
        with located(repr(self)):
            grid = make_grid(
                x.shape[1:3], self.kernel, self.stride, self.dilation, self.padding
            )
        patches = self._patches(grid, x)
        y, a = self.dense.forward(params, patches)  # (N, T, c_out)
        return y.reshape(y.shape[0], *grid.shape, self.c_out), (a, grid)

    def jvp(
        self, params: list[Array], tape: Tape, dparams: list[Array], dx: Array | None
    ) -> Array:
        a, grid = tape
        change = None if dx is None else self._patches(grid, dx)
        dy = self.dense.jvp(params, a, dparams, change)  # (K, N, T, c_out)
        return dy.reshape(*dy.shape[:2], *grid.shape, self.c_out)

    def vjp(self, params: list[Array], tape: Tape, dy: Array) -> Array:
        a, grid = tape
        d = self.dense.vjp(params, a, self.read_g(tape, dy))
        return grid.put_back(d.reshape(*d.shape[:-1], -1, self.c_in))

    def read_a(self, tape: Tape) -> Array:
        return self.dense.read_a(tape[0])  # (N, T, kh*kw*c_in + 1)

    def read_g(self, tape: Tape, dy: Array) -> Array:
        return dy.reshape(*dy.shape[:2], -1, self.c_out)  # (K, N, T, c_out)

    def _patches(self, grid: Grid, x: Array) -> Array:
        p = grid.extract(x)
        return p.reshape(*p.shape[:-2], self.dense.d_in)  # (..., T, kh*kw*c_in)
