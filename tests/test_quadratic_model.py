"""The coefficient solver: hand-worked numbers and the laws of its minimum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from helpers import assert_exact, host
from kfac_ref.distributions import squared_error
from kfac_ref.exact.dense import fisher_matrix
from kfac_ref.exact.products import (
    FisherProduct,
)
from kfac_ref.layers import Dense as DenseLayer
from kfac_ref.matrices import DenseMatrix
from kfac_ref.network import Network
from kfac_ref.quadratic_model import quadratic_model, reduction_ratio
from kfac_ref.structures import curvature
from networks import N, chain, classes, inputs, linear, parameters

C = np.array([[4.0, 1.0], [1.0, 3.0]])
GRADIENT = np.array([1.0, 2.0])
FIRST, SECOND = np.array([1.0, 0.0]), np.array([1.0, 1.0])


def model(xp, directions, gradient=GRADIENT, matrix=C, **options):
    moved = [xp.asarray(d) for d in directions]
    dense = DenseMatrix(xp.asarray(matrix))
    return quadratic_model(moved, xp.asarray(gradient), dense, **options)


def test_two_directions_by_hand(xp):
    """The numbers of the module's docstring."""
    found = model(xp, [FIRST, SECOND])
    c = found.solve(damping=0.5)
    assert_exact(found.matrix(0.5), np.array([[9 / 2, 11 / 2], [11 / 2, 10]]))
    assert_exact(c, np.array([26 / 59, -32 / 59]))
    assert abs(found.value(c, 0.5) + 35 / 59) < 1e-15


def test_one_direction_by_hand(xp):
    found = model(xp, [FIRST])
    assert_exact(found.solve(damping=0.5), np.array([-2 / 9]))
    assert abs(found.value([-2 / 9], 0.5) + 1 / 9) < 1e-15
    assert abs(found.value([-2 / 9], 0.0) - (4 / 2 * 4 / 81 - 2 / 9)) < 1e-15


def test_l2_inside_and_outside_by_hand(xp):
    """eta = (0.3, 0): (1, 0) sees 4 + 0.3 + lambda, (0, 1) sees 3 + lambda."""
    eta = xp.asarray(np.array([0.3, 0.0]))
    axes = [np.array([1.0, 0.0]), np.array([0.0, 1.0])]
    for d, inside, outside in zip(axes, (4.8, 3.5), (4.5, 3.5), strict=True):
        found = model(xp, [d], l2=eta)
        slope = GRADIENT @ d
        assert_exact(found.solve(0.5), np.array([-slope / inside]))
        assert_exact(found.solve(0.5, l2=False), np.array([-slope / outside]))
    same = model(xp, axes, l2=0.3)
    assert_exact(same.matrix(0.5), C + 0.8 * np.eye(2))
    assert_exact(same.matrix(0.5, l2=False), C + 0.5 * np.eye(2))


def test_any_coefficient_can_be_held_fixed(xp):
    found = model(xp, [FIRST, SECOND])
    K = np.array([[4.5, 5.5], [5.5, 10.0]])
    alpha, mu = found.solve(0.5, fixed={1: 0.7})
    assert mu == 0.7 and abs(alpha + (1 + 5.5 * 0.7) / 4.5) < 1e-15
    alpha, mu = found.solve(0.5, fixed={0: -0.2})
    assert alpha == -0.2 and abs(mu + (3 - 5.5 * 0.2) / 10) < 1e-15
    neither = found.solve(0.5, fixed={0: -0.2, 1: 0.7})
    assert (neither == [-0.2, 0.7]).all()
    values = [
        found.value(c, 0.5)
        for c in (found.solve(0.5), found.solve(0.5, fixed={1: 0.7}), neither)
    ]
    assert values[0] < values[1] < values[2]
    assert_exact(found.matrix(0.5), K)


@pytest.mark.parametrize("second", [np.zeros(2), -3.7 * FIRST])
def test_zero_and_parallel_directions_get_zero(xp, second):
    """The first step has no last update; a repeated one adds nothing."""
    alone = model(xp, [FIRST]).solve(0.5)
    c = model(xp, [FIRST, second]).solve(0.5)
    assert_exact(c[:1], alone)
    assert c[1] == 0.0
    swapped = model(xp, [second, FIRST])
    d = swapped.solve(0.5)
    assert_exact(d[0] * second + d[1] * FIRST, alone[0] * FIRST)


def test_all_directions_zero(xp):
    assert (model(xp, [0 * FIRST, 0 * FIRST]).solve(0.5) == 0).all()


@given(st.integers(1, 4), st.integers(5, 8), st.floats(0.0, 2.0))
@settings(deadline=None, max_examples=25)
def test_minimum_of_any_number_of_directions(m, P, damping):
    """Against a general minimiser on the definition of M."""
    rng = np.random.default_rng([m, P])
    X = rng.normal(size=(P + 3, P))
    matrix, gradient = X.T @ X, rng.normal(size=P)
    directions, eta = list(rng.normal(size=(m, P))), rng.uniform(0, 1, P)
    found = quadratic_model(directions, gradient, DenseMatrix(matrix), l2=eta)

    def M(c):
        delta = sum(ci * d for ci, d in zip(c, directions, strict=True))
        damped = matrix + np.diag(eta) + damping * np.eye(P)
        return 0.5 * delta @ damped @ delta + gradient @ delta

    c = found.solve(damping)
    assert abs(found.value(c, damping) / M(c) - 1) < 1e-11
    assert M(c) <= minimize(M, np.zeros(m)).fun + 1e-9 * abs(M(c))
    half = 0.5 * sum(ci * gradient @ d for ci, d in zip(c, directions, strict=True))
    assert abs(found.value(c, damping) / half - 1) < 1e-10  # M* = 1/2 grad.delta


def test_each_freedom_lowers_the_model(xp, rng):
    """M(alpha*, mu*) <= M(alpha*) <= M(raw), and M* = 1/2 grad.delta."""
    net = chain()
    params, x, y = parameters(net, rng, xp), inputs(rng, xp), classes(rng, xp)
    gradient, lam = net.flatten(net.gradient(params, x, y)), 0.03
    K = curvature(net, params, x)
    proposal = -1.0 * K.solve(gradient, lam)
    last = xp.asarray(0.1 * rng.normal(size=net.size))
    found = quadratic_model(
        [proposal, last], gradient, FisherProduct(net.linearize(params, x))
    )
    both, alone = found.solve(lam), found.solve(lam, fixed={1: 0.0})
    raw = found.value([1.0, 0.0], lam)
    assert found.value(both, lam) < found.value(alone, lam) < raw
    half = 0.5 * (found.slope @ both)
    assert abs(found.value(both, lam) / half - 1) < 1e-12
    F = host(fisher_matrix(net, params, x).to_dense())
    assert_exact(found.curvature[0, 0], host(proposal) @ F @ host(proposal))


def test_one_undamped_kfac_step_solves_linear_regression(xp, rng):
    """Full batch; the model says alpha = 1 by itself. Not so with two layers."""
    net = Network([DenseLayer(5, 3)], squared_error())
    params, x = parameters(net, rng, xp), inputs(rng, xp)
    y = xp.asarray(rng.normal(size=(N, 3)))
    gradient = net.flatten(net.gradient(params, x, y))
    proposal = -1.0 * curvature(net, params, x).solve(gradient)
    found = quadratic_model(
        [proposal], gradient, FisherProduct(net.linearize(params, x))
    )
    (alpha,) = found.solve(0.0)
    assert abs(alpha - 1) < 1e-12
    moved = net.unflatten(net.flatten(params) + proposal)
    a = np.concatenate([host(x), np.ones((N, 1))], axis=1)
    assert_exact(moved[0], np.linalg.lstsq(a, host(y), rcond=None)[0], 1e-11)
    before, after = float(net.loss(params, x, y)), float(net.loss(moved, x, y))
    assert abs(reduction_ratio(before, after, found.value([1.0], 0.0)) - 1) < 1e-11
    deep = linear(squared_error())
    params = parameters(deep, rng, xp)
    gradient = deep.flatten(deep.gradient(params, x, y))
    proposal = -1.0 * curvature(deep, params, x).solve(gradient, 1e-9)
    moved = deep.unflatten(deep.flatten(params) + proposal)
    assert float(deep.loss(moved, x, y)) > 1.01 * after


def test_float32_directions_that_are_parallel_to_rounding(rng):
    d = rng.normal(size=50).astype(np.float32)
    X = rng.normal(size=(60, 50)).astype(np.float32)
    found = quadratic_model([d, 0.3 * d], d, DenseMatrix(X.T @ X))
    assert found.solve(0.1)[1] == 0.0


@pytest.mark.parametrize(("damping", "expected"), [(1e-9, 1.0), (1e9, 2.0)])
def test_the_ratio_of_a_quadratic_loss_goes_from_1_to_2_with_lambda(
    rng, damping, expected
):
    root, gradient = rng.normal(size=(5, 5)), rng.normal(size=5)
    C = root @ root.T
    delta = -np.linalg.solve(C + damping * np.eye(5), gradient)
    change = 0.5 * delta @ C @ delta + gradient @ delta  # of the loss, exactly
    model = quadratic_model([delta], gradient, DenseMatrix(C))
    rho = reduction_ratio(0.0, change, model.value([1.0], damping))
    assert rho == pytest.approx(expected, rel=1e-6)


def test_the_reduction_ratio_is_true_over_predicted_change():
    assert reduction_ratio(2.0, 1.7, -0.4) == pytest.approx(0.75, rel=1e-14)
    assert reduction_ratio(2.0, 2.1, -0.4) < 0  # the loss rose
