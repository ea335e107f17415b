"""One style for all figures, and how they are saved."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfac_ref.errors import optional
from kfac_ref.files import write_whole

EXACT, APPROXIMATION, ERROR = "#1f6fb4", "#e8731a", "#6b6b6b"  # blue, orange, grey
STYLE: dict[Any, Any] = {
    "axes.grid": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 12,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10,
    "legend.frameon": False,
    "savefig.dpi": "figure",
    "text.usetex": False,
}


def styled(draw: Callable) -> Callable:
    """Draw in our style, whatever the caller's is; ExtraMissing without matplotlib."""

    @functools.wraps(draw)
    def in_style(*args: Any, **options: Any) -> Any:
        matplotlib = optional("matplotlib", "figures")
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            return draw(*args, **options)

    return in_style


@styled
def save(figure: Any, path: str | Path) -> Path:
    """Write a PNG: whole or not at all, without date or version inside."""
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return write_whole(path, content.getvalue())


def new_figure(width: float, height: float, layout: Any = None) -> Any:
    """An empty figure, in inches, that needs no display.

    layout "constrained" makes room for labels of any length; it draws several times.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)
