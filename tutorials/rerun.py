"""Run the notebooks again and store what they print: `python tutorials/rerun.py 01 03`.

Without names, all of them. Each runs from top to bottom in a fresh kernel, here, so
that its figures land in ../figures; then it is stored without anything that changes
from run to run. A notebook that fails, or draws a figure that is hard to read (cut,
overlapping, tiny, unnamed: tests/legible.py), is left as it was.
"""

from __future__ import annotations

import base64
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.font_manager  # noqa: F401  makes its cache, about which it writes
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

from kfac_ref.plotting.style import few_colours

HERE = Path(__file__).resolve().parent
SECONDS = 600  # a notebook that takes longer hangs
# Figures are looked at, and stored as they are saved, with the dots that a page has.
CONFIG = """
c.InteractiveShellApp.exec_lines = ["import legible", "legible.watch()", "del legible"]
c.InlineBackend.print_figure_kwargs = {"bbox_inches": None, "dpi": 90}
"""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebooks(names: list[str] | None = None) -> list[Path]:
    """All notebooks in reading order, or those whose names begin like `names`."""
    paths = sorted(HERE.glob("[0-9][0-9]_*.ipynb"))
    if not names:
        return paths
    for name in names:
        if not any(path.name.startswith(name) for path in paths):
            there = ", ".join(path.stem for path in paths)
            raise SystemExit(f"no notebook begins with {name!r}; there are: {there}")
    return [path for path in paths if path.name.startswith(tuple(names))]


def execute(path: Path, folder: Path = HERE) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run in `folder`, normalised."""
    notebook = nbformat.read(path, as_version=4)
    end = time.monotonic() + SECONDS
    client = NotebookClient(
        notebook,
        kernel_name=KERNEL["name"],
        timeout_func=lambda cell: max(1, int(end - time.monotonic())),
        resources={"metadata": {"path": str(folder)}},
        coalesce_streams=True,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # no advice about encryption
    )
    with tempfile.TemporaryDirectory() as settings:
        (Path(settings) / "matplotlibrc").touch()  # empty, before that of the user
        profile = Path(settings) / "profile_default"
        profile.mkdir()
        (profile / "ipython_kernel_config.py").write_text(CONFIG, encoding="utf-8")
        client.execute(env=_environment(settings))
    for data in pictures(notebook):
        png = few_colours(base64.b64decode(data["image/png"]))
        data["image/png"] = base64.b64encode(png).decode()
    return normalise(notebook)


def pictures(notebook: nbformat.NotebookNode) -> list[dict]:
    """The outputs that hold a PNG."""
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return [o.data for o in outputs if "image/png" in o.get("data", {})]


def complaints(notebook: nbformat.NotebookNode) -> str:
    """What was written on stderr: warnings, and the faults of figures."""
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return "".join(o.text for o in outputs if o.get("name") == "stderr")


def _environment(settings: str) -> dict[str, str]:
    """The same for everybody: nobody's start-up files, one thread, inline figures."""
    own = [str(HERE.parent), str(HERE.parent / "tests")]
    path = [*own, os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "IPYTHONDIR": settings,
        "MATPLOTLIBRC": settings,
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "KFAC_REF_BACKEND": "numpy",
    }


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without counters, timestamps and the marks of an editor."""
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        kept = {k: cell.metadata[k] for k in ("tags", "jupyter") if k in cell.metadata}
        cell.metadata, cell.id = nbformat.from_dict(kept), f"cell-{number:02d}"
        cell.pop("attachments", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            for output in cell.outputs:
                output.pop("execution_count", None)
                if output.output_type == "execute_result":
                    output.execution_count = None
                output.pop("transient", None)
    return notebook


def save(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write the whole file, or leave the old one."""
    nbformat.validate(notebook)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    unfinished.replace(path)


def main(names: list[str]) -> int:
    (HERE.parent / "figures").mkdir(exist_ok=True)
    failed = []
    for path in notebooks(names):
        start = time.monotonic()
        try:
            notebook = execute(path)
            said = complaints(notebook)
        except (CellExecutionError, CellTimeoutError) as error:
            said = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
        if said:
            failed.append(path.stem)
            print(f"{path.stem}: failed\n{said}", file=sys.stderr)
        else:
            save(notebook, path)
            print(f"{path.stem}: {time.monotonic() - start:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
