"""What every example does besides its work: progress, figures, a file of numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from kfac_ref.extras import optional
from kfac_ref.files import write_whole
from kfac_ref.optimizer.training import watched
from kfac_ref.plotting import save


def one_thread() -> Any:
    """A context in which NumPy's and SciPy's BLAS use one thread.

    Each has threads of its own, which get in each other's way when steps are timed.
    """
    return optional("threadpoolctl", "timing with one thread").threadpool_limits(1)


def progress(items: Iterable, task: str, total: int | None = None) -> Any:
    """Return `items`, with a progress bar if somebody is looking at a terminal."""
    if not watched():
        return items
    tqdm = optional("tqdm", "progress bars").tqdm
    return tqdm(items, desc=f"{task:<10}", total=total, leave=False)


def publish(
    folder: Path,
    name: str,
    numbers: Any,
    figures: Mapping[str, Callable[[], Any]],
    lines: Iterable[str],
    indent: int | None = 1,
) -> None:
    """Write name.json and draw the figures; print the lines even if that fails."""
    try:
        write_json(folder / f"{name}.json", numbers, indent)
        for figure, draw in progress(figures.items(), "drawing", len(figures)):
            save(draw(), folder / f"{figure}.png")
    finally:
        print(*lines, sep="\n", flush=True)


def write_json(path: Path, numbers: Any, indent: int | None = 1) -> None:
    """Write the file whole or not at all."""
    write_whole(path, (json.dumps(numbers, indent=indent) + "\n").encode())
