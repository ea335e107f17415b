"""The one page: what it imports, how long it is, what it prints, its parts alone.

That the modular optimizer takes the same steps is in test_optimizer_kfac.py.
"""

from __future__ import annotations

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import transcription
from helpers import assert_exact, host
from kfac_ref import algorithm2
from optimizer_cases import KINDS, on_host, problem

PAGE = Path(algorithm2.__file__)


def test_the_page_imports_numpy_alone_and_is_one_page():
    text = PAGE.read_text()
    top = [
        n for n in ast.parse(text).body if isinstance(n, ast.Import | ast.ImportFrom)
    ]
    assert [ast.unparse(node) for node in top] == ["import numpy as np"]
    last = ast.parse(text).body[-1]
    assert isinstance(last, ast.If) and "__main__" in ast.unparse(last.test)
    inside = [n for n in ast.walk(last) if isinstance(n, ast.Import | ast.ImportFrom)]
    everywhere = ast.walk(ast.parse(text))
    found = [n for n in everywhere if isinstance(n, ast.Import | ast.ImportFrom)]
    assert len(found) == len(top) + len(inside)
    assert len(text.splitlines()) < 200


def test_importing_the_page_does_not_import_the_package():
    code = "import kfac_ref.algorithm2, sys; print(*sorted(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PAGE.parent.parent, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    ours = [name for name in out if name.startswith(("kfac_ref", "scipy"))]
    assert ours == ["kfac_ref", "kfac_ref.algorithm2"]


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_it_trains_the_digits(capsys):
    runpy.run_module("kfac_ref.algorithm2", run_name="__main__")
    header, *lines = capsys.readouterr().out.splitlines()
    names = header.split("\t")
    table = np.array([[float(v) for v in line.split("\t")] for line in lines])
    rows = dict(zip(names, table.T, strict=True))
    assert names[:6] == ["k", "lam", "gamma", "alpha", "mu", "rho"]
    assert rows["k"].tolist() == list(range(10, 101, 10))
    assert rows["loss"][0] > 0.5 and rows["loss"][-1] < 0.03
    assert (np.diff(rows["loss"]) < 0.02).all()
    assert rows["test accuracy"][-1] > 0.88
    assert (rows["rho"] > 0.5).all() and rows["lam"][-1] < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_exact_products_are_those_of_the_dense_fisher(kind, rng):
    """u^T F v by forward mode, and F made of every example's Jacobian."""
    _, params, batches = problem(kind, np, rng, 1)
    Ws, [(x, _)] = on_host(params, batches)
    V = rng.normal(size=(3, sum(W.size for W in Ws)))
    found = algorithm2.fisher_forms(transcription.LOSSES[kind], Ws, x, V)
    assert_exact(found, V @ transcription.fisher(kind, Ws, x) @ V.T)


@pytest.mark.parametrize("kind", KINDS)
def test_its_losses_are_the_distributions(kind, rng):
    """Values but for a constant, gradients, Fisher products; the same labels drawn."""
    loss, distribution = transcription.LOSSES[kind], KINDS[kind]
    z, v = rng.normal(size=(2, 11, 5))
    y = loss.sample(z, np.random.default_rng(3))
    drawn = distribution.sample(z, np.random.default_rng(3), 1)[0]
    assert (y == host(drawn)).all()
    assert_exact(loss.value(z, y), distribution.nll(z, y))
    assert_exact(loss.gradient(z, y), distribution.gradient(z, y))
    assert_exact(loss.fisher(z, v), distribution.fisher_product(z, v))


def test_a_subset_is_a_share_without_repetition(rng):
    some = algorithm2.subset(40, 1 / 8, rng)
    assert len(set(some)) == 5 and set(some) <= set(range(40))
    assert algorithm2.subset(7, 0.01, rng).shape == (1,)
    assert algorithm2.subset(7, 1, rng).tolist() == list(range(7))
