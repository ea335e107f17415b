"""A stand-in for CuPy, for machines without a device: `xp` is its module `cupy`.

It has the names, methods and parameters that are in `cupy_api.txt`, and no others, so
that `xp.sum(x, where=...)` fails here as it would on a device. `install` puts it where
`import cupy` looks, and the package knows its arrays as it knows CuPy's, by their type.

`StrictArray` is no `numpy.ndarray`: it refuses every silent way to the host that CuPy
refuses (`np.asarray`, `__array_interface__`, NumPy's functions, mixing with host
arrays). Reductions and elements are 0-d arrays; indices out of range wrap around; a
factorisation that fails says nothing unless `cupyx.errstate(linalg="raise")`.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import scipy.linalg
import scipy.sparse.linalg

import cupy_api

API = cupy_api.read()
CALLS = os.environ.get("KFAC_REF_CALLS")  # a folder for what is called with what
calls: set[str] = set()  # where there is one, for tests/real_cupy
COMPARISONS = "__lt__ __le__ __gt__ __ge__ __eq__ __ne__".split()


class StrictArray:
    __slots__ = ("_data",)
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, data):
        self._data = np.asarray(data)
        if self._data.dtype.kind not in "biufc":
            raise ValueError(f"Unsupported dtype {self._data.dtype}")

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion of a device array to a host array")

    @property
    def __array_interface__(self):
        raise AttributeError("a device array has no host memory")

    def __array_ufunc__(self, *args, **kwargs):
        raise TypeError("a NumPy function was applied to a device array")

    def __array_function__(self, *args, **kwargs):
        raise TypeError("a NumPy function was applied to a device array")

    def get(self):
        return self._data.copy()

    def __len__(self):
        return len(self._data)

    def __iter__(self):
        return (StrictArray(row) for row in self._data)

    def __bool__(self):
        return bool(self._data)

    def __float__(self):
        return float(self._data)

    def __int__(self):
        return int(self._data)

    def __repr__(self):
        return f"strict{self._data!r}"

    def __getitem__(self, key):
        _note("cupy.ndarray.__getitem__", self, key)
        return StrictArray(self._data[_index(key, self.shape)])

    def __setitem__(self, key, value):
        _note("cupy.ndarray.__setitem__", self, key, value)
        self._data[_index(key, self.shape)] = _unwrap(value)


StrictArray.__name__ = StrictArray.__qualname__ = "ndarray"
StrictArray.__module__ = "cupy"


def _note(name, *args, **kwargs):
    if CALLS:
        named = {k: _sketch(v) for k, v in kwargs.items()}
        calls.add(repr((name, [_sketch(a) for a in args], named)))


def _sketch(value):
    """What an argument is, without the numbers in it; `real_cupy` makes it again."""
    if isinstance(value, StrictArray):
        order = "C" if value._data.flags.c_contiguous else "F"
        return ("array", value.shape, value.dtype.str, order)
    if isinstance(value, np.ndarray):
        return ("host", value.shape, value.dtype.str)
    if isinstance(value, tuple | list):
        return (type(value).__name__, *map(_sketch, value))
    if isinstance(value, slice):
        return ("slice", value.start, value.stop, value.step)
    if isinstance(value, np.dtype | type):
        return ("dtype", np.dtype(value).str)
    if isinstance(value, float):
        return ("number", type(value).__name__)
    if value is None or isinstance(value, bool | int | str):
        return ("plain", value)
    return ("ellipsis",) if value is ... else ("other", type(value).__name__)


def _unwrap(value):
    """The data of strict arrays, of plain numbers and of indices; nothing else."""
    if isinstance(value, StrictArray):
        return value._data
    if isinstance(value, tuple | list):
        return type(value)(_unwrap(v) for v in value)
    if isinstance(value, np.ndarray):
        raise TypeError("a host array was mixed with device arrays")
    if isinstance(value, np.generic):  # CuPy 13 and 14 differ in what comes out
        raise TypeError("a host scalar array was mixed with device arrays")
    return value


def _wrap(value):
    if isinstance(value, np.ndarray | np.generic):
        return StrictArray(value)
    if isinstance(value, tuple):
        values = [_wrap(v) for v in value]
        return type(value)(*values) if hasattr(value, "_fields") else tuple(values)
    if isinstance(value, list):
        return [_wrap(v) for v in value]
    return value


def _index(key, shape):
    """Arrays of indices that are out of range wrap around; a plain number raises."""
    keys = [_unwrap(k) for k in (key if isinstance(key, tuple) else (key,))]
    keys = [np.asarray(k) if isinstance(k, list) else k for k in keys]
    kinds = [k.dtype.kind if isinstance(k, np.ndarray) else "" for k in keys]
    takes = [
        0 if k is None or k is ... else k.ndim if kind == "b" else 1
        for k, kind in zip(keys, kinds, strict=True)
    ]
    axis, rest = 0, len(shape) - sum(takes)
    for i, k in enumerate(keys):
        if kinds[i] in ("i", "u") and k.size:
            keys[i] = k % shape[axis]
        axis += rest if k is ... else takes[i]
    return tuple(keys)


def _lift(name, function):
    """`function` of NumPy for strict arrays, called in CuPy's way or not at all."""
    signature = API[name]

    def lifted(*args, **kwargs):
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name} of CuPy: {error}") from None
        _note(name, *args, **kwargs)
        return _wrap(function(*map(_unwrap, args), **_unwrap_values(kwargs)))

    return lifted


def _unwrap_values(kwargs):
    return {name: _unwrap(value) for name, value in kwargs.items()}


# Methods, operators and attributes


def _operator(name):
    operation = getattr(np.ndarray, name)

    def method(self, *others):
        _note(f"cupy.ndarray.{name}", self, *others)
        return _wrap(operation(self._data, *map(_unwrap, others)))

    def in_place(self, other):
        _note(f"cupy.ndarray.{name}", self, other)
        operation(self._data, _unwrap(other))
        return self

    return in_place if name[:3] == "__i" and name != "__invert__" else method


def _attribute(name):
    return property(lambda self: _wrap(getattr(self._data, name)))


_NOT_LIFTED = "base data device flat __complex__ __delitem__".split()
for _name in API:
    _owner, _, _method = _name.rpartition(".")
    if _owner != "cupy.ndarray" or _method in [*_NOT_LIFTED, *vars(StrictArray)]:
        continue
    if API[_name]:
        setattr(StrictArray, _method, _lift(_name, getattr(np.ndarray, _method)))
    elif not _method.startswith(("__class", "__dlpack", "__array")):
        _make = _operator if _method.startswith("__") else _attribute
        setattr(StrictArray, _method, _make(_method))
for _method in COMPARISONS:
    setattr(StrictArray, _method, _operator(_method))


# The namespaces


def _asarray(a, dtype=None, order=None):
    """The one door from the host to the stand-in device; there, nothing is copied."""
    _note("cupy.asarray", a, dtype=dtype, order=order)
    if isinstance(a, StrictArray) and dtype in (None, a.dtype):
        return a
    data = np.array(a._data if isinstance(a, StrictArray) else a, dtype, order=order)
    return StrictArray(data.astype(data.dtype.newbyteorder("=")))


def _array(obj, dtype=None, copy=True, order="K"):
    made = _asarray(obj, dtype, order)
    return made.copy() if made is obj and copy else made


_told: list[str] = []  # what errstate was told, the innermost last


@contextmanager
def _errstate(**kinds):
    API["cupyx.errstate"].bind(**kinds)
    _told.append(kinds.get("linalg") or (_told[-1] if _told else "ignore"))
    try:
        yield
    finally:
        _told.pop()


def _silent(function, leave):
    """What fails says nothing, as on a device, and leaves something behind."""

    def quiet(a, *rest):
        try:
            return function(a, *rest)
        except np.linalg.LinAlgError:
            if _told and _told[-1] == "raise":
                raise
            return leave(a, *rest)

    return quiet


def _nan(like):
    return np.full_like(like, np.nan)


_LINALG = {
    "cholesky": _silent(np.linalg.cholesky, np.tril),  # finite, and wrong
    "solve": _silent(np.linalg.solve, lambda a, b: _nan(b)),
    "inv": _silent(np.linalg.inv, _nan),
    "eigh": _silent(np.linalg.eigh, lambda a: (_nan(a[0]), _nan(a))),
    "eigvalsh": _silent(np.linalg.eigvalsh, lambda a: _nan(a[0])),
}


def _solve_triangular(a, b, trans=0, lower=False, **rest):
    """cuBLAS works in the dtype of `a`, and leaves the solution in Fortran order."""
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise ValueError("expected square matrix")
    if len(a) != len(b):
        raise ValueError("incompatible dimensions")
    solved = scipy.linalg.solve_triangular(a, b.astype(a.dtype), trans, lower, **rest)
    return np.asfortranarray(solved)


class _LinearOperator:
    def __init__(self, *args, **kwargs):
        name = "cupyx.scipy.sparse.linalg.LinearOperator"
        bound = API[name].bind(*args, **kwargs)
        _note(name, *args, **kwargs)
        self._given = bound.arguments
        self.shape, self.dtype = self._given["shape"], np.dtype(self._given["dtype"])

    def matvec(self, x):
        if x.shape not in ((self.shape[1],), (self.shape[1], 1)):
            raise ValueError("dimension mismatch")
        return self._given["matvec"](x).reshape(self.shape[0], *x.shape[1:])

    def matmat(self, X):
        if X.ndim != 2 or X.shape[0] != self.shape[1]:
            raise ValueError("dimension mismatch")
        return self._given["matmat"](X)

    def __matmul__(self, x):
        return self.matvec(x) if x.ndim == 1 else self.matmat(x)


_BY_HAND = {
    "cupy.ndarray": StrictArray,
    "cupy.asarray": _asarray,
    "cupy.array": _array,
    "cupyx.errstate": _errstate,
    "cupyx.scipy.linalg.solve_triangular": _lift(
        "cupyx.scipy.linalg.solve_triangular", _solve_triangular
    ),
    "cupyx.scipy.sparse.linalg.LinearOperator": _LinearOperator,
}


def _modules():
    """`cupy`, `cupyx` and their parts, of the names in the list."""
    modules = {}
    for dotted in API:
        owner, _, name = dotted.rpartition(".")
        if owner == "cupy.ndarray":
            continue
        module = modules.setdefault(owner, ModuleType(owner))
        numpys = np.linalg if owner == "cupy.linalg" else np
        made = _BY_HAND.get(dotted)
        if made is None and API[dotted] is None:
            made = getattr(numpys, name, None)  # NumPy's own: a dtype, a constant
        elif made is None:
            function = _LINALG.get(name) if owner == "cupy.linalg" else None
            made = _lift(dotted, function or getattr(numpys, name, None))
        setattr(module, name, made)
    modules["cupy"].linalg = modules["cupy.linalg"]
    return modules


MODULES = _modules()
xp = MODULES["cupy"]


@contextmanager
def installed(modules):
    """`modules` where `import` looks, instead of any other CuPy."""
    ours = {
        n: m for n, m in sys.modules.items() if n.split(".")[0] in ("cupy", "cupyx")
    }
    for name in ours:
        del sys.modules[name]
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(ours)
