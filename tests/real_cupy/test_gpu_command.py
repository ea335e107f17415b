"""What `kfac-ref gpu` asks of CuPy besides arrays, and what it says without a card."""

from __future__ import annotations

import ast
import inspect

import cupy
import pytest
from host_memory import NoDevice

from kfac_ref import backend
from kfac_ref.errors import BackendError
from kfac_ref.gpu import device

NAMES = {  # what the module calls them, and what they are
    "cupy": lambda: cupy,
    "runtime": lambda: cupy.cuda.runtime,
    "card": lambda: cupy.cuda.Device,
}


def chains(source):
    """The dotted names in it that begin with one of NAMES: cupy, cuda, runtime."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            parts = ast.unparse(node).split(".")
            if parts[0] in NAMES and all(part.isidentifier() for part in parts):
                yield parts


def test_every_name_exists():
    seen = set()
    for first, *rest in chains(inspect.getsource(device) + inspect.getsource(backend)):
        found = NAMES[first]()
        for name in rest:
            assert hasattr(found, name), (first, *rest)
            found = getattr(found, name)
        seen.add(".".join([first, *rest]))
    assert {"card.synchronize", "card.id"} < seen
    assert {"runtime.getDeviceProperties", "runtime.driverGetVersion"} < seen
    assert "cupy.cuda.runtime.memGetInfo" in seen
    assert {"cupy.cuda.Device", "cupy.cuda.runtime", "cupy.__version__"} < seen


def test_the_calls_end_at_the_device_that_is_missing():
    runtime = cupy.cuda.runtime
    for call in (
        lambda: runtime.getDeviceProperties(0),
        runtime.memGetInfo,
        cupy.cuda.Device,
        lambda: cupy.cuda.Device(0).synchronize(),
    ):
        with pytest.raises(NoDevice):
            call()
    with pytest.raises(TypeError):
        runtime.getDeviceProperties()
    assert isinstance(cupy.__version__, str)


def test_without_a_card_it_says_so_in_a_sentence():
    with pytest.raises(BackendError, match="^CuPy is installed, but no card answers"):
        device.find_device()
