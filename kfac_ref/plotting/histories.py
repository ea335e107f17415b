"""Trainings side by side: the loss by update, by epoch and by second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kfac_ref.optimizer.training import History
from kfac_ref.plotting.style import APPROXIMATION, ERROR, EXACT, new_figure, styled

COLOURS = (APPROXIMATION, "black", ERROR, EXACT)
LINES = ("-", "--", ":", "-.")
AXES = (("update", "updates"), ("epoch", "epochs"), ("seconds", "seconds"))


@styled
def histories_figure(histories: Mapping[str, History], what: str = "loss") -> Any:
    """`what`, "loss" (of the batches) or "evaluation", of each training by its name.

    The first is orange, the colour of K-FAC. The last values stand in the legend; the
    vertical axis is logarithmic unless a value is zero or negative.
    """
    figure = new_figure(13.0, 4.4, "constrained")
    panels = figure.subplots(1, 3, sharey=True)
    positive = True
    for i, (name, history) in enumerate(histories.items()):
        values = np.asarray(getattr(history, what))
        known = ~np.isnan(values)  # where there was an evaluation
        positive &= bool((values[known] > 0).all())
        colour, line = COLOURS[i % 4], LINES[i // 4 % 4]
        for ax, (field, _) in zip(panels, AXES, strict=True):
            along = getattr(history, field)[known]
            label = f"{name}: {values[known][-1]:.3g}"
            ax.plot(along, values[known], line, color=colour, label=label)
    for ax, (_, label) in zip(panels, AXES, strict=True):
        ax.set_xlabel(label)
        ax.set_title(f"{what} by {label.removesuffix('s')}")
    panels[0].set(ylabel=f"{what} (nats)", yscale="log" if positive else "linear")
    panels[0].xaxis.get_major_locator().set_params(integer=True)
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
