"""Patches of images: which pixel an output reads at each offset of its kernel.

Along one axis, at kernel offset k, output o reads the pixel

    i = o * stride + k * dilation - low          (circular padding: modulo the size)

or a zero if that lies outside the image. Conversely, at most one output reads pixel i
at offset k. So extracting patches is a gather of pixels, and its adjoint is a gather of
outputs, summed over k: nothing is scattered.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from types import ModuleType

from kfac_ref.backend import Array, get_xp
from kfac_ref.errors import ShapeError
from kfac_ref.values import Value

PADDINGS = ("SAME", "VALID", "CIRCULAR")
Pair = tuple[int, int]
Padding = str | tuple[Pair, Pair]  # explicit: ((top, bottom), (left, right))


@dataclass(frozen=True)
class Axis(Value):
    """One axis of an image: which output reads which pixel along it."""

    size: int
    outputs: int
    kernel: int
    stride: int
    dilation: int
    low: int  # padding before the first pixel
    circular: bool

    def pixels_read(self, xp: ModuleType) -> Array:
        """The pixel that output o reads at offset k, (outputs, kernel); < 0: none."""
        o, k = xp.arange(self.outputs)[:, None], xp.arange(self.kernel)
        i = o * self.stride + k * self.dilation - self.low
        if self.circular:
            return i % self.size
        return xp.where(i < self.size, i, -1)

    def readers(self, xp: ModuleType) -> Array:
        """The output that reads pixel i at offset k, (size, kernel); < 0: none."""
        i, k = xp.arange(self.size)[:, None], xp.arange(self.kernel)
        steps = i - k * self.dilation + self.low  # = o * stride
        if self.circular:
            steps = steps % self.size
        o = steps // self.stride
        found = (steps % self.stride == 0) & (o < self.outputs)
        return xp.where(found, o, -1)


@dataclass(frozen=True)
class Grid(Value):
    """Both axes: images (..., h, w, c) have patches (..., T, kh*kw, c)."""

    rows: Axis
    columns: Axis

    @property
    def shape(self) -> Pair:
        """Height and width of the output; T is their product."""
        return self.rows.outputs, self.columns.outputs

    def extract(self, x: Array) -> Array:
        """The patches (..., T, kh*kw, c) of images (..., h, w, c), zero outside."""
        pixels = x.reshape(-1, self.rows.size * self.columns.size, x.shape[-1])
        patches = _append_zero(pixels)[:, self._pixels_read(get_xp(x))]
        return patches.reshape(*x.shape[:-3], *patches.shape[1:])

    def put_back(self, d: Array) -> Array:
        """The adjoint of `extract`: adds each patch to the pixels it was read from."""
        readers = self._readers(get_xp(d))
        patches = d.reshape(-1, *d.shape[-3:])
        x = sum(
            _append_zero(patches[:, :, k])[:, readers[:, k]]
            for k in range(readers.shape[1])
        )
        return x.reshape(*d.shape[:-3], self.rows.size, self.columns.size, -1)

    def inside(self, xp: ModuleType) -> Array:
        """(T, kh*kw): does the output read a pixel there, or padding?"""
        return self._pixels_read(xp) >= 0

    def _pixels_read(self, xp: ModuleType) -> Array:
        """Like `Axis.pixels_read`, as indices into the flat image, (T, kh*kw)."""
        r, c = self.rows.pixels_read(xp), self.columns.pixels_read(xp)
        return _flat(r, c, self.columns.size, xp)

    def _readers(self, xp: ModuleType) -> Array:
        """Like `Axis.readers`, with outputs t in 0 ... T-1, (h*w, kh*kw)."""
        r, c = self.rows.readers(xp), self.columns.readers(xp)
        return _flat(r, c, self.columns.outputs, xp)


def _flat(r: Array, c: Array, width: int, xp: ModuleType) -> Array:
    """Row and column indices as one, row by row; -1 where either is negative."""
    r, c = r[:, None, :, None], c[None, :, None, :]
    index = xp.where((r >= 0) & (c >= 0), r * width + c, -1)
    return index.reshape(index.shape[0] * index.shape[1], -1)


def _append_zero(x: Array) -> Array:
    """x with a zero appended on axis 1, where the index -1 finds it."""
    xp = get_xp(x)
    zero = xp.zeros((x.shape[0], 1, *x.shape[2:]), dtype=x.dtype)
    return xp.concatenate([x, zero], axis=1)


def make_grid(
    image: Pair, kernel: Pair, stride: Pair, dilation: Pair, padding: Padding
) -> Grid:
    """The grid over an image (h, w). Raises ShapeError if no output fits."""
    pads = (padding, padding) if isinstance(padding, str) else padding
    axes = zip(("rows", "columns"), image, kernel, stride, dilation, pads, strict=True)
    return Grid(*[_axis(*axis) for axis in axes])


def _axis(
    name: str, size: int, kernel: int, stride: int, dilation: int, padding: str | Pair
) -> Axis:
    span = (kernel - 1) * dilation + 1
    if padding in ("SAME", "CIRCULAR"):  # as TensorFlow and JAX pad for SAME
        outputs = ceil(size / stride)
        low = max(0, (outputs - 1) * stride + span - size) // 2
        return Axis(size, outputs, kernel, stride, dilation, low, padding == "CIRCULAR")
    low, high = (0, 0) if isinstance(padding, str) else padding
    if low + size + high < span:
        raise ShapeError(
            f"the kernel spans {span} {name}, the image has {size} (padding "
            f"{low} + {high}): no output is left; use a smaller kernel or more padding"
        )
    outputs = (low + size + high - span) // stride + 1
    return Axis(size, outputs, kernel, stride, dilation, low, False)
