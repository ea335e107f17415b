"""What products and solves take: a vector as the matrix is, of its dtype, and finite.

Every matrix of value_cases.py, every product with an exact matrix, and each of their
operations that takes a vector (found by the names of parameters). What is refused is
refused before anything is computed, with what to do about it.
"""

from __future__ import annotations

import inspect
import pickle
from functools import partial

import numpy as np
import pytest
import scipy.sparse.linalg as solvers

import strict
import value_cases as cases
from helpers import assert_exact, host
from kfac_ref import curvature
from kfac_ref.backend import get_xp
from kfac_ref.damping import tikhonov
from kfac_ref.errors import KfacError, NotFinite, ShapeError, ValueRangeError
from kfac_ref.exact.hessian import HessianProduct
from kfac_ref.exact.products import (
    CurvatureProduct,
    FisherProduct,
)
from kfac_ref.matrices import ChainFactors, DenseMatrix, SymmetricMatrix
from kfac_ref.quadratic_model import quadratic_model
from matrix_cases import CASES as MATRICES
from matrix_cases import make
from value_cases import PLAIN, defined, modules

BUILDS = [
    pytest.param(build, id=f"{i}-{kind.__name__}")
    for i, (kind, build) in enumerate(cases.CASES)
    if issubclass(kind, SymmetricMatrix)
    and kind not in (SymmetricMatrix, ChainFactors, CurvatureProduct)
]
every_operand = pytest.mark.parametrize("build", BUILDS)
REFUSED = ["int64", "int8", "uint8", "bool", "float16", "float64", "object"]


def _form(form, v):
    """With one vector, or with the columns of v."""
    return form([v] if v.ndim == 1 else list(v.T))


def operations(value):
    """(function of a vector, its length) for all that take v, u or vectors."""
    found = []
    for name, method in inspect.getmembers(value, inspect.ismethod):
        if name.startswith("_") and name != "__matmul__":
            continue
        takes = [*inspect.signature(method).parameters]
        if takes[:1] == ["vectors"]:
            found.append((partial(_form, method), value.size))
        elif name == "solve" and isinstance(value, CurvatureProduct | HessianProduct):
            found.append((lambda v, m=method: m(v, 2.0), value.size))  # singular
        elif takes[:1] in (["v"], ["u"]):
            size = value.columns if takes == ["u"] else value.size
            found.append((method, size))
    assert found
    return found


def test_every_kind_of_operand_is_in_the_list():
    """A new matrix, or a new class with a product, stands in value_cases.py."""
    there = {kind for kind, _ in cases.CASES}
    for module in modules():
        for kind in defined(module, inspect.isclass):
            has = {"__matmul__", "solve", "product"} & set(vars(kind))
            if issubclass(kind, SymmetricMatrix) or has:
                assert kind in there, kind
                unlike = "QuadraticModel"  # a solve that takes no vector
                assert issubclass(kind, SymmetricMatrix) or kind.__name__ == unlike


@every_operand
def test_vectors_of_another_dtype_are_refused_with_advice(build):
    for function, size in operations(build(PLAIN)):
        function(np.ones(size, np.float32))
        for dtype in REFUSED:
            v = np.ones(size).astype(dtype)
            with pytest.raises(
                ValueRangeError,
                match=f"expected float32, as the matrix has, found {dtype}; use "
                r"v.astype\('float32'\)",
            ):
                function(v)
        with pytest.raises(ValueRangeError, match="complex64; give v.real and v.imag"):
            function(np.ones(size, np.complex64))


@every_operand
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused(build, bad):
    """The first and the last entry, of a vector and of columns in both orders."""
    for function, size in operations(build(PLAIN)):
        for shape in ((size,), (size, 2)):
            for place in (0, -1):
                v = np.ones(shape, np.float32)
                v[(place,) * len(shape)] = bad
                for order in "CF":
                    with pytest.raises(NotFinite, match="1 of .* numbers are NaN"):
                        function(np.asarray(v, order=order))


@every_operand
def test_vectors_of_the_largest_numbers_are_finite(build):
    """Their squares are not: it is the numbers that are looked at."""
    value = build(PLAIN)
    function, size = next(each for each in operations(value) if each[1] == value.size)
    with np.errstate(all="ignore"):
        try:
            function(np.full(size, 1e30, np.float32))
        except NotFinite as error:
            pytest.fail(str(error))


@every_operand
def test_other_byte_orders_are_the_same_numbers(build):
    """As for params and x."""
    for function, size in operations(build(PLAIN)):
        v = cases.array(size)
        np.testing.assert_allclose(function(v.astype(">f4")), function(v), rtol=1e-5)


@pytest.mark.parametrize("case", MATRICES)
def test_on_every_backend(case, xp, rng):
    """The dtype comes out that went in; the doors are the same on a device."""
    matrix, M = make(case, rng, xp.asarray)
    v = rng.normal(size=(len(M), 2))
    product = matrix @ xp.asarray(v)
    assert product.dtype == np.float64 and get_xp(product) is xp
    assert_exact(product, M @ v)
    for wrong, error in ((v.astype(int), "int64"), (v * np.nan, "NaN or infinite")):
        for function in (matrix.__matmul__, lambda v: matrix.solve(v, 0.4)):
            with pytest.raises(ValueRangeError, match=f"vector for .*{error}"):
                function(xp.asarray(wrong))


def test_the_algorithm_inside_does_not_pay(rng):
    """`_product` and `_solve` of rows look at nothing: a NaN comes out again."""
    for case in MATRICES:
        matrix, M = make(case, rng, np.asarray)
        rows = np.full((1, len(M)), np.nan)
        assert np.isnan(matrix._product(rows)).any()
        assert np.isnan(matrix._solve(rows, 0.4)).any()


def test_gradients_flow_through_a_product(rng):
    """autograd's boxes pass the door: d (v^T M v) = 2 M v."""
    autograd = pytest.importorskip("autograd")
    M = make("kronecker", rng, np.asarray)[0]
    v = rng.normal(size=15)
    assert_exact(autograd.grad(lambda u: u @ (M @ u))(v), 2 * (M @ v))
    with pytest.raises(ValueRangeError, match="found int64"):
        autograd.jacobian(lambda u: M @ (u * 1).astype(int))(v)


# SciPy


def operands(dtype, rng):
    net = cases.network(PLAIN)
    params, x = net.init(rng, dtype), rng.normal(size=(40, 5)).astype(dtype)
    K = tikhonov(curvature(net, params, x), 0.1)
    C = FisherProduct(net.linearize(params, x))
    return K.operator(), C.operator(), C.factor_operator(), K


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scipys_solvers_choose_the_dtype_of_their_vectors(dtype, rng):
    """svds with lobpcg, onenormest, and a right side of integers bring float64."""
    K, C, B, matrix = operands(dtype, rng)
    tolerance = 1e-3 if dtype == np.float32 else 1e-5
    dense, b = matrix.to_dense().astype(float), np.ones(len(matrix.to_dense()))
    for right in (b.astype(dtype), b, b.astype(int)):
        found, failed = solvers.cg(K, right, rtol=1e-4)
        assert not failed
        assert np.linalg.norm(dense @ found - b) < 1.1e-4 * np.linalg.norm(b)
    norm = np.abs(dense).sum(axis=0).max()
    assert 0.5 * norm < solvers.onenormest(K) < (1 + tolerance) * norm  # a lower bound
    large = solvers.eigsh(C, k=2, return_eigenvectors=False)
    for solver in ("arpack", "lobpcg"):
        start = rng.normal(size=min(B.shape)).astype(dtype)  # no seed: its name changed
        s = solvers.svds(B, k=2, solver=solver, return_singular_vectors=False, v0=start)
        np.testing.assert_allclose(np.sort(s) ** 2, np.sort(large), rtol=tolerance)
    assert (K @ b).dtype == dtype
    with pytest.raises(ValueRangeError, match="found int64"):
        K @ b.astype(int)
    with pytest.raises(NotFinite):
        C @ (b * np.nan)


def test_operators_of_matrices_can_be_sent(rng):
    K, _, _, matrix = operands(np.float32, rng)
    b = np.ones(matrix.size, np.float32)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(K)) @ b, K @ b)


# The quadratic model, and lists of matrices


@pytest.mark.parametrize("name", ["gradient", "direction 1"])
def test_the_quadratic_model_takes_floats_of_one_dtype(name, xp, rng):
    M = DenseMatrix(xp.asarray(np.diag(np.arange(1.0, 6.0))))
    good = xp.asarray(np.ones(5))
    for wrong in (np.ones(5, int), np.ones(5, np.float32), np.full(5, np.nan)):
        bad = xp.asarray(wrong)
        given = ([good, good], bad) if name == "gradient" else ([good, bad], good)
        says = name if wrong.dtype != np.float32 else "direction"
        with pytest.raises(ValueRangeError, match=f"^{says}"):
            quadratic_model(*given, M)


def test_flatten_takes_a_matrix_for_each_layer(xp, rng):
    net = cases.network(PLAIN)
    params = [xp.asarray(W) for W in net.init(rng)]
    theta = net.flatten(params)
    assert_exact(theta, np.concatenate([host(W).ravel() for W in params]))
    several = [xp.stack([W, 2 * W, 3 * W]) for W in params]
    assert_exact(net.flatten(several)[1], 2 * host(theta))
    for back, W in zip(net.unflatten(theta), params, strict=True):
        assert_exact(back, host(W), 0.0)
    for wrong, message in (
        (params[:1], "matrices: expected a list of 2 matrices, .*found 1"),
        ([*params, params[0]], "found 3"),
        ([], "found 0"),
        (params[::-1], r"layer 0: Dense.*: expected shape \(6, 4\), found \(4, 3\)"),
        ([W.T for W in params], r"expected shape \(6, 4\), found \(4, 6\)"),
        ([several[0], params[1]], r"layer 2.*shape \(3, 4, 3\), found \(4, 3\)"),
        ([several[0], several[1][:2]], r"\(3, 4, 3\), found \(2, 4, 3\)"),
        ([params[0].reshape(-1), params[1]], r"\(6, 4\), found \(24,\)"),
    ):
        with pytest.raises(ShapeError, match=message):
            net.flatten(wrong)
    for wrong, message in (
        ([W.astype(np.int64) for W in params], "matrices: .*found int64"),
        ([params[0], params[1].astype(np.float32)], "found float32 and float64"),
        ([W.astype(np.complex128) for W in params], "found complex128"),
    ):
        with pytest.raises(ValueRangeError, match=message):
            net.flatten(wrong)
    for dtype in ("int64", "float16", "complex128", "bool"):
        with pytest.raises(ValueRangeError, match=f"parameter vector: .*found {dtype}"):
            net.unflatten(theta.astype(dtype))


def test_backends_meet_at_the_door(rng):
    M = make("kronecker", rng, strict.xp.asarray)[0]
    with pytest.raises(KfacError, match=r"vector for the matrix: arrays of two"):
        M @ np.ones(15)
