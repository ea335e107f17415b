"""The table of a comparison: its rows, how it prints, exports and draws itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from kfac_ref.errors import choose


@dataclass(frozen=True)
class Row:
    """The numbers of one approximation, for one layer or (layer None) as a whole."""

    approximation: str
    layer: str | None
    parameters: int
    frobenius_error: float
    spectral_error: float
    inverse_error: float
    angle: float  # degrees
    damped_norm_ratio: float
    storage: int | None  # numbers stored; None where layers have no share of their own
    build_seconds: float | None  # None for a layer: all are built in one go
    solve_seconds: float  # one gradient preconditioned, factorisation included


@dataclass(frozen=True)
class Comparison:
    """What `compare` found: `print` it, `to_dict` it, `plot` it."""

    damping: float
    rows: list[Row]  # layer after layer, the whole matrix last

    @property
    def approximations(self) -> list[str]:
        """Names, in the order in which they were given."""
        return list(dict.fromkeys(row.approximation for row in self.rows))

    @property
    def layers(self) -> list[str | None]:
        """Names of the layers, and at the end None: the whole matrix."""
        return list(dict.fromkeys(row.layer for row in self.rows))

    def row(self, approximation: str, layer: str | None = None) -> Row:
        """The row of an approximation, of one layer or as a whole. UnknownName."""
        choose("approximation", approximation, self.approximations)
        if layer is not None:
            choose("layer", layer, [name for name in self.layers if name])
        wanted = (approximation, layer)
        return next(r for r in self.rows if (r.approximation, r.layer) == wanted)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts: what JSON can hold."""
        return {"damping": self.damping, "rows": [asdict(row) for row in self.rows]}

    def __str__(self) -> str:
        width = max(len(name) for name in self.approximations)
        lines = []
        for layer in self.layers:
            rows = [row for row in self.rows if row.layer == layer]
            P, title = rows[0].parameters, layer or "whole matrix"
            lines += ["", f"{title} ({P:,} x {P:,}), lambda = {self.damping:g}"]
            lines.append(
                " " * (width + 2) + _line([head for head, _ in COLUMNS.values()])
            )
            lines += [
                f"  {row.approximation:<{width}}" + _line([*_cells(row)])
                for row in rows
            ]
        return "\n".join(lines[1:])

    def plot(self) -> Any:
        """The errors and angles as a matplotlib Figure. ExtraMissing without it."""
        from kfac_ref.plotting import comparison_figure

        return comparison_figure(self)


COLUMNS = {
    "frobenius_error": ("Frobenius", "{:.3g}"),
    "spectral_error": ("spectral", "{:.3g}"),
    "inverse_error": ("inverse", "{:.3g}"),
    "angle": ("angle", "{:.3g}°"),
    "damped_norm_ratio": ("norm ratio", "{:.3g}"),
    "storage": ("numbers", "{:,}"),
    "build_seconds": ("build s", "{:.3f}"),
    "solve_seconds": ("solve s", "{:.3f}"),
}


def _line(cells: list[str]) -> str:
    return "".join(f"{cell:>12}" for cell in cells)


def _cells(row: Row) -> Iterable[str]:
    for name, (_, form) in COLUMNS.items():
        value = getattr(row, name)
        yield "-" if value is None else form.format(value)
