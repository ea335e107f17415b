"""What damping does to A (x) G: the best pi, its price, its invariances, its limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from damping_cases import FORMULAS, GAMMA, LAMBDA, factors, pi_by_hand, plus
from helpers import assert_exact, host, relative_error
from kfac_ref.damping import RULES, factored_tikhonov, find_pi, separate, tikhonov
from kfac_ref.layers import ReLU
from kfac_ref.matrices import KroneckerProduct
from kfac_ref.structures import curvature
from matrix_cases import kron_by_loops, rotation
from networks import chain, inputs, parameters

NORMS = {"trace": "nuc", "frobenius": "fro", "operator": 2}


def move(xp, A, G):
    return KroneckerProduct(xp.asarray(A), xp.asarray(G), "layer 0")


def residual(A, G, pi):
    """Factored minus exact damping, from the definitions."""
    factored = kron_by_loops(plus(A, pi * GAMMA), plus(G, GAMMA / pi))
    return factored - plus(kron_by_loops(A, G), LAMBDA)


def best_pi(A, G, norm):
    """argmin over pi of the norm of the residual, by Brent's method on log pi."""

    def size(log_pi):
        return np.linalg.norm(residual(A, G, np.exp(log_pi)), NORMS[norm])

    found = minimize_scalar(size, bracket=(-4, 4), tol=1e-12)
    return np.exp(found.x), size


# pi.


@pytest.mark.parametrize("N", [None, 2])
@pytest.mark.parametrize("norm", NORMS)
def test_each_pi_minimises_its_own_norm_of_the_residual(norm, N, xp, rng):
    A, G = factors(rng, N)
    matrix = move(xp, A, G)
    argmin, size = best_pi(A, G, norm)
    assert abs(argmin / find_pi(matrix, norm) - 1) < 1e-6
    least = size(np.log(argmin))
    for other in [name for name in (*NORMS, "off") if name != norm]:
        pi = find_pi(matrix, other)
        assert abs(pi / argmin - 1) > 0.01
        assert size(np.log(pi)) > least * (1 + 1e-5)


def test_pi_is_not_the_best_if_a_factor_is_indefinite(xp, rng):
    """With a negative eigenvalue the trace is no norm, and its pi not the best."""
    U, G = rotation(rng, 5), factors(rng)[1]
    A = (U * np.array([3.0, 2.0, 0.7, 0.5, -1.0])) @ U.T
    argmin, size = best_pi(A, G, "trace")
    pi = find_pi(move(xp, A, G), "trace")
    assert abs(pi / argmin - 1) > 0.1
    assert size(np.log(pi)) > size(np.log(argmin)) * 1.001


@pytest.mark.parametrize("norm", NORMS)
def test_pi_is_the_ratio_of_two_norms(norm, xp, rng):
    A, G = factors(rng)
    pi = find_pi(move(xp, A, G), norm)
    assert_exact(pi, pi_by_hand(A, G, norm))
    assert pi > 3  # so that a pi upside down, squared or left out cannot hide
    # one of the usual slips: a pi without the dimensions
    wrong = (np.linalg.norm(A, NORMS[norm]) / np.linalg.norm(G, NORMS[norm])) ** 0.5
    assert norm == "operator" or abs(wrong / pi - 1) > 0.1


# The price of keeping the factors.


@pytest.mark.parametrize("pi", ["trace", "frobenius", "operator", "off", 0.6])
def test_factored_damping_expands_to_four_terms(pi, xp, rng):
    """Two are the exact damping, the other two its error; and they are not small."""
    A, G = factors(rng)
    matrix = move(xp, A, G)
    number = find_pi(matrix, pi)
    terms = [
        kron_by_loops(A, G),
        LAMBDA * np.eye(15),
        number * GAMMA * kron_by_loops(np.eye(5), G),
        GAMMA / number * kron_by_loops(A, np.eye(3)),
    ]
    found = host(factored_tikhonov(matrix, LAMBDA, pi).to_dense())
    assert_exact(found, sum(terms))
    exact = host(tikhonov(matrix, LAMBDA).to_dense())
    assert_exact(exact, terms[0] + terms[1])
    assert_exact(found - exact, terms[2] + terms[3])
    assert relative_error(found, exact) > 0.5


def test_factored_damping_damps_even_multiples_of_the_identity_too_much(xp):
    """Even A = a I, G = g I is damped too much: (sqrt(a g) + gamma)^2, not a g + l."""
    A, G = 2.0 * np.eye(5), 0.08 * np.eye(3)
    found = factored_tikhonov(move(xp, A, G), LAMBDA).to_dense()
    assert_exact(found, (0.4 + GAMMA) ** 2 * np.eye(15))
    assert relative_error(found, (0.16 + LAMBDA) * np.eye(15)) > 0.9


# Invariances.


@pytest.mark.parametrize(
    "name, invariant",
    [(name, "off" not in name and "0.6" not in name) for name in FORMULAS],
)
def test_a_scale_moved_from_A_to_G_changes_the_step_unless_the_rule_sees_norms(
    name, invariant, xp, rng
):
    """(c A) (x) (G / c) is the same matrix. Exact damping and a pi from a norm know."""
    rule, options, _, _ = FORMULAS[name]
    invariant = invariant and name not in ("each factor", "separate")
    A, G = factors(rng)
    v = xp.asarray(rng.normal(size=15))
    here = RULES[rule](move(xp, A, G), **options).solve(v)
    there = RULES[rule](move(xp, 7.3 * A, G / 7.3), **options).solve(v)
    if invariant:
        assert_exact(there, host(here))
    else:
        assert relative_error(there, here) > 0.2


@pytest.mark.parametrize("name", [name for name in FORMULAS if "sep" not in name])
def test_c_times_the_loss_and_c_times_lambda_give_the_step_over_c(name, xp, rng):
    """c F and c lambda: the same direction, 1/c as long. Not so for other rules."""
    rule, options, _, _ = FORMULAS[name]
    A, G = factors(rng)
    v = xp.asarray(rng.normal(size=15))
    here = host(RULES[rule](move(xp, A, G), **options).solve(v))
    options = options | {"damping": 7.3 * LAMBDA}
    there = host(RULES[rule](move(xp, A, 7.3 * G), **options).solve(v))
    if "off" in name or "0.6" in name or name == "each factor":
        assert relative_error(7.3 * there, here) > 0.2
    else:
        assert_exact(7.3 * there, here)


@pytest.mark.parametrize("pi", ["trace", "frobenius", "operator", "off", 0.6])
def test_lbanns_two_numbers_are_square_roots_of_lambda(pi, xp, rng):
    """activations = errors = sqrt(lambda): factored Tikhonov. lambda itself: not."""
    matrix = move(xp, *factors(rng))
    expected = host(factored_tikhonov(matrix, LAMBDA, pi).to_dense())
    assert_exact(separate(matrix, GAMMA, GAMMA, pi).to_dense(), expected)
    plain = separate(matrix, LAMBDA, LAMBDA, pi).to_dense()
    assert relative_error(plain, expected) > 0.2


def test_a_mean_over_positions_without_pi_is_pi_of_their_root(xp, rng):
    """T (A / T + sqrt(lambda / T) I) (x) (G + sqrt(lambda / T) I), T = 7."""
    A, G = factors(rng)
    root = (LAMBDA / 7) ** 0.5
    expected = 7 * kron_by_loops(plus(A / 7, root), plus(G, root))
    matrix = move(xp, A, G)
    assert_exact(factored_tikhonov(matrix, LAMBDA, 7**0.5).to_dense(), expected)
    off = factored_tikhonov(matrix, LAMBDA, "off").to_dense()
    assert relative_error(off, expected) > 0.2


# Limits.


def sine(u, v):
    """Of the angle between two vectors: the part of u beside v."""
    u, v = host(u).ravel(), host(v).ravel()
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    return float(np.linalg.norm(u - (u @ v) * v))


@pytest.mark.parametrize("name", [name for name in FORMULAS if "sep" not in name])
def test_the_direction_becomes_the_gradient_under_large_damping(name, xp, rng):
    """At gamma = 1e4 within 1e-3; at the usual gamma far from it.

    The angle falls as 1 / lambda for exact damping, and as 1 / gamma for factored: what
    lambda is to one rule, it is not to the other.
    """
    rule, options, _, _ = FORMULAS[name]
    matrix, gradient = move(xp, *factors(rng)), xp.asarray(rng.normal(size=15))

    def angle(damping):
        damped = RULES[rule](matrix, **(options | {"damping": damping}))
        return sine(damped.solve(gradient), gradient)

    assert angle(LAMBDA) > 0.02
    assert angle(1e8) < 1e-3
    rate = angle(1e8) / angle(1e6)
    assert abs(rate / (0.1 if rule == "factored_tikhonov" else 0.01) - 1) < 0.01


def test_large_damping_of_the_errors_leaves_activations_to_precondition(xp, rng):
    """A^-1 alone, as in LBANN's example: neither the gradient nor K-FAC's direction."""
    A, G = factors(rng)
    V = rng.normal(size=(5, 3))
    v = xp.asarray(V.reshape(-1))
    found = separate(move(xp, A, G), activations=0.01, errors=1e3).solve(v)
    one_sided = np.linalg.solve(plus(A, 0.01), V)
    assert sine(found, xp.asarray(one_sided)) < 1e-3
    assert sine(found, v) > 0.2
    both = separate(move(xp, A, G), activations=0.01, errors=0.01).solve(v)
    assert sine(found, both) > 0.2


# A dead layer in a network.


def test_a_dead_layer_is_damped_by_lambda_alone(xp, rng):
    """Units that never answer: their layer's G is zero, and so is that below."""
    network = chain(ReLU)
    params, x = parameters(network, rng, xp), inputs(rng, xp)
    dead = host(params[1])
    dead[-1] = -1e3  # the biases of the second layer
    params[1] = xp.asarray(dead)
    found = factored_tikhonov(curvature(network, params, x), LAMBDA)
    for block, alive in zip(found.blocks, (False, False, True), strict=True):
        gap = relative_error(block.to_dense(), LAMBDA * np.eye(block.size))
        assert (gap > 0.1) if alive else (gap < 1e-12)
    chain_factors = curvature(network, params, x, "block_tridiagonal")
    coupled = factored_tikhonov(chain_factors, LAMBDA)
    assert_exact(coupled.to_dense(), host(found.to_dense()))  # nothing to couple
    v = xp.asarray(rng.normal(size=found.size))
    assert_exact(coupled.solve(v), host(found.solve(v)))
