"""A race: the loss by update and by second, a line for each seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kfac_ref.optimizer.training import History
from kfac_ref.plotting.histories import COLOURS
from kfac_ref.plotting.style import new_figure, styled


@styled
def race_figure(
    histories: Mapping[str, Sequence[History]],
    titles: tuple[str, str],
    floor: float = 0.0,
    what: str = "loss",
) -> Any:
    """The watched loss less `floor`, by update and by second, under the two titles."""
    figure = new_figure(10.5, 4.2, "constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for colour, (name, runs) in zip(COLOURS, histories.items(), strict=False):
        for seed, history in enumerate(runs):
            known = ~np.isnan(history.evaluation)
            value = history.evaluation[known] - floor
            label = name if seed == 0 else None
            for ax, along in zip(
                panels, (history.update, history.seconds), strict=True
            ):
                ax.plot(along[known], value, color=colour, label=label, alpha=0.8)
    for ax, label, title in zip(panels, ("updates", "seconds"), titles, strict=True):
        ax.set(xscale="log", yscale="log", xlabel=label, title=title)
    panels[0].set_ylabel(what)
    panels[0].legend(loc="lower left")
    return figure
