"""The table of a comparison: its rows, how it prints and exports itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import compress
from typing import Any

from kfac_ref.errors import choose
from kfac_ref.values import Value


@dataclass(frozen=True, eq=False)
class Row(Value):
    """The numbers of one approximation, for one layer or (layer None) as a whole.

    NaN is undefined: there is nothing to divide by, or no direction (see `compare`).
    """

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

    # NaN has another hash in every copy
    def __hash__(self) -> int:  # type: ignore[override]
        return hash((self.approximation, self.layer))


@dataclass(frozen=True, eq=False)
class Comparison(Value):
    """What `compare` found: `print` it; `to_dict` makes plain data of it."""

    damping: float
    rows: list[Row]  # layer after layer, the whole matrix last

    @property
    def approximations(self) -> list[str]:
        """List the names, in the order in which they were given."""
        return list(dict.fromkeys(row.approximation for row in self.rows))

    @property
    def layers(self) -> list[str | None]:
        """List the layers' names, and at the end None: the whole matrix."""
        return list(dict.fromkeys(row.layer for row in self.rows))

    def row(self, approximation: str, layer: str | None = None) -> Row:
        """Return the row of an approximation, of one layer or whole. UnknownName."""
        choose("approximation", approximation, self.approximations)
        if layer is not None:
            choose("layer", layer, [name for name in self.layers if name])
        wanted = (approximation, layer)
        return next(r for r in self.rows if (r.approximation, r.layer) == wanted)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings, lists and dicts for JSON: None for NaN."""
        rows = [asdict(row) for row in self.rows]
        return {
            "damping": self.damping,
            "rows": [{k: None if _no(v) else v for k, v in r.items()} for r in rows],
        }

    def __str__(self) -> str:
        heads = ["", *(head for head, _ in COLUMNS.values())]
        table = [[f"  {row.approximation}", *_cells(row)] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(heads, *table, strict=True)]
        lines = []
        for layer in self.layers:
            here = [row.layer == layer for row in self.rows]
            P = self.rows[here.index(True)].parameters
            title = layer or "whole matrix"
            lines += ["", f"{title} ({P:,} x {P:,}), lambda = {self.damping:g}"]
            lines += [_line(heads, widths)]
            lines += [_line(cells, widths) for cells in compress(table, here)]
        if any(_no(row.frobenius_error) or _no(row.angle) for row in self.rows):
            lines.append(UNDEFINED)
        return "\n".join(lines[1:])


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

UNDEFINED = """
Undefined (-): Frobenius and spectral error where the exact matrix is zero, angle and
norm ratio where the gradient is zero. Do any errors arrive at these layers?"""


def _no(value: Any) -> bool:
    """Is the value undefined?"""
    return isinstance(value, float) and math.isnan(value)


def _line(cells: list[str], widths: list[int]) -> str:
    """Align the first cell to the left, the others to the right."""
    pairs = list(zip(cells, widths, strict=True))
    first, others = pairs[0], pairs[1:]
    return "  ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in others)])


def _cells(row: Row) -> Iterator[str]:
    for name, (_, form) in COLUMNS.items():
        value = getattr(row, name)
        yield "-" if value is None or _no(value) else form.format(value)
