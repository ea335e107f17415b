"""Finds the device, describes it, and times calls on it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import scipy

from kfac_ref.backend import Array, asarray, get_xp, use
from kfac_ref.errors import BackendError

VARIABLES = ("CUPY_TF32", "NVIDIA_TF32_OVERRIDE", "CUPY_ACCELERATORS")  # change numbers


@dataclass(frozen=True)
class Device:
    """A card that answers: its array namespace, and facts about it."""

    xp: ModuleType
    facts: dict[str, Any]
    synchronize: Callable[[], None]

    def move(self, host: np.ndarray) -> Array:
        """Move a host array to the device."""
        return self.xp.asarray(host)

    def milliseconds(self, function: Callable[[], Any]) -> float:
        """Time a call in milliseconds, until the device has finished its work."""
        self.synchronize()
        began = time.perf_counter()
        function()
        self.synchronize()
        return 1e3 * (time.perf_counter() - began)


def find_device() -> Device:
    """The current CUDA device. Raises BackendError, saying why, if none answers."""
    try:
        with use("cupy"):
            cupy: Any = get_xp(asarray(np.zeros(1)))
    except BackendError as error:
        raise BackendError(_why(error)) from error
    card = cupy.cuda.Device()
    return Device(cupy, _facts(cupy, card.id), card.synchronize)


def _why(error: BackendError) -> str:
    """Say what is missing, and what to do."""
    cause: BaseException = error
    while cause.__cause__ is not None:  # CuPy wraps a long text around the first error
        cause = cause.__cause__
    if isinstance(cause, ImportError):
        return (
            f"the comparison needs CuPy, which cannot be imported ({cause}); install "
            "the build for your CUDA, pip install cupy-cuda12x or cupy-cuda13x"
        )
    return (
        f"CuPy is installed, but no card answers ({cause}); nothing was compared: "
        "run this where nvidia-smi shows a card"
    )


def _facts(cupy: Any, number: int) -> dict[str, Any]:
    """Facts about the card, and the versions of CUDA and CuPy."""
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(number)
    return {
        "name": properties["name"].decode(),
        "compute capability": f"{properties['major']}.{properties['minor']}",
        "memory, bytes": int(properties["totalGlobalMem"]),
        "multiprocessors": int(properties["multiProcessorCount"]),
        "CUDA driver": int(runtime.driverGetVersion()),
        "CUDA runtime": int(runtime.runtimeGetVersion()),
        "CuPy": cupy.__version__,
    }


def versions() -> dict[str, Any]:
    """The host's versions, and the variables that change numbers on the device."""
    found = {
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "SciPy": scipy.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    given = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    return found | given
