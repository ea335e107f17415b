"""The rooms of the package: each imports only what stands above it, and no wing.

Imports are read with `ast`, those inside functions and under TYPE_CHECKING, too. Files
inside one room may import one another, but not in a circle.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import kfac_ref
from benchmarks.reading import PATHS, lines_of

ROOT = Path(kfac_ref.__file__).parent
ORDER = """
    errors backend checks limits files extras calls values words
    datasets layers distributions network estimates panels pairs
    matrices structures exact damping quadratic_model optimizer
    comparison plotting examples gpu cli __main__
""".split()
WINGS = set("comparison plotting examples gpu cli __main__".split())
APART = {"algorithm2", "definition", "__init__"}  # looked at below


def modules() -> dict[str, Path]:
    """`structures.kronecker` and its file, for all of them."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        inside = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
        found[".".join(inside)] = path
    return found


MODULES = modules()


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "kfac_ref":
                found.add(module_of(name.removeprefix("kfac_ref").lstrip(".")))
    return found


def module_of(name: str) -> str:
    """`pairs.Pairs` is in `pairs`."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or "__init__"


def room(module: str) -> str:
    return module.split(".")[0]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_room_imports_only_what_stands_above_it(module):
    if room(module) in APART:
        return
    allowed = ORDER[: ORDER.index(room(module)) + 1]
    below = {other for other in imported(MODULES[module]) if room(other) not in allowed}
    assert not below, f"{module} imports {below}"


def test_every_room_has_its_place():
    assert {room(module) for module in MODULES} == {*ORDER, *APART}


def test_the_core_imports_no_wing():
    """It follows from the order; so it must stay at its end."""
    assert set(ORDER[-len(WINGS) :]) == WINGS


def test_no_file_is_in_a_circle():
    """Depth first: a module that is met again on its own way down is in a circle."""
    imports = {module: imported(path) - {module} for module, path in MODULES.items()}
    done: set[str] = set()

    def follow(module, way):
        assert module not in way, " -> ".join([*way, module])
        if module not in done:
            for other in imports[module]:
                if other != room(module):  # the room's own __init__ gathers its files
                    follow(other, [*way, module])
            done.add(module)

    for module in sorted(MODULES):
        follow(module, [])


def test_the_page_and_the_definition_stand_alone():
    tree = ast.parse(MODULES["algorithm2"].read_text())
    top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(n) for n in top] == ["import numpy as np"]
    for module, path in MODULES.items():
        if room(module) == "definition":
            others = {room(other) for other in imported(path)} - {"definition"}
            assert others <= {"errors", "extras", "backend", "limits", "checks"}, module


def test_the_two_paths_of_reading_are_short_and_marked():
    hour, afternoon = (lines_of(PATHS[name]) for name in ("first hour", "afternoon"))
    assert hour < 1600
    assert afternoon < 4700
    for place in PATHS["first hour"]:
        module = place.removesuffix(".py").replace("/", ".")
        assert module in kfac_ref.__doc__, module
    rooms = {place.removesuffix(".py").split("/")[0] for place in PATHS["afternoon"]}
    assert not rooms & WINGS
