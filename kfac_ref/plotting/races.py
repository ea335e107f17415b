"""A race: the loss by update and by second, a line for each seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kfac_ref.checks import check_finite, check_number
from kfac_ref.optimizer.history import History
from kfac_ref.plotting.inputs import known, named, same_length, scale, several, words
from kfac_ref.plotting.style import look, new_figure, styled, tall
from kfac_ref.plotting.words import folded, legend_beside, shortened


@styled
def race_figure(
    histories: Mapping[str, Sequence[History]],
    titles: tuple[str, str],
    floor: float = 0.0,
    what: str = "loss",
) -> Any:
    """Plot the watched loss minus `floor` by update and by second, with two titles.

    An axis is logarithmic unless a number is zero or negative. Raises ValueRangeError
    if there is no contestant, or one without a run or an evaluation; NotFinite if a
    number is not finite; KfacTypeError unless `histories` is a dict of lists of
    histories.
    """
    named("histories", histories, "contestant")
    several("titles", titles, "title")
    words("titles", *titles)
    words("what", what)
    same_length("titles", titles, "a pair", (0, 1))
    floor = check_number("floor", floor)
    check_finite("floor", np.asarray(floor))
    figure = new_figure(10.0, tall(1 + len(histories), 3.9))
    panels = figure.subplots(1, 2, sharey=True)
    curves, drawn = [], ([], [], [])  # type: ignore[var-annotated]
    for i, (name, runs) in enumerate(histories.items()):
        for seed, history in enumerate(several(f"histories[{name!r}]", runs, "run")):
            there = known(f"histories[{name!r}][{seed}]", history, "evaluation")
            value = history.evaluation[there] - floor
            columns = (history.update[there], history.seconds[there])
            for ax, along in zip(panels, columns, strict=True):
                curve = ax.plot(
                    along, value, label=shortened(name), alpha=0.8, **look(i)
                )
            for seen, numbers in zip(drawn, (value, *columns), strict=True):
                seen.append(numbers)
        curves += curve
    for ax, label, title, along in zip(
        panels, ("updates", "seconds"), titles, drawn[1:], strict=True
    ):
        ax.set(xscale=scale(*along), xlabel=label, title=folded(title))
    panels[0].set(ylabel=what, yscale=scale(*drawn[0]))
    legend_beside(panels[1], curves, title="a line for each seed")
    return figure
