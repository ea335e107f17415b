"""F^ of Martens & Grosse 2015, section 4.3: what it equals, and what it does not."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import assert_exact, host, relative_error
from kfac_ref.damping import same_on_each_factor, separate, tikhonov
from kfac_ref.errors import (
    NotPositiveDefinite,
    ShapeError,
    Unsupported,
    ValueRangeError,
)
from kfac_ref.matrices import BlockTridiagonalInverse, ChainFactors
from matrix_cases import LAYERS, chain, chain_factors, f_hat, f_tilde, moment

FOUR = [(2, 3), (5, 1), (3, 2), (1, 4)]


def test_the_data_are_second_moments(rng):
    """F~ is a covariance: positive definite, and its corner is not zero."""
    A, G = chain_factors(rng)
    F, at = f_tilde(A, G)
    assert_exact(F, F.T)
    assert np.linalg.eigvalsh(F)[0] > 0.01
    assert np.linalg.norm(F[at[0], at[2]]) > 0.1


@pytest.mark.parametrize("layers", [LAYERS, FOUR])
def test_equals_f_tilde_on_the_three_bands_only(layers, xp, rng):
    A, G = chain_factors(rng, layers)
    F, at = f_tilde(A, G)
    found = host(chain(A, G, xp.asarray).to_dense())
    for i, rows in enumerate(at):
        for j, columns in enumerate(at):
            if abs(i - j) <= 1:
                assert_exact(found[rows, columns], F[rows, columns])
            else:
                error = relative_error(found[rows, columns], F[rows, columns])
                assert error > 0.1


@pytest.mark.parametrize("layers", [LAYERS, FOUR])
def test_inverse_is_zero_outside_the_three_bands(layers, xp, rng):
    A, G = chain_factors(rng, layers)
    F, at = f_tilde(A, G)
    matrix = chain(A, G, xp.asarray)
    found = host(matrix.inverse_to_dense())
    assert_exact(found, np.linalg.inv(f_hat(A, G)))
    by_inv, of_f_tilde = np.linalg.inv(host(matrix.to_dense())), np.linalg.inv(F)
    for i, rows in enumerate(at):
        for j, columns in enumerate(at):
            if abs(i - j) > 1:
                assert not found[rows, columns].any()
                outside = np.linalg.norm(by_inv[rows, columns])
                assert outside < 1e-12 * np.linalg.norm(by_inv)
                outside = np.linalg.norm(of_f_tilde[rows, columns])
                assert outside > 1e-3 * np.linalg.norm(of_f_tilde)


def test_two_layers_are_exact(xp, rng):
    A, G = chain_factors(rng, LAYERS[:2])
    F, _ = f_tilde(A, G)
    matrix = chain(A, G, xp.asarray)
    v = rng.normal(size=len(F))
    assert_exact(matrix.to_dense(), F)
    assert_exact(matrix.solve(xp.asarray(v)), np.linalg.solve(F, v))


def test_three_layers_are_not_exact(xp, rng):
    A, G = chain_factors(rng)
    F, _ = f_tilde(A, G)
    matrix = chain(A, G, xp.asarray)
    v = rng.normal(size=len(F))
    assert relative_error(matrix.to_dense(), F) > 0.02
    assert relative_error(matrix.solve(xp.asarray(v)), np.linalg.solve(F, v)) > 0.02


@pytest.mark.parametrize("layers", [LAYERS, FOUR])
def test_a_chain_reads_the_same_from_both_ends(layers, xp, rng):
    """Conditional independence has no direction, though Psi and Sigma do."""
    A, G = chain_factors(rng, layers)
    _, at = f_tilde(A, G)
    forward = host(chain(A, G, xp.asarray).to_dense())
    A, G = ([row[::-1] for row in blocks[::-1]] for blocks in (A, G))
    backward = host(chain(A, G, xp.asarray).to_dense())
    order = np.concatenate([np.r_[rows] for rows in at[::-1]])
    assert_exact(backward, forward[np.ix_(order, order)])


def test_largest_determinant_among_matrices_with_these_bands(xp, rng):
    """The Gaussian with given neighbours' covariances and the largest entropy."""
    A, G = chain_factors(rng)
    F, at = f_tilde(A, G)
    matrix = chain(A, G, xp.asarray)
    assert matrix.logdet() > np.linalg.slogdet(F)[1] + 0.05
    M = host(matrix.to_dense())
    corner = np.zeros_like(M)
    corner[at[0], at[2]] = rng.normal(size=corner[at[0], at[2]].shape)
    corner = 1e-3 * (corner + corner.T)
    for sign in (-1, 1):
        assert np.linalg.slogdet(M + sign * corner)[1] < matrix.logdet() - 1e-8


def test_two_scalar_layers_by_hand(xp):
    """a, g scalars: F~ = [8 3; 3 10], so Psi = 3/10 and Sigma = 8 - 9/10."""
    one = [[np.array([[2.0]]), np.array([[1.5]])], [None, np.array([[5.0]])]]
    two = [[np.array([[4.0]]), np.array([[2.0]])], [None, np.array([[2.0]])]]
    matrix = chain(one, two, xp.asarray)
    assert_exact(matrix.to_dense(), np.array([[8.0, 3], [3, 10]]))
    assert_exact(matrix.Sigma[0].to_dense(), np.array([[7.1]]))
    v = xp.asarray(np.array([1.0, 2.0]))
    assert_exact(matrix.solve(v), np.array([10 - 6, -3 + 16]) / 71)


def test_too_strong_coupling_is_no_covariance(xp, rng):
    A, G = chain_factors(rng)
    A[0][1] = A[0][1] * 9
    with pytest.raises(
        NotPositiveDefinite, match="input given hidden, .*lambda = 0 .*from -"
    ):
        chain(A, G, xp.asarray, ["input", "hidden", "output"])


def test_singular_factors_are_named(xp, rng):
    A, G = chain_factors(rng)
    G[1][1] = moment(rng, 2, N=1)
    with pytest.raises(NotPositiveDefinite, match="factor G of layer 1 is not"):
        chain(A, G, xp.asarray)
    A, G = chain_factors(rng)
    A[0][0] = moment(rng, 3, N=1)
    with pytest.raises(NotPositiveDefinite, match="factor A of layer 0 given layer 1"):
        chain(A, G, xp.asarray)


def test_factors_that_do_not_fit_are_refused(xp, rng):
    A, G = chain_factors(rng)
    with pytest.raises(ShapeError, match="found 3, 3, 2, 2, 2"):
        chain(A, G, xp.asarray, ["input", "output"])
    with pytest.raises(ShapeError, match="found 0, 0, 0, 0, 0"):
        BlockTridiagonalInverse([], [], [], [])
    A[1][2] = A[2][1]  # transposed
    message = r"hidden: A_next: expected shape \(7, 1\), found \(1, 7\)"
    with pytest.raises(ShapeError, match=message):
        chain(A, G, xp.asarray, ["input", "hidden", "output"])
    A, G = chain_factors(rng)
    G[0][1] = G[0][1] * np.nan
    with pytest.raises(ValueRangeError, match="layer 0: G_next: 10 of 10 numbers"):
        chain(A, G, xp.asarray)
    A, G = chain_factors(rng)
    G[2][2] = np.triu(G[2][2])
    with pytest.raises(ValueRangeError, match="layer 2: factor G: expected a symm"):
        chain(A, G, xp.asarray)
    A, G = chain_factors(rng)
    A[1][1] = A[1][1].astype(np.float32)
    with pytest.raises(ValueRangeError, match="layer 0 and layer 1: .*of one dtype"):
        chain(A, G, xp.asarray)
    A, G = chain_factors(rng)
    A = [[M.astype(np.float32) for M in row] for row in A]
    with pytest.raises(ValueRangeError, match="of one dtype"):
        chain(A, G, xp.asarray)


# The factors of a chain, before they are damped


@pytest.fixture
def undamped(xp, rng):
    """The blocks of a chain, and ChainFactors of them."""
    A, G = chain_factors(rng, damping=0.0)
    same = chain(A, G, xp.asarray)
    return (A, G), ChainFactors(same.A, same.G, same.A_next, same.G_next, same.names)


def test_a_rule_damps_each_diagonal_block_of_a_chain(undamped):
    (A, G), factors = undamped
    for i in range(len(A)):
        A[i][i] = A[i][i] + 0.3 * np.eye(len(A[i][i]))
        G[i][i] = G[i][i] + 0.2 * np.eye(len(G[i][i]))
    found = separate(factors, 0.3, 0.2)
    assert isinstance(found, BlockTridiagonalInverse)
    assert_exact(found.to_dense(), f_hat(A, G))
    assert found.names == factors.names
    assert (found.storage, found.size) == (factors.storage, factors.size)
    other = same_on_each_factor(factors, 0.3)
    assert relative_error(other.to_dense(), f_hat(A, G)) > 0.01


def test_undamped_factors_say_what_to_do(undamped, xp):
    _, factors = undamped
    v = xp.asarray(np.ones(factors.size))
    for attempt in (
        factors.to_dense, factors.inverse, factors.eigenvalues, factors.logdet,
        factors.trace, factors.frobenius_norm, lambda: factors.power(0.5),
        lambda: factors @ v, lambda: factors.solve(v, 0.1), lambda: factors.form([v]),
    ):  # fmt: skip
        with pytest.raises(
            Unsupported,
            match=r"^chain of layer 0, .*: .* factored_tikhonov\(chain, damping\) of ",
        ):
            attempt()
    with pytest.raises(Unsupported, match="keeps a Kronecker product, .*found Eigen"):
        tikhonov(factors, 0.1)


def test_factors_that_are_no_chain_are_refused(undamped):
    _, c = undamped
    with pytest.raises(ShapeError, match="ChainFactors: expected l factors A, G and n"):
        ChainFactors(c.A, c.G[:-1], c.A_next, c.G_next)
    with pytest.raises(ValueRangeError, match="layer 0: factor A: .* symmetric"):
        ChainFactors([c.A[0] * c.A[0][0], *c.A[1:]], c.G, c.A_next, c.G_next)
