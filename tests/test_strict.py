"""The stand-in for a device array refuses what CuPy refuses."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import cupy_api
import strict
from strict import StrictArray
from strict import xp as device


@pytest.fixture
def h(rng):
    """A host array (5, 3)."""
    return rng.standard_normal((5, 3))


@pytest.fixture
def d(h):
    """The same array on the stand-in device."""
    return device.asarray(h)


ON_ITS_WAY_TO_THE_HOST = {
    "np.asarray": np.asarray,
    "np.array": np.array,
    "np.array of a list": lambda d: np.array([d, d]),
    "np.array of numbers": lambda d: np.array([d.sum(), d.mean()]),
    "with a dtype": lambda d: np.asarray(d, dtype=np.float32),
    "np.ascontiguousarray": np.ascontiguousarray,
    "interface": lambda d: d.__array_interface__["data"],
    "memoryview": memoryview,
    "bytes": lambda d: np.frombuffer(d),
}


@pytest.mark.parametrize("way", ON_ITS_WAY_TO_THE_HOST)
def test_no_silent_way_to_the_host(d, way):
    with pytest.raises((TypeError, AttributeError), match="device array|bytes-like"):
        ON_ITS_WAY_TO_THE_HOST[way](d)


def test_the_loud_way_to_the_host_is_a_copy(d, h):
    copy = d.get()
    np.testing.assert_array_equal(copy, h)
    copy += 1
    np.testing.assert_array_equal(d.get(), h)


def test_the_way_to_the_device_is_a_copy(h):
    d = device.asarray(h)
    before = h.copy()
    h += 1
    np.testing.assert_array_equal(d.get(), before)


@pytest.mark.parametrize(
    "function",
    [np.exp, np.sum, np.linalg.norm, np.transpose, np.linalg.eigh, np.zeros_like],
    ids=lambda f: f.__name__,
)
def test_numpy_functions_are_refused(d, function):
    with pytest.raises(TypeError, match="NumPy function was applied to a device array"):
        function(d)


def test_numpy_functions_of_several_are_refused(d):
    for call in (
        lambda: np.concatenate([d, d]),
        lambda: np.where(True, d, d),
        lambda: np.einsum("ni,nj->ij", d, d),
        lambda: np.stack([d, d]),
    ):
        with pytest.raises(TypeError, match="device array"):
            call()


OPERATORS = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.pow,
    operator.lt,
    operator.eq,
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.itruediv,
]


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.__name__)
def test_host_and_device_do_not_mix(d, h, op):
    with pytest.raises(TypeError, match="host array was mixed"):
        op(d, h)
    with pytest.raises(TypeError, match="NumPy function was applied to a device array"):
        op(h, d)


def test_matrix_products_do_not_mix(d, h):
    with pytest.raises(TypeError, match="host array was mixed"):
        d @ h.T
    with pytest.raises(TypeError, match="NumPy function was applied to a device array"):
        h.T @ d


def test_functions_of_the_namespace_refuse_host_arrays(d, h):
    for call in (
        lambda: device.exp(h),
        lambda: device.concatenate([d, h]),
        lambda: device.where(d > 0, d, h),
        lambda: device.linalg.cholesky(h),
    ):
        with pytest.raises(TypeError, match="host array was mixed"):
            call()


def test_host_arrays_are_no_indices_and_no_values(d, h):
    rows = np.array([0, 2])
    with pytest.raises(TypeError, match="host array was mixed"):
        d[rows]
    with pytest.raises(TypeError, match="host array was mixed"):
        d[:, rows]
    with pytest.raises(TypeError, match="host array was mixed"):
        d[0] = h[0]
    with pytest.raises(TypeError, match="host array was mixed"):
        d[rows] = 0.0


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.bool])
def test_scalars_of_numpy_are_refused(d, kind):
    """Beside a float32 array, a float64 counts on CuPy 14, and does not on CuPy 13."""
    for call in (lambda: d * kind(1), lambda: device.where(d > 0, d, kind(1))):
        with pytest.raises(TypeError, match="host scalar array was mixed"):
            call()


def test_plain_numbers_are_welcome(d, h):
    np.testing.assert_array_equal((2 * d - 1.5).get(), 2 * h - 1.5)
    np.testing.assert_array_equal((1 / d).get(), 1 / h)
    np.testing.assert_array_equal((d > 0).get(), h > 0)


@pytest.mark.parametrize("op", OPERATORS[:7], ids=lambda op: op.__name__)
def test_device_arrays_among_themselves(d, h, op):
    result = op(abs(d), abs(d) + 1)
    assert isinstance(result, StrictArray)
    np.testing.assert_array_equal(result.get(), op(abs(h), abs(h) + 1))


@pytest.mark.parametrize("op", OPERATORS[7:], ids=lambda op: op.__name__)
def test_in_place_operations_stay_in_place(d, h, op):
    alias, other = d, d * 3 + 10
    result = op(d, other)
    assert result is alias
    np.testing.assert_array_equal(alias.get(), op(h, h * 3 + 10))


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "std", "argmax"])
def test_reductions_are_zero_dimensional_arrays(d, h, name):
    for result in (getattr(d, name)(), getattr(device, name)(d)):
        assert isinstance(result, StrictArray) and result.shape == ()
        assert float(result) == getattr(np, name)(h)


def test_numbers_are_taken_out_by_name_only(d):
    count = (d == d).sum()  # 15
    assert int(count) == 15 and float(count) == 15.0 and bool(count)
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        operator.index(count)  # CuPy has no __index__
    with pytest.raises(ValueError, match="truth value"):
        bool(d)


def test_shape_and_kin_are_plain(d, h):
    assert (d.shape, d.dtype, d.ndim, d.size) == ((5, 3), h.dtype, 2, 15)
    assert (d.nbytes, d.itemsize, len(d)) == (120, 8, 5)
    assert repr(d) == f"strict{h!r}"
    np.testing.assert_array_equal(d.T.get(), h.T)
    for row, expected in zip(d, h, strict=True):
        assert isinstance(row, StrictArray)
        np.testing.assert_array_equal(row.get(), expected)


def test_indexing_and_assignment(d, h):
    np.testing.assert_array_equal(d[1:, device.asarray([2, 0])].get(), h[1:, [2, 0]])
    np.testing.assert_array_equal(d[d > 0].get(), h[h > 0])
    d[0] = d[1]
    d[2:, 1] = 4.0
    h[0] = h[1]
    h[2:, 1] = 4.0
    np.testing.assert_array_equal(d.get(), h)


def test_the_namespace_returns_device_arrays(d, h):
    assert device.__name__ == "cupy" and not hasattr(d, "__array_namespace__")
    assert isinstance(device.zeros((2, 3)), StrictArray)
    assert device.float64 is np.float64 and device.pi == np.pi
    assert float(device.finfo(d.dtype).eps) == np.finfo(np.float64).eps
    np.testing.assert_array_equal(device.array(d).get(), h)
    halves = device.split(device.arange(4.0), 2)
    assert [type(half) for half in halves] == [StrictArray, StrictArray]


def test_named_tuples_keep_their_names(d, h):
    result = device.linalg.eigh(d.T @ d)
    np.testing.assert_array_equal(
        result.eigenvalues.get(), np.linalg.eigh(h.T @ h).eigenvalues
    )
    shape = device.linalg.svd(d, full_matrices=False)
    assert [part.shape for part in shape] == [(5, 3), (3,), (3, 3)]


INDEFINITE = np.diag([3.0, -1.0, 2.0])
SINGULAR = np.diag([3.0, 0.0, 2.0])
FAILING = {
    "cholesky": lambda linalg, to: linalg.cholesky(to(INDEFINITE)),
    "inv": lambda linalg, to: linalg.inv(to(SINGULAR)),
    "solve": lambda linalg, to: linalg.solve(to(SINGULAR), to(np.ones((3, 2)))),
    "eigh": lambda linalg, to: linalg.eigh(to(np.full((3, 3), np.nan)))[0],
    "eigvalsh": lambda linalg, to: linalg.eigvalsh(to(np.full((3, 3), np.nan))),
}


@pytest.mark.parametrize("name", FAILING)
def test_failed_factorisations_are_silent(name):
    with pytest.raises(np.linalg.LinAlgError):  # the control: NumPy is not silent
        FAILING[name](np.linalg, np.asarray)
    result = FAILING[name](device.linalg, device.asarray)
    assert isinstance(result, StrictArray)
    # what is left of a Cholesky factor is finite; it looks like one
    assert np.isnan(result.get()).all() == (name != "cholesky")
    errstate = strict.MODULES["cupyx"].errstate
    with errstate(linalg="raise"), errstate(divide="ignore"):
        with pytest.raises(np.linalg.LinAlgError):
            FAILING[name](device.linalg, device.asarray)
        with errstate(linalg="ignore"):
            FAILING[name](device.linalg, device.asarray)


def test_successful_factorisations_are_numpys(h):
    M = h.T @ h
    L = device.linalg.cholesky(device.asarray(M))
    np.testing.assert_array_equal(L.get(), np.linalg.cholesky(M))
    assert strict.StrictArray is type(L)


# It can do what CuPy can, and no more


def test_only_cupys_parameters(d):
    for call in (
        lambda: device.sum(d, where=d > 0),
        lambda: d.sum(where=d > 0),
        lambda: device.linalg.eigvalsh(d, hermitian=True),
        lambda: device.exp(d, where=d > 0),
        lambda: d.argsort(kind="stable"),  # 13.3 has no such parameter
        lambda: strict.MODULES["cupyx"].errstate(lapack="raise").__enter__(),
    ):
        with pytest.raises(TypeError, match="got an unexpected keyword argument"):
            call()


@pytest.mark.parametrize(
    "name", ["vecdot", "errstate", "concat", "einsum_path", "bool"]
)
def test_only_cupys_names(name):
    assert hasattr(np, name)
    with pytest.raises(AttributeError, match=f"'cupy' has no attribute '{name}'"):
        getattr(device, name)


@pytest.mark.parametrize("name", ["multi_dot", "eig", "cond", "vector_norm"])
def test_only_cupys_linear_algebra(name):
    assert hasattr(np.linalg, name) and not hasattr(device.linalg, name)


def test_everything_in_the_list_is_there():
    """All but a few attributes that lead to the memory of the array."""
    modules = {**strict.MODULES, "cupy.ndarray": StrictArray}
    missing = {
        dotted
        for dotted in strict.API
        for owner, _, name in [dotted.rpartition(".")]
        if not hasattr(modules[owner], name)
    }
    assert {m.rpartition(".")[2] for m in missing} == {
        *("base", "data", "device", "flat", "__complex__", "__delitem__"),
        *("__array_finalize__", "__class_getitem__", "__dlpack__", "__dlpack_device__"),
    }
    assert len(strict.API) > 500


def test_indices_out_of_range_wrap_around(d, h):
    """As on a device, where they are not checked; a plain number is."""
    rows, columns = device.asarray([-1, 7, 5]), device.asarray([[3, -4]])
    np.testing.assert_array_equal(d[rows].get(), h[[4, 2, 0]])
    np.testing.assert_array_equal(d[..., columns].get(), h[:, [[0, 2]]])
    np.testing.assert_array_equal(
        d[None, :, columns, None].get(), h[None, :, [[0, 2]], None]
    )
    np.testing.assert_array_equal(d[[6]].get(), h[[1]])
    cube = device.zeros((2, 3, 4))
    mask = device.ones((2, 3), dtype=bool)
    assert cube[mask, device.asarray([5])].shape == (6,)
    with pytest.raises(IndexError):
        d[5]
    with pytest.raises(IndexError):
        h[[-1, 7, 5]]  # the control


def test_no_objects_and_no_words():
    for thing in (np.array([None]), np.array(["a"]), np.array(["2026"], "M8[Y]")):
        with pytest.raises(ValueError, match="Unsupported dtype"):
            device.asarray(thing)


def test_numbers_arrive_in_native_order():
    d = device.asarray(np.array([1.0, 256.0], ">f4"))
    assert d.dtype == np.float32 and d.dtype.isnative
    np.testing.assert_array_equal(d.get(), [1.0, 256.0])


def test_there_nothing_is_copied(d):
    assert device.asarray(d) is d and device.asarray(d, dtype=np.float64) is d
    assert device.asarray(d, dtype=np.float32).dtype == np.float32
    copy = device.array(d)
    copy[0] = 0.0
    assert float(abs(d[0]).min()) > 0
    assert device.array(d, copy=False) is d


def test_the_triangular_solver_works_in_the_dtype_of_the_matrix(rng):
    solve = strict.MODULES["cupyx.scipy.linalg"].solve_triangular
    L = np.tril(rng.standard_normal((3, 3))) + 3 * np.eye(3)
    solved = solve(device.asarray(L.astype(np.float32)), device.ones(3), lower=True)
    assert solved.dtype == np.float32
    for wrong in (device.ones(4), device.ones((4, 3))):
        with pytest.raises(ValueError, match="incompatible dimensions"):
            solve(device.asarray(L), wrong)
    with pytest.raises(ValueError, match="expected square matrix"):
        solve(device.ones((3, 4)), device.ones(3))


def test_the_linear_operator_checks_shapes(d):
    make = strict.MODULES["cupyx.scipy.sparse.linalg"].LinearOperator
    made = make((5, 3), matvec=lambda u: d @ u, matmat=lambda U: d @ U, dtype=d.dtype)
    assert (made @ device.ones(3)).shape == made.matvec(device.ones(3)).shape == (5,)
    assert made.matvec(device.ones((3, 1))).shape == (5, 1)
    for wrong in (device.ones(5), device.ones((5, 2))):
        with pytest.raises(ValueError, match="dimension mismatch"):
            made @ wrong


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("a, axis=..., out=...", "a, axis=..., out=...", "(a, axis=..., out=...)"),
        ("a, axis=..., out=...", "a, axis=...", "(a, axis=...)"),
        (
            "a, dtype=..., out=...",
            "a, out=..., dtype=...",
            "(a, *, dtype=..., out=...)",
        ),
        ("x, y, z", "x, w, z", "(x, *, z)"),
        ("x, /, out=...", "x, out=...", "(x, /, out=...)"),
        ("x, *, out=...", "x, out=...", "(x, *, out=...)"),
        ("*args, **unknown", "*args, out=...", "(*args)"),
        ("int axis=-1, kind=u'C'", "self, axis=-1", "(*, axis=...)"),
    ],
)
def test_what_two_versions_have_in_common(one, other, both):
    """By position as far as the positions agree; otherwise by name; or not at all."""
    one, other = cupy_api.parse(one), cupy_api.parse(other)
    assert cupy_api.show(cupy_api.common(one, other)) == both
    assert cupy_api.show(cupy_api.common(other, one)) in (
        both,
        both.replace("dtype=..., out=...", "out=..., dtype=..."),
    )
    assert cupy_api.common(one, None) is None
