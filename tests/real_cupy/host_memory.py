"""Arrays of the real CuPy over memory of the host.

Views are made and arguments are checked as on a device; whatever would start a kernel,
copy or allocate raises `NoDevice`, also on a machine that has one: it is hidden, for a
kernel would not find memory of the host.
"""

from __future__ import annotations

import os

import numpy as np

import cupy_api

os.environ["CUDA_VISIBLE_DEVICES"] = ""
cupy = cupy_api.import_without_cuda()
NoDevice = cupy.cuda.runtime.CUDARuntimeError


def over_host_memory(h: np.ndarray):
    """A `cupy.ndarray` whose numbers nobody but the host can read."""
    memory = cupy.cuda.UnownedMemory(h.ctypes.data, h.nbytes, h, device_id=0)
    pointer = cupy.cuda.MemoryPointer(memory, 0)
    return cupy.ndarray(h.shape, h.dtype, memptr=pointer, strides=h.strides)
