"""A comparison, drawn as tables in shades of grey."""

from __future__ import annotations

from typing import Any

import numpy as np

from kfac_ref.comparison.table import Comparison
from kfac_ref.plotting.style import new_figure, styled


@styled
def comparison_figure(comparison: Comparison) -> Any:
    """Error, error of the damped inverse, and angle; darker is worse."""
    panels = {
        "frobenius_error": "relative Frobenius error",
        "inverse_error": f"error of the inverse, λ = {comparison.damping:g}",
        "angle": "angle to the natural gradient (°)",
    }
    names, layers = comparison.approximations, comparison.layers
    labels = [layer or "whole matrix" for layer in layers]
    figure = new_figure(4 + 1.75 * len(layers), 1.8 + 0.32 * len(names), "constrained")
    for ax, (number, title) in zip(
        figure.subplots(1, 3, sharey=True), panels.items(), strict=True
    ):
        table = np.array(
            [[getattr(comparison.row(n, la), number) for la in layers] for n in names]
        )
        worst = max(1.0, 1.5 * float(np.median(table)))
        ax.imshow(table, cmap="Greys", vmin=0, vmax=worst, aspect="auto")
        for i, row in enumerate(table):
            for j, value in enumerate(row):
                colour = "white" if value > 0.55 * worst else "black"
                text = f"{value:.0f}" if number == "angle" else f"{value:.2f}"
                ax.text(j, i, text, ha="center", va="center", color=colour, size=9)
        ax.set_xticks(range(len(labels)), labels, rotation=35, ha="right")
        ax.set_yticks(range(len(names)), names)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_title(title)
    return figure
