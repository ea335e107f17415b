"""The arrays of the stand-in for CuPy; `strict.py` has its modules.

`StrictArray` is no `numpy.ndarray`: it refuses every silent way to the host that CuPy
refuses (`np.asarray`, `__array_interface__`, NumPy's functions, mixing with host arrays
and scalars). Reductions and elements are 0-d arrays; indices out of range wrap around.
Its methods, their parameters and its operators are those in `cupy_api.txt`.
"""

from __future__ import annotations

import os

import numpy as np

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
        note("cupy.ndarray.__getitem__", self, key)
        return StrictArray(self._data[_index(key, self.shape)])

    def __setitem__(self, key, value):
        note("cupy.ndarray.__setitem__", self, key, value)
        self._data[_index(key, self.shape)] = _unwrap(value)


StrictArray.__name__ = StrictArray.__qualname__ = "ndarray"
StrictArray.__module__ = "cupy"


def note(name, *args, **kwargs):
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


def lift(name, function):
    """`function` of NumPy for strict arrays, called in CuPy's way or not at all."""
    signature = API[name]

    def lifted(*args, **kwargs):
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name} of CuPy: {error}") from None
        note(name, *args, **kwargs)
        return _wrap(function(*map(_unwrap, args), **_unwrap_values(kwargs)))

    return lifted


def _unwrap_values(kwargs):
    return {name: _unwrap(value) for name, value in kwargs.items()}


# Methods, operators and attributes


def _operator(name):
    operation = getattr(np.ndarray, name)

    def method(self, *others):
        note(f"cupy.ndarray.{name}", self, *others)
        return _wrap(operation(self._data, *map(_unwrap, others)))

    def in_place(self, other):
        note(f"cupy.ndarray.{name}", self, other)
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
        setattr(StrictArray, _method, lift(_name, getattr(np.ndarray, _method)))
    elif not _method.startswith(("__class", "__dlpack", "__array")):
        _make = _operator if _method.startswith("__") else _attribute
        setattr(StrictArray, _method, _make(_method))
for _method in COMPARISONS:
    setattr(StrictArray, _method, _operator(_method))
