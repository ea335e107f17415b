"""The measurements as tables: for the terminal, and in README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]  # what worker.py prints

HERE = Path(__file__).parent
BEGIN, END = "<!-- measured -->\n", "<!-- end -->"


def ratio(row: Row, clock: int) -> float:
    """Our time over the other's: clock 0 is the wall, 1 the processor."""
    return row["ours"][clock] / row["other"][clock]


def verdict(row: Row) -> str:
    """PASS or over, by processor time with one thread, by wall time with several."""
    if "bound" not in row:
        return ""
    clock = 1 if row["threads"] == 1 else 0
    return "PASS" if ratio(row, clock) <= row["bound"] else "over"


def table(rows: list[Row]) -> str:
    """A Markdown table, one line for each measurement."""
    lines = [
        "| task | threads | against | ours, ms | other, ms | ratio (wall) | "
        "ratio (processor) | bound | | relative error |",
        "|---|---:|---|---:|---:|---:|---:|---:|---|---:|",
    ]
    return "\n".join(lines + [_line(row) for row in rows]) + "\n"


def _line(row: Row) -> str:
    start = f"| {row['task']} | {row['threads']} | {row['against']} |"
    if "skipped" in row:
        return f"{start} | | | | | | skipped: {row['skipped']} |"
    wall, cpu = ratio(row, 0), ratio(row, 1)
    bound = f"{row['bound']:.1f}" if "bound" in row else ""
    return (
        f"{start} {row['ours'][0]:.1f} | {row['other'][0]:.1f} | {wall:.2f} | "
        f"{cpu:.2f} | {bound} | {verdict(row)} | {row['error']:.0e} |"
    )


def stages(row: Row) -> str:
    """A Markdown table, one line for each part of a task."""
    lines = [
        f"{row['task']}, threads: {row['threads']}\n",
        "| stage | ours, ms | other, ms | ratio (wall) | ratio (processor) |",
        "|---|---:|---:|---:|---:|",
    ]
    for part in row["stages"]:
        lines.append(
            f"| {part['stage']} | {part['ours'][0]:.1f} | {part['other'][0]:.1f} | "
            f"{ratio(part, 0):.2f} | {ratio(part, 1):.2f} |"
        )
    return "\n".join(lines) + "\n"


def tables(results: dict[str, Any]) -> str:
    """The machine, then the tables against the baselines and against the peers."""
    bounds = [row for row in results["rows"] if row["against"] == "baseline"]
    peers = [row for row in results["rows"] if row["against"] != "baseline"]
    text = f"{results['machine']}.\n\n{table(bounds)}"
    text += "".join(f"\n{stages(row)}" for row in bounds if "stages" in row)
    return text + (f"\n{table(peers)}" if peers else "")


def merge(old: list[Row], new: list[Row]) -> list[Row]:
    """The old rows, with the new ones in their places or at the end."""

    def key(row: Row) -> tuple:
        return row["task"], row["against"], row["threads"]

    found = {key(row): row for row in old} | {key(row): row for row in new}
    return list(found.values())


def write(results: dict[str, Any], path: Path) -> None:
    """Write the measurements as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def refresh_readme(path: Path, readme: Path = HERE / "README.md") -> None:
    """Put the tables of the measurements at `path` into the README."""
    text = readme.read_text()
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    results = json.loads(path.read_text())
    readme.write_text(f"{head}{BEGIN}{tables(results)}{END}{tail}")
