"""Laws that every kind of matrix obeys, on every backend; cases in matrix_cases.py."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse.linalg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import assert_exact, host
from kfac_ref.backend import get_xp
from kfac_ref.errors import NotPositiveDefinite
from kfac_ref.matrices import (
    BlockDiagonalMatrix,
    DenseMatrix,
    DiagonalMatrix,
    EigenKronecker,
    KroneckerDifference,
    KroneckerProduct,
    SymmetricMatrix,
)
from matrix_cases import CASES, DEFINITE, SINGULAR, kron_by_loops, make, moment

LAMBDA = 0.37
POWERS = (-1, -0.5, 0.5, 1)
every_case = pytest.mark.parametrize("case", CASES)
definite_case = pytest.mark.parametrize("case", DEFINITE)
damped_case = pytest.mark.parametrize(
    "case, damping", [(c, LAMBDA) for c in CASES] + [(c, 0.0) for c in DEFINITE]
)


def power_by_eigh(M, exponent):
    """M^exponent; eigenvalues of rounding size are zero."""
    values, U = np.linalg.eigh(M)
    values[np.abs(values) < 1e-13 * values.max()] = 0
    return (U * values**exponent) @ U.T


def damped(M, damping):
    return M + damping * np.eye(len(M))


@every_case
def test_attributes_and_dense_array(case, xp, rng):
    matrix, M = make(case, rng, xp.asarray)
    assert_exact(matrix.to_dense(), M)
    assert get_xp(matrix.to_dense()) is xp
    assert (matrix.size, matrix.shape) == (len(M), M.shape)
    assert matrix.dtype == np.float64
    assert matrix.storage == CASES[case][2]


@every_case
def test_product_with_a_vector_and_with_columns(case, xp, rng):
    matrix, M = make(case, rng, xp.asarray)
    for shape in [(len(M),), (len(M), 4)]:
        v = rng.normal(size=shape)
        assert_exact(matrix @ xp.asarray(v), M @ v)


@every_case
def test_product_is_linear_symmetric_and_positive(case, xp, rng):
    matrix, M = make(case, rng, xp.asarray)
    u, v = rng.normal(size=(2, len(M)))
    Mu, Mv = host(matrix @ xp.asarray(u)), host(matrix @ xp.asarray(v))
    assert_exact(matrix @ xp.asarray(2.5 * u - 0.3 * v), 2.5 * Mu - 0.3 * Mv)
    assert abs(u @ Mv - v @ Mu) <= 1e-12 * np.linalg.norm(u) * np.linalg.norm(Mv)
    assert v @ Mv > 0
    assert host(matrix.eigenvalues())[0] > -1e-13 * matrix.trace()


@damped_case
def test_solve_inverts_the_damped_product(case, damping, xp, rng):
    matrix, M = make(case, rng, xp.asarray)
    for shape in [(len(M),), (len(M), 4)]:
        v = rng.normal(size=shape)
        x = matrix.solve(xp.asarray(v), damping)
        assert_exact(x, np.linalg.solve(damped(M, damping), v))
        assert_exact(host(matrix @ x) + damping * host(x), v)


@damped_case
def test_inverse_is_a_matrix(case, damping, xp, rng):
    matrix, M = make(case, rng, xp.asarray)
    v = rng.normal(size=(len(M), 4))
    inverse = matrix.inverse(damping)
    assert_exact(inverse.to_dense(), np.linalg.inv(damped(M, damping)))
    assert_exact(inverse @ xp.asarray(v), host(matrix.solve(xp.asarray(v), damping)))


@damped_case
@pytest.mark.parametrize("exponent", POWERS)
def test_powers_are_those_of_the_dense_matrix(case, damping, exponent, xp, rng):
    matrix, M = make(case, rng, xp.asarray)
    power = matrix.power(exponent, damping)
    assert_exact(power.to_dense(), power_by_eigh(damped(M, damping), exponent))


@damped_case
def test_powers_compose(case, damping, xp, rng):
    matrix, M = make(case, rng, xp.asarray)
    v = xp.asarray(rng.normal(size=len(M)))
    root, inverse_root = matrix.power(0.5, damping), matrix.power(-0.5, damping)
    assert_exact(root @ (root @ v), host(matrix @ v) + damping * host(v))
    assert_exact(inverse_root @ (root @ v), host(v))
    assert_exact(inverse_root @ (inverse_root @ v), host(matrix.solve(v, damping)))


@pytest.mark.parametrize("case", SINGULAR)
@pytest.mark.parametrize("exponent", [0.5, 1])
def test_positive_powers_of_singular_matrices(case, exponent, xp, rng):
    matrix, M = make(case, rng, xp.asarray)
    assert_exact(matrix.power(exponent).to_dense(), power_by_eigh(M, exponent))


@damped_case
def test_logdet_is_that_of_the_dense_matrix(case, damping, xp, rng):
    matrix, M = make(case, rng, xp.asarray)
    sign, expected = np.linalg.slogdet(damped(M, damping))
    found = matrix.logdet(damping)
    assert sign == 1
    assert isinstance(found, float)
    assert abs(found - expected) <= 1e-12 * len(M)


@every_case
def test_trace_norm_and_eigenvalues(case, xp, rng):
    matrix, M = make(case, rng, xp.asarray)
    assert isinstance(matrix.trace(), float)
    assert isinstance(matrix.frobenius_norm(), float)
    assert_exact(matrix.trace(), sum(M[i, i] for i in range(len(M))))
    assert_exact(matrix.frobenius_norm(), sum(m**2 for m in M.flat) ** 0.5)
    assert_exact(matrix.eigenvalues(), np.linalg.eigvalsh(M))


@every_case
def test_float32_stays_float32(case, xp, rng):
    def single(h):
        return xp.asarray(h.astype(np.float32))

    matrix, M = make(case, rng, single)
    tolerance = 1e-12 * np.finfo(np.float32).eps / np.finfo(np.float64).eps
    v = rng.normal(size=len(M))
    results = [
        (matrix.to_dense(), M),
        (matrix @ single(v), M @ v),
        (matrix.solve(single(v), LAMBDA), np.linalg.solve(damped(M, LAMBDA), v)),
        (matrix.eigenvalues(), np.linalg.eigvalsh(M)),
    ]
    for exponent in POWERS:
        power = matrix.power(exponent, LAMBDA)
        results += [(power.to_dense(), power_by_eigh(damped(M, LAMBDA), exponent))]
    if case in DEFINITE:
        results += [(matrix.solve(single(v)), np.linalg.solve(M, v))]
    for found, expected in results:
        assert found.dtype == np.float32
        assert_exact(host(found).astype(np.float64), expected, tolerance)


@definite_case
def test_operator_serves_scipy(case, rng):
    matrix, M = make(case, rng, np.asarray)
    operator = matrix.operator()
    v = rng.normal(size=len(M))
    assert_exact(operator @ v, M @ v)
    assert_exact(operator.T @ v, M @ v)
    assert_exact(operator @ np.stack([v, 2 * v], 1), M @ np.stack([v, 2 * v], 1))
    x, failed = scipy.sparse.linalg.cg(operator, v, rtol=1e-13, maxiter=1000)
    assert not failed
    assert_exact(x, np.linalg.solve(M, v), 1e-10)  # cg stops at its residual
    if len(M) > 2:
        largest = scipy.sparse.linalg.eigsh(operator, 1, v0=v)[0]
        assert_exact(largest, np.linalg.eigvalsh(M)[-1:])


def test_kinds_of_powers(xp, rng):
    def kind(case, *args):
        return type(make(case, rng, xp.asarray)[0].power(*args))

    assert kind("kronecker", -1) is KroneckerProduct
    assert kind("kronecker", -1, LAMBDA) is EigenKronecker
    assert kind("eigen_kronecker", 0.5, LAMBDA) is EigenKronecker
    assert kind("diagonal", -0.5, LAMBDA) is DiagonalMatrix
    assert kind("block_diagonal", -1) is BlockDiagonalMatrix
    assert kind("kronecker_difference", -1) is DenseMatrix


def test_kronecker_by_hand(xp):
    """A = [2 1; 1 3], G = [1 -1; -1 4], V = [1 2; 3 -2]; all by hand."""
    A, G = np.array([[2.0, 1], [1, 3]]), np.array([[1.0, -1], [-1, 4]])
    matrix = KroneckerProduct(xp.asarray(A), xp.asarray(G))
    by_hand = [[2, -2, 1, -1], [-2, 8, -1, 4], [1, -1, 3, -3], [-1, 4, -3, 12]]
    assert host(matrix.to_dense()).tolist() == by_hand
    v = xp.asarray(np.array([1.0, 2, 3, -2]))
    # A V = [5 2; 10 -4], times G: [3 3; 14 -26]
    assert host(matrix @ v).tolist() == [3, 3, 14, -26]
    # A^-1 V = [0 8; 5 -6] / 5, times G^-1 = [4 1; 1 1] / 3: [8 8; 14 -1] / 15
    assert_exact(matrix.solve(v), np.array([8, 8, 14, -1]) / 15)
    assert matrix.trace() == 25
    assert abs(matrix.logdet() - np.log(5**2 * 3**2)) < 1e-14
    assert abs(matrix.frobenius_norm() - np.sqrt(15 * 19)) < 1e-13


def test_damped_kronecker_by_hand(xp):
    """Eigenvalues 1, 3 of A and 2, 12 of G; the damped inverse on an eigenvector."""
    A, G = np.array([[2.0, 1], [1, 2]]), np.array([[4.0, 4], [4, 10]])
    matrix = KroneckerProduct(xp.asarray(A), xp.asarray(G))
    assert_exact(matrix.eigenvalues(), np.array([2.0, 6, 12, 36]))
    v = np.array([1.0, 2, -1, -2])  # [1, -1] (x) [1, 2]: eigenvalue 1 * 12
    assert_exact(matrix.solve(xp.asarray(v), 0.5), v / 12.5)
    assert_exact(matrix.power(0.5, 0.25) @ xp.asarray(v), 3.5 * v)
    # factor by factor is something else: the product of the damped inverses
    apart = kron_by_loops(*[np.linalg.inv(damped(M, 0.5**0.5)) for M in (A, G)]) @ v
    assert np.linalg.norm(apart - v / 12.5) > 0.4 * np.linalg.norm(v / 12.5)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    d_in=st.integers(1, 6),
    d_out=st.integers(1, 6),
    columns=st.integers(1, 3),
    damping=st.floats(0.01, 10),
    seed=st.integers(0, 999),
)
def test_kronecker_of_any_size(xp, d_in, d_out, columns, damping, seed):
    rng = np.random.default_rng(seed)
    A, G = moment(rng, d_in, 2 * d_in), moment(rng, d_out, d_out // 2 + 1)
    matrix = KroneckerProduct(xp.asarray(A), xp.asarray(G))
    M = kron_by_loops(A, G)
    v = rng.normal(size=(len(M), columns))
    assert_exact(matrix @ xp.asarray(v), M @ v)
    x = host(matrix.solve(xp.asarray(v), damping))
    assert_exact(M @ x + damping * x, v)
    diagonalized = matrix.diagonalized()
    assert_exact(diagonalized @ xp.asarray(v), M @ v)
    assert_exact(host(diagonalized.solve(xp.asarray(v), damping)), x)


def test_blocks_and_offsets(xp, rng):
    matrix, M = make("block_diagonal", rng, xp.asarray)
    assert matrix.offsets == [0, 15, 22, 24, 30]
    for i, (s, e) in enumerate(pairwise(matrix.offsets)):
        assert_exact(matrix.block(i).to_dense(), M[s:e, s:e])


class Arrow(SymmetricMatrix):
    """A kind that writes only what it must: I + u u^T."""

    storage = 5

    def __init__(self, u):
        super().__init__(u, len(u), "an arrow")
        self.u = u

    def _to_dense(self):
        xp = get_xp(self.u)
        return xp.eye(self.size) + self.u[:, None] * self.u

    def _product(self, rows):
        return rows + (rows @ self.u)[:, None] * self.u


def test_a_kind_needs_three_methods(xp, rng):
    """u = 1 in five dimensions: eigenvalues 1, 1, 1, 1, 6; v = u is an eigenvector."""
    u = np.ones(5)
    matrix = Arrow(xp.asarray(u))
    assert_exact(matrix @ xp.asarray(u), 6 * u)
    assert_exact(matrix.solve(xp.asarray(u), 0.4), u / 6.4)
    assert_exact(matrix.power(-0.5, 0.25) @ xp.asarray(u), 0.4 * u)
    assert_exact(matrix.inverse() @ xp.asarray(u), u / 6)
    assert_exact(matrix.eigenvalues(), np.array([1, 1, 1, 1, 6.0]))
    found = [matrix.trace(), matrix.logdet(), matrix.logdet(1), matrix.frobenius_norm()]
    assert_exact(
        np.array(found), np.array([10, np.log(6), np.log(7 * 2**4), np.sqrt(40)])
    )
    with pytest.raises(NotPositiveDefinite, match="an arrow is not"):
        Arrow(xp.asarray(1e9 * u)).solve(xp.asarray(u))


def test_relative_eigenvalues_of_a_difference_decide(xp, rng):
    """A (x) G - C (x) D with C = 0.8 A: definite for D = 1.2 G, not for D = 1.3 G."""
    A, G = moment(rng, 5), moment(rng, 3)
    A, G, C, D = (xp.asarray(M) for M in (A, G, 0.8 * A, 1.2 * G))
    matrix = KroneckerDifference(A, G, C, D)
    assert_exact(matrix.to_dense(), 0.04 * host(KroneckerProduct(A, G).to_dense()))
    with pytest.raises(NotPositiveDefinite, match="relative to its first product"):
        KroneckerDifference(A, G, C, D * (1.3 / 1.2))
