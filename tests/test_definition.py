"""The witness, against numbers worked by hand, closed forms and laws.

None of the functions here is made of this package's layers.
"""

from __future__ import annotations

import builtins
import math
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
import scipy.sparse.linalg
import scipy.special
import scipy.stats

from helpers import assert_exact, imports, relative_error
from kfac_ref import definition


def waves(theta, x):
    """Two inputs, five parameters, two outputs, nonlinear in everything."""
    a, b, c, d, e = theta
    s = anp.sin(a * x[:, 0] + b * x[:, 1] ** 2)
    return anp.stack([c * s + b, anp.cos(d * s * x[:, 1]) + e * a], axis=1)


def wave(theta, x):
    """The first output alone: the Poisson outcomes of two would be about 900."""
    return waves(theta, x)[:, :1]


THETA = np.array([0.7, -0.4, 1.3, 0.9, 0.2])
X = np.random.default_rng(1).normal(size=(7, 2))


class Case(NamedTuple):
    log_prob: object
    outcomes: object
    y: np.ndarray
    function: object

    def loss(self, z, y):
        return -self.log_prob(z, y)


def _labels(rng):
    return {
        "categorical": rng.integers(0, 2, 7),
        "bernoulli": rng.integers(0, 2, (7, 2)),
        "normal": rng.normal(size=(7, 2)),
        "normal_mean_variance": rng.normal(size=(7, 1)),
        "poisson": rng.integers(0, 5, (7, 1)),
    }


CASES = {
    name: Case(
        getattr(definition, f"{name}_log_prob"),
        getattr(definition, f"{name}_outcomes"),
        y,
        wave if name == "poisson" else waves,
    )
    for name, y in _labels(np.random.default_rng(2)).items()
}
every_case = pytest.mark.parametrize("name", CASES)


# By hand


def line(theta, x):
    """z = theta_0 x + theta_1."""
    return theta[0] * x + theta[1]


def test_linear_regression_by_hand():
    """x = 1, 2; y = 4, 1; theta = (2, 1): z = 3, 5, residuals z - y = -1, 4.

    Variance 1/2: the loss is the squared error, its Hessian 2. With rows (x, 1),
    F = 2/2 ([1 1; 1 1] + [4 2; 2 1]), gradients 2 r (x, 1) = (-2, -2), (16, 8).
    """
    theta, x, y = (
        np.array([2.0, 1.0]),
        np.array([[1.0], [2.0]]),
        np.array([[4.0], [1.0]]),
    )

    def loss(z, y):
        return anp.sum((y - z) ** 2)

    log_prob = partial(definition.normal_log_prob, variance=0.5)
    outcomes = partial(definition.normal_outcomes, variance=0.5)
    F = np.array([[5.0, 3.0], [3.0, 2.0]])
    assert_exact(definition.fisher(line, theta, x, log_prob, outcomes), F)
    assert_exact(definition.ggn(line, theta, x, y, loss), F)
    assert_exact(definition.hessian(line, theta, x, y, loss), F)
    E = np.array([[130.0, 66.0], [66.0, 34.0]])
    assert_exact(definition.empirical_fisher(line, theta, x, y, loss), E)
    v = np.array([1.0, -2.0])
    product = definition.fisher_product(line, theta, x, log_prob, outcomes, v)
    assert_exact(product, np.array([-1.0, -1.0]))
    for name, expected in (
        ("ggn_product", [-1.0, -1.0]),
        ("hessian_product", [-1.0, -1.0]),
        ("empirical_fisher_product", [-2.0, -2.0]),
    ):
        product = getattr(definition, name)(line, theta, x, y, loss, v)
        assert_exact(product, np.array(expected))


def test_logistic_regression_in_closed_form(rng):
    """F = GGN = Hessian = X^T diag(p (1 - p)) X / N; the empirical one is another."""
    x, theta = rng.normal(size=(7, 5)), rng.normal(size=5)
    y = 1.0 * (rng.random((7, 1)) < 0.5)

    def linear(theta, x):
        return anp.dot(x, theta)[:, None]

    p = scipy.special.expit(x @ theta)
    F = x.T @ np.diag(p * (1 - p)) @ x / 7
    E = x.T @ np.diag((p - y[:, 0]) ** 2) @ x / 7
    case = CASES["bernoulli"]
    assert_exact(definition.fisher(linear, theta, x, case.log_prob, case.outcomes), F)
    assert_exact(definition.ggn(linear, theta, x, y, case.loss), F)
    assert_exact(definition.hessian(linear, theta, x, y, case.loss), F)
    assert_exact(definition.empirical_fisher(linear, theta, x, y, case.loss), E)
    assert relative_error(E, F) > 0.1


def test_softmax_regression_in_closed_form(rng):
    """F = 1/N sum_n x x^T (x) (diag(p) - p p^T), theta = W.ravel() of W (5, 3)."""
    x, theta = rng.normal(size=(7, 5)), rng.normal(size=15)

    def linear(theta, x):
        return anp.dot(x, theta.reshape(5, 3))

    p = scipy.special.softmax(x @ theta.reshape(5, 3), axis=1)
    outer = [
        np.kron(np.outer(a, a), np.diag(q) - np.outer(q, q))
        for a, q in zip(x, p, strict=True)
    ]
    case = CASES["categorical"]
    F = definition.fisher(linear, theta, x, case.log_prob, case.outcomes)
    assert_exact(F, sum(outer) / 7)


def test_hessian_by_hand_where_it_is_not_the_ggn():
    """z = sin(theta x), x = pi/6, theta = 1, y = 2, squared error: z = 1/2, J = x c.

    GGN = 2 x^2 c^2 = 3/2 x^2; the Hessian adds 2 (z - y) (-x^2 sin) = 3/2 x^2.
    """
    theta, x, y = np.ones(1), np.array([[math.pi / 6]]), np.array([[2.0]])

    def sine(theta, x):
        return anp.sin(theta[0] * x)

    def loss(z, y):
        return anp.sum((y - z) ** 2)

    square = (math.pi / 6) ** 2
    assert_exact(definition.ggn(sine, theta, x, y, loss), np.array([[1.5 * square]]))
    assert_exact(
        definition.hessian(sine, theta, x, y, loss), np.array([[3.0 * square]])
    )


# Laws, on functions of sines


@every_case
def test_fisher_is_the_ggn_for_natural_parameters(name):
    """And is not it for the mean and variance of a normal, nor the Hessian anywhere."""
    case = CASES[name]
    F = definition.fisher(case.function, THETA, X, case.log_prob, case.outcomes)
    G = definition.ggn(case.function, THETA, X, case.y, case.loss)
    H = definition.hessian(case.function, THETA, X, case.y, case.loss)
    E = definition.empirical_fisher(case.function, THETA, X, case.y, case.loss)
    if name == "normal_mean_variance":
        assert relative_error(G, F) > 0.1
    else:
        assert_exact(G, F)
    assert relative_error(H, G) > 0.05
    assert relative_error(E, F) > 0.1
    for M in (F, G, H, E):
        assert_exact(M.T, M)


@every_case
def test_fisher_is_the_expected_ggn(name):
    """Over the outcomes, E[GGN] = F for every distribution, natural or not."""
    case = CASES[name]
    z = case.function(THETA, X)
    J = autograd.jacobian(case.function)(THETA, X)
    F = 0.0
    for J_n, z_n in zip(J, z, strict=True):
        labels, p = case.outcomes(z_n)
        H_n = sum(
            p_y * autograd.hessian(case.loss)(z_n, y)
            for y, p_y in zip(labels, p, strict=True)
        )
        F = F + J_n.T @ H_n @ J_n / 7
    assert_exact(
        definition.fisher(case.function, THETA, X, case.log_prob, case.outcomes), F
    )


@every_case
def test_products_are_the_dense_columns(name):
    case, x = CASES[name], X[:3]
    labels, model = (case.y[:3], case.loss), (case.log_prob, case.outcomes)
    for matrix, arguments in (
        ("fisher", model),
        ("ggn", labels),
        ("empirical_fisher", labels),
        ("hessian", labels),
    ):
        M = getattr(definition, matrix)(case.function, THETA, x, *arguments)
        product = getattr(definition, f"{matrix}_product")
        columns = [product(case.function, THETA, x, *arguments, e) for e in np.eye(5)]
        assert_exact(np.stack(columns, axis=1), M)
        operator = definition.linear_operator(
            product, case.function, THETA, x, *arguments
        )
        assert isinstance(operator, scipy.sparse.linalg.LinearOperator)
        V = np.random.default_rng(3).normal(size=(5, 3))
        assert_exact(operator @ V, M @ V)
        assert_exact(operator.T @ V[:, 0], M @ V[:, 0])


@every_case
def test_fisher_is_the_hessian_of_the_kl_divergence(name):
    case = CASES[name]
    model = (case.log_prob, case.outcomes)
    F = definition.fisher(case.function, THETA, X, *model)
    kl = partial(
        definition.mean_kl,
        case.function,
        THETA,
        x=X,
        log_prob=model[0],
        outcomes=model[1],
    )
    assert_exact(autograd.hessian(kl)(THETA), F)
    assert abs(kl(THETA)) < 1e-15
    assert np.abs(autograd.grad(kl)(THETA)).max() < 1e-13


@every_case
def test_kl_minus_its_quadratic_falls_with_the_third_power(name):
    """The log-log slope between eps = 3e-4 and 1e-3 is 3, within 0.01 (found 0.0023).

    Larger eps bend it by their fourth power, smaller ones by rounding. An F wrong by
    2 % has another slope.
    """
    case = CASES[name]
    model = (case.log_prob, case.outcomes)
    F = definition.fisher(case.function, THETA, X, *model)
    d = np.random.default_rng(4).normal(size=5)
    eps = np.array([3e-4, 1e-3])
    rest = [
        abs(
            definition.mean_kl(case.function, THETA, THETA + e * d, X, *model)
            - e * e * d @ F @ d / 2
        )
        for e in eps
    ]
    slope = np.diff(np.log(rest)) / np.diff(np.log(eps))
    assert 2.99 < slope[0] < 3.01
    wrong = [r + 0.01 * e * e * d @ F @ d for r, e in zip(rest, eps, strict=True)]
    assert np.diff(np.log(wrong)) / np.diff(np.log(eps)) < 2.9


def test_examples_may_depend_on_each_other():
    """The whole batch goes through the function, as where a batch is standardised."""

    def standardised(theta, x):
        z = waves(theta, x)
        return z - anp.mean(z, axis=0)

    case = CASES["categorical"]
    model = (case.log_prob, case.outcomes)
    F = definition.fisher(standardised, THETA, X, *model)
    assert_exact(F, definition.ggn(standardised, THETA, X, case.y, case.loss))
    alone = [
        definition.fisher(standardised, THETA, X[n : n + 1], *model) for n in range(7)
    ]
    assert np.abs(sum(alone)).max() < 1e-14 < 1e-2 < np.abs(F).max()

    def losses(theta):
        each = zip(standardised(theta, X), case.y, strict=True)
        return anp.array([case.loss(z_n, y_n) for z_n, y_n in each])

    G = autograd.jacobian(losses)(THETA)
    E = definition.empirical_fisher(standardised, THETA, X, case.y, case.loss)
    assert_exact(E, G.T @ G / 7)


@every_case
def test_positions_are_summed(name):
    """z (N, T, C): the Fisher is the sum over the positions of one example."""
    case = CASES[name]
    x = X[:3, None] * np.array([1.0, -0.6])[:, None]  # (N, T, 2)

    def shared(theta, x):
        return anp.stack([case.function(theta, x[:, t]) for t in range(2)], axis=1)

    model = (case.log_prob, case.outcomes)
    F = definition.fisher(shared, THETA, x[:1], *model)
    each = [definition.fisher(case.function, THETA, x[:1, t], *model) for t in range(2)]
    assert_exact(F, sum(each))
    y = case.y[:6].reshape(3, 2, *case.y.shape[1:])
    G = definition.ggn(shared, THETA, x, y, case.loss)
    each = [
        definition.ggn(case.function, THETA, x[:, t], y[:, t], case.loss)
        for t in range(2)
    ]
    assert_exact(G, sum(each))
    v = np.arange(5.0)
    assert_exact(definition.ggn_product(shared, THETA, x, y, case.loss, v), G @ v)


# The textbook distributions and their outcomes


@pytest.mark.parametrize(
    "name, y, reference",
    [
        ("categorical", 1, lambda z: scipy.special.log_softmax(z)[1]),
        ("bernoulli", [1, 0], lambda z: scipy.stats.bernoulli(scipy.special.expit(z))),
        ("normal", [0.3, -2.0], lambda z: scipy.stats.norm(z, 1.0)),
        (
            "normal_mean_variance",
            [0.3],
            lambda z: scipy.stats.norm(z[0], np.exp(z[1] / 2)),
        ),
        ("poisson", [3, 0], lambda z: scipy.stats.poisson(np.exp(z))),
    ],
)
def test_log_probs_are_those_of_scipy(name, y, reference):
    z, y = np.array([0.4, -1.1]), np.array(y)
    expected = reference(z)
    if name != "categorical":
        kind = "logpdf" if "normal" in name else "logpmf"
        expected = getattr(expected, kind)(y).sum()
    assert_exact(getattr(definition, f"{name}_log_prob")(z, y), np.float64(expected))


def test_variance_of_the_normal():
    z, y = np.array([0.4, -1.1]), np.array([2.0, 0.3])
    expected = scipy.stats.norm(z, np.sqrt(0.7)).logpdf(y).sum()
    assert_exact(definition.normal_log_prob(z, y, 0.7), np.float64(expected))


@every_case
def test_probabilities_of_the_outcomes_sum_to_one(name):
    labels, p = CASES[name].outcomes(np.array([0.4, -1.1]))
    assert len(labels) == len(p) == len({tuple(np.ravel(y)) for y in labels})
    assert abs(p.sum() - 1.0) < 1e-14


@pytest.mark.parametrize("name", ["categorical", "bernoulli", "poisson"])
def test_outcomes_have_the_probabilities_of_log_prob(name):
    z = np.array([0.4, -1.1])
    labels, p = CASES[name].outcomes(z)
    expected = np.exp([CASES[name].log_prob(z, y) for y in labels])
    assert_exact(p, expected)


def test_quadrature_has_the_moments_of_a_normal():
    """3 nodes: exact up to degree 5; the sixth moment, 15 sigma^6, is missed."""
    labels, p = definition.normal_outcomes(np.array([0.4]), variance=0.7)
    r = np.ravel(labels) - 0.4
    for degree, moment in ((1, 0), (2, 0.7), (3, 0), (4, 3 * 0.49), (5, 0)):
        assert abs(p @ r**degree - moment) < 1e-13
    assert abs(p @ r**6 - 15 * 0.343) > 1.0
    labels, p = definition.normal_outcomes(np.array([0.4]), variance=0.7, nodes=4)
    assert abs(p @ (np.ravel(labels) - 0.4) ** 6 - 15 * 0.343) < 1e-12


def test_mean_and_variance_need_three_nodes():
    """F = diag(e^-s, 1/2); with 2 nodes (y - m)^2 never varies, and 1/2 becomes 0."""
    z, rule = np.array([0.4, -0.3]), definition.normal_mean_variance_outcomes
    log_prob = definition.normal_mean_variance_log_prob

    def fisher(nodes):
        outcomes = partial(rule, nodes=nodes)
        return definition.fisher(lambda t, x: t[None], z, X[:1], log_prob, outcomes)

    assert_exact(fisher(3), np.diag([math.exp(0.3), 0.5]))
    assert np.abs(fisher(2) - np.diag([math.exp(0.3), 0.0])).max() < 1e-14


def test_tail_of_the_poisson_outcomes():
    labels, p = definition.poisson_outcomes(np.array([1.5]))
    last = int(np.max(labels))
    rate = math.exp(1.5)
    assert (
        scipy.stats.poisson.sf(last, rate)
        < 1e-17
        <= scipy.stats.poisson.sf(last - 1, rate)
    )
    y = np.ravel(labels)
    assert abs(p @ y - rate) < 1e-13 and abs(p @ (y - rate) ** 2 - rate) < 1e-13


# Errors


@pytest.mark.parametrize(
    "theta, x, y, message",
    [
        (THETA[None], X, CASES["normal"].y, r"theta of shape \(1, 5\)"),
        (THETA, X, CASES["normal"].y[:3], "7, 7, 3 examples"),
        (THETA, X[:4], CASES["normal"].y, "4, 4, 7 examples"),
    ],
)
def test_sizes_that_do_not_fit(theta, x, y, message):
    def function(theta, x):
        return waves(theta.reshape(-1), x)

    case = CASES["normal"]
    for matrix in ("ggn", "empirical_fisher", "hessian"):
        with pytest.raises(ValueError, match=message):
            getattr(definition, matrix)(function, theta, x, y, case.loss)
        v = np.ones(5)
        with pytest.raises(ValueError, match=message):
            getattr(definition, f"{matrix}_product")(
                function, theta, x, y, case.loss, v
            )
    if theta.ndim == 2:
        with pytest.raises(ValueError, match=message):
            definition.fisher(function, theta, x, case.log_prob, case.outcomes)


def test_without_autograd_it_says_so(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.startswith("autograd"):
            raise ImportError(f"No module named {name}")
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    case = CASES["normal"]
    with pytest.raises(ImportError, match="not installed; pip install autograd"):
        definition.hessian(waves, THETA, X, case.y, case.loss)


def test_it_shares_no_code_with_the_package():
    found = set()
    for file in Path(definition.__file__).parent.glob("*.py"):
        found |= {name for _, name in imports(file)}
    own = {name for name in found if name.startswith("kfac_ref.definition.")}
    others = {name.split(".")[0] for name in found - own}
    assert others - set(sys.stdlib_module_names) == {"numpy", "scipy", "autograd"}
    assert len(own) == 3
