"""Heat maps: the exact matrix, an approximation, and their difference."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from kfac_ref.backend import to_numpy
from kfac_ref.checks import check_count, check_finite
from kfac_ref.comparison.distances import relative_frobenius_error
from kfac_ref.errors import KfacTypeError, ShapeError, describe, located
from kfac_ref.matrices import SymmetricMatrix
from kfac_ref.matrices.base import check_matrix
from kfac_ref.plotting.inputs import words
from kfac_ref.plotting.style import APPROXIMATION, ERROR, EXACT, new_figure, styled
from kfac_ref.plotting.words import shortened

SIGNED = ["#c5f3e8", "#2a9d8f", "#0b0d12", "#c2478f", "#ffd6ec"]  # dark at zero
PIXELS = 200  # most rows drawn by entry; larger matrices are drawn by cells


@styled
def heat_maps(
    exact: SymmetricMatrix,
    approximation: SymmetricMatrix,
    name: str = "approximation",
    sizes: Sequence[int] = (),
) -> Any:
    """Draw exact, approximation and difference side by side, on one colour scale.

    With up to 200 rows every entry is drawn, with its sign. Larger matrices are cut
    into square cells, each drawn as the root mean square of its entries, on a log
    scale. White lines separate the layers, which have `sizes` rows each. Raises
    ShapeError if `sizes` do not add up, NotFinite if an entry is not finite,
    KfacTypeError unless both are matrices.
    """
    words("name", name)
    check_matrix("exact", exact)
    check_matrix("approximation", approximation)
    F, M = _entries("exact", exact), _entries(name, approximation)
    sizes = _checked(sizes, len(F))
    error = relative_frobenius_error(approximation, exact)
    cell = -(-len(F) // PIXELS)
    images = [F, M, M - F] if cell == 1 else [_cells(X, cell) for X in (F, M, M - F)]
    titles = ["exact", shortened(name, 24), f"difference: relative error {error:.3g}"]
    figure = new_figure(10.0, 3.5, "compressed")
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    look = _signed_look(F) if cell == 1 else _log_look(images[0])
    side = len(images[0]) * cell
    for ax, image, title, colour in zip(
        axes, images, titles, (EXACT, APPROXIMATION, ERROR), strict=True
    ):
        drawn = ax.imshow(
            image, extent=(0, side, side, 0), interpolation="nearest", **look
        )
        ax.set_title(title, color=colour)
        ax.set_xlabel("parameter")
        for end in list(accumulate(sizes))[:-1]:
            ax.axhline(end, color="white", linewidth=0.8)
            ax.axvline(end, color="white", linewidth=0.8)
        ax.xaxis.get_major_locator().set_params(nbins=4, integer=True)
    axes[0].set(xlim=(0, len(F)), ylim=(len(F), 0), ylabel="parameter")
    label = "entry" if cell == 1 else f"root mean square of {cell} x {cell} entries"
    bar = figure.colorbar(drawn, ax=axes, label=label, pad=0.01)
    if cell == 1:
        top = look["norm"].vmax
        ticks = [-top, -top / 10, 0, top / 10, top]
        bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks], minor=False)
        bar.minorticks_off()
    return figure


def _checked(sizes: Sequence[int], rows: int) -> list[int]:
    """The sizes as Python's ints, which add up to `rows`, or none at all."""
    if not isinstance(sizes, list | tuple):
        raise KfacTypeError(
            f"sizes: expected a list of whole numbers, found {describe(sizes)}"
        )
    found = [check_count("sizes", size) for size in sizes]
    if found and sum(found) != rows:
        raise ShapeError(
            f"sizes: expected numbers that add up to {rows}, found {found}"
        )
    return found


def _entries(what: str, matrix: SymmetricMatrix) -> np.ndarray:
    with located(what):
        dense = matrix.to_dense()
        check_finite("entries", dense)
    return to_numpy(dense)


def _cells(X: np.ndarray, cell: int) -> np.ndarray:
    """Root mean square of each cell x cell entries, or fewer at the far edges."""
    starts = np.arange(0, len(X), cell)
    strips = np.split(X, starts[1:])
    sums = np.stack([np.einsum("rp,rp->p", strip, strip) for strip in strips])
    squares = np.add.reduceat(sums, starts, axis=1)
    lengths = np.diff([*starts, len(X)])
    return np.sqrt(squares / np.outer(lengths, lengths))


def _signed_look(F: np.ndarray) -> dict[str, Any]:
    """Dark at zero; linear up to a hundredth of the largest entry, then logarithmic."""
    from matplotlib.colors import AsinhNorm, LinearSegmentedColormap

    top = float(np.abs(F).max())
    norm = AsinhNorm(linear_width=top / 100, vmin=-top, vmax=top)
    return {"norm": norm, "cmap": LinearSegmentedColormap.from_list("signed", SIGNED)}


def _log_look(image: np.ndarray) -> dict[str, Any]:
    """Three decades below the largest cell; smaller cells and zeros are black."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm

    top = float(image.max())
    cmap = colormaps["magma"].with_extremes(bad="black", under="black")
    return {"norm": LogNorm(top / 1000, top), "cmap": cmap}
