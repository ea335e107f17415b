"""Fixtures: every test that takes `xp` runs on each backend that answers."""

from __future__ import annotations

import numpy as np
import pytest

import kfac_ref.backend as backend
import strict


def _cupy():
    try:
        backend._load_cupy()
    except backend.BackendError as error:
        pytest.skip(str(error))
    import cupy

    return cupy


@pytest.fixture(params=["numpy", "strict", "cupy"])
def xp(request):
    """An array namespace: NumPy, the strict stand-in, CuPy where a GPU answers."""
    return {"numpy": lambda: np, "strict": lambda: strict.xp, "cupy": _cupy}[
        request.param
    ]()


@pytest.fixture
def rng():
    return np.random.default_rng(20150601)
