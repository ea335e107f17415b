"""When K-FAC is exact, and when it is not.

Every "exact when" is asserted to 1e-12; every negative control is bounded from below.
F_l is a layer's exact block, K_l = A (x) G; `gaps` are ||F_l - K_l|| / ||F_l||.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from helpers import host, relative_error
from kfac_ref.backend import asarray
from kfac_ref.distributions import (
    Bernoulli,
    Categorical,
    Normal,
    Poisson,
    squared_error,
)
from kfac_ref.estimates import Estimate
from kfac_ref.layers import Dense, Identity, ReLU, Tanh
from kfac_ref.network import Network
from kfac_ref.pairs import given_pairs, propagate
from kfac_ref.structures.dense import block_diagonal
from kfac_ref.structures.kronecker import kronecker
from networks import N, chain, inputs, linear, parameters

EXACT = 1e-12
LOSSES = [Categorical(), Bernoulli(), Normal(0.7), Poisson()]


def gaps(found, first=0):
    """||F_l - K_l|| / ||F_l|| of the layers from `first`, both from the same pairs."""
    exact = block_diagonal(found).blocks[first:]
    approximate = kronecker(found).blocks[first:]
    return np.array(
        [
            relative_error(K.to_dense(), F.to_dense())
            for F, K in zip(exact, approximate, strict=True)
        ]
    )


def repeated(row, xp, times):
    return xp.asarray(np.repeat(host(row), times, axis=0))


@pytest.mark.parametrize("distribution", LOSSES, ids=repr)
@pytest.mark.parametrize("copies", [1, 5])
def test_kfac_is_exact_for_one_input_or_copies_of_it(xp, rng, distribution, copies):
    net = chain(distribution=distribution)
    params, x = parameters(net, rng, xp), inputs(rng, xp, 1)
    assert gaps(propagate(net.linearize(params, repeated(x, xp, copies)))).max() < EXACT
    assert gaps(propagate(net.linearize(params, inputs(rng, xp, 2))))[0] > 0.01


@pytest.mark.parametrize("samples", [1, 3])
def test_kfac_is_exact_for_sampled_labels_of_one_example(xp, rng, samples):
    net = chain()
    params = parameters(net, rng, xp)
    found = propagate(
        net.linearize(params, inputs(rng, xp, 1)), "sampled", rng=rng, samples=samples
    )
    assert gaps(found).max() < EXACT
    exact = block_diagonal(propagate(net.linearize(params, inputs(rng, xp, 1))))
    other = kronecker(found).blocks[0].to_dense()
    assert relative_error(other, exact.blocks[0].to_dense()) > 0.01


def test_kfac_is_exact_for_the_empirical_fisher_of_copies_of_one_input(xp, rng):
    net = chain()
    params = parameters(net, rng, xp)
    x, y = repeated(inputs(rng, xp, 1), xp, 5), xp.asarray(np.full(5, 2))
    assert gaps(propagate(net.linearize(params, x), "empirical", y=y)).max() < EXACT
    y = xp.asarray(np.array([2, 0, 1, 2, 1]))
    assert (
        gaps(propagate(net.linearize(params, x), "empirical", y=y)).max() < EXACT
    )  # a_n constant
    x = inputs(rng, xp, 5)
    assert gaps(propagate(net.linearize(params, x), "empirical", y=y)).min() > 0.05


@pytest.mark.parametrize("bias", [True, False])
def test_kfac_is_exact_for_deep_linear_networks_under_squared_error(xp, rng, bias):
    net = linear(squared_error(), bias)
    params, x = parameters(net, rng, xp), inputs(rng, xp)
    assert gaps(propagate(net.linearize(params, x))).max() < EXACT


@pytest.mark.parametrize("bias", [True, False])
def test_deep_linear_networks_need_squared_error_and_expected_labels(xp, rng, bias):
    x = inputs(rng, xp)
    net = linear(Categorical(), bias)
    params = parameters(net, rng, xp, 3.0)
    assert gaps(propagate(net.linearize(params, x))).min() > 0.05  # another loss
    net = linear(squared_error(), bias)
    observed = xp.asarray(rng.normal(size=(N, 3)))
    found = propagate(net.linearize(params, x), "empirical", y=observed)
    assert gaps(found).min() > 0.05  # another estimate
    net = chain(Tanh, squared_error(), bias)
    assert gaps(propagate(net.linearize(params, x)))[:-1].min() > 0.05  # a nonlinearity


@dataclass(frozen=True)
class SharedNoise(Estimate):
    """Sampled labels of a normal distribution, with the same noise for all examples."""

    seed: int = 0
    shared: bool = True

    def vectors(self, distribution, z, drawn, start, stop):
        rng = np.random.default_rng(self.seed)
        n = 1 if self.shared else len(z)
        noise = rng.normal(size=(self.samples, n, z.shape[1])) / np.sqrt(self.samples)
        moved = asarray(noise, like=z)
        return (moved + 0.0 * z)[start:stop]


@pytest.mark.parametrize("samples", [1, 4])
def test_kfac_of_sampled_labels_is_exact_if_all_examples_share_the_noise(
    xp, rng, samples
):
    net = linear(Normal(1.0))
    params, x = parameters(net, rng, xp), inputs(rng, xp)
    assert gaps(propagate(net.linearize(params, x), SharedNoise(samples))).max() < EXACT
    own = SharedNoise(samples, shared=False)
    assert gaps(propagate(net.linearize(params, x), own)).min() > 0.05


@pytest.mark.parametrize("activation", [Tanh, ReLU])
def test_kfac_is_exact_for_the_last_layer_under_squared_error(xp, rng, activation):
    net = chain(activation, squared_error())
    found = gaps(
        propagate(net.linearize(parameters(net, rng, xp, 3.0), inputs(rng, xp)))
    )
    assert found[-1] < EXACT
    assert found[:-1].min() > 0.05
    net = chain(activation, Categorical())
    found = gaps(
        propagate(net.linearize(parameters(net, rng, xp, 3.0), inputs(rng, xp)))
    )
    assert found[-1] > 0.05


def test_kfac_is_exact_for_the_last_layer_if_logits_are_constant(xp, rng):
    net = chain()
    params, x = parameters(net, rng, xp), inputs(rng, xp)
    constant = host(params[-1])
    constant[:-1] = 0.0  # only the bias is left
    found = propagate(net.linearize([*params[:-1], xp.asarray(constant)], x))
    assert gaps(found, first=2) < EXACT  # nothing arrives at the layers below
    assert gaps(propagate(net.linearize(params, x)), first=2) > 0.01


@pytest.mark.parametrize("distribution", LOSSES, ids=repr)
def test_the_bias_corner_of_every_exact_block_is_G(xp, rng, distribution):
    net = chain(distribution=distribution)
    found = propagate(net.linearize(parameters(net, rng, xp), inputs(rng, xp)))
    blocks = zip(block_diagonal(found).blocks, kronecker(found).blocks, strict=True)
    for layer, (F, K) in enumerate(blocks):
        o = K.G.shape[0]
        assert relative_error(F.to_dense()[-o:, -o:], K.G) < EXACT
        if layer < 2:  # the other corners are not A_ii G
            assert relative_error(F.to_dense()[:o, :o], K.G * K.A[0, 0]) > 0.01


def test_kfac_is_exact_for_one_input_of_either_sign_if_the_net_is_odd(xp, rng):
    row = rng.normal(size=(1, 5))
    signs = np.array([1, -1, -1, 1, 1, -1, 1])[:, None]
    for bias, check in [(False, lambda e: e < EXACT), (True, lambda e: e > 0.01)]:
        net = chain(Tanh, Categorical(), bias)
        found = propagate(
            net.linearize(parameters(net, rng, xp), xp.asarray(signs * row))
        )
        assert check(gaps(found).max())
    net = chain(ReLU, Categorical(), bias=False)  # not odd
    found = propagate(net.linearize(parameters(net, rng, xp), xp.asarray(signs * row)))
    assert gaps(found).max() > 0.01


def test_kfac_is_exact_for_relu_if_all_inputs_activate_the_same_units(xp, rng):
    net = chain(ReLU, squared_error())
    params, x = parameters(net, rng, xp), inputs(rng, xp)
    assert gaps(propagate(net.linearize(params, x)))[:-1].min() > 0.01
    raised = [host(W) for W in params]
    for W in raised[:-1]:
        W[-1] += 50.0
    assert (
        gaps(propagate(net.linearize([xp.asarray(W) for W in raised], x))).max() < EXACT
    )


def test_kfac_is_exact_if_every_input_meets_every_error(xp, rng):
    """All inputs with all errors: the mean of products is the product of means."""
    a, g = rng.normal(0.5, 1, (5, 3)), rng.normal(0.2, 1, (7, 2))
    all_a = np.repeat(a, 7, axis=0)[:, None]  # (35, 1, 3)
    all_g = np.tile(g, (5, 1))[None, :, None]  # (1, 35, 1, 2)
    assert gaps(given_pairs([xp.asarray(all_a)], [xp.asarray(all_g)])).max() < EXACT
    part = given_pairs([xp.asarray(all_a[:-3])], [xp.asarray(all_g[:, :-3])])
    assert gaps(part).max() > 0.01


def test_identity_activation_is_what_makes_the_network_linear(rng):
    """The helper `linear` is a composition of matrix products, nothing else."""
    net = linear(squared_error(), bias=False)
    params, x = parameters(net, rng, np), inputs(rng, np)
    product = x @ params[0] @ params[1] @ params[2]
    assert relative_error(net.predict(params, x), product) < EXACT
    assert any(isinstance(layer, Identity) for layer in net.body.layers)
    two = Network([Dense(5, 4), Dense(4, 3)], squared_error())
    found = propagate(two.linearize(parameters(two, rng, np), x))
    assert gaps(found).max() < EXACT
