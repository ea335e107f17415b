"""Pooling: the maximum or the mean over windows of an image."""

from __future__ import annotations

from types import ModuleType

from kfac_ref.backend import Array, get_xp
from kfac_ref.checks import check_shape
from kfac_ref.errors import choose, located, not_written
from kfac_ref.layers.arguments import check_pair, show_pair
from kfac_ref.layers.base import Layer, Tape
from kfac_ref.layers.patches import PADDINGS, Grid, Pair, make_grid


class Pool2d(Layer):
    """y = sum_j w_j x_j over the pixels j of a window; subclasses choose the weights w.

    Images are (N, h, w, c), and each channel is pooled separately. `size` and `stride`
    (default: the size) are numbers or pairs; `padding` is "VALID", "SAME" or "CIRCULAR"
    as in `Conv2d`, but whatever lies outside the image is ignored.
    """

    def __init__(
        self, size: int | Pair, stride: int | Pair | None = None, padding: str = "VALID"
    ):
        name = type(self).__name__
        self.size = check_pair(f"{name}: size", size)
        self.stride = self.size
        if stride is not None:
            self.stride = check_pair(f"{name}: stride", stride)
        self.padding = choose(f"padding of {name}", padding, PADDINGS)

    def __repr__(self) -> str:
        shown = show_pair(self.size)
        if self.stride != self.size:
            shown += f", stride={show_pair(self.stride)}"
        if self.padding != "VALID":
            shown += f", padding={self.padding!r}"
        return f"{type(self).__name__}({shown})"

    def weights(self, patches: Array, inside: Array, xp: ModuleType) -> Array:
        """w for patches (N, T, j, c); `inside` (T, j, 1) is False for padding."""
        raise not_written(self, "weights")

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        check_shape(f"input of {self!r}", x, ("N", "h", "w", "c"))
        with located(repr(self)):
            grid = make_grid(x.shape[1:3], self.size, self.stride, (1, 1), self.padding)
        xp, patches = get_xp(x), grid.extract(x)
        w = self.weights(patches, grid.inside(xp)[:, :, None], xp)
        return self._sum(w, patches, grid), (w, grid)

    def jvp(
        self, params: list[Array], tape: Tape, dparams: list[Array], dx: Array | None
    ) -> Array:
        w, grid = tape
        assert dx is not None  # no parameters
        return self._sum(w, grid.extract(dx), grid)

    def vjp(self, params: list[Array], tape: Tape, dy: Array) -> Array:
        w, grid = tape
        rows = dy.reshape(*dy.shape[:2], -1, 1, dy.shape[-1])  # (K, N, T, 1, c)
        return grid.put_back(w * rows)

    def _sum(self, w: Array, patches: Array, grid: Grid) -> Array:
        y = (w * patches).sum(axis=-2)  # (..., T, c)
        return y.reshape(*y.shape[:-2], *grid.shape, -1)


class MaxPool2d(Pool2d):
    """The largest pixel of the window; among equal ones the first, row by row.

    So at a tie the derivative goes to one pixel and is not shared by all of them.
    """

    def weights(self, patches: Array, inside: Array, xp: ModuleType) -> Array:
        j = xp.arange(patches.shape[-2])[:, None]
        first = xp.argmax(xp.where(inside, patches, -xp.inf), axis=-2)  # (N, T, c)
        return (first[..., None, :] == j).astype(patches.dtype)


class AvgPool2d(Pool2d):
    """The mean over the pixels of the window that lie inside the image."""

    def weights(self, patches: Array, inside: Array, xp: ModuleType) -> Array:
        w = inside.astype(patches.dtype)
        return w / w.sum(axis=1, keepdims=True)  # (T, j, 1)
