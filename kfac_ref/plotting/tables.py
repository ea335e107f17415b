"""Draws a comparison as tables in shades of grey."""

from __future__ import annotations

from typing import Any

import numpy as np

from kfac_ref.checks import check_kind
from kfac_ref.comparison.table import Comparison
from kfac_ref.plotting.inputs import some
from kfac_ref.plotting.style import WIDEST, new_figure, styled
from kfac_ref.plotting.words import shortened

ABREAST, MOST = 7, 22  # most columns: of three tables side by side, of one alone
ROW, NUMBER = 0.27, 8  # height of a row in inches, size of a number in points


@styled
def comparison_figure(comparison: Comparison) -> Any:
    """Draw the error, the error of the damped inverse, and the angle; darker is worse.

    With up to seven columns the three tables stand side by side; with more, one below
    the other, 22 columns at a time. Raises ValueRangeError if there are no rows,
    KfacTypeError unless given a Comparison.
    """
    check_kind("comparison", comparison, Comparison, "as of compare(...)")
    panels = {
        "frobenius_error": "relative Frobenius error",
        "inverse_error": f"error of the inverse, λ = {comparison.damping:g}",
        "angle": "angle to the natural gradient (°)",
    }
    names = some("comparison.rows", comparison.approximations, "row")
    layers = comparison.layers
    abreast = len(layers) <= ABREAST
    parts = [layers[i : i + MOST] for i in range(0, len(layers), MOST)]
    rows = 1 if abreast else 3 * len(parts)
    words = [shortened(layer or "whole matrix", 24) for layer in layers]
    height = len(parts) * 0.075 * max(map(len, words)) + rows * (0.4 + ROW * len(names))
    figure = new_figure(WIDEST, 0.2 + height)
    axes = figure.subplots(rows, 3 // min(rows, 3), sharey=True, squeeze=False).ravel()
    tables = [(number, part) for part in parts for number in panels]
    for i, (ax, (number, part)) in enumerate(zip(axes, tables, strict=True)):
        table = np.array(
            [[getattr(comparison.row(n, la), number) for la in part] for n in names]
        )
        _draw(ax, table, "{:.0f}" if number == "angle" else "{:.2f}")
        ax.set_title(panels[number])
        below = words[i // 3 * MOST :][: len(part)] if abreast or i % 3 == 2 else []
        ax.set_xticks(range(len(below)), below, rotation=90)
        ax.set_yticks(range(len(names)), [shortened(name) for name in names])
    return figure


def _draw(ax: Any, table: np.ndarray, form: str) -> None:
    """Draw each number in its cell; undefined (-) and infinite ones have no shade."""
    finite = np.where(np.isfinite(table), table, np.nan)
    worst = max(1.0, 1.5 * float(np.nanmedian([0.0, *finite.ravel()])))
    ax.imshow(finite, cmap="Greys", vmin=0, vmax=worst, aspect="auto")
    for (i, j), value in np.ndenumerate(table):
        colour = "white" if np.inf > value > 0.55 * worst else "black"
        text = form.format(value) if not 1000 <= value < np.inf else f"{value:.0e}"
        text = text.replace("e+0", "e").replace("e+", "e").replace("nan", "-")
        ax.text(j, i, text, ha="center", va="center", color=colour, size=NUMBER)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
