"""The notebooks run, print what is stored in them, and have the form they promise.

A notebook opens with what you'll do, learn and need and with its Claim; its last code
cell but for solutions is tagged `claim` and asserts it. Cells tagged `check` print the
numbers that are compared; solutions of exercises are tagged `solution` and folded.
"""

from __future__ import annotations

import re

import nbformat
import pytest

from tutorials import rerun
from tutorials.rerun import (
    HERE,
    complaints,
    execute,
    normalise,
    notebooks,
    pictures,
)

KILOBYTES = 300
each_notebook = pytest.mark.parametrize("path", notebooks(), ids=lambda p: p.stem)


def cells(notebook, tag=None, kind="code"):
    tagged = [c for c in notebook.cells if c.cell_type == kind]
    return [c for c in tagged if tag is None or tag in c.metadata.get("tags", [])]


def printed(cell):
    return [o.text for o in cell.outputs if o.get("name") == "stdout"]


@each_notebook
def test_notebook_runs_and_prints_what_is_stored(path, tmp_path):
    stored = nbformat.read(path, as_version=4)
    (tmp_path / "tutorials").mkdir()
    (tmp_path / "figures").mkdir()
    now = execute(path, tmp_path / "tutorials")  # CellTimeoutError after 60 s
    advice = f"run again: python tutorials/rerun.py {path.stem}"
    assert cells(now, "check"), "no cell is tagged 'check'"
    for old, new in zip(cells(stored, "check"), cells(now, "check"), strict=True):
        assert printed(new) and printed(old) == printed(new), advice
    assert not complaints(now)  # warnings, and what tests/legible.py says of figures
    assert len(pictures(now)) == len(pictures(stored)), advice
    drawn = {figure.name for figure in (tmp_path / "figures").iterdir()}
    assert drawn <= {f.name for f in (HERE.parent / "figures").iterdir()}, advice


CUT = """
import matplotlib.pyplot as plt
from kfac_ref.plotting import STYLE, save
plt.rcParams.update(STYLE)
fig, ax = plt.subplots()
ax.set(title="a title that is cut " * 9, xlabel="x", ylabel="y")
"""


def test_a_notebook_that_draws_what_cannot_be_read_fails(tmp_path, capsys, monkeypatch):
    """Shown or saved: the figure is looked at, once; the file is left as it was."""
    path = tmp_path / "01_cut.ipynb"
    shown, saved = CUT, CUT + "_ = save(fig, 'cut.png')\nplt.close(fig)"
    good = CUT.replace(" * 9", "")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in (shown, saved, good)]
    )
    nbformat.write(notebook, path)
    before = path.read_bytes()
    monkeypatch.setattr(rerun, "notebooks", lambda names: [path])
    monkeypatch.setattr(rerun, "execute", lambda path: execute(path, tmp_path))
    assert rerun.main([]) == 1
    said = capsys.readouterr().err
    assert said.count("is cut at the edge of the figure") == 2
    assert path.read_bytes() == before


@each_notebook
def test_notebook_has_the_form_it_promises(path):
    stored = nbformat.read(path, as_version=4)
    opening = "\n".join(cell.source for cell in stored.cells[:3])
    for words in (
        "# ",
        "What you'll do",
        "What you'll learn",
        "What you need",
        "**Claim",
    ):
        assert words in opening
    assert "Summary" in stored.cells[-1].source
    assert path.name in (HERE / "README.md").read_text(encoding="utf-8")
    assert f"## {path.name[:2]}" in (HERE / "CHEATSHEET.md").read_text(encoding="utf-8")
    solutions = cells(stored, "solution")
    assert len(solutions) >= 3
    assert all(cell.metadata.jupyter.source_hidden for cell in solutions)
    shown = [cell for cell in cells(stored) if cell not in solutions]
    assert "claim" in shown[-1].metadata.tags and "assert" in shown[-1].source
    assert max(len(cell.source.splitlines()) for cell in cells(stored)) <= 15


@each_notebook
def test_notebook_prints_numbers_and_no_verdicts(path):
    """An error, a ratio, an angle or a count teaches; True does not."""
    verdict = re.compile(r"\b(True|False|asserted)\b")
    said = [text for cell in cells(nbformat.read(path, 4)) for text in printed(cell)]
    assert said and not [text for text in said if verdict.search(text)]
    assert verdict.search("matches the library: True\n")


@each_notebook
def test_notebook_is_stored_as_rerun_stores_it(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < 1000 * KILOBYTES
    stored = nbformat.reads(text, as_version=4)
    assert any(
        "image/png" in o.get("data", {}) for c in cells(stored) for o in c.outputs
    )
    assert text == nbformat.writes(normalise(stored)) + "\n", (
        f"run again: python tutorials/rerun.py {path.stem}"
    )
