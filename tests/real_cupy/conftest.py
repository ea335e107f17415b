"""The real CuPy, without a device: its arrays over memory of the host.

`make test-cupy` runs these tests, in an environment that has CuPy. Views are made and
arguments are checked as on a device; whatever would start a kernel, copy or allocate
raises `NoDevice`, also on a machine that has one: it is hidden, for a kernel would
not find memory of the host.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

import cupy_api

os.environ["CUDA_VISIBLE_DEVICES"] = ""
cupy = cupy_api.import_without_cuda()
NoDevice = cupy.cuda.runtime.CUDARuntimeError


def pytest_collection_modifyitems(items):
    """Where there is no driver, CuPy 13 prints that its stream could not be asked."""
    ignore = "ignore::pytest.PytestUnraisableExceptionWarning"
    for item in items:
        item.add_marker(pytest.mark.filterwarnings(ignore))


def over_host_memory(h: np.ndarray):
    """A `cupy.ndarray` whose numbers nobody but the host can read."""
    memory = cupy.cuda.UnownedMemory(h.ctypes.data, h.nbytes, h, device_id=0)
    pointer = cupy.cuda.MemoryPointer(memory, 0)
    return cupy.ndarray(h.shape, h.dtype, memptr=pointer, strides=h.strides)


@pytest.fixture
def d():
    return over_host_memory(np.arange(15.0).reshape(5, 3))


@pytest.fixture
def real():
    return over_host_memory
