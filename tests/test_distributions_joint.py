"""Several losses with weights, and networks with them."""

from __future__ import annotations

import itertools
import math
from functools import partial

import autograd
import numpy as np
import pytest

from distribution_cases import (
    CASES,
    CATEGORICAL,
    NORMAL,
    TWO,
    slices,
    textbook_loss,
)
from helpers import assert_exact, host, relative_error
from kfac_ref import definition
from kfac_ref.distributions import (
    Bernoulli,
    Categorical,
    Joint,
    NormalMeanVariance,
)
from kfac_ref.errors import Unsupported
from kfac_ref.exact.dense import fisher_matrix, ggn_matrix
from kfac_ref.layers import Dense, Tanh
from kfac_ref.network import Network
from kfac_ref.pairs import propagate


def test_weights_enter_as_w_as_root_and_squared(xp):
    """Over all 20 label pairs: E[sampled sampled^T] = w F, E[grad grad^T] = w^2 F."""
    w = 0.3, 2.5
    joint = Joint([(Categorical(), 5, w[0]), (Bernoulli(), 2, w[1])])
    plain = Joint([(Categorical(), 5, 1.0), (Bernoulli(), 2, 1.0)])
    z = np.random.default_rng(3).normal(size=(1, 7))
    both = itertools.product(
        zip(*definition.categorical_outcomes(z[0, :5]), strict=True),
        zip(*definition.bernoulli_outcomes(z[0, 5:]), strict=True),
    )
    outcomes = [(a, b, p * q) for (a, p), (b, q) in both]
    y = [xp.asarray(np.stack([o[i] for o in outcomes])[:, None]) for i in range(2)]
    p = np.array([o[2] for o in outcomes])
    z = xp.asarray(z)

    def moment(g):
        return np.einsum("yi,yj,y->ij", host(g)[:, 0], host(g)[:, 0], p)

    F = host(plain.fisher(z))[0]
    scale = np.repeat(w, [5, 2])
    assert_exact(joint.fisher(z)[0], scale * F)
    assert_exact(moment(joint.sampled_gradient(z, y)), scale * F)
    assert_exact(moment(joint.gradient(z, y)), scale**2 * F)
    assert relative_error(scale**2 * F, scale * F) > 0.5
    assert_exact(joint.root(z)[0], np.sqrt(scale)[:, None] * host(plain.root(z))[0])
    assert_exact(
        joint.sampled_gradient(z, y) * xp.asarray(np.sqrt(scale)), joint.gradient(z, y)
    )
    assert Categorical().sampled_gradient(z, y[0]).shape == (20, 1, 7)


def joint_network(rng):
    network = Network([Dense(4, 3), Tanh(), Dense(3, 8)], TWO)
    params = [W + 0.3 * rng.normal(size=W.shape) for W in network.init(rng)]
    return network, params, rng.normal(size=(7, 4))


def test_joint_losses_of_a_network(xp, rng):
    """Loss, gradient and Fisher are weighted sums of those from the definition."""
    network, host_params, x = joint_network(rng)
    y = [CATEGORICAL.labels(rng, (7,)), NORMAL.labels(rng, (7,))]
    theta = network.flatten(host_params)

    def part(theta, x, s):
        return network.forward(network.unflatten(theta), x)[0][..., s]

    def loss(theta):
        each = zip(part(theta, x, slice(None)), *y, strict=True)
        return sum(textbook_loss("joint", z_n, y_n) for z_n, *y_n in each) / 7

    params = [xp.asarray(W) for W in host_params]
    device_y = [xp.asarray(y_i) for y_i in y]
    actual, gradient = network.linearize(params, xp.asarray(x)).loss_and_gradient(
        device_y
    )
    assert_exact(actual, loss(theta))
    assert_exact(network.flatten(gradient), autograd.grad(loss)(theta))
    expected = sum(
        w * definition.fisher(partial(part, s=s), theta, x, p.log_prob, p.outcomes)
        for (p, w), s in zip(CASES["joint"][1], slices("joint"), strict=True)
    )
    F = fisher_matrix(network, params, xp.asarray(x))
    assert_exact(F.to_dense(), expected)


def test_joint_losses_reach_every_estimate(xp, rng):
    """`sampled` takes sqrt(w) grad of sampled labels, `empirical` w grad."""
    network, params, x = joint_network(rng)
    params, x = [xp.asarray(W) for W in params], xp.asarray(x)
    y = [xp.asarray(CATEGORICAL.labels(rng, (7,))), xp.asarray(rng.normal(size=(7, 3)))]
    z = network.predict(params, x)
    drawn = TWO.sample(z, np.random.default_rng(8), 2)
    expected = {
        "empirical": TWO.gradient(z, y)[None],
        "sampled": TWO.sampled_gradient(z, drawn) / math.sqrt(2),
    }
    for estimate, samples in (("empirical", 1), ("sampled", 2)):
        again = np.random.default_rng(8)
        made = propagate(
            network.linearize(params, x), estimate, y=y, rng=again, samples=samples
        )
        for n in range(7):
            g = made.part(n, n + 1).g()[-1]  # the last layer's g is dloss/dz
            assert_exact(g[:, 0, 0], expected[estimate][:, n])


def test_mean_variance_network_has_a_ggn_without_a_root(xp, rng):
    """The GGN comes from products; as a sum of outer products it does not exist."""
    network = Network([Dense(4, 3), Tanh(), Dense(3, 4)], NormalMeanVariance())
    params = [W + 0.3 * rng.normal(size=W.shape) for W in network.init(rng)]
    x, y = rng.normal(size=(7, 4)), rng.normal(size=(7, 2))
    expected = definition.ggn(
        lambda t, x: network.forward(network.unflatten(t), x)[0],
        network.flatten(params),
        x,
        y,
        lambda z, y: -definition.normal_mean_variance_log_prob(z, y),
    )
    params, x, y = [xp.asarray(W) for W in params], xp.asarray(x), xp.asarray(y)
    G = ggn_matrix(network, params, x, y)
    assert_exact(G.to_dense(), expected)
    assert (
        relative_error(G.to_dense(), fisher_matrix(network, params, x).to_dense()) > 0.1
    )
    with pytest.raises(Unsupported, match="use the Fisher"):
        propagate(network.linearize(params, x), "ggn", y=y).g()


# Types and errors
