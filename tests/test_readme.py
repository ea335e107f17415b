"""The README's code runs, in order, in one session, and its tables are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kfac_ref.estimates import ALIASES, ESTIMATES
from kfac_ref.structures import STRUCTURES

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def test_code_runs_and_prints_a_table(capsys):
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) == 7
    session: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), session)
    printed = capsys.readouterr().out
    assert "kronecker" in printed and "diagonal" in printed
    with pytest.raises(ValueError, match="expected y >= 0"):
        session["net"].loss(session["params"], session["x"], -session["y"])


def test_ten_lines_are_ten():
    example = re.search(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    lines = [line for line in example.group(1).splitlines() if line.strip()]
    assert len(lines) <= 11


def test_every_name_and_every_alias_is_listed():
    for name in [*ESTIMATES, *STRUCTURES]:
        assert f"`{name}`" in TEXT, name
    for alias, name in ALIASES.items():
        row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{name}`"))
        assert f"`{alias}`" in row, alias


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / link).exists(), link
