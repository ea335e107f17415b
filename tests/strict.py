"""A stand-in for a device array, for machines without a device.

`StrictArray` is no `ndarray`: it refuses every silent way to the host that CuPy
refuses (`np.asarray`, `__array_interface__`, NumPy's functions, mixing with host
arrays), returns 0-d arrays from reductions, and like CuPy does not raise when a
factorisation fails. `namespace()` is its `xp`.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np

_SCALARS = (bool, int, float)


class StrictArray:
    __slots__ = ("_data",)
    __array_priority__ = 1000

    def __init__(self, data):
        self._data = np.asarray(data)

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

    shape = property(lambda self: self._data.shape)
    dtype = property(lambda self: self._data.dtype)
    ndim = property(lambda self: self._data.ndim)
    size = property(lambda self: self._data.size)
    nbytes = property(lambda self: self._data.nbytes)
    itemsize = property(lambda self: self._data.itemsize)
    T = property(lambda self: StrictArray(self._data.T))

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

    def __index__(self):
        return self._data.__index__()

    def __repr__(self):
        return f"strict{self._data!r}"

    def __getitem__(self, key):
        return StrictArray(self._data[_unwrap(key)])

    def __setitem__(self, key, value):
        self._data[_unwrap(key)] = _unwrap(value)


def _unwrap(value):
    """The data of strict arrays, of plain numbers and of indices; nothing else."""
    if isinstance(value, StrictArray):
        return value._data
    if isinstance(value, tuple | list):
        return type(value)(_unwrap(v) for v in value)
    if isinstance(value, np.ndarray):
        raise TypeError("a host array was mixed with device arrays")
    if isinstance(value, np.generic) and not isinstance(value, float | int):
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


def _lift(function):
    def lifted(*args, **kwargs):
        args = [_unwrap(a) for a in args]
        return _wrap(function(*args, **{k: _unwrap(v) for k, v in kwargs.items()}))

    return lifted


_BINARY = "add sub mul truediv floordiv mod pow matmul lt le gt ge eq ne and or xor"
for _name in _BINARY.split():
    for _method in (f"__{_name}__", f"__r{_name}__", f"__i{_name}__"):
        if hasattr(np.ndarray, _method):
            setattr(StrictArray, _method, _lift(getattr(np.ndarray, _method)))
for _method in ("__neg__", "__abs__", "__invert__", "__pos__"):
    setattr(StrictArray, _method, _lift(getattr(np.ndarray, _method)))
for _method in (
    "reshape transpose ravel copy astype sum mean max min any all argmax argmin "
    "cumsum dot squeeze swapaxes repeat prod std var trace diagonal clip conj"
).split():
    setattr(StrictArray, _method, _lift(getattr(np.ndarray, _method)))


def _inplace(name):
    operation = getattr(np.ndarray, name)

    def method(self, other):
        operation(self._data, _unwrap(other))
        return self

    return method


for _name in "add sub mul truediv".split():
    setattr(StrictArray, f"__i{_name}__", _inplace(f"__i{_name}__"))


def _silent(function, outputs):
    """Like CuPy: a failed factorisation returns NaN, it does not raise."""

    def quiet(matrix, *args):
        try:
            return function(matrix, *args)
        except np.linalg.LinAlgError:
            return outputs(matrix, *args)

    return _lift(quiet)


class _Namespace:
    """NumPy's names, restricted to strict arrays."""

    __name__ = "strict"
    ndarray = StrictArray  # by which the package knows CuPy's arrays

    def __init__(self):
        nan = np.full_like
        self.linalg = SimpleNamespace(
            cholesky=_silent(np.linalg.cholesky, lambda m: nan(m, np.nan)),
            solve=_silent(np.linalg.solve, lambda m, b: nan(b, np.nan)),
            inv=_silent(np.linalg.inv, lambda m: nan(m, np.nan)),
            eigh=_lift(np.linalg.eigh),
            eigvalsh=_lift(np.linalg.eigvalsh),
            svd=_lift(np.linalg.svd),
            norm=_lift(np.linalg.norm),
            qr=_lift(np.linalg.qr),
        )

    def __getattr__(self, name):
        value = getattr(np, name)
        if isinstance(value, type) or not callable(value) or name == "finfo":
            return value  # dtypes and constants
        return _lift(value)

    @staticmethod
    def asarray(data, dtype=None):
        """The one door from the host to the stand-in device."""
        data = data._data if isinstance(data, StrictArray) else data
        return StrictArray(np.asarray(data, dtype=dtype).copy())

    array = asarray


xp = _Namespace()
sys.modules.setdefault("cupy", xp)
