"""Factored Tikhonov damping: the formula, its pi, its error, its errors."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import assert_exact, host, relative_error
from kfac_ref.damping import factored_tikhonov, trace_pi
from kfac_ref.errors import (
    NotPositiveDefinite,
    UnknownName,
    Unsupported,
    ValueRangeError,
)
from kfac_ref.matrices import BlockDiagonal, Dense, Kronecker
from matrix_cases import kron_by_loops, moment, put_along_diagonal

LAMBDA = 0.37


def factors(rng, N=None):
    """A (5, 5) and G (3, 3), of scales that differ."""
    return moment(rng, 5, N), 0.04 * moment(rng, 3, N)


def damped_by_loops(A, G, damping, pi):
    A, G = A.copy(), G.copy()
    for i in range(len(A)):
        A[i, i] += pi * damping**0.5
    for o in range(len(G)):
        G[o, o] += damping**0.5 / pi
    return kron_by_loops(A, G)


def pi_by_loops(A, G):
    mean_A = sum(A[i, i] for i in range(5)) / 5
    mean_G = sum(G[o, o] for o in range(3)) / 3
    return (mean_A / mean_G) ** 0.5


@pytest.mark.parametrize("N", [None, 2])
@pytest.mark.parametrize("pi", ["trace", 0.6])
def test_formula(N, pi, xp, rng):
    A, G = factors(rng, N)
    matrix = Kronecker(xp.asarray(A), xp.asarray(G), "layer 0")
    value = pi_by_loops(A, G) if pi == "trace" else pi
    assert not 0.9 < value < 1.1
    expected = damped_by_loops(A, G, LAMBDA, value)
    result = factored_tikhonov(matrix, LAMBDA, pi)
    v = rng.normal(size=15)
    assert result.name.startswith("layer 0 (factored Tikhonov, lambda = 0.37, pi = ")
    assert_exact(result.to_dense(), expected)
    assert_exact(result.solve(xp.asarray(v)), np.linalg.solve(expected, v))
    assert_exact(matrix.to_dense(), kron_by_loops(A, G))  # left as it was


def test_by_hand(xp):
    """tr A / d = 8, tr G / d = 2, pi = 2, gamma = 1/2: add 1 to A, 1/4 to G."""
    A, G = np.array([[5.0, 2], [2, 11]]), np.array([[2.0]])
    matrix = Kronecker(xp.asarray(A), xp.asarray(G))
    assert trace_pi(matrix) == 2
    result = factored_tikhonov(matrix, 0.25)
    assert host(result.A).tolist() == [[6, 2], [2, 12]]
    assert host(result.G).tolist() == [[2.25]]


def test_its_error_is_what_the_two_cross_terms_say(xp, rng):
    """Not the exact damping: pi gamma I (x) G + gamma / pi A (x) I is too much."""
    A, G = factors(rng)
    matrix = Kronecker(xp.asarray(A), xp.asarray(G))
    pi, gamma = trace_pi(matrix), LAMBDA**0.5
    exact = matrix.power(1, LAMBDA)
    found = host(factored_tikhonov(matrix, LAMBDA).to_dense())
    error = found - host(exact.to_dense())
    cross = pi * gamma * kron_by_loops(np.eye(5), G)
    cross += gamma / pi * kron_by_loops(A, np.eye(3))
    assert_exact(error, cross)
    assert relative_error(found, exact.to_dense()) > 0.5


def test_trace_pi_makes_the_trace_of_the_error_smallest(xp, rng):
    matrix = Kronecker(*[xp.asarray(M) for M in factors(rng)])
    pi = trace_pi(matrix)
    best = factored_tikhonov(matrix, LAMBDA).trace()
    for other in (0.5 * pi, 0.99 * pi, 1.01 * pi, 2 * pi):
        assert factored_tikhonov(matrix, LAMBDA, other).trace() > best * (1 + 1e-6)


def test_block_diagonal_is_damped_block_by_block(xp, rng):
    pairs = [factors(rng), factors(rng, N=2)]
    blocks = [Kronecker(*[xp.asarray(M) for M in pair]) for pair in pairs]
    result = factored_tikhonov(BlockDiagonal(blocks, "net"), LAMBDA)
    expected = [damped_by_loops(*p, LAMBDA, pi_by_loops(*p)) for p in pairs]
    assert isinstance(result, BlockDiagonal)
    assert result.name == "net"
    assert_exact(result.to_dense(), put_along_diagonal(expected))


def test_zero_damping_changes_nothing_and_float32_stays(xp, rng):
    A, G = (xp.asarray(M.astype(np.float32)) for M in factors(rng))
    matrix = Kronecker(A, G)
    assert factored_tikhonov(matrix, 0).A is A
    result = factored_tikhonov(matrix, np.float64(LAMBDA), np.float64(0.6))
    assert (result.A.dtype, result.G.dtype) == (np.float32, np.float32)


def test_a_given_pi_serves_a_factor_that_is_zero(xp, rng):
    A, G = factors(rng)
    matrix = Kronecker(xp.asarray(A), xp.asarray(0 * G))
    found = factored_tikhonov(matrix, LAMBDA, 0.6).to_dense()
    assert_exact(found, damped_by_loops(A, 0 * G, LAMBDA, 0.6))


def test_errors_name_what_is_wrong(xp, rng):
    A, G = (xp.asarray(M) for M in factors(rng))
    matrix = Kronecker(A, G, "layer 0: Dense(4, 3)")
    for dead in (Kronecker(A, 0 * G, "layer 1"), Kronecker(-1 * A, G, "layer 1")):
        with pytest.raises(ValueRangeError, match="layer 1: .* positive traces, found"):
            factored_tikhonov(dead, LAMBDA)
    with pytest.raises(Unsupported, match=r"layer 2: .* found Dense; .*solve\(v, damp"):
        factored_tikhonov(Dense(A, "layer 2"), LAMBDA)
    with pytest.raises(Unsupported, match=r"matrix: factored .* found list"):
        factored_tikhonov([matrix], LAMBDA)
    with pytest.raises(UnknownName, match="unknown pi 'tracing': did you mean 'trace'"):
        factored_tikhonov(matrix, LAMBDA, "tracing")
    for pi in (0, -0.6, np.nan, np.inf):
        with pytest.raises(ValueRangeError, match="pi: expected 'trace' or a number"):
            factored_tikhonov(matrix, LAMBDA, pi)
    with pytest.raises(ValueRangeError, match="damping: .* >= 0, found -0.37"):
        factored_tikhonov(matrix, -LAMBDA)


def test_too_little_damping_names_lambda_and_pi(xp, rng):
    A, G = (xp.asarray(M) for M in factors(rng, N=2))
    weak = factored_tikhonov(Kronecker(A, G, "layer 0"), 1e-40, 0.6)
    where = (
        r"factor A of layer 0 \(factored Tikhonov, lambda = 1e-40, pi = 0.6\) is not"
    )
    with pytest.raises(NotPositiveDefinite, match=where):
        weak.solve(xp.asarray(rng.normal(size=15)))
