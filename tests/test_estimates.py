"""Which vectors: their second moments, their names, and other libraries' words."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import assert_exact, host, relative_error
from kfac_ref.distributions import (
    Bernoulli,
    Categorical,
    Joint,
    Normal,
    NormalMeanVariance,
    Poisson,
    squared_error,
)
from kfac_ref.estimates import ESTIMATES, Sampled, make_estimate
from kfac_ref.layers import Dense, Tanh
from kfac_ref.network import Network
from kfac_ref.pairs import propagate
from kfac_ref.words import ALIASES

JOINT = Joint([(Categorical(), 3, 0.7), (Normal(0.6), 2, 2.3)])
CASES = [
    Categorical(),
    Bernoulli(),
    Normal(0.7),
    Poisson(),
    NormalMeanVariance(),
    JOINT,
]


def vectors(name, distribution, z, y=None, rng=None, samples=1):
    """All vectors of an estimate, (K, N, ..., C)."""
    estimate = make_estimate(name, samples)
    drawn = estimate.take(estimate.draw(distribution, z, y, rng), 0, len(z))
    return estimate.vectors(distribution, z, drawn, 0, estimate.count(z))


def second_moment(v):
    """sum_k v_nk v_nk^T of each example, (N, C, C)."""
    v = host(v)
    return np.einsum("kni,knj->nij", v, v)


def outputs(rng, xp, distribution, n=7):
    size = {NormalMeanVariance: 4, Joint: 5}.get(type(distribution), 3)
    return xp.asarray(rng.normal(0.2, 0.8, (n, size)))


@pytest.mark.parametrize("distribution", CASES, ids=repr)
def test_expectation_has_the_second_moment_of_the_fisher(xp, rng, distribution):
    z = outputs(rng, xp, distribution)
    F = host(distribution.fisher(z))
    assert_exact(second_moment(vectors("expectation", distribution, z)), F)
    if distribution.natural:
        H = second_moment(vectors("ggn", distribution, z))
        assert_exact(H, F)


@pytest.mark.parametrize("distribution", CASES, ids=repr)
@pytest.mark.parametrize("name", ["sampled", "random_signs"])
def test_drawn_vectors_are_unbiased(xp, rng, distribution, name):
    """z-test: the mean over 20,000 draws lies within 5 standard errors, everywhere."""
    z, M = outputs(rng, xp, distribution, 2), 20_000
    v = host(vectors(name, distribution, z, rng=rng, samples=M)) * np.sqrt(M)
    products = np.einsum("kni,knj->knij", v, v)
    error = products.mean(axis=0) - host(distribution.fisher(z))
    standard = products.std(axis=0) / np.sqrt(M) + 1e-12
    assert np.abs(error / standard).max() < 5.0
    assert np.abs(1.1 * products.mean(axis=0) - host(distribution.fisher(z))).max() > (
        5.0 * standard.max()
    )


def test_signs_are_a_random_mixture_of_the_columns(xp):
    """B r = sum_k r_k B e_k, for the very signs the generator gives."""
    z = xp.asarray(np.random.default_rng(2).normal(size=(5, 3)))
    columns = host(vectors("expectation", Categorical(), z))
    signs = 2 * np.random.default_rng(7).integers(0, 2, (2, 5, 3)) - 1
    expected = np.einsum("mnk,knc->mnc", signs, columns) / np.sqrt(2)
    for name in ["random_signs", "ggn_random_signs"]:
        rng = np.random.default_rng(7)
        found = vectors(name, Categorical(), z, rng=rng, samples=2)
        assert_exact(found, expected)


def test_weights_of_several_losses(xp, rng):
    """w in the Fisher, w^2 in the empirical Fisher: the definition of each."""
    z = outputs(rng, xp, JOINT)
    y = [xp.asarray(rng.integers(0, 3, 7)), xp.asarray(rng.normal(size=(7, 2)))]
    F = second_moment(vectors("expectation", JOINT, z))
    assert_exact(F[:, :3, :3], 0.7 * host(Categorical().fisher(z[:, :3])))
    assert_exact(F[:, 3:, 3:], 2.3 * host(Normal(0.6).fisher(z[:, 3:])))
    E = second_moment(vectors("empirical", JOINT, z, y))
    e = second_moment(vectors("empirical", Normal(0.6), z[:, 3:], y[1]))
    assert_exact(E[:, 3:, 3:], 2.3**2 * e)
    cross = np.abs(E[:, :3, 3:]).max()
    assert np.abs(F[:, :3, 3:]).max() == 0.0 and cross > 0.1


def test_positions_of_an_output_have_columns_of_their_own(xp, rng):
    z = xp.asarray(rng.normal(size=(5, 2, 3)))  # (N, T, C): K = 6
    v = host(vectors("expectation", Categorical(), z))
    assert v.shape == (6, 5, 2, 3)
    F = host(Categorical().fisher(z))
    expected = np.zeros((5, 2, 3, 2, 3))
    for t in range(2):
        expected[:, t, :, t, :] = F[:, t]
    found = np.einsum("knti,knsj->ntisj", v, v)
    assert_exact(found, expected)


def test_drawn_labels_do_not_depend_on_the_chunks(xp, rng):
    """The generator is asked once for all examples, whatever the memory."""
    net = Network([Dense(5, 4), Tanh(), Dense(4, 3)], Categorical())
    params = [xp.asarray(W) for W in net.body.init(rng)]
    x = xp.asarray(rng.normal(size=(7, 5)))
    for name in ["sampled", "random_signs"]:
        found = []
        for memory in (1, 10**6):
            one = np.random.default_rng(11)
            pairs = propagate(
                net.linearize(params, x), name, rng=one, samples=3, memory=memory
            )
            g = [host(chunk.g()[1]) for chunk in pairs.chunks()]
            assert len(g) == (7 if memory == 1 else 1)
            found.append(np.concatenate(g, axis=1))
        assert_exact(*found)


def test_sampled_labels_of_joint_losses_in_chunks(rng):
    net = Network([Dense(5, 4), Tanh(), Dense(4, 5)], JOINT)
    params, x = net.init(rng), rng.normal(size=(7, 5))
    found = []
    for memory in (1, 10**6):
        pairs = propagate(
            net.linearize(params, x),
            "mc",
            rng=np.random.default_rng(3),
            samples=2,
            memory=memory,
        )
        found.append(np.concatenate([c.g()[0] for c in pairs.chunks()], axis=1))
    assert found[0].shape == (2, 7, 1, 4)
    assert_exact(*found)


@pytest.mark.parametrize("alias", sorted(ALIASES["estimate"]))
def test_words_of_other_libraries(alias):
    assert type(make_estimate(alias)) is ESTIMATES[ALIASES["estimate"][alias]]


def test_an_estimate_may_be_given_as_an_object():
    mine = Sampled(3)
    assert make_estimate(mine) is mine


def test_squared_error_estimates_differ_from_each_other(rng):
    """Sampled, observed and expected labels: three different matrices."""
    z, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 3))
    moments = [
        second_moment(vectors(name, squared_error(), z, y, rng))
        for name in ("expectation", "sampled", "empirical")
    ]
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        assert relative_error(moments[i], moments[j]) > 0.3
