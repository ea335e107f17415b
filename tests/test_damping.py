"""The damping rules: each against its formula by loops, for every kind of matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damping_cases import BY_FACTORS, FORMULAS, GAMMA, LAMBDA, factors, plus, shared
from helpers import assert_exact, host, relative_error
from kfac_ref.damping import (
    RULES,
    by_eigendecomposition,
    factored_tikhonov,
    find_pi,
    same_on_each_factor,
    separate,
    tikhonov,
)
from kfac_ref.errors import NotPositiveDefinite
from kfac_ref.matrices import (
    BlockDiagonalMatrix,
    DenseMatrix,
    DiagonalMatrix,
    EigenKronecker,
    KroneckerProduct,
)
from matrix_cases import CASES, kron_by_loops, make, moment, put_along_diagonal


@pytest.mark.parametrize("N", [None, 2])
@pytest.mark.parametrize("name", FORMULAS)
def test_every_rule_is_its_formula(name, N, xp, rng):
    rule, parameters, by_loops, words = FORMULAS[name]
    A, G = factors(rng, N)
    matrix = KroneckerProduct(xp.asarray(A), xp.asarray(G), "layer 0")
    expected, v = by_loops(A, G), rng.normal(size=(15, 2))
    result = RULES[rule](matrix, **parameters)
    assert result.name.startswith("layer 0 " + words)
    assert_exact(result.to_dense(), expected)
    solved = np.linalg.solve(expected, v)
    assert_exact(result.solve(xp.asarray(v)), solved)
    assert_exact(result.inverse() @ xp.asarray(v), solved)
    # the matrix is left as it was, so a second time gives the same
    assert_exact(matrix.to_dense(), kron_by_loops(A, G))
    assert_exact(RULES[rule](matrix, **parameters).to_dense(), host(result.to_dense()))


@pytest.mark.parametrize("name", FORMULAS)
def test_blocks_are_damped_one_by_one(name, xp, rng):
    rule, parameters, by_loops, _ = FORMULAS[name]
    pairs = [factors(rng), factors(rng, N=2)]
    blocks = [KroneckerProduct(*[xp.asarray(M) for M in pair]) for pair in pairs]
    nested = [blocks[0], BlockDiagonalMatrix(blocks[1:], "inner")]
    result = RULES[rule](BlockDiagonalMatrix(nested, "net"), **parameters)
    assert (result.name, result.blocks[1].name) == ("net", "inner")
    expected = put_along_diagonal([by_loops(*pair) for pair in pairs])
    assert_exact(result.to_dense(), expected)


@pytest.mark.parametrize("name", FORMULAS)
def test_float32_stays(name, xp, rng):
    rule, parameters, by_loops, _ = FORMULAS[name]
    A, G = (M.astype(np.float32) for M in factors(rng))
    numbers = {
        k: v if isinstance(v, str) else np.float64(v) for k, v in parameters.items()
    }
    result = RULES[rule](KroneckerProduct(xp.asarray(A), xp.asarray(G)), **numbers)
    assert result.to_dense().dtype == np.float32
    assert_exact(result.to_dense(), by_loops(A, G), 1e-6)


@pytest.mark.parametrize("name", CASES)
def test_exact_damping_of_every_kind(name, xp, rng):
    matrix, M = make(name, rng, xp.asarray)
    v = rng.normal(size=len(M))
    result = tikhonov(matrix, LAMBDA)
    assert_exact(result.to_dense(), plus(M, LAMBDA))
    assert_exact(result.solve(xp.asarray(v)), np.linalg.solve(plus(M, LAMBDA), v))
    assert_exact(tikhonov(matrix, 0).to_dense(), M)


def test_exact_damping_decomposes_a_product_once(xp, rng):
    """... and one decomposition serves many lambda."""
    A, G = factors(rng)
    matrix = KroneckerProduct(xp.asarray(A), xp.asarray(G))
    assert isinstance(tikhonov(matrix, LAMBDA), EigenKronecker)
    once, v = matrix.diagonalized(), rng.normal(size=15)
    for damping in (LAMBDA, 0.05):
        expected = np.linalg.solve(plus(kron_by_loops(A, G), damping), v)
        result = tikhonov(once, damping)
        assert (result.U_A is once.U_A, result.U_G is once.U_G) == (True, True)
        assert_exact(result.solve(xp.asarray(v)), expected)


def test_factored_by_hand(xp):
    """tr A / d = 8, tr G / d = 2, pi = 2, gamma = 1/2: add 1 to A, 1/4 to G."""
    A, G = np.array([[5.0, 2], [2, 11]]), np.array([[2.0]])
    matrix = KroneckerProduct(xp.asarray(A), xp.asarray(G))
    assert find_pi(matrix) == 2
    result = factored_tikhonov(matrix, 0.25)
    assert host(result.A).tolist() == [[6, 2], [2, 12]]
    assert host(result.G).tolist() == [[2.25]]


def test_lbann_by_hand(xp):
    """a = (1, 0), (1, 2), g = 1, -1: A = [[1, 1], [1, 2]], G = [1], gradient (0, -1).

    (A + c I)^-1 (0, -1) = (1, -1 - c) / det, det = (1 + c) (2 + c) - 1; over 1 + c'.
    With c = c' = 1: (1, -2) / 5 / 2. With 1/4: (1, -5/4) 16/29 4/5. pi = sqrt(3/2).
    The eight digits are what LBANN's and ChainerKFAC's formulas gave elsewhere.
    """
    matrix = KroneckerProduct(
        *[xp.asarray(np.array(M)) for M in ([[1.0, 1], [1, 2]], [[1.0]])]
    )
    gradient = xp.asarray(np.array([0.0, -1.0]))

    def solve(*args):
        return separate(matrix, *args).solve(gradient)

    assert_exact(solve(1, 1), np.array([0.1, -0.2]))
    assert_exact(solve(0.25, 0.25), np.array([64, -80]) / 145)
    with_pi = host(solve(0.25, 0.25, "trace"))
    assert with_pi.round(8).tolist() == [0.41269969, -0.53906264]
    c = 0.5 * 1.5**0.5
    expected = np.array([1, -1 - c]) / ((1 + c) * (2 + c) - 1) / (1 + 0.25 / c)
    assert_exact(solve(0.5, 0.5, "trace"), expected)
    assert_exact(factored_tikhonov(matrix, 0.25).solve(gradient), expected)
    assert expected.round(8).tolist() == [0.22106978, -0.35644681]


@pytest.mark.parametrize("kind", ["dense", "diagonal"])
def test_scale_and_shift_have_their_own(kind, xp, rng):
    """The first half of the entries takes `scale`, the second half takes `shift`."""
    M = moment(rng, 6)
    if kind == "diagonal":
        values = np.array([0.3, 0.7, 1.1, 0.2, 0.0, 2.0])
        block, M = DiagonalMatrix(xp.asarray(values), "scales"), np.diag(values)
    else:
        block = DenseMatrix(xp.asarray(M), "scales")
    A, G = factors(rng)
    net = BlockDiagonalMatrix([KroneckerProduct(xp.asarray(A), xp.asarray(G)), block])
    result = separate(net, 0.29, 0.013, scale=0.5, shift=0.07)
    for i in range(6):
        M[i, i] += 0.5 if i < 3 else 0.07
    assert_exact(result.blocks[0].to_dense(), shared(A, G, 0.29, 0.013, 1.0))
    assert_exact(result.blocks[1].to_dense(), M)
    assert result.blocks[1].name == "scales (scale + 0.5, shift + 0.07)"


def test_lbann_scale_and_shift_by_hand(xp):
    """F = [[5, 3], [3, 5]] / 2, gradient (1, 3) / 2; dampings (1/2, 1/2), (1/2, 1)."""
    block = DenseMatrix(xp.asarray(np.array([[2.5, 1.5], [1.5, 2.5]])))
    gradient = xp.asarray(np.array([0.5, 1.5]))
    for shift, expected in ((0.5, [-1 / 9, 5 / 9]), (1.0, [-2 / 33, 5 / 11])):
        result = separate(block, 9, 9, scale=0.5, shift=shift)
        assert_exact(result.solve(gradient), np.array(expected))


def test_each_block_by_its_own_rule(xp, rng):
    """As TensorFlow K-FAC does: lambda on a diagonal block, factored on the rest."""
    (A, G), values = factors(rng), np.array([0.3, 0.7, 0.0])
    blocks = [
        DiagonalMatrix(xp.asarray(values)),
        KroneckerProduct(xp.asarray(A), xp.asarray(G)),
    ]
    rules = [tikhonov, factored_tikhonov]
    result = BlockDiagonalMatrix(
        [rule(block, LAMBDA) for rule, block in zip(rules, blocks, strict=True)]
    )
    expected = [np.diag(values + LAMBDA), shared(A, G, GAMMA, GAMMA, "trace")]
    assert_exact(result.to_dense(), put_along_diagonal(expected))


@pytest.mark.parametrize("shape", [(5, 1), (1, 3), (1, 1)])
def test_beside_a_scalar_factored_damping_can_be_exact(shape, xp, rng):
    """KFAC-JAX's rule for factors of size one; the ordinary rule is not exact."""
    A, G = moment(rng, shape[0]), 0.04 * moment(rng, shape[1])
    matrix = KroneckerProduct(xp.asarray(A), xp.asarray(G), "layer 0")
    expected = plus(kron_by_loops(A, G), LAMBDA)
    for pi in ("trace", 0.6):
        exact = factored_tikhonov(matrix, LAMBDA, pi, exact_scalars=True)
        assert_exact(exact.to_dense(), expected)
        assert "lambda = 0.37, exact beside a scalar" in exact.name
        plain = factored_tikhonov(matrix, LAMBDA, pi)
        assert relative_error(plain.to_dense(), expected) > 0.2
    scalar = exact.G if shape[1] == 1 else exact.A
    assert_exact(scalar, G if shape[1] == 1 else A)  # not damped
    larger = KroneckerProduct(
        *[xp.asarray(M) for M in factors(rng)]
    )  # no scalar: no change
    with_option = factored_tikhonov(larger, LAMBDA, exact_scalars=True)
    assert_exact(
        with_option.to_dense(), host(factored_tikhonov(larger, LAMBDA).to_dense())
    )


@pytest.mark.parametrize("dead", ["A", "G"])
@pytest.mark.parametrize("pi", ["trace", "frobenius", "operator"])
def test_a_factor_that_is_zero_leaves_the_damping_alone(dead, pi, xp, rng):
    """lambda I: exact, and the limit of a factor that goes to zero; pi = 1 is not."""
    A, G = factors(rng)

    def matrix(scale):
        s_A, s_G = (scale, 1.0) if dead == "A" else (1.0, scale)
        return KroneckerProduct(xp.asarray(s_A * A), xp.asarray(s_G * G), "layer 0")

    expected = LAMBDA * np.eye(15)
    result = factored_tikhonov(matrix(0.0), LAMBDA, pi)
    assert_exact(result.to_dense(), expected)
    assert result.name == (
        "layer 0 (factored Tikhonov, lambda = 0.37, of a product that is zero)"
    )
    errors = [
        relative_error(factored_tikhonov(matrix(s), LAMBDA, pi).to_dense(), expected)
        for s in (1e-10, 1e-12)
    ]
    assert errors[0] < 1e-3
    assert abs(errors[1] / errors[0] - 0.1) < 0.001  # goes as the root of the scale
    off = factored_tikhonov(matrix(0.0), LAMBDA, "off").to_dense()
    assert_exact(
        off,
        shared(0 * A, G, GAMMA, GAMMA, 1.0)
        if dead == "A"
        else shared(A, 0 * G, GAMMA, GAMMA, 1.0),
    )
    assert relative_error(off, expected) > 0.05
    apart = separate(matrix(0.0), 0.29, 0.013, pi)
    assert_exact(apart.to_dense(), 0.29 * 0.013 * np.eye(15))
    with pytest.raises(NotPositiveDefinite, match="factor . of layer 0 .* is zero"):
        factored_tikhonov(matrix(0.0), 0.0, pi).inverse()


def test_a_scalar_that_is_zero(xp, rng):
    A = xp.asarray(moment(rng, 5))
    zero = xp.asarray(np.zeros((1, 1)))
    for matrix in (KroneckerProduct(A, zero), KroneckerProduct(zero, A)):
        for pi in ("trace", 0.6):
            result = factored_tikhonov(matrix, LAMBDA, pi, exact_scalars=True)
            assert_exact(result.to_dense(), LAMBDA * np.eye(5))


def test_zero_damping_copies_nothing(xp, rng):
    A, G = (xp.asarray(M) for M in factors(rng))
    for result in (
        factored_tikhonov(KroneckerProduct(A, G), 0),
        same_on_each_factor(KroneckerProduct(A, G), 0),
        separate(KroneckerProduct(A, G), 0, 0, "trace"),
        tikhonov(KroneckerProduct(A, G), 0),
    ):
        assert (result.A is A, result.G is G) == (True, True)


# Cholesky and eigendecomposition.

KINDS = ["kronecker", "kronecker singular", "dense", "diagonal", "eigen_kronecker"]
KINDS += ["block_diagonal", "block_tridiagonal", "kronecker_difference"]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("damping", [LAMBDA, 1e-5])
def test_exact_damping_by_cholesky_and_by_eigendecomposition(name, damping, xp, rng):
    matrix, M = make(name, rng, xp.asarray)
    M, v = plus(M, damping), rng.normal(size=len(M))
    tolerance = 1e-12 * np.linalg.cond(M)
    by_cholesky = DenseMatrix(matrix.to_dense()).solve(xp.asarray(v), damping)
    eigen = by_eigendecomposition(tikhonov(matrix, damping))
    blocks = eigen.blocks if isinstance(eigen, BlockDiagonalMatrix) else [eigen]
    assert all(isinstance(b, EigenKronecker | DiagonalMatrix) for b in blocks)
    assert_exact(eigen.solve(xp.asarray(v)), host(by_cholesky), tolerance)
    assert_exact(eigen.solve(xp.asarray(v)), np.linalg.solve(M, v), tolerance)


@pytest.mark.parametrize("name", BY_FACTORS)
@pytest.mark.parametrize("N", [None, 2])
@pytest.mark.parametrize("smaller", [1, 1e-4])
def test_factors_by_cholesky_and_by_eigendecomposition(name, N, smaller, xp, rng):
    rule, parameters, _, _ = FORMULAS[name]
    parameters = {
        key: value * smaller if key in ("damping", "activations", "errors") else value
        for key, value in parameters.items()
    }
    matrix = KroneckerProduct(*[xp.asarray(M) for M in factors(rng, N)], "layer 0")
    damped, v = RULES[rule](matrix, **parameters), xp.asarray(rng.normal(size=15))
    tolerance = 1e-12 * np.linalg.cond(host(damped.to_dense()))
    eigen = by_eigendecomposition(damped)
    assert isinstance(damped, KroneckerProduct)
    assert isinstance(eigen, EigenKronecker)
    assert eigen.name == damped.name
    assert_exact(eigen.solve(v), host(damped.solve(v)), tolerance)
    expected = np.linalg.solve(host(damped.to_dense()), host(v))
    assert_exact(eigen.solve(v), expected, tolerance)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    d_in=st.integers(1, 6),
    d_out=st.integers(1, 6),
    log_damping=st.floats(-4, 3),
    seed=st.integers(0, 999),
)
def test_any_size_and_lambda(xp, d_in, d_out, log_damping, seed):
    rng = np.random.default_rng(seed)
    A, G = moment(rng, d_in, d_in), 0.04 * moment(rng, d_out, d_out // 2 + 1)
    matrix, damping = KroneckerProduct(xp.asarray(A), xp.asarray(G)), 10**log_damping
    v, gamma = rng.normal(size=d_in * d_out), damping**0.5
    for result, expected in (
        (tikhonov(matrix, damping), plus(kron_by_loops(A, G), damping)),
        (factored_tikhonov(matrix, damping), shared(A, G, gamma, gamma, "trace")),
        (same_on_each_factor(matrix, damping), shared(A, G, damping, damping, 1.0)),
    ):
        solved, tolerance = np.linalg.solve(expected, v), np.linalg.cond(expected)
        for matrix_ in (result, by_eigendecomposition(result)):
            assert_exact(matrix_.solve(xp.asarray(v)), solved, 1e-12 * tolerance)
