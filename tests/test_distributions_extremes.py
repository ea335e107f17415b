"""Finite results wherever the truth is finite."""

from __future__ import annotations

import math

import autograd
import numpy as np

from distribution_cases import close
from helpers import assert_exact, host
from kfac_ref.distributions import (
    Bernoulli,
    Categorical,
    NormalMeanVariance,
    Poisson,
)


def test_extreme_logits_of_bernoulli(xp):
    z = xp.asarray([[800.0, -800.0, 40.0]])
    right, wrong = xp.asarray([[1, 0, 1]]), xp.asarray([[0, 1, 0]])
    b, tail = Bernoulli(), 1 / (1 + math.exp(40.0))
    close(b.nll(z, right), [tail])
    close(b.nll(z, wrong), [1640.0])
    close(b.gradient(z, right)[:, 2], [-tail])
    assert host(b.gradient(z, right))[0, :2].tolist() == [0.0, 0.0]
    assert 1 / (1 + np.exp(-40.0)) - 1 == 0.0  # what p - y would give
    close(b.gradient(z, wrong)[:, :2], [[1.0, -1.0]])
    for i, root in enumerate([math.exp(-400), math.exp(-400), math.sqrt(tail)]):
        close(b.root_diagonal(z)[0, i], root)


def test_extreme_logits_of_categorical(xp):
    z, c = xp.asarray([[800.0, -800.0, 799.0]]), Categorical()
    log_sum = math.log1p(math.exp(-1))
    for y, expected in ((0, log_sum), (1, 1600 + log_sum), (2, 1 + log_sum)):
        close(c.nll(z, xp.asarray([y])), [expected])
    p = np.array([1, 0, math.exp(-1)]) / (1 + math.exp(-1))
    close(c.gradient(z, xp.asarray([1])), [p - [0, 1, 0]])
    close(c.fisher(z), [np.diag(p) - np.outer(p, p)])
    assert np.isfinite(host(c.root(z))).all()
    shift = xp.asarray([[1e9, 1e9 + 1, 1e9 + 2]])
    expected = math.log(1 + math.e + math.e**2)
    close(c.nll(shift, xp.asarray([0])), [expected])


def test_categorical_keeps_its_digits_where_one_class_has_all(xp):
    """The references never subtract: F_ii = sum of p_i p_j, 1 - p_i of p_j, j != i."""
    z, c = np.array([[0.5, 40.0, 1.5, -3.0, 0.0]]), Categorical()
    e = np.exp(z[0] - 40.0)
    p, others = e / e.sum(), 1.0 - np.eye(5)
    off = np.outer(p, p) * others
    F, rest = np.diag(off.sum(axis=1)) - off, others[1] @ p
    z = xp.asarray(z)
    close(c.nll(z, xp.asarray([1])), [math.log1p(others[1] @ e)])
    g = p.copy()
    g[1] = -rest
    close(c.gradient(z, xp.asarray([1])), [g])
    assert p[1] - 1.0 == 0.0 and rest > 1e-17  # what p - 1 would give
    close(c.fisher(z), [F])
    B = host(c.root(z))[0]
    assert_exact(B @ B.T, F)
    assert_exact(c.root_transpose(z, xp.asarray(np.eye(5)[:, None]))[:, 0], B)


def test_ties_have_the_right_derivative():
    """At equal logits, as from zero weights: autograd must not split the maximum."""
    z, y = np.zeros((1, 5)), np.array([3])
    total = autograd.grad(lambda z: Categorical().loss(z, y).sum())
    close(total(z), [[0.2, 0.2, 0.2, -0.8, 0.2]])
    close(Categorical().gradient(z, y), [[0.2, 0.2, 0.2, -0.8, 0.2]])


def test_extreme_log_variances(xp):
    """s = -800: r^2 e^-s is 0 * inf for tiny r if it is not (r e^(-s/2))^2."""
    d, log_2pi = NormalMeanVariance(), math.log(2 * math.pi)
    z = xp.asarray([[0.0, -800.0], [0.0, -800.0], [0.0, 800.0]])
    y = xp.asarray([[0.0], [1e-170], [3.0]])
    t = 1e-170 * math.exp(400)
    expected = [(-800 + log_2pi) / 2, (t * t - 800 + log_2pi) / 2, (800 + log_2pi) / 2]
    close(d.nll(z, y), expected)
    g = host(d.gradient(z, y))
    close(g[:, 1], [0.5, 0.5 - t * t / 2, 0.5])
    close(g[1:2, 0], [-t * math.exp(400)])
    assert g[2, 0] == 0.0  # -3 exp(-800) is no float64
    close(d.root_diagonal(z)[2], [math.exp(-400), math.sqrt(0.5)])
    assert np.isfinite(host(d.hessian_product(z, y, 0.0 * z))).all()


def test_extreme_log_rates(xp):
    z = xp.asarray([[-800.0], [-800.0], [700.0]])
    y, p = xp.asarray([[0], [3], [0]]), Poisson()
    nll = host(p.nll(z, y))
    assert nll[0] == 0.0
    close(nll[1:2], [2400 + math.log(6)])
    close(nll[2:], [math.exp(700)])
    for i, exponent in enumerate([-400, -400, 350]):
        close(p.root_diagonal(z)[i, 0], math.exp(exponent))


# Weights
