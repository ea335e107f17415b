"""Zero, one, none, tiny, huge, too much: over all matrices, structures and losses."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import distribution_cases
import kfac_ref.backend
import kfac_ref.limits
import matrix_cases
import strict
from helpers import assert_exact, host
from kfac_ref import (
    curvature,
    definition,
    fisher_matrix,
)
from kfac_ref.comparison.distances import (
    angle_between,
    damped_norm,
    damped_norm_ratio,
    relative_frobenius_error,
    relative_spectral_error,
)
from kfac_ref.damping import factored_tikhonov, separate
from kfac_ref.definition import load
from kfac_ref.distributions import (
    Bernoulli,
    Categorical,
    Normal,
    NormalMeanVariance,
    Poisson,
)
from kfac_ref.errors import KfacError, NotFinite, TooLarge, ValueRangeError
from kfac_ref.estimates import ESTIMATES, RandomSigns, Sampled
from kfac_ref.exact.hessian import HessianProduct, hessian_matrix
from kfac_ref.exact.products import curvature_product
from kfac_ref.layers import BatchStandardize, Conv2d, Dense, Flatten, ReLU
from kfac_ref.matrices import (
    ChainFactors,
    DenseMatrix,
    EigenKronecker,
    KroneckerProduct,
)
from kfac_ref.network import Network
from kfac_ref.optimizer import (
    KFAC,
    SGD,
    Adam,
    Diverged,
    HessianFree,
    NaturalGradient,
)
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.pairs import given_pairs
from kfac_ref.structures import STRUCTURES, make_structure
from kfac_ref.structures.best_kronecker import LANCZOS
from networks import chain, classes, inputs, parameters

DTYPES = {"float32": 1e-5, "float64": 1e-12}
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_structure = pytest.mark.parametrize("structure", STRUCTURES)


def build(structure, pairs):
    return damped(make_structure(structure, pairs), 0.1)


def damped(found, damping):
    """The matrix itself; a chain, which is none before it is damped, damped."""
    is_chain = isinstance(found, ChainFactors)
    return factored_tikhonov(found, damping) if is_chain else found


def moved(xp, dtype, *arrays):
    return [xp.asarray(a.astype(dtype)) for a in arrays]


# Zero


@every_dtype
@pytest.mark.parametrize("dead", ["a", "g"])
@pytest.mark.parametrize("d, o", [(5, 3), (5, 1), (1, 3), (1, 1)])
@pytest.mark.parametrize("structure", [s for s in STRUCTURES if "tri" not in s])
def test_a_block_that_is_zero(structure, d, o, dead, dtype, xp, rng):
    a, g = rng.normal(size=(7, 1, d)), rng.normal(size=(2, 7, 1, o))
    a, g = moved(xp, dtype, a * (dead != "a"), g * (dead != "g"))
    F = build(structure, given_pairs([a], [g]))
    assert not host(F.to_dense()).any()
    assert F.to_dense().dtype == dtype


@every_dtype
def test_what_has_no_value_for_zero_is_an_error(dtype, xp, rng):
    v, zero = moved(xp, dtype, rng.normal(size=5), np.zeros(5))
    F = DenseMatrix(moved(xp, dtype, matrix_cases.moment(rng, 5))[0])
    nothing = DenseMatrix(0 * F.matrix)
    for function in (
        lambda: angle_between(zero, v),
        lambda: angle_between(v, zero),
        lambda: damped_norm_ratio(F, F, zero, 0.1),
    ):
        with pytest.raises(ValueRangeError, match="a zero has no direction"):
            function()
    for error in (relative_frobenius_error, relative_spectral_error):
        with pytest.raises(ValueRangeError, match="the exact matrix is zero"):
            error(F, nothing)
    assert damped_norm(zero, F, 0.1) == nothing.frobenius_norm() == 0.0


# Ties and ranks of the nearest product


@every_dtype
def test_nearest_product_of_tied_singular_values(dtype, xp):
    """F = 1/d sum_i e_i e_i^T (x) e_i e_i^T: every convex choice is as near as another.

    What is found is the one in the span of K-FAC's factors: semi-definite, and the
    same in every call.
    """
    d = 5
    a, g = moved(xp, dtype, np.eye(d)[:, None], np.eye(d)[None, :, None])
    pairs = given_pairs([a], [g])
    found = [build("best_kronecker", pairs).blocks[0] for _ in range(2)]
    assert_exact(found[0].G, np.eye(d) / d, DTYPES[dtype])
    assert (host(found[0].A) == host(found[1].A)).all()
    gap = host(found[0].to_dense()) - host(build("full", pairs).to_dense())
    assert math.isclose(np.linalg.norm(gap), (1 / d - 1 / d**2) ** 0.5, rel_tol=1e-5)


@every_dtype
@pytest.mark.parametrize("exponents", [(0, 0), (-10, 10), (15, -15), (-15, 4)])
def test_nearest_product_at_any_scale(exponents, dtype, xp, rng):
    """(c a, d g) has the factors of (a, g) times c^2 and d^2, to the last bit."""
    a, g = moved(xp, dtype, rng.normal(size=(11, 2, 5)), rng.normal(size=(3, 11, 2, 4)))
    c, d = (2.0 ** (4 * e) for e in exponents)
    plain = build("best_kronecker", given_pairs([a], [g])).blocks[0]
    scaled = build("best_kronecker", given_pairs([a * c], [g * d])).blocks[0]
    assert_exact(scaled.A / c / c, host(plain.A), DTYPES[dtype])
    assert_exact(scaled.G / d / d, host(plain.G), DTYPES[dtype])


def test_nearest_product_when_two_singular_values_nearly_tie(xp, rng):
    """Against NumPy's SVD: the distance is the least, whichever vector is found."""
    for gap in (1e-3, 1e-7, 1e-12):
        a = np.eye(3)[:2, None] * np.array([1.0, 1 + gap])[:, None, None]
        g = np.eye(4)[None, :2, None]
        pairs = given_pairs(*[[one] for one in moved(xp, "float64", a, g)])
        F = host(build("full", pairs).to_dense())
        R = F.reshape(3, 4, 3, 4).transpose(0, 2, 1, 3).reshape(9, 16)
        least = np.linalg.norm(np.linalg.svd(R)[1][1:])
        found = host(build("best_kronecker", pairs).to_dense())
        assert math.isclose(np.linalg.norm(found - F), least, rel_tol=1e-12)


def test_nearest_product_of_many_singular_values_that_are_close(rng):
    """F = sum_i w_i (u_i u_i^T) (x) (v_i v_i^T): the nearest is the largest term.

    There are more of them than vectors are kept: the iterations begin again, often.
    """
    w = 1.0 - 0.01 * np.arange(LANCZOS + 5)
    rng.shuffle(w)
    U = np.linalg.qr(rng.normal(size=(23, 23)))[0][: len(w)]
    V = np.linalg.qr(rng.normal(size=(29, 29)))[0][: len(w)]
    pairs = given_pairs(
        [U[:, None]], [(V * np.sqrt(len(w) * w[:, None]))[None, :, None]]
    )
    found, i = build("best_kronecker", pairs).blocks[0], w.argmax()
    expected = np.kron(np.outer(U[i], U[i]), np.outer(V[i], V[i]))
    assert_exact(found.to_dense(), expected, 1e-10)  # 100 eps over the gap


@pytest.mark.parametrize("d, o", [(5, 3), (1, 3), (5, 1), (1, 1)])
def test_a_single_vector_is_a_product(d, o, xp, rng):
    arrays = rng.normal(size=(1, 1, d)), rng.normal(size=(1, 1, 1, o))
    pairs = given_pairs(*[[one] for one in moved(xp, "float64", *arrays)])
    for structure in ("kronecker", "best_kronecker", "eigenvalue_corrected"):
        found = build(structure, pairs).to_dense()
        assert_exact(found, host(build("full", pairs).to_dense()))


# None


@pytest.mark.parametrize("name", matrix_cases.DEFINITE)
def test_no_columns_into_a_matrix(name, xp, rng):
    M, _ = matrix_cases.make(name, rng, xp.asarray)
    none = xp.zeros((M.size, 0))
    found = [M @ none, M.solve(none), M.solve(none, 0.1)]
    found += [M.power(p, 0.1) @ none for p in (-1, -0.5, 0.5, 1)]
    if xp is np:
        found.append(M.operator() @ none)
    for result in found:
        assert result.shape == (M.size, 0)
        assert result.dtype == M.dtype


@pytest.mark.parametrize("matrix", ["fisher", "ggn", "empirical"])
def test_no_columns_into_a_product(matrix, xp, rng):
    net = chain()
    params, x, y = parameters(net, rng, xp), inputs(rng, xp), classes(rng, xp)
    C = curvature_product(matrix, net.linearize(params, x), y)
    none, columns = xp.zeros((net.size, 0)), xp.zeros((C.columns, 0))
    assert (C @ none).shape == C.factor(columns).shape == (net.size, 0)
    assert C.factor_transpose(none).shape == (C.columns, 0)
    if xp is np:
        assert (C.operator() @ none).shape == (net.size, 0)
        assert (C.factor_operator() @ columns).shape == (net.size, 0)
        H = HessianProduct(net.linearize(params, x), y)
        assert (H @ none).shape == (H.operator() @ none).shape == (net.size, 0)


def test_columns_into_an_operator_of_the_definition(rng):
    theta, x, y = rng.normal(size=3), rng.normal(size=(5, 3)), rng.normal(size=(5, 1))
    line, loss = (lambda t, x: (x @ t)[:, None]), (lambda z, y: ((z - y) ** 2)[0])
    H = definition.linear_operator(definition.hessian_product, line, theta, x, y, loss)
    assert (H @ np.empty((3, 0))).shape == (3, 0)
    V = rng.normal(size=(3, 2))
    assert_exact(H @ V, 2 * x.T @ x @ V / 5)


# One


@pytest.mark.parametrize("name", distribution_cases.CASES)
@every_structure
def test_one_example_one_input(structure, name, xp, rng):
    """N = 1 and d = 1: one layer without bias, of which F_z x^2 is the exact Fisher."""
    distribution, parts = distribution_cases.CASES[name]
    outputs = sum(part.outputs for part, _ in parts)
    net = Network([Dense(1, outputs, bias=False)], distribution)
    params, x = moved(xp, "float64", rng.normal(size=(1, outputs)), np.array([[0.7]]))
    z = net.predict([params], x)
    exact = 0.49 * host(distribution.fisher(z))[0]
    found = host(damped(curvature(net, [params], x, structure), 0.01).to_dense())
    if structure == "diagonal":
        exact = np.diag(np.diag(exact))
    if structure == "block_tridiagonal":  # factored damping of a 1 x 1 factor A
        pi = (0.49 / (np.trace(exact) / 0.49 / outputs)) ** 0.5
        A, G = 0.49 + pi * 0.1, exact / 0.49 + 0.1 / pi * np.eye(outputs)
        exact = A * G
    assert_exact(found, exact, 1e-10)


@every_structure
@pytest.mark.parametrize("estimate", ESTIMATES)
def test_one_class_has_no_curvature_and_raises_nothing(structure, estimate, xp, rng):
    """One class has probability 1: nothing to learn, and no error."""
    net = Network([Dense(4, 1)], Categorical())
    params, x = parameters(net, rng, xp), inputs(rng, xp, 3, 4)
    F = curvature(
        net, params, x, structure, estimate, y=xp.asarray(np.zeros(3, int)), rng=rng
    )
    expected = np.zeros((5, 5))
    if structure == "block_tridiagonal":
        F, expected = factored_tikhonov(F, 0.25), 0.25 * np.eye(5)
    np.testing.assert_allclose(host(F.to_dense()), expected, rtol=1e-12)


# Tiny and huge


@every_structure
@pytest.mark.parametrize("estimate", ["expectation", "empirical"])
@pytest.mark.parametrize("dtype, size", [
    ("float32", 1e-42), ("float32", 1e-30), ("float32", 1e10), ("float32", 1e20),
    ("float32", 1e38), ("float64", 1e-310), ("float64", 1e160), ("float64", 1e200),
])  # fmt: skip
def test_finite_or_an_error_that_says_where(structure, estimate, dtype, size, xp, rng):
    net = Network([Dense(5, 4), ReLU(), Dense(4, 3)], Normal())
    params = [xp.asarray(W.astype(dtype)) for W in net.body.init(rng)]
    x = xp.asarray((size * rng.normal(size=(7, 5))).astype(dtype))
    y = xp.asarray(rng.normal(size=(7, 3)).astype(dtype))
    with np.errstate(all="ignore"):
        try:
            F = curvature(net, params, x, structure, estimate, y=y)
            dense = damped(F, 0.1).to_dense()
        except NotFinite as error:
            assert size > 1
            assert any(name in str(error) for name in net.names)
            assert dtype in str(error) or "NaN or infinite" in str(error)
        except KfacError:
            assert structure == "block_tridiagonal"  # its damping is too small
        else:
            assert size < 1e19
            assert np.isfinite(host(dense)).all()


def test_a_rectifier_does_not_hide_what_is_not_a_number(xp):
    x = xp.asarray(np.array([[-1.0, 0.0, 2.0, np.nan]]))
    y, slope = ReLU().forward([], x)
    np.testing.assert_array_equal(host(y), [[0.0, 0.0, 2.0, np.nan]])
    np.testing.assert_array_equal(host(slope)[0, :3], [0.0, 0.0, 1.0])


@pytest.mark.parametrize("dtype, scale", [
    ("float32", 1e-30), ("float32", 1e25), ("float64", 1e-200), ("float64", 1e200),
])  # fmt: skip
def test_distances_at_any_scale(dtype, scale, xp, rng):
    M, v, w = matrix_cases.moment(rng, 5), *rng.normal(size=(2, 5))
    exact, near = DenseMatrix(M), DenseMatrix(1.3 * M)
    F, K = (DenseMatrix(*moved(xp, dtype, scale * one)) for one in (M, 1.3 * M))
    tolerance = DTYPES[dtype]
    assert math.isclose(relative_frobenius_error(K, F), 0.3, rel_tol=tolerance)
    assert math.isclose(relative_spectral_error(K, F), 0.3, rel_tol=tolerance)
    sizes = F.frobenius_norm() / scale, exact.frobenius_norm()
    assert math.isclose(*sizes, rel_tol=tolerance)
    u, v = scale * v, w
    angle = angle_between(*moved(xp, dtype, u, v))
    cosine = (u / scale) @ v / np.linalg.norm(u / scale) / np.linalg.norm(v)
    assert math.isclose(angle, np.degrees(np.arccos(cosine)), rel_tol=tolerance)
    plain = DenseMatrix(*moved(xp, dtype, M))
    long = damped_norm(*moved(xp, dtype, scale * w), plain, 0.1) / scale
    assert math.isclose(long, (w @ M @ w + 0.1 * w @ w) ** 0.5, rel_tol=tolerance)
    assert near.size == 5


def test_a_product_that_overflows_only_as_a_whole(xp):
    """The factors of a Kronecker product are in range, its entries are not."""
    A, G = (xp.asarray(1e20 * np.eye(n, dtype=np.float32)) for n in (3, 2))
    K = KroneckerProduct(A, G, "layer 7")
    for function in (K.to_dense, K.eigenvalues):
        with (
            np.errstate(over="ignore"),
            pytest.raises(NotFinite, match="layer 7.*overflow in float32.*float64"),
        ):
            function()
    assert math.isclose(K.frobenius_norm(), 6**0.5 * 1e40, rel_tol=1e-6)


# Too much


@pytest.fixture
def crowded(monkeypatch):
    """A machine on which 1,000 bytes are free, and where small arrays count, too."""
    for module in (kfac_ref.limits, kfac_ref.backend):
        if hasattr(module, "free_memory"):
            monkeypatch.setattr(module, "free_memory", lambda like: 1000.0)
    monkeypatch.setattr(kfac_ref.limits, "SMALL", 0)


@pytest.mark.parametrize("name", matrix_cases.CASES)
def test_no_dense_array_of_any_matrix_where_there_is_no_room(name, rng, monkeypatch):
    M, _ = matrix_cases.make(name, rng, np.asarray)
    monkeypatch.setattr(kfac_ref.limits, "SMALL", 0)
    monkeypatch.setattr(kfac_ref.limits, "free_memory", lambda like: M.size**2 * 8 - 1)
    if "dense" in name:
        assert M.to_dense() is M.matrix  # it exists
    else:
        with pytest.raises(TooLarge, match=f"{M.size} x {M.size} numbers in float64"):
            M.to_dense()


def test_every_way_to_a_dense_matrix_says_so_before_it_allocates(crowded, rng):
    net = chain()
    params, x, y = parameters(net, rng, np), inputs(rng, np), classes(rng, np)
    for function in (
        lambda: fisher_matrix(net, params, x),
        lambda: fisher_matrix(net, params, x, block=1),
        lambda: hessian_matrix(net, params, x, y),
        *[partial(curvature, net, params, x, s) for s in ("full", "block_diagonal")],
        lambda: DenseMatrix(matrix_cases.moment(rng, 9)).solve(np.ones(9)),
        lambda: DenseMatrix(matrix_cases.moment(rng, 9)).power(-0.5),
    ):
        with pytest.raises(TooLarge, match=r"e-?\d+ GB are free; use") as caught:
            function()
        assert isinstance(caught.value, MemoryError)


def test_the_definition_says_so_by_itself(monkeypatch, rng):
    net = chain()
    params, x, y = parameters(net, rng, np), inputs(rng, np), classes(rng, np)
    data = (lambda t, x: net.forward(net.unflatten(t), x)[0]), net.flatten(params), x
    score = definition.categorical_log_prob, definition.categorical_outcomes
    labelled = *data, y, lambda z, y: -score[0](z, y)
    monkeypatch.setattr("kfac_ref.definition.matrices.memory", lambda: 1e4)
    for function, arguments in (
        (definition.fisher, (*data, *score)),
        (definition.ggn, labelled),
        (definition.empirical_fisher, labelled),
        (definition.hessian, labelled),
    ):
        with pytest.raises(MemoryError, match="has 1e-05 GB; use the products"):
            function(*arguments)
    monkeypatch.undo()
    assert 2**30 < load.memory() < math.inf
    monkeypatch.delattr("os.sysconf")
    assert load.memory() == math.inf


def test_60_300_parameters(monkeypatch, rng):
    """29 GB on a machine of 8: said at once, with what to do, and nothing allocated."""
    monkeypatch.setattr(kfac_ref.limits, "free_memory", lambda like: 8e9)
    net = Network([Dense(200, 300)], Categorical())
    params, x = net.init(rng), rng.normal(size=(2, 200))
    tracemalloc.start()
    with pytest.raises(TooLarge, match=r"Dense\(200, 300\).*60,300 x 60,300 .* take "
                       r"29.1 GB, and 8 GB are free; use products"):  # fmt: skip
        fisher_matrix(net, params, x)
    K = curvature(net, params, x)
    with pytest.raises(TooLarge, match="29.1 GB"):
        K.to_dense()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**25


def test_a_factor_that_is_too_wide(crowded, rng):
    net = Network([Dense(40, 2)], Categorical())
    with pytest.raises(TooLarge, match="factor A or G.*use structure 'diagonal'"):
        curvature(net, net.init(rng), rng.normal(size=(3, 40)))


def test_random_estimates_say_so_before_they_draw(monkeypatch, rng):
    """10**9 labels for each of 7 examples, 8 GB free; nothing is allocated."""
    monkeypatch.setattr(kfac_ref.limits, "free_memory", lambda like: 8e9)
    net = chain()
    params, x = parameters(net, rng, np), inputs(rng, np)
    random = [name for name, kind in ESTIMATES.items() if kind.is_random]
    assert len(random) == 3
    tracemalloc.start()
    for name in random:
        with pytest.raises(TooLarge, match="1,000,000,000 samples of estimate .* for e"
                           r"ach of \d+ examples, .* GB, and 8 GB are f"):  # fmt: skip
            curvature(net, params, x, "kronecker", name, rng=rng, samples=10**9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_samples_take_at_least_as_much_as_is_said(dtype, rng, monkeypatch):
    """Of signs exactly that; of labels at least, in every distribution."""
    said = []
    monkeypatch.setattr(
        "kfac_ref.estimates.check_bytes", lambda what, needed, *_: said.append(needed)
    )
    for distribution in (
        Categorical(), Bernoulli(), Normal(0.5), NormalMeanVariance(), Poisson()
    ):  # fmt: skip
        z = rng.normal(size=(50, 4)).astype(dtype)
        for estimate, most in ((Sampled(500), 8.0), (RandomSigns(500), 1.01)):
            tracemalloc.start()
            estimate.draw(distribution, z, None, rng)
            taken = tracemalloc.get_traced_memory()[1] / said.pop()
            tracemalloc.stop()
            assert 1.0 <= taken < most, (distribution, estimate, taken)


def test_all_vectors_at_once_say_so(rng, monkeypatch):
    """90 vectors of one example are (16 * 2 + 3) * 8 * 90 bytes: positions share D."""
    monkeypatch.setattr(kfac_ref.limits, "SMALL", 0)
    net = Network([Conv2d(1, 2, 3), Flatten(), Dense(32, 3)], Categorical())
    params, x = net.init(rng), rng.normal(size=(5, 4, 4, 1))
    monkeypatch.setattr(kfac_ref.limits, "free_memory", lambda like: 25_199)
    with pytest.raises(TooLarge, match="90 vectors for each of 1 examples take .* few"):
        curvature(net, params, x, "best_kronecker", Sampled(90), rng=rng, memory=1)
    monkeypatch.setattr(kfac_ref.limits, "free_memory", lambda like: 25_200)
    curvature(net, params, x, "best_kronecker", Sampled(90), rng=rng, memory=1)


def test_too_many_parameters_say_so(crowded, rng):
    with pytest.raises(TooLarge, match=r"231 parameters, .* float64, take .* smaller"):
        Network([Dense(8, 5), Dense(5, 31)], Categorical()).init(rng)


# Overflow is said once, by the package


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_no_warnings_before_an_error(structure, dtype, rng, recwarn):
    """Inputs whose squares overflow: NotFinite alone, no RuntimeWarning before it."""
    net = chain()
    params = net.init(rng, dtype)
    x = (inputs(rng, np) * (1e200 if dtype == np.float64 else 1e25)).astype(dtype)
    with pytest.raises(NotFinite, match="are NaN or infinite"):
        curvature(net, params, x, structure)
    assert not recwarn.list
    with pytest.warns(RuntimeWarning):  # of others' code they come as before
        np.exp(np.array(1e4))


@pytest.mark.parametrize("batch", [False, True])
def test_no_warnings_before_an_error_in_exact_matrices(batch, rng, recwarn):
    layers = [Dense(4, 3), *[BatchStandardize()] * batch, ReLU(), Dense(3, 2)]
    net = Network(layers, Categorical())
    params, x = net.init(rng), 1e200 * rng.normal(size=(7, 4))
    params[0] *= 1e-200  # so that only the inputs are large
    y = rng.integers(0, 2, 7)
    for function in (fisher_matrix, hessian_matrix):
        with pytest.raises(NotFinite, match="are NaN or infinite"):
            function(net, params, x, *[y] * (function is hessian_matrix))
    assert not recwarn.list


def test_a_basis_whose_products_overflow_is_refused(rng, recwarn):
    """U^T U is inf - inf = NaN then, which is no error of at most 1000 eps."""
    U = matrix_cases.rotation(rng, 3)
    for scale in (1e160, 1e200):
        with pytest.raises(ValueRangeError, match="expected orthonormal columns"):
            EigenKronecker(scale * U, np.eye(2), np.ones((3, 2)))
    assert not recwarn.list


@pytest.mark.parametrize(
    "optimizer",
    [partial(KFAC, damping=0.1), partial(NaturalGradient, damping=0.1), HessianFree],
)
def test_a_curvature_that_overflows_is_diverged(optimizer, rng):
    """In float32 F of inputs of 1e20 is infinite; their loss and gradient are not."""
    net = Network([Dense(4, 3)], Normal())
    made, W = optimizer(net), np.full((5, 3), 1e-20, np.float32)
    x, y = np.full((7, 4), 1e20, np.float32), np.zeros((7, 3), np.float32)
    loss, (gradient,) = net.linearize([W], x).loss_and_gradient(y)
    assert np.isfinite(loss) and np.isfinite(gradient).all()
    with np.errstate(all="ignore"), pytest.raises(Diverged, match="is not finite"):
        made.step(made.init([W]), x, y, rng)


def test_a_momentum_that_overflows_is_diverged(rng):
    """The sum of gradients is infinite, which is seen when it is preconditioned."""
    net = Network([Dense(4, 3)], Normal())
    fixed = dict(damping=0.1, momentum=0.99, learning_rate=0.1)
    made = KFAC(net, momentum_of="gradient", **fixed)
    state = made.init([np.full((5, 3), 0.1, np.float32)])
    velocity = np.full(15, 3.4e38, np.float32)  # the largest is 3.403e38
    x, y = np.full((7, 4), 6e18, np.float32), np.zeros((7, 3), np.float32)
    with np.errstate(all="ignore"), pytest.raises(Diverged, match="the proposal is no"):
        made.step(replace(state, velocity=velocity), x, y, rng)


def test_free_memory_of_a_device_is_what_it_says(monkeypatch):
    runtime = SimpleNamespace(memGetInfo=lambda: (12_000, 99_000))  # free, total
    cuda = SimpleNamespace(runtime=runtime)
    monkeypatch.setattr(strict.xp, "cuda", cuda, raising=False)
    assert kfac_ref.backend.free_memory(strict.xp.ones(3)) == 12_000.0


def test_free_memory_is_a_number_of_bytes(monkeypatch):
    like = np.zeros(1)
    assert 2**20 < kfac_ref.backend.free_memory(like) < math.inf

    def nothing(*args):
        raise OSError

    monkeypatch.setattr("builtins.open", nothing)
    assert 2**20 < kfac_ref.backend.free_memory(like) < math.inf
    monkeypatch.setattr("os.sysconf", nothing)
    assert kfac_ref.backend.free_memory(like) == math.inf


@pytest.mark.parametrize("structure", ["diagonal", "kronecker"])
@pytest.mark.parametrize("estimate", ESTIMATES)
def test_many_classes_stay_under_the_bound(structure, estimate, rng):
    """All columns of many outputs, and a second G, are never there at once."""
    C, memory = 700, 2**21
    net = Network([Dense(2, C)], Categorical())
    params, x, y = net.init(rng), rng.normal(size=(2, 2)), rng.integers(0, C, 2)
    tracemalloc.start()
    F = curvature(net, params, x, structure, estimate, y=y, rng=rng, memory=memory)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - after < memory
    plain = curvature(net, params, x, structure, "empirical", y=y)
    if estimate == "empirical":
        name = "G" if structure == "kronecker" else "values"
        assert_exact(*(getattr(M.blocks[0], name) for M in (F, plain)))
    if structure == "kronecker":
        G = F.blocks[0].G
        assert (G == G.T).all()


# Any memory, any integer


LAYOUTS = {
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "read-only": lambda a: [b := a.copy(), b.setflags(write=False)][0],
    "memmap": lambda a: a.view(np.memmap),
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "name", [name for name in distribution_cases.CASES if name != "joint_of_joint"]
)
def test_how_numbers_lie_in_memory_does_not_matter(name, layout, rng):
    """Parameters, inputs and labels alike: byte order, strides, read-only memory."""
    distribution, _ = distribution_cases.CASES[name]
    z, y = distribution_cases.data(name, (7,))
    net = Network([Dense(4, z.shape[1])], distribution)
    params, x = net.init(rng), rng.normal(size=(7, 4))
    lay = LAYOUTS[layout]
    labels = distribution_cases.labels(name, np, y)
    other = distribution_cases.labels(name, np, [lay(part) for part in y])
    given = [lay(W) for W in params], lay(x), other
    assert_exact(net.loss(*given), net.loss(params, x, labels))
    for found, expected in zip(
        net.gradient(*given), net.gradient(params, x, labels), strict=True
    ):
        assert_exact(found, expected)
    for structure in ("full", "kronecker", "best_kronecker"):
        found, expected = (
            curvature(net, p, x, structure, "empirical", y=y).to_dense()
            for p, x, y in (given, (params, x, labels))
        )
        assert_exact(found, expected)
    assert net.flatten(given[0]).dtype.isnative


@pytest.mark.parametrize("kind", [*"bBhHiIlLqQ", ">i2", ">u4", ">i8"])
@pytest.mark.parametrize("name", ["categorical", "bernoulli", "poisson"])
def test_labels_of_every_width(name, kind, xp):
    if xp is not np and kind.startswith(">"):
        pytest.skip("a device has its own byte order")
    distribution, z, y = distribution_cases.on(xp, name, (7,))
    other = xp.asarray(host(y).astype(kind))
    distribution.check_labels(z, other)
    assert_exact(distribution.nll(z, other), host(distribution.nll(z, y)))
    assert_exact(distribution.gradient(z, other), host(distribution.gradient(z, y)))


def test_truth_values_as_labels(xp):
    _, z, y = distribution_cases.on(xp, "bernoulli", (7,))
    b = distribution_cases.CASES["bernoulli"][0]
    assert_exact(b.nll(z, y.astype(bool)), host(b.nll(z, y)))
    with pytest.raises(ValueRangeError, match="expected integers, found bool"):
        Categorical().check_labels(z, xp.asarray(np.ones(7, bool)))


# Holes that mutants found


def test_hessian_products_of_columns_that_are_not_symmetric(rng):
    """A (P, P) argument that is not symmetric, and the Hessian to the last bit."""
    net = chain()
    params, x, y = parameters(net, rng, np), inputs(rng, np), classes(rng, np)
    V = rng.normal(size=(net.size, net.size))
    H = hessian_matrix(net, params, x, y).to_dense()
    assert (H == H.T).all()
    product = HessianProduct(net.linearize(params, x), y) @ V
    assert_exact(product, H @ V)
    assert np.linalg.norm(product - H @ V.T) > 0.1 * np.linalg.norm(product)


def test_one_iteration_of_hessian_free_by_hand(rng):
    """Steepest descent on the damped model, from 0 and then from 0.95 of the last."""
    net = chain()
    params, x, y = parameters(net, rng, np), inputs(rng, np), classes(rng, np)
    free = HessianFree(net, damping=0.3, adapt_damping=None, iterations=1, l2=0.02)
    state, last = free.init(params), np.zeros(net.size)
    for _ in range(2):
        theta = state.theta
        K = fisher_matrix(net, net.unflatten(theta), x).to_dense()
        K = K + (0.3 + 0.02) * np.eye(net.size)
        matrices = net.gradient(net.unflatten(theta), x, y)
        gradient = np.concatenate([D.ravel() for D in matrices]) + 0.02 * theta
        start = 0.95 * last
        r = -gradient - K @ start
        last = start + (r @ r) / (r @ K @ r) * r
        state, trace = free.step(state, x, y, rng)
        assert trace.iterations == 1
        assert_exact(state.direction, last)
        assert_exact(trace.update, last)


@pytest.mark.parametrize("iterations", [0, -1])
def test_no_iteration_is_refused(iterations):
    with pytest.raises(ValueRangeError, match="iterations"):
        HessianFree(chain(), iterations=iterations)


@pytest.mark.parametrize("g", [0.3, 1.0, 7.0])
def test_damping_beside_a_scalar(g, xp, rng):
    """A (x) [g] + lambda I = (A + lambda / g I) (x) [g], whatever g is."""
    A, G = moved(xp, "float64", matrix_cases.moment(rng, 5), np.array([[g]]))
    for K in (KroneckerProduct(A, G), KroneckerProduct(G, A)):
        exact = factored_tikhonov(K, 0.37, exact_scalars=True)
        assert_exact(exact.to_dense(), g * host(A) + 0.37 * np.eye(5))
        shared = factored_tikhonov(K, 0.37)
        mean = np.trace(host(A)) / 5
        pi, gamma = (mean / g) ** 0.5, 0.37**0.5
        expected = (host(A) + pi * gamma * np.eye(5)) * (g + gamma / pi)
        assert_exact(shared.to_dense(), expected)


@pytest.mark.parametrize("dead", ["A", "G", "both"])
def test_separate_damping_of_a_product_that_is_zero(dead, xp, rng):
    """Each factor is its own damping; where pi is a number there is no such branch."""
    A, G = moved(
        xp, "float64", matrix_cases.moment(rng, 5), matrix_cases.moment(rng, 3)
    )
    A, G = (0 * A if dead != "G" else A), (0 * G if dead != "A" else G)
    found = separate(KroneckerProduct(A, G), activations=0.3, errors=0.7, pi="trace")
    assert_exact(found.A, 0.3 * np.eye(5))
    assert_exact(found.G, 0.7 * np.eye(3))
    plain = separate(KroneckerProduct(A, G), activations=0.3, errors=0.7, pi=2.0)
    assert_exact(plain.A, host(A) + 0.6 * np.eye(5))
    assert_exact(plain.G, host(G) + 0.35 * np.eye(3))


def test_a_trace_of_zero_is_not_yet_a_zero(xp):
    K = KroneckerProduct(*moved(xp, "float64", np.diag([1.0, -1.0]), np.eye(3)))
    with pytest.raises(ValueRangeError, match="needs factors of positive size"):
        factored_tikhonov(K, 0.1)


def test_bounds_that_belong_to_the_range():
    assert LevenbergMarquardt(period=1).due(0)
    for baseline in (SGD, Adam, HessianFree):
        assert baseline(chain(), learning_rate=0.1, l2=0.0).l2 == 0.0
        for l2 in (math.inf, math.nan, -1.0):
            with pytest.raises(ValueRangeError, match=f"{baseline.__name__} l2"):
                baseline(chain(), learning_rate=0.1, l2=l2)


def test_the_inverse_of_an_inverse_has_no_rounding_left():
    one = np.eye(1)
    E = EigenKronecker(one, one, np.array([[20.0]]), rounding=0.1)
    assert_exact(E.power(-1).power(-1).values, np.array([[20.0]]))
