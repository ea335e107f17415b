"""Networks: loss and gradient against autograd, flattening."""

from __future__ import annotations

import autograd
import numpy as np
import pytest

from helpers import assert_exact, host
from kfac_ref.backend import use
from kfac_ref.distributions import Categorical, Joint, Normal
from kfac_ref.errors import BackendError
from kfac_ref.exact.products import (
    FisherProduct,
)
from kfac_ref.layers import Dense, Residual, Sequential, Tanh
from kfac_ref.network import Network
from kfac_ref.pairs import propagate
from kfac_ref.structures.kronecker import kronecker
from networks import N, chain, classes, inputs, parameters


@pytest.fixture
def problem(xp, rng):
    net = chain()
    return net, parameters(net, rng, xp), inputs(rng, xp), classes(rng, xp)


def test_loss_is_the_mean_of_minus_log_p(problem):
    net, params, x, y = problem
    z = host(net.predict(params, x))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    expected = -np.log(p[np.arange(N), host(y)]).mean()
    assert_exact(float(net.loss(params, x, y)), expected)


def test_gradient_is_autograds(problem):
    net, params, x, y = problem
    x_host, y_host = host(x), host(y)

    def loss(matrices):
        z, _ = net.forward(matrices, x_host)
        return net.distribution.loss(z, y_host).mean()

    expected = autograd.grad(loss)(host(params))
    value, gradient = net.linearize(params, x).loss_and_gradient(y)
    assert_exact(float(value), float(net.loss(params, x, y)))
    for found, also, right in zip(
        gradient, net.gradient(params, x, y), expected, strict=True
    ):
        assert_exact(found, right)
        assert (host(found) == host(also)).all()


def test_one_linearization_serves_all_that_need_it(problem):
    net, params, x, y = problem
    at = net.linearize(params, x)
    assert float(at.loss(y)) == float(net.loss(params, x, y))
    for found, right in zip(
        at.loss_and_gradient(y)[1], net.gradient(params, x, y), strict=True
    ):
        assert (host(found) == host(right)).all()
    assert at.on(x) is at and len(at.on(x[:3]).z) == 3
    assert at.part(0, len(x)) is at
    assert (host(at.part(1, 3).z) == host(net.linearize(params, x[1:3]).z)).all()
    v = net.flatten(params)
    again = FisherProduct(net.linearize(params, x))
    assert (host(FisherProduct(at) @ v) == host(again @ v)).all()
    for memory in (2**28, 2**10):  # in one chunk, and in many
        pairs = propagate(at, memory=memory)
        expected = kronecker(propagate(net.linearize(params, x), memory=memory))
        assert (host(kronecker(pairs).to_dense()) == host(expected.to_dense())).all()


def test_the_forward_pass_is_made_once_and_when_it_is_asked_for(problem, monkeypatch):
    net, params, x, y = problem
    passes = []
    forward = net.body.forward
    monkeypatch.setattr(
        net.body, "forward", lambda *of: passes.append(0) or forward(*of)
    )
    at = net.linearize(params, x)
    assert not passes
    at.loss_and_gradient(y), at.jvp([W[None] for W in params]), at.inputs(), at.z
    assert len(passes) == 1


def test_jvp_and_vjp_are_adjoint(problem, rng, xp):
    net, params, x, _ = problem
    at = net.linearize(params, x)
    change = [xp.asarray(rng.normal(size=(2, d, o))) for d, o in net.shapes]
    dz = xp.asarray(rng.normal(size=(2, *at.z.shape)))
    forward = host(at.jvp(change)) * host(dz)
    products = [
        (host(a) * host(b)).sum() for a, b in zip(change, at.vjp(dz), strict=True)
    ]
    assert abs(forward.sum() / sum(products) - 1) < 1e-12


def test_flatten_is_row_major_block_after_block(problem, xp, rng):
    net, params, *_ = problem
    theta = net.flatten(params)
    expected = np.concatenate([W.ravel() for W in host(params)])
    assert (host(theta) == expected).all() and theta.shape == (net.size,)
    for W, same in zip(params, net.unflatten(theta), strict=True):
        assert (host(W) == host(same)).all()
    stack = xp.asarray(rng.normal(size=(2, net.size)))
    assert (host(net.flatten(net.unflatten(stack))) == host(stack)).all()
    a, g = rng.normal(size=6), rng.normal(size=4)
    assert_exact(np.outer(a, g).ravel(), np.kron(a, g))


def test_init_is_made_on_the_current_backend_and_dtype():
    net = chain()
    params = net.init(np.random.default_rng(0), dtype=np.float32)
    assert [W.shape for W in params] == net.shapes
    assert all(W.dtype == np.float32 for W in params)
    with use("numpy"):
        again = net.init(np.random.default_rng(0), dtype=np.float32)
    assert all((a == b).all() for a, b in zip(params, again, strict=True))


def test_names_and_repr():
    net = Network(Sequential([Dense(5, 4), Tanh(), Dense(4, 3)]), Categorical())
    assert net.names == ["0: Dense(5, 4)", "2: Dense(4, 3)"]
    text = "Network(Sequential([Dense(5, 4), Tanh(), Dense(4, 3)]), Categorical())"
    assert repr(net) == text
    assert net.size == 6 * 4 + 5 * 3


def test_labels_of_several_losses(xp, rng):
    joint = Joint([(Categorical(), 2, 0.7), (Normal(0.5), 1, 1.3)])
    net = chain(distribution=joint)
    params, x = parameters(net, rng, xp), inputs(rng, xp)
    y = [xp.asarray(rng.integers(0, 2, N)), xp.asarray(rng.normal(size=(N, 1)))]
    z = net.predict(params, x)
    expected = 0.7 * float(Categorical().loss(z[:, :2], y[0]).mean())
    expected += 1.3 * float(Normal(0.5).loss(z[:, 2:], y[1]).mean())
    assert_exact(float(net.loss(params, x, y)), expected)


def test_a_network_of_one_layer_and_one_without_parameters(xp, rng):
    x = inputs(rng, xp)
    for layers in ([Tanh()], Tanh()):
        assert Network(layers, Categorical()).predict([], x).shape == x.shape
    assert repr(Residual(Dense(4, 4))) == "Residual([Dense(4, 4)])"
    assert Network([Dense(4, 3)], Normal()).size == 15


def test_labels_of_several_losses_are_a_list_or_a_tuple(xp):
    net = Network(Dense(4, 8), Joint([(Categorical(), 5, 0.3), (Normal(0.7), 3, 2.5)]))
    params, x = [xp.asarray(np.ones((5, 8)))], xp.asarray(np.ones((7, 4)))
    y = xp.asarray(np.zeros(7, int)), xp.asarray(np.zeros((7, 3)))
    assert float(net.loss(params, x, y)) == float(net.loss(params, x, list(y))) > 0


def test_backends_do_not_mix(problem, xp):
    net, params, x, y = problem
    if xp is np:
        with pytest.raises(
            BackendError, match="expected an array, found a list of list"
        ):
            net.gradient(params, x, [[0]] * N)
    else:
        with pytest.raises(BackendError, match="arrays of two backends meet"):
            net.gradient(params, host(x), y)
