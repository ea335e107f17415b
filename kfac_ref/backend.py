"""Devices: the arrays themselves decide which array library computes.

`get_xp(a, b)` returns the namespace of its arrays: CuPy for device arrays,
`autograd.numpy` while autograd is tracing, NumPy otherwise. CuPy's arrays are
recognised by type, since they have no `__array_namespace__`. The switch, `use("cupy")`
or `KFAC_REF_BACKEND=cupy`, decides only where new arrays are made (`asarray` without
`like`: initial parameters, data sets). `to_numpy` is the only way from the device to
the host. No other file of the core knows about devices.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial
from types import ModuleType
from typing import Any

import numpy as np
import scipy.linalg

from kfac_ref.errors import FLOATS, BackendError, choose, describe

Array = Any  # an array of NumPy or of CuPy, or autograd's box around NumPy's

BACKENDS = ("numpy", "cupy")
PIECE = 2**16  # as many numbers as stay in a cache
_current: list[str] = []  # the switch; if empty, the environment decides


def get_xp(*arrays: Array) -> ModuleType:
    """The array namespace that all `arrays` share.

    Raises BackendError for lists and numbers, and if arrays of two namespaces meet.
    """
    found = {name: xp for name, xp in (_namespace(a) for a in arrays)}
    if len(found) > 1 and "autograd.numpy" in found:
        found.pop("numpy", None)  # autograd mixes its boxes with plain constants
    if len(found) != 1:
        raise BackendError(
            f"arrays of two backends meet: {', '.join(sorted(found))}; move them to "
            "one with kfac_ref.backend.asarray(x, like=...), or to_numpy(x)"
            if found
            else "get_xp needs at least one array"
        )
    return next(iter(found.values()))


def _namespace(array: Array) -> tuple[str, Any]:
    """The name and the module of the namespace of `array`."""
    tracer = sys.modules.get("autograd.tracer")
    if tracer is not None and isinstance(array, tracer.Box):
        return "autograd.numpy", sys.modules["autograd.numpy"]
    if isinstance(array, np.matrix | np.ma.MaskedArray):
        raise BackendError(
            f"expected a plain array, found {type(array).__name__}, which computes by "
            "other rules; use numpy.asarray, or fill in what is masked"
        )
    if isinstance(array, np.ndarray | np.generic):
        return "numpy", np
    cupy: Any = sys.modules.get("cupy")  # has arrays only if it was imported
    if isinstance(array, getattr(cupy, "ndarray", ())):
        return "cupy", cupy
    raise BackendError(
        f"expected an array, found {type(array).__name__}: "
        f"{describe(array)}; make it one with numpy.asarray or kfac_ref.backend.asarray"
    )


class use:
    """Choose where new arrays are made: `use("cupy")`, or `with use("cupy"): ...`.

    Raises UnknownName, and BackendError if CuPy or the GPU does not answer.
    """

    def __init__(self, name: str):
        choose("backend", name, BACKENDS)
        if name == "cupy":
            _load_cupy()
        self._previous = list(_current)
        _current[:] = [name]

    def __enter__(self) -> use:
        return self

    def __exit__(self, *exception: object) -> None:
        _current[:] = self._previous


def current() -> str:
    """The name of the backend on which new arrays are made."""
    name = _current[0] if _current else os.environ.get("KFAC_REF_BACKEND", "numpy")
    return choose("backend (KFAC_REF_BACKEND)", name, BACKENDS)


def _load_cupy() -> ModuleType:
    """The module cupy, once a device has computed something. Raises BackendError."""
    try:
        cupy = importlib.import_module("cupy")
        _try_device(cupy)
    except ModuleNotFoundError as error:
        raise BackendError(
            f"backend 'cupy' was asked for, but CuPy is not installed ({error}); "
            "install the build for your CUDA (pip install cupy-cuda12x, or "
            "cupy-cuda13x), or use backend 'numpy'"
        ) from error
    except Exception as error:
        raise BackendError(
            f"backend 'cupy' was asked for, and CuPy is installed, but no GPU answers "
            f"({error}); it needs a driver (does nvidia-smi list the card?) and the "
            "libraries of CUDA (CuPy 14: pip install 'cupy-cuda12x[ctk]'), or use "
            "backend 'numpy'"
        ) from error
    return cupy


@cache  # ask the device once, not before every array
def _try_device(cupy: ModuleType) -> None:
    """Try memory, a kernel, cuSOLVER and cuBLAS: being importable is not enough."""
    L = cholesky(cupy.eye(2))
    cholesky_solve(L, cupy.ones(2))


def asarray(host: Array, like: Array | None = None) -> Array:
    """Move a host array to the backend of `like`, or to the current one."""
    if like is not None:
        return get_xp(like).asarray(host)
    return _load_cupy().asarray(host) if current() == "cupy" else np.asarray(host)


def to_numpy(array: Array) -> np.ndarray:
    """The values of `array`, on the host as a NumPy array. Raises BackendError."""
    xp = get_xp(array)
    if xp.__name__ == "autograd.numpy":
        raise BackendError(
            "to_numpy: autograd is tracing this array; take values outside the gradient"
        )
    return np.asarray(array) if xp is np else array.get()


def free_memory(like: Array) -> float:
    """Bytes free where `like` is; all of the host's, or infinity, if unknown."""
    cupy: Any = get_xp(like)
    if cupy.__name__ == "cupy":
        return float(cupy.cuda.runtime.memGetInfo()[0])
    try:
        with open("/proc/meminfo") as lines:  # Linux
            return next(1024.0 * int(w[1]) for w in map(str.split, lines)
                        if w[0] == "MemAvailable:")  # fmt: skip
    except (OSError, StopIteration):
        pass
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def on_rows(function: Callable[[Array], Array], v: Array) -> Array:
    """Apply a linear `function` of rows (k, P) to a vector (P,) or columns (P, k).

    For no columns, (P, 0), it is given one zero row, and the result is dropped: so
    shape, dtype and errors are those of any other number of columns.
    """
    if v.ndim == 1:
        return function(v[None])[0]
    if v.shape[1] == 0:
        one = get_xp(v).zeros((1, v.shape[0]), dtype=v.dtype)
        return function(one)[:0].T
    return function(v.T).T


def add_scaled(total: Array, factor: float, array: Array) -> Array:
    """total += factor * array, on the host without a second such array; return total.

    It works piece by piece, so that the products stay in the cache. (BLAS's axpy would
    be faster still if NumPy and SciPy shared one BLAS: as it is, threads of the one not
    called are still spinning. See benchmarks/README.md.)
    """
    if get_xp(total, array) is not np or not total.flags.c_contiguous:
        total += factor * array
        return total
    sums, others = total.reshape(-1), array.reshape(-1)
    product = np.empty(min(PIECE, sums.size), dtype=total.dtype)
    for start in range(0, sums.size, PIECE):
        piece = sums[start : start + PIECE]
        few = product[: piece.size]
        np.multiply(others[start : start + PIECE], factor, out=few)
        piece += few
    return total


def cholesky(matrix: Array) -> Array | None:
    """Lower Cholesky factor L, or None if `matrix` has none, on any backend.

    CuPy does not raise on failure, and rounding lets singular matrices pass anywhere,
    so the factor is checked, too: None if the smallest eigenvalue of L L^T, divided by
    the largest squared pivot, is at most rounding error, (P + 10) eps, or not finite.
    """
    xp = get_xp(matrix)
    try:
        if xp is np:
            # the transpose of a C-ordered symmetric matrix is itself, in LAPACK's order
            L = scipy.linalg.cholesky(
                matrix.T if matrix.flags.c_contiguous else matrix,
                lower=True,
                check_finite=False,
            )
        else:
            with _raising(xp):
                L = xp.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return None
    rounding = (len(L) + 10) * float(xp.finfo(L.dtype).eps)
    return L if _smallest_eigenvalue(L) > rounding else None


def _smallest_eigenvalue(L: Array) -> float:
    """Smallest eigenvalue of L L^T over the largest squared pivot; 0 if not finite.

    Found by two steps of inverse iteration from the smallest pivot. The pivot alone
    says too little: if rounding lets a singular matrix pass, it may far exceed rounding
    error.
    """
    xp = get_xp(L)
    pivots = xp.diagonal(L).copy()  # contiguous: read many times
    if not bool(xp.all(xp.isfinite(pivots))):
        return 0.0
    x = xp.zeros_like(pivots)
    x[int(xp.argmin(pivots))] = 1
    for _ in range(2):
        x = cholesky_solve(L, x * xp.max(pivots) ** 2)
        growth = xp.max(xp.abs(x))
        x = x / growth
    return 1 / float(growth)


def cholesky_solve(L: Array, right: Array) -> Array:
    """Solve L L^T X = right for X; right is a vector or a matrix of columns."""
    xp = get_xp(L, right)
    if xp is np and right.ndim == 1:  # BLAS has less overhead than LAPACK
        trsv = scipy.linalg.get_blas_funcs("trsv", (L, right))
        return trsv(L, trsv(L, right, lower=1), lower=1, trans=1)
    if xp is np:
        trsm = scipy.linalg.get_blas_funcs("trsm", (L, right))
        if right.flags.c_contiguous:  # X^T = right^T L^-T L^-1, already in BLAS's order
            half = trsm(1, L, right.T, side=1, lower=1, trans_a=1)
            return trsm(1, L, half, side=1, lower=1, overwrite_b=1).T
        half = trsm(1, L, right, lower=1)
        return trsm(1, L, half, lower=1, trans_a=1, overwrite_b=1)
    return solve_triangular(L, solve_triangular(L, right), transpose=True)


def solve_triangular(L: Array, right: Array, transpose: bool = False) -> Array:
    """Solve L X = right, or L^T X = right, for X; L is lower triangular."""
    solve = _scipy(get_xp(L, right), "linalg").solve_triangular
    return solve(L, right, trans=int(transpose), lower=True, check_finite=False)


def eigh(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues (ascending) and eigenvectors (columns) of a symmetric matrix."""
    xp = get_xp(matrix)
    if xp is np:
        return np.linalg.eigh(matrix)
    with _raising(xp):
        values, vectors = xp.linalg.eigh(matrix)
    return values, vectors


def eigvalsh(matrix: Array) -> Array:
    """Eigenvalues (ascending) of a symmetric matrix."""
    xp = get_xp(matrix)
    with _raising(xp):
        return xp.linalg.eigvalsh(matrix)


def _raising(xp: ModuleType) -> Any:
    """Make CuPy raise if a factorisation fails; by default it stays silent."""
    if xp.__name__ != "cupy":
        return nullcontext()
    return importlib.import_module("cupyx").errstate(linalg="raise")


def linear_operator(like: Array, shape: tuple[int, int], **products: Any) -> Any:
    """A SciPy LinearOperator, or CuPy's for arrays on a device.

    It computes in the dtype that it declares, that of `like`: some solvers (svds with
    lobpcg, onenormest) hand float64 vectors to a float32 operator.
    """
    module = _scipy(get_xp(like), "sparse.linalg")
    own = {name: partial(_in_dtype, like.dtype, f) for name, f in products.items()}
    return module.LinearOperator(shape, dtype=like.dtype, **own)


def _in_dtype(dtype: Any, product: Callable[[Array], Array], v: Array) -> Array:
    return product(v.astype(dtype) if v.dtype.name in FLOATS else v)


def _scipy(xp: ModuleType, part: str) -> ModuleType:
    """A submodule of SciPy, or CuPy's counterpart."""
    return importlib.import_module(f"{'cupyx.' * (xp.__name__ == 'cupy')}scipy.{part}")
