"""Small things that many tests need."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np

import kfac_ref
from kfac_ref.backend import to_numpy


def host(x):
    """The host copy of an array, of a list of arrays, or of a number."""
    if isinstance(x, list | tuple):
        return [host(v) for v in x]
    return np.array(x if isinstance(x, int | float) else to_numpy(x))


def relative_error(actual, expected):
    """Frobenius norm of the difference over that of `expected`."""
    actual, expected = host(actual), host(expected)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def assert_exact(actual, expected, tolerance=1e-12):
    """Equal to `tolerance`, relative, in Frobenius norm; the message has the ratio."""
    error = relative_error(actual, expected)
    if not error <= tolerance:
        a, e = host(actual), host(expected)
        ratio = float(np.vdot(e, a) / np.vdot(e, e))
        raise AssertionError(
            f"relative error {error:.3e} > {tolerance:g}; best-fit ratio {ratio:.6g}"
        )


def imports(path):
    """(line, module) of everything that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def loaded_by(*modules, bare=False):
    """What a new interpreter has loaded after these; bare: without site-packages."""
    out = subprocess.run(
        [
            sys.executable, *["-S"] * bare, "-c",
            f"import sys, {', '.join(modules)}; print(*sys.modules, sep='\\n')",
        ],
        cwd=Path(kfac_ref.__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    found = set(out.stdout.split())
    assert found >= set(modules)
    return found
