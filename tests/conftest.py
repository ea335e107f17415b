"""Fixtures: every test that takes `xp` runs on each backend that answers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import kfac_ref.backend as backend
import strict
import strict_array

collect_ignore = ["real_cupy"]  # run where CuPy is installed: make test-cupy


@pytest.fixture(scope="session", autouse=True)
def stand_in():
    """`import cupy` finds the stand-in, everywhere but in the tests below."""
    with strict.installed(strict.MODULES):
        yield


def pytest_sessionfinish():
    """Leave the calls of the stand-in where `make test-cupy` asks for them."""
    if strict_array.CALLS:
        lines = "".join(f"{call}\n" for call in sorted(strict_array.calls))
        Path(strict_array.CALLS, f"{os.getpid()}.txt").write_text(
            lines, encoding="utf-8"
        )


_real: dict = {}  # the modules of CuPy, once a test has asked for them


@pytest.fixture
def _cupy():
    """CuPy itself, or a skipped test where no device answers."""
    with strict.installed(_real):
        try:
            cupy = backend._load_cupy()
        except backend.BackendError as error:
            pytest.skip(str(error))
        yield cupy
        _real.update({n: m for n, m in sys.modules.items() if n.startswith("cupy")})


@pytest.fixture(params=["numpy", "strict", "cupy"])
def xp(request):
    """An array namespace: NumPy, the strict stand-in, CuPy where a GPU answers."""
    if request.param == "cupy":
        return request.getfixturevalue("_cupy")
    return {"numpy": np, "strict": strict.xp}[request.param]


@pytest.fixture
def rng():
    return np.random.default_rng(20150601)
