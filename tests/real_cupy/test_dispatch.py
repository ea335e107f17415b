"""`get_xp` and the errors, on arrays of the real CuPy."""

from __future__ import annotations

import cupy
import numpy as np
import pytest
from host_memory import NoDevice, over_host_memory

from kfac_ref import Network, backend, factored_tikhonov
from kfac_ref.checks import check_batch, check_count, check_floats, check_shape
from kfac_ref.distributions import Categorical, Joint, Normal
from kfac_ref.errors import (
    BackendError,
    KfacError,
    ShapeError,
    ValueRangeError,
    describe,
)
from kfac_ref.layers import Dense, Tanh
from kfac_ref.matrices import DenseMatrix, KroneckerProduct
from kfac_ref.optimizer import KFAC


def test_the_premises(d):
    """Why arrays are known by their type, and why no error may print one."""
    assert not hasattr(d, "__array_namespace__") and not hasattr(d, "__index__")
    for touching in (repr, str, lambda a: a + 1, lambda a: float(a[0, 0]), cupy.exp):
        with pytest.raises(NoDevice):
            touching(d)
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(d)


def test_cupys_arrays_are_known_by_their_type(d):
    assert backend.get_xp(d) is cupy
    assert backend.get_xp(d, d.T, d[0], d[0, 0], d[:, None]) is cupy
    assert backend.get_xp(np.ones(2)) is np


def test_host_and_device_are_refused_without_touching_the_device(d):
    h = np.ones((5, 3))
    for arrays in ([d, h], [h, d], [d, np.float32(2)], [np.float64(2), d]):
        with pytest.raises(BackendError, match="meet: cupy, numpy; move them"):
            backend.get_xp(*arrays)
    with pytest.raises(BackendError, match="found list: .cupy.ndarray of shape"):
        backend.get_xp([d])
    with pytest.raises(BackendError, match="meet: cupy, numpy"):
        backend.solve_triangular(np.eye(5), d)
    with pytest.raises(BackendError, match="meet: cupy, numpy"):
        backend.cholesky_solve(np.eye(5), d)


def test_a_description_asks_no_device(d):
    shown = "cupy.ndarray of shape (5, 3), float64"
    assert describe(d) == shown
    assert describe([d, (d, 2)]) == f"[{shown}, ({shown}, 2)]"
    assert describe({"a": d}) == f"{{'a': {shown}}}"


def test_the_values_are_asked_for_aloud(d):
    """`to_numpy` is the door, and it is closed here; nothing else opens one."""
    with pytest.raises(NoDevice):
        backend.to_numpy(d)


def test_an_array_where_a_number_is_expected(d):
    """Each door says what it found, and nobody asks the device for its values."""
    M = KroneckerProduct(np.eye(3), np.eye(1))
    for door in (
        lambda: check_count("samples", d),
        lambda: KFAC(chain(), damping=d),
        lambda: Dense(d, 2),
        lambda: Normal(d),
        lambda: Joint([(Categorical(), 3, d)]),
        lambda: M.solve(np.ones(3), d),
        lambda: M.power(d),
        lambda: factored_tikhonov(M, d),
        lambda: factored_tikhonov(M, 0.1, pi=d),
    ):
        with pytest.raises(
            KfacError, match=r"cupy\.ndarray of shape \(5, 3\), float64"
        ):
            door()


def test_shapes_and_dtypes_are_checked_without_a_device(d):
    with pytest.raises(ShapeError, match=r"expected shape \(4, 3\), found \(5, 3\)"):
        check_shape("x", d, (4, 3))
    with pytest.raises(ShapeError, match="the batch is empty"):
        check_batch("x", d[:0])
    with pytest.raises(ValueRangeError, match="found an array of complex128"):
        check_batch("x", over_host_memory(np.zeros(3, dtype=complex)))
    with pytest.raises(ValueRangeError, match="expected float64 or float32"):
        check_floats("x", d.view(np.int64))


def chain():
    return Network([Dense(3, 4), Tanh(), Dense(4, 2)], Categorical())


def test_layers_refuse_inputs_of_the_other_side(d):
    for params, x in ([np.ones((3, 4))], d), ([d.T[:, :4]], np.ones((2, 3))):
        with pytest.raises(BackendError, match="meet: cupy, numpy"):
            Dense(3, 4, bias=False).forward(params, x)


def test_a_matrix_is_no_operand_of_an_array(d):
    M = DenseMatrix(np.eye(3))
    for call in (lambda: d @ M, lambda: d + M, lambda: d * M):
        with pytest.raises(TypeError, match="unsupported operand"):
            call()
    with pytest.raises(BackendError, match="meet: cupy, numpy"):
        M @ d[0]


def test_without_a_device_the_switch_says_so():
    with pytest.raises(BackendError, match=r"no GPU answers \(cudaError.*nvidia-smi"):
        backend.use("cupy")
    assert backend.current() == "numpy"


def test_cupys_parts_are_found(d):
    operator = backend.linear_operator(d, (5, 3), matvec=abs, matmat=abs)
    assert operator.shape == (5, 3) and operator.dtype == np.float64
    assert type(operator).__module__.startswith("cupyx.scipy.sparse.linalg")
    with pytest.raises(ValueError, match="expected square matrix"):
        backend.solve_triangular(d, d)
    for factorise in (backend.cholesky, backend.eigh, backend.eigvalsh):
        # without CUDA's libraries CuPy cannot import its part that has them
        with pytest.raises((NoDevice, ImportError), match="cudaError|libcusolver"):
            factorise(d[:3])
