"""A stand-in for CuPy, for machines without a device: `xp` is its module `cupy`.

It has the names and parameters that are in `cupy_api.txt`, and no others, so that
`xp.sum(x, where=...)` fails here as it would on a device. `installed` puts it where
`import cupy` looks, and the package knows its arrays as it knows CuPy's, by their type.
As there, a factorisation that fails says nothing, unless
`cupyx.errstate(linalg="raise")` tells it to.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import scipy.linalg

from strict_array import API, StrictArray, lift, note


def _asarray(a, dtype=None, order=None):
    """The one door from the host to the stand-in device; there, nothing is copied."""
    note("cupy.asarray", a, dtype=dtype, order=order)
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
        note(name, *args, **kwargs)
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
    "cupyx.scipy.linalg.solve_triangular": lift(
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
            made = lift(dotted, function or getattr(numpys, name, None))
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
