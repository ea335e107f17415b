"""Which library runs, where arrays are born, and the linear algebra both have."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
import scipy.sparse.linalg

import strict
from helpers import assert_exact, host, imports, loaded_by
from kfac_ref import backend
from kfac_ref.errors import BackendError, UnknownName


@pytest.fixture(autouse=True)
def fresh_switch(monkeypatch):
    """Every test starts with no choice made, and leaves none behind."""
    monkeypatch.setattr(backend, "_current", [])
    monkeypatch.delenv("KFAC_REF_BACKEND", raising=False)


# get_xp


def test_the_arrays_decide_the_backend(xp):
    a, b = xp.ones((5, 3)), xp.arange(7)
    assert backend.get_xp(a) is xp
    assert backend.get_xp(a, b, a) is xp
    assert backend.get_xp(xp.sum(a)) is xp  # also where a reduction gives a scalar


def test_autograd_decides_while_it_traces():
    seen = []

    def f(x):
        constant = np.full(3, 2.0)
        seen.append(backend.get_xp(x))
        seen.append(backend.get_xp(constant, x))
        seen.append(backend.get_xp(x, constant))
        seen.append(backend.get_xp(constant))
        return anp.sum(x * constant)

    np.testing.assert_array_equal(autograd.grad(f)(np.ones(3)), [2.0, 2.0, 2.0])
    assert seen == [anp, anp, anp, np]


def test_autograd_and_a_device_do_not_mix():
    def f(x):
        with pytest.raises(BackendError, match="meet: autograd.numpy, cupy; move"):
            backend.get_xp(x, strict.xp.ones(3), np.ones(3))
        return anp.sum(x)

    autograd.grad(f)(np.ones(3))


def test_numpy_without_autograd(monkeypatch):
    monkeypatch.delitem(sys.modules, "autograd.tracer")
    assert backend.get_xp(np.ones(3)) is np


@pytest.mark.parametrize("order", [1, -1])
def test_two_backends_are_refused_by_name(order):
    arrays = [np.ones(3), strict.xp.ones(3)][::order]
    expected = (
        r"^arrays of two backends meet: cupy, numpy; move them to one with "
        r"kfac_ref\.backend\.asarray\(x, like=\.\.\.\), or to_numpy\(x\)$"
    )
    with pytest.raises(BackendError, match=expected):
        backend.get_xp(*arrays)


@pytest.mark.parametrize(
    ("thing", "shown"),
    [
        ([1.0, 2.0], r"list: \[1\.0, 2\.0\];"),
        ((3,), r"tuple: \(3,\);"),
        (2.5, "float: 2.5;"),
        (None, "NoneType: None;"),
        ("y" * 100, r"str: 'y{27}[.]{3}y{28}';"),
    ],
)
def test_what_is_no_array_is_refused(thing, shown):
    expected = f"^expected an array, found {shown} make it one with numpy.asarray or "
    for arrays in ([thing], [np.ones(3), thing], [strict.xp.ones(3), thing]):
        with pytest.raises(BackendError, match=expected):
            backend.get_xp(*arrays)


def test_no_array_at_all_is_refused():
    with pytest.raises(BackendError, match="^get_xp needs at least one array$"):
        backend.get_xp()


def test_importing_the_backend_imports_no_other_library():
    assert not {"autograd", "cupy"} & loaded_by("kfac_ref.backend")


def test_no_other_module_imports_a_device_library():
    root = Path(backend.__file__).parent
    files = [path for path in root.rglob("*.py") if path.name != "backend.py"]
    assert len(files) > 5
    for path in files:
        for line, name in imports(path):
            found = name.split(".")[0]
            assert found not in ("cupy", "cupyx"), f"{path.name}, line {line}: {name}"


# The switch


def test_numpy_is_where_arrays_are_born():
    assert backend.current() == "numpy"
    assert type(backend.asarray([1.0, 2.0])) is np.ndarray


def test_the_switch_as_a_call():
    backend.use("cupy")
    assert backend.current() == "cupy"
    assert isinstance(backend.asarray(np.ones(3)), strict.StrictArray)
    backend.use("numpy")
    assert type(backend.asarray(np.ones(3))) is np.ndarray


def test_the_switch_as_a_context_manager():
    with backend.use("cupy") as switch:
        assert isinstance(switch, backend.use) and backend.current() == "cupy"
        with backend.use("numpy"):
            assert backend.current() == "numpy"
        assert backend.current() == "cupy"
    assert backend.current() == "numpy"


def test_the_switch_is_put_back_after_an_error():
    with pytest.raises(KeyError, match="inside"), backend.use("cupy"):
        raise KeyError("inside")
    assert backend.current() == "numpy"


def test_the_switch_as_an_environment_variable(monkeypatch):
    monkeypatch.setenv("KFAC_REF_BACKEND", "cupy")
    assert isinstance(backend.asarray(np.ones(3)), strict.StrictArray)
    with backend.use("numpy"):  # what the program says is stronger
        assert type(backend.asarray(np.ones(3))) is np.ndarray
    assert backend.current() == "cupy"


def test_the_switch_does_not_move_arrays_that_exist():
    h = np.ones(3)
    with backend.use("cupy"):
        assert backend.get_xp(h) is np
        assert type(backend.asarray([2.0], like=h)) is np.ndarray


def test_unknown_backends_suggest_the_known(monkeypatch):
    expected = "^unknown backend 'cuppy': did you mean 'cupy'[?] known: numpy, cupy$"
    with pytest.raises(UnknownName, match=expected):
        backend.use("cuppy")
    monkeypatch.setenv("KFAC_REF_BACKEND", "numby")
    expected = r"^unknown backend \(KFAC_REF_BACKEND\) 'numby': did you mean 'numpy'"
    with pytest.raises(UnknownName, match=expected):
        backend.current()


NOT_INSTALLED = (
    r"^backend 'cupy' was asked for, but CuPy is not installed \(.*cupy.*\); install "
    r"the build for your CUDA \(pip install cupy-cuda12x, or cupy-cuda13x\), or use "
    r"backend 'numpy'$"
)
NO_GPU = (
    r"^backend 'cupy' was asked for, and CuPy is installed, but no GPU answers "
    r"\({}\); it needs a driver \(does nvidia-smi list the card\?\) and the libraries "
    r"of CUDA \(CuPy 14: pip install 'cupy-cuda12x\[ctk\]'\), or use backend 'numpy'$"
)


def test_cupy_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BackendError, match=NOT_INSTALLED):
        backend.use("cupy")
    assert backend.current() == "numpy"  # a refused choice is no choice


def test_cupy_without_a_device(monkeypatch):
    def eye(size):
        raise RuntimeError("no CUDA-capable device is detected")

    cupy = ModuleType("cupy")
    cupy.eye = eye
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setenv("KFAC_REF_BACKEND", "cupy")
    with pytest.raises(BackendError, match=NO_GPU.format("no CUDA-capable device .*")):
        backend.asarray(np.ones(3))


def test_a_device_without_its_libraries(monkeypatch):
    """CuPy can fill memory there, and fails at the first factorisation."""

    def cholesky(matrix):
        raise ImportError("libcusolver.so.11: cannot open shared object file")

    monkeypatch.setattr(strict.xp.linalg, "cholesky", cholesky)
    backend._try_device.cache_clear()
    with pytest.raises(BackendError, match=NO_GPU.format("libcusolver.so.11: .*")):
        backend.use("cupy")
    assert backend.current() == "numpy"


def test_a_device_that_has_answered_is_not_asked_again(monkeypatch):
    asked, eye = [], strict.xp.eye
    monkeypatch.setattr(strict.xp, "eye", lambda n: asked.append(n) or eye(n))
    backend._try_device.cache_clear()
    with backend.use("cupy"):
        for _ in range(3):
            backend.asarray(np.ones(2))
    assert asked == [2]


# To the host and from it


def test_there_and_back(xp, rng):
    h = rng.standard_normal((5, 3)).astype(np.float32)
    there = backend.asarray(h, like=xp.ones(1))
    assert backend.get_xp(there) is xp and there.dtype == np.float32
    back = backend.to_numpy(there)
    assert type(back) is np.ndarray and back.dtype == np.float32
    np.testing.assert_array_equal(back, h)


def test_a_scalar_becomes_an_array_on_the_host(xp):
    total = backend.to_numpy(xp.sum(xp.asarray([1.5, 2.0])))
    assert type(total) is np.ndarray and total.shape == () and total == 3.5


def test_a_list_has_no_values_to_take(xp):
    with pytest.raises(BackendError, match="expected an array, found list"):
        backend.to_numpy([xp.ones(2)])


def test_a_traced_array_has_no_values_to_take():
    def f(x):
        with pytest.raises(BackendError, match="^to_numpy: autograd is tracing this"):
            backend.to_numpy(x)
        return anp.sum(x)

    autograd.grad(f)(np.ones(3))


# Linear algebra

FACTOR = np.array(  # lower triangular, by hand; M = FACTOR FACTOR^T is exact
    [
        [2.0, 0.0, 0.0, 0.0, 0.0],
        [-1.0, 3.0, 0.0, 0.0, 0.0],
        [4.0, 0.0, 1.0, 0.0, 0.0],
        [0.0, 5.0, -2.0, 4.0, 0.0],
        [3.0, -3.0, 1.0, 1.0, 2.0],
    ]
)
M = FACTOR @ FACTOR.T


def layouts():
    """The same matrix in C order, in Fortran order, and with gaps."""
    gaps = np.zeros((10, 15))
    gaps[::2, ::3] = M
    return {"C": M.copy(), "F": np.asfortranarray(M), "gaps": gaps[::2, ::3]}


@pytest.mark.parametrize("layout", ["C", "F", "gaps"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_cholesky_finds_the_factor(xp, layout, dtype):
    matrix = xp.asarray(layouts()[layout].astype(dtype))
    L = backend.cholesky(matrix)
    assert backend.get_xp(L) is xp and L.dtype == np.dtype(dtype)
    assert_exact(L, FACTOR.astype(dtype), 1e-12 if dtype == "float64" else 1e-6)
    np.testing.assert_array_equal(host(matrix), M)  # and leaves the matrix alone


def test_cholesky_in_every_numpy_layout():
    for matrix in layouts().values():
        assert_exact(backend.cholesky(matrix), FACTOR)
        np.testing.assert_array_equal(matrix, M)


v = np.array([8.0, 0.3, -0.7, 1.1, 2.9])
NO_FACTOR = {
    "indefinite": M - 3 * np.eye(5),
    "negative": -M,
    "first pivot": np.diag([-1.0, 2.0, 3.0, 5.0, 7.0]),
    "last pivot": np.diag([7.0, 5.0, 3.0, 2.0, -1.0]),
    "zero": np.zeros((5, 5)),
    "singular": np.diag([7.0, 5.0, 0.0, 3.0, 2.0]),
    "rank one": np.outer(v, v),
    "singular but for rounding": np.outer(v, v) + 1e-16 * np.eye(5),
    "NaN": np.where(np.eye(5) > 0, np.nan, M),
    "one NaN": M * np.where(np.arange(25).reshape(5, 5) == 24, np.nan, 1.0),
    "infinite": np.diag([1.0, 2.0, np.inf, 3.0, 5.0]),
}


@pytest.mark.parametrize("case", NO_FACTOR)
def test_cholesky_is_none_where_there_is_no_factor(xp, case):
    assert backend.cholesky(xp.asarray(NO_FACTOR[case])) is None


def test_a_little_damping_gives_a_factor(xp):
    """The control of the above: rank one plus lambda I, lambda far above rounding."""
    damped = np.outer(v, v) + 1e-10 * np.eye(5)
    L = host(backend.cholesky(xp.asarray(damped)))
    assert_exact(L @ L.T, damped)


def test_float32_calls_singular_what_float64_does_not(xp):
    """Pivots 1 and 1e-4: squared, 1e-8 is below 2 eps of float32 alone."""
    matrix = np.diag([1.0, 1e-8])
    assert backend.cholesky(xp.asarray(matrix)) is not None
    assert backend.cholesky(xp.asarray(matrix.astype(np.float32))) is None


@pytest.mark.parametrize("shape", [(5,), (5, 3)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_cholesky_solve_finds_whole_numbers_again(xp, rng, shape, dtype):
    expected = rng.integers(1, 9, shape).astype(dtype)
    right = xp.asarray((M @ expected).astype(dtype))
    X = backend.cholesky_solve(xp.asarray(FACTOR.astype(dtype)), right)
    assert X.dtype == np.dtype(dtype) and backend.get_xp(X) is xp
    assert_exact(X, expected, 1e-12 if dtype == "float64" else 1e-4)


def test_cholesky_solve_in_every_numpy_layout(rng):
    """C, Fortran, neither: the same columns; the right-hand side stays as it was."""
    expected = rng.standard_normal((5, 3))
    right = M @ expected
    wide = np.zeros((10, 6))
    wide[::2, ::2] = right
    for laid_out in (right, np.asfortranarray(right), wide[::2, ::2]):
        for L in (FACTOR, np.asfortranarray(FACTOR)):
            assert_exact(backend.cholesky_solve(L, laid_out), expected)
        np.testing.assert_array_equal(laid_out, right)


@pytest.mark.parametrize("shape", [(5,), (5, 3)])
@pytest.mark.parametrize("transpose", [False, True])
def test_solve_triangular_finds_what_was_multiplied(xp, rng, shape, transpose):
    expected = rng.standard_normal(shape)
    matrix = FACTOR.T if transpose else FACTOR
    X = backend.solve_triangular(
        xp.asarray(FACTOR), xp.asarray(matrix @ expected), transpose=transpose
    )
    assert backend.get_xp(X) is xp
    assert_exact(X, expected)


def test_solvers_refuse_two_backends():
    for solve in (backend.cholesky_solve, backend.solve_triangular):
        with pytest.raises(BackendError, match="meet: cupy, numpy"):
            solve(FACTOR, strict.xp.ones(5))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_eigh_by_hand(xp, dtype):
    """[[2, 1], [1, 2]] beside 10: eigenvalues 1, 3, 10."""
    matrix = np.array([[2.0, 0.0, 1.0], [0.0, 10.0, 0.0], [1.0, 0.0, 2.0]], dtype)
    values, vectors = backend.eigh(xp.asarray(matrix))
    assert values.dtype == vectors.dtype == np.dtype(dtype)
    tolerance = 1e-12 if dtype == "float64" else 1e-6
    assert_exact(values, np.array([1.0, 3.0, 10.0], dtype), tolerance)
    h = np.sqrt(0.5)
    expected = np.array([[h, h, 0.0], [0.0, 0.0, 1.0], [-h, h, 0.0]], dtype)
    signs = np.sign(np.sum(host(vectors) * expected, axis=0))
    assert_exact(host(vectors) * signs, expected, tolerance)


def test_eigvalsh_by_hand(xp):
    values = backend.eigvalsh(xp.asarray(np.array([[2.0, 1.0], [1.0, 2.0]])))
    assert backend.get_xp(values) is xp
    assert_exact(values, np.array([1.0, 3.0]))


def test_cupy_is_told_to_raise():
    """Left alone, it returns something; the package does not leave it alone."""
    indefinite = strict.xp.asarray(-M)
    assert isinstance(strict.xp.linalg.cholesky(indefinite), strict.StrictArray)
    assert backend.cholesky(indefinite) is None
    broken = strict.xp.full((3, 3), np.nan)
    for name in ("eigh", "eigvalsh"):
        getattr(strict.xp.linalg, name)(broken)
        with pytest.raises(np.linalg.LinAlgError, match="did not converge"):
            getattr(backend, name)(broken)


# Linear operators


def test_linear_operator_knows_shape_and_dtype(xp):
    like = xp.ones(3, dtype=np.float32)
    made = backend.linear_operator(like, (5, 3), matvec=lambda u: u)
    assert made.shape == (5, 3) and made.dtype == np.float32


def test_cupys_linear_operator_is_used(rng):
    like, expected = strict.xp.ones(3, dtype=np.float32), rng.standard_normal((3, 2))
    made = backend.linear_operator(like, (3, 3), matvec=lambda u: 2 * u, matmat=abs)
    assert isinstance(made, strict.MODULES["cupyx.scipy.sparse.linalg"].LinearOperator)
    V, expected = strict.xp.asarray(expected), expected.astype(np.float32)  # its dtype
    np.testing.assert_array_equal(host(made @ V[:, 0]), 2 * expected[:, 0])
    np.testing.assert_array_equal(host(made @ V), abs(expected))
    assert (made @ V).dtype == np.float32


def test_conjugate_gradients_take_a_linear_operator(rng):
    expected = rng.standard_normal(5)
    products = []

    def matvec(u):
        products.append(u)
        return M @ u

    operator = backend.linear_operator(M, (5, 5), matvec=matvec)
    solved, failed = scipy.sparse.linalg.cg(
        operator, M @ expected, rtol=1e-14, maxiter=50
    )
    assert failed == 0 and len(products) >= 5
    assert_exact(solved, expected, 1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(5,), (0, 3), (300, 701)])  # the last: many pieces
def test_add_scaled_adds_in_place(xp, shape, dtype, rng):
    one, other = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    total = xp.asarray(one.copy())
    assert backend.add_scaled(total, -0.7, xp.asarray(other)) is total
    assert total.dtype == np.dtype(dtype)
    expected = one + np.asarray(-0.7, dtype) * other
    np.testing.assert_array_equal(host(total), expected)


def test_add_scaled_in_every_layout(rng):
    one, other = rng.standard_normal((2, 7, 5))
    total = np.asfortranarray(one)
    assert backend.add_scaled(total, 0.3, other[::1]) is total
    np.testing.assert_array_equal(total, one + 0.3 * other)
    total = one.copy()
    backend.add_scaled(total, 0.3, np.asfortranarray(other))
    np.testing.assert_array_equal(total, one + 0.3 * other)
