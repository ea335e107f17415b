"""Words in figures: shown as they are written, never as mathematics."""

from __future__ import annotations

import textwrap
from typing import Any

from kfac_ref.checks import check_kind

LONGEST = 26  # most characters of a name; in a legend, with its number
LEGEND = 36


def shortened(name: Any, longest: int = LONGEST) -> str:
    """The name on one line; a long one keeps both ends, where names may differ."""
    words = " ".join(str(name).split())
    if len(words) <= longest:
        return words
    half = longest // 2
    return f"{words[:half]}…{words[half + 1 - longest :]}"


def folded(title: Any, width: int = 38) -> str:
    """A title in lines of at most `width` characters, broken first at its colon."""
    head, colon, rest = str(title).partition(": ")
    parts = [f"{head}:", rest] if colon and len(str(title)) > width else [str(title)]
    lines = [textwrap.wrap(shortened(part, 2 * width), width) for part in parts]
    return "\n".join(line for part in lines for line in part)


def literal(figure: Any) -> None:
    """Show every text as it is: `$` is a dollar, and names may hold `_`, `^`, `\\`.

    Only the powers of ten on a logarithmic axis are set as mathematics, by matplotlib.
    """
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter

    powers: set[Any] = set()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            if isinstance(axis.get_major_formatter(), LogFormatter):
                powers.update(axis.get_ticklabels(which="both"))
    for text in figure.findobj(Text):
        if text not in powers:
            text.set_parse_math(False)


def legend_beside(ax: Any, curves: list[Any], **options: Any) -> Any:
    """Put the curves' legend to the right of the axes, where it hides nothing."""
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.container import Container

    check_kind("ax", ax, Axes, "of matplotlib")
    check_kind("curves", curves, list, "as ax.plot gives it")
    for curve in curves:
        if not isinstance(curve, Container):  # the bars of one ax.bar, no Artist
            check_kind("curves", curve, Artist, "as ax.plot gives them")
    legend = ax.legend(
        curves,
        ["-"] * len(curves),  # matplotlib leaves out what begins with "_"
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        **options,
    )
    for text, curve in zip(legend.get_texts(), curves, strict=True):
        text.set_text(shortened(curve.get_label(), LEGEND))
    return legend
