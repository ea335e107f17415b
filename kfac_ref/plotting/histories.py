"""Trainings side by side: the loss by update, by epoch and by second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kfac_ref.errors import choose
from kfac_ref.optimizer.history import History
from kfac_ref.plotting.inputs import known, named, scale
from kfac_ref.plotting.style import look, new_figure, styled, tall
from kfac_ref.plotting.words import legend_beside, shortened

AXES = (("update", "updates"), ("epoch", "epochs"), ("seconds", "seconds"))


@styled
def histories_figure(histories: Mapping[str, History], what: str = "loss") -> Any:
    """Plot `what`, "loss" (of the batches) or "evaluation", for each named training.

    The first is orange, the colour of K-FAC. The legend gives the last values; the
    vertical axis is logarithmic unless a value is zero or negative. Raises
    ValueRangeError if there is no training, or one without a number; NotFinite if one
    is infinite; KfacTypeError unless `histories` is a dict of histories.
    """
    choose("column", what, ["loss", "evaluation"])
    named("histories", histories, "training")
    figure = new_figure(10.0, tall(len(histories), 3.6))
    panels = figure.subplots(1, 3, sharey=True)
    curves, drawn = [], []
    for i, (name, history) in enumerate(histories.items()):
        there = known(f"histories[{name!r}]", history, what)
        values = np.asarray(getattr(history, what))[there]
        drawn.append(values)
        label = f"{shortened(name)}: {values[-1]:.3g}"
        for ax, (field, _) in zip(panels, AXES, strict=True):
            along = getattr(history, field)[there]
            curve = ax.plot(along, values, label=label, **look(i))
        curves += curve
    for ax, (_, label) in zip(panels, AXES, strict=True):
        ax.set_xlabel(label)
        ax.set_title(f"{what} by {label.removesuffix('s')}")
    panels[0].set(ylabel=f"{what} (nats)", yscale=scale(*drawn))
    panels[0].xaxis.get_major_locator().set_params(integer=True)
    legend_beside(panels[-1], curves)
    return figure
