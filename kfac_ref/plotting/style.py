"""One style for all figures, and how they are saved.

A figure is at most WIDEST inches wide, so that 8-point text is legible on a page or in
a notebook. Exact is blue, an approximation orange, an error grey. Curves of one kind
have a `look` each, the values of one knob their `shades`: the colour-blind can tell
them apart, and line styles do so without any colour.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kfac_ref.calls import door
from kfac_ref.checks import check_count, check_kind
from kfac_ref.errors import KfacTypeError, describe
from kfac_ref.extras import optional
from kfac_ref.files import write_whole
from kfac_ref.plotting.words import literal

EXACT, APPROXIMATION, ERROR = "#1f6fb4", "#e8731a", "#6b6b6b"  # blue, orange, grey
KINDS = (APPROXIMATION, "#000000", "#9a06f7", "#562c09")  # black, violet, brown
LINES = ("-", "--", "-.", ":")
WIDEST = 10.0  # inches
COLOURS = 256  # in a saved file

STYLE: dict[Any, Any] = {
    "axes.grid": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "savefig.dpi": "figure",
    "text.usetex": False,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


@door
def look(i: int) -> dict[str, Any]:
    """Colour, line and marker of curve i, for `plot`, in 48 combinations."""
    i = check_count("i", i, least=0)
    turn = i // len(KINDS)
    found = {"color": KINDS[i % 4], "linestyle": LINES[(i + turn) % 4]}
    return found | {"marker": ("", "o", "s")[turn // 4 % 3], "markevery": 0.1}


@door
def shades(count: int) -> list[dict[str, Any]]:
    """Colour and line of a curve for each value of a knob, from light to dark."""
    from matplotlib import colormaps

    count = check_count("count", count, least=0)
    last = max(count - 1, 1)
    return [
        {"color": colormaps["magma"](0.86 * (1 - i / last)), "linestyle": LINES[i % 4]}
        for i in range(count)
    ]


@door
def styled(draw: Callable) -> Callable:
    """Make `draw` use our style, whatever the caller's. Raises ExtraMissing."""

    if not callable(draw):
        raise KfacTypeError(f"draw: expected a function, found {describe(draw)}")

    @functools.wraps(draw)
    def drawn(*args: Any, **options: Any) -> Any:
        with _our_style():
            figure = draw(*args, **options)
            literal(figure)
            return figure

    return door(drawn)


@contextmanager
def _our_style() -> Iterator[None]:
    matplotlib = optional("matplotlib", "figures")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


@door
def save(figure: Any, path: str | Path) -> Path:
    """Atomically write a PNG, without date or version inside; return the path.

    Raises KfacTypeError unless `figure` is a figure and `path` a path; OSError.
    """
    content = io.BytesIO()
    with _our_style():
        from matplotlib.figure import Figure

        check_kind("figure", figure, Figure, "as these functions draw")
        figure.savefig(content, format="png")
    return write_whole(path, few_colours(content.getvalue()))


def few_colours(png: bytes) -> bytes:
    """The same picture in at most COLOURS colours, in half the bytes or less."""
    from PIL import Image  # matplotlib needs it, too

    with Image.open(io.BytesIO(png)) as image:
        dpi = image.info["dpi"]
        every = image.convert("RGB")
    few = every.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1)
    content = io.BytesIO()
    few.save(content, "PNG", optimize=True, dpi=dpi)
    return content.getvalue()


def tall(entries: int, least: float) -> float:
    """The height in inches, at least `least`, for so many entries in the legend."""
    return max(least, 0.9 + 0.2 * entries)


def new_figure(width: float, height: float, layout: Any = "constrained") -> Any:
    """An empty figure, sized in inches, that needs no display and has room for labels.

    layout="compressed" is for images, whose shape is fixed.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)
