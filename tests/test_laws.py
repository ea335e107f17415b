"""Laws of the Fisher and of K-FAC's error, each with a measured slope."""

from __future__ import annotations

import numpy as np

from helpers import host
from kfac_ref.backend import get_xp
from kfac_ref.distributions import Categorical, squared_error
from kfac_ref.exact.dense import fisher_matrix
from kfac_ref.layers import Dense, Tanh
from kfac_ref.layers.activations import Elementwise
from kfac_ref.network import Network
from kfac_ref.pairs import propagate
from kfac_ref.structures.dense import full
from networks import SIZES, N, chain, inputs, parameters
from test_exactness import gaps


def slope(x, y):
    return np.polyfit(np.log(x), np.log(y), 1)[0]


def log_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def mean_kl(z, moved):
    p, q = log_softmax(host(z)), log_softmax(host(moved))
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


def test_the_fisher_is_the_second_order_of_the_divergence(xp, rng):
    """KL = 1/2 d^T F d up to third order: the remainder has slope 3."""
    net = chain()
    params, x = parameters(net, rng, xp), inputs(rng, xp)
    F, theta = fisher_matrix(net, params, x), net.flatten(params)
    z, steps, slopes = net.predict(params, x), np.geomspace(3e-3, 1e-1, 6), []
    for _ in range(12):
        d = rng.normal(size=net.size)
        d = xp.asarray(d / np.linalg.norm(d))
        quadratic = 0.5 * float(d @ (F @ d))
        kl = [
            mean_kl(z, net.predict(net.unflatten(theta + float(e) * d), x))
            for e in steps
        ]
        remainder = np.abs(np.array(kl) - steps**2 * quadratic)
        slopes.append(slope(steps, remainder))
        wrong = np.abs(np.array(kl) - steps**2 * quadratic * 1.1)
        assert slope(steps, wrong) < 2.3  # a wrong F leaves a second-order remainder
    assert abs(np.median(slopes) - 3.0) < 0.05


def test_the_error_of_sampled_labels_falls_as_the_root_of_their_number(xp):
    """||F_MC - F||_2 ~ M^(-1/2)."""
    rng = np.random.default_rng(3)
    net = Network([Dense(4, 3), Tanh(), Dense(3, 2)], Categorical())
    params, x = parameters(net, rng, xp), inputs(rng, xp, 7, 4)
    exact = host(fisher_matrix(net, params, x).to_dense())
    numbers, mean_errors = [4**k for k in range(6)], []
    for M in numbers:
        errors = []
        for _ in range(10):
            found = propagate(net.linearize(params, x), "sampled", rng=rng, samples=M)
            errors.append(np.linalg.norm(host(full(found).to_dense()) - exact, 2))
        mean_errors.append(np.mean(errors))
    assert abs(slope(numbers, mean_errors) + 0.5) < 0.05


class PartlyTanh(Elementwise):
    """(1 - alpha) s + alpha tanh(s)."""

    alpha = 0.0

    def function(self, x):
        return (1 - self.alpha) * x + self.alpha * get_xp(x).tanh(x)

    def derivative(self, x, y):
        t = get_xp(x).tanh(x)
        return (1 - self.alpha) + self.alpha * (1 - t * t)


def test_the_error_of_kfac_is_first_order_in_the_nonlinearity(xp, rng, monkeypatch):
    net = chain(PartlyTanh, squared_error())
    params, x = parameters(net, rng, xp), inputs(rng, xp)
    alphas, found = np.array([1e-3, 1e-2, 1e-1]), []
    for alpha in alphas:
        monkeypatch.setattr(PartlyTanh, "alpha", float(alpha))
        found.append(gaps(propagate(net.linearize(params, x)))[:-1])
    for errors in np.array(found).T:
        assert abs(slope(alphas, errors) - 1.0) < 0.05
        assert errors[-1] > 1e-3


def test_the_error_of_kfac_is_second_order_in_the_spread_of_the_inputs(xp, rng):
    net = chain()
    params = parameters(net, rng, xp)
    centre, directions = rng.normal(0.4, 1, SIZES[0]), rng.normal(size=(N, SIZES[0]))
    spreads = np.array([1e-3, 1e-2, 1e-1])
    found = [
        gaps(propagate(net.linearize(params, xp.asarray(centre + e * directions))))
        for e in spreads
    ]
    for errors in np.array(found).T:
        assert abs(slope(spreads, errors) - 2.0) < 0.1
