"""A matrix does not change after it is made: what is known is given when it is made."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import kfac_ref

ROOT = Path(kfac_ref.__file__).parent
ROOMS = ("matrices", "structures", "damping", "comparison")
MAKING = ("__init__", "_set")  # _set is what __init__ and trusted classmethods share
FILES = sorted(path for room in ROOMS for path in (ROOT / room).glob("*.py"))


def assigned(tree):
    """(function, line) of every attribute that is assigned in a file."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    yield function.name, node.lineno
                name = getattr(getattr(node, "func", None), "id", "")
                if name in ("setattr", "copy", "deepcopy"):
                    yield function.name, node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_attributes_are_set_where_a_matrix_is_made(path):
    found = [where for where in assigned(ast.parse(path.read_text()))]
    assert [where for where in found if where[0] not in MAKING] == []


def test_what_the_test_looks_for():
    text = "def power(self):\n    other = copy(self)\n    other.name = 'x'"
    assert list(assigned(ast.parse(text))) == [("power", 2), ("power", 3)]
