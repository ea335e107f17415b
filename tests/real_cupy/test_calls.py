"""What the tests called on the stand-in, called again on the real CuPy.

`make test-cupy` records the calls of all tests that run on the stand-in, and says here
where they are. A call must end as it does there: in a view of the same shape, or at the
device that is missing. An argument that CuPy does not take ends otherwise.
"""

from __future__ import annotations

import ast
import importlib
import os
from collections import defaultdict
from pathlib import Path

import cupy
import numpy as np
import pytest
from host_memory import NoDevice, over_host_memory

import cupy_api
import kfac_ref
import strict

FOLDER = Path(os.environ.get("KFAC_REF_CALLS", "no folder was named"))
CALLS = defaultdict(list)
for _line in sorted({line for file in FOLDER.glob("*.txt") for line in file.open()}):
    CALLS[ast.literal_eval(_line)[0]].append(ast.literal_eval(_line)[1:])


def find(dotted, arrays, modules):
    owner, _, name = dotted.rpartition(".")
    return getattr(arrays if owner == "cupy.ndarray" else modules(owner), name)


def make(sketch, array):
    """An argument as it was, its numbers zero."""
    kind, *rest = sketch
    if kind == "array":
        shape, dtype, order = rest
        return array(np.zeros(shape, dtype, order))
    if kind in ("tuple", "list"):
        return (tuple if kind == "tuple" else list)(make(s, array) for s in rest)
    return {
        "host": lambda: np.zeros(*rest),
        "slice": lambda: slice(*rest),
        "dtype": lambda: np.dtype(*rest),
        "number": lambda: 0.5,
        "plain": lambda: rest[0],
        "ellipsis": lambda: ...,
        "other": lambda: abs,
    }[kind]()


def shapes(result):
    if isinstance(result, tuple | list):
        return [shapes(part) for part in result]
    return tuple(getattr(result, "shape", ()))


def again(function, call, array):
    args, kwargs = call
    return shapes(
        function(
            *(make(a, array) for a in args),
            **{name: make(value, array) for name, value in kwargs.items()},
        )
    )


def on_cupy(function, call, array):
    """As `again`; a library of CUDA that is not here is like the device that is not."""
    try:
        return again(function, call, array)
    except ImportError as error:
        assert "libcusolver" in str(error), error  # cupyx.cusolver, of eigh
        raise NoDevice(0) from error


@pytest.mark.parametrize("name", CALLS)
def test_every_call_ends_as_on_the_stand_in(name):
    theirs = find(name, cupy.ndarray, importlib.import_module)
    ours = find(name, strict.StrictArray, strict.MODULES.__getitem__)
    for call in CALLS[name]:
        try:
            expected = again(ours, call, strict.StrictArray)
        except Exception:  # what fails there, too, is another test's subject
            continue
        try:
            found = on_cupy(theirs, call, over_host_memory)
        except NoDevice:
            continue
        except Exception as error:
            raise AssertionError(f"{name}{call}: {error!r}") from error
        assert found == expected, f"{name}{call}: {found}, expected {expected}"


def test_the_replay_can_fail():
    """The controls: a parameter that CuPy has not, a shape, and what needs a device."""
    x = ("array", (5, 3), "<f8", "C")
    for function in (cupy.sum, cupy.ndarray.sum):
        with pytest.raises(NoDevice):
            again(function, ([x], {}), over_host_memory)
        with pytest.raises(TypeError, match="unexpected keyword argument 'where'"):
            again(function, ([x], {"where": ("plain", True)}), over_host_memory)
    assert again(
        cupy.swapaxes, ([x, ("plain", 0), ("plain", 1)], {}), over_host_memory
    ) == (3, 5)
    with pytest.raises(ValueError, match="cannot reshape"):
        again(cupy.ndarray.reshape, ([x, ("plain", 7)], {}), over_host_memory)


def sites():
    """(where, name, positional arguments, keywords) of every use of a namespace."""
    root = Path(kfac_ref.__file__).parent
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = {id(n.func): n for n in ast.walk(tree) if isinstance(n, ast.Call)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and (name := in_namespace(node)):
                call = calls.get(id(node))
                yield f"{path.relative_to(root)}, line {node.lineno}", name, call


def in_namespace(node):
    """`cupy.linalg.norm` for `xp.linalg.norm` and for `get_xp(x).linalg.norm`."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    asked = node.func if isinstance(node, ast.Call) else None
    here = isinstance(node, ast.Name) and node.id == "xp"
    if here or (isinstance(asked, ast.Name) and asked.id == "get_xp"):
        return ".".join(["cupy", *reversed(parts)])
    return None


SITES = [site for site in sites() if site[1] not in ("cupy.__name__", "cupy.linalg")]


def test_every_use_of_a_namespace_binds():
    """Also where no test has come by: names and parameters, from the source."""
    installed = cupy_api.installed()
    assert len(SITES) > 150
    for where, name, call in SITES:
        assert name in installed, f"{where}: CuPy has no {name}"
        assert name in strict.API, (
            f"{where}: {name} is not in the list of both versions"
        )
        if call is None or installed[name] is None:
            continue
        args = [None for a in call.args if not isinstance(a, ast.Starred)]
        kwargs = {k.arg: None for k in call.keywords if k.arg}
        for signature in (installed[name], strict.API[name]):
            signature.bind_partial(*args, **kwargs)


@pytest.mark.skipif("KFAC_REF_CALLS" not in os.environ, reason="make test-cupy")
def test_every_use_has_been_called():
    """What the stand-in has never met proves nothing about CuPy."""
    uncalled = {name for _, name, call in SITES if call} - set(CALLS)
    assert {name for name in uncalled if strict.API[name]} == set()
    assert len(CALLS) > 80


def test_the_list_is_what_this_version_has():
    """Each line of the list, in the version installed here, takes what it says."""
    installed = cupy_api.installed()
    for name, signature in strict.API.items():
        assert name in installed, f"{name}: run make cupy-api"
        both = cupy_api.common(signature, installed[name])
        assert (both is None) == (signature is None), f"{name}: run make cupy-api"
        assert str(both) == str(signature), f"{name}: run make cupy-api"
