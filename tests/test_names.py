"""`import kfac_ref` is quick; its names and modules come when they are asked for.

And the tests have names that say what they prove.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import kfac_ref
from helpers import loaded_by


def test_nothing_heavy_is_imported():
    assert not {"numpy", "scipy", "typing"} & loaded_by("kfac_ref.cli", bare=True)


def test_the_names_are_at_home_where_the_type_checker_finds_them():
    tree = ast.parse(Path(kfac_ref.__file__).read_text())
    found = {
        alias.name: node.module.removeprefix("kfac_ref.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("kfac_ref.")
        for alias in node.names
    }
    assert found == kfac_ref.HOMES and sorted(found) == sorted(kfac_ref.__all__)
    for name in found:
        assert getattr(kfac_ref, name).__name__ == name
    assert {*found, "__version__"} <= {*dir(kfac_ref)}


def test_modules_and_what_is_not_there():
    assert kfac_ref.optimizer.schedules.__name__ == "kfac_ref.optimizer.schedules"
    assert not hasattr(kfac_ref, "nothing")
    with pytest.raises(ImportError, match="nothing.*kfac_ref"):
        from kfac_ref import nothing  # noqa: F401


def test_a_module_that_misses_another_one_says_so(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("import not_installed")
    monkeypatch.setattr(kfac_ref, "__path__", [str(tmp_path)])
    with pytest.raises(ModuleNotFoundError, match="not_installed"):
        kfac_ref.broken  # noqa: B018


def test_no_test_is_named_by_a_label():
    """`test_x12` and "K6" mean something only to those who have the list."""
    label = re.compile(r"\btest_(?!l2_)[a-z]\d+_|\b[KX]\d+\b")
    files = sorted(Path(__file__).parent.rglob("*.py"))
    assert len(files) > 90
    for path in files:
        if path != Path(__file__):
            assert not label.findall(path.read_text(encoding="utf-8")), path.name
    assert label.findall("test_x12_error") and label.findall("Laws: K6, its price")
