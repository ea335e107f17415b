"""Sampled labels: frequencies, moments, the same on every backend."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.special
import scipy.stats

from distribution_cases import CASES, every_case, expected_outer, first, flat, on
from helpers import host
from kfac_ref.distributions import (
    Bernoulli,
    Categorical,
)

BOUND = 4.5  # standard errors; one of 10^5 comparisons with the truth would exceed it
SAMPLES = 20_000


def scores(samples, expected):
    """Deviation of the mean over axis 0 from `expected`, in standard errors."""
    error = samples.std(axis=0) / np.sqrt(len(samples))
    return np.abs(samples.mean(axis=0) - expected) / np.where(error > 0, error, 1e-12)


@every_case
def test_sampled_gradients_have_mean_zero_and_second_moment_fisher(name, rng):
    """Two moments of the score, within 4.5 standard errors; 0.9 F is outside."""
    distribution, z, _ = on(np, name, (3, 2))
    y = distribution.sample(z, rng, SAMPLES)
    g = distribution.sampled_gradient(z, y)[:, 0, 0]
    outer = g[:, :, None] * g[:, None]
    F = expected_outer(name, (3, 2))[0, 0]
    assert scores(g, 0.0).max() < BOUND
    assert scores(outer, F).max() < BOUND
    assert scores(outer, 0.9 * F).max() > BOUND


@pytest.mark.parametrize("name", ["categorical", "bernoulli", "poisson"])
def test_sampled_labels_have_the_right_frequencies(name, rng):
    """Of every label expected at least 50 times; another z fails the same test."""
    distribution, z, _ = on(np, name, (7,))
    y = distribution.sample(z, rng, SAMPLES)[:, 0]
    for row, right in ((0, True), (1, False)):
        outcomes, p = CASES[name][1][0][0].outcomes(z[row])
        often = [(o, p_o) for o, p_o in zip(outcomes, p, strict=True) if p_o > 0.0025]
        hits = np.stack(
            [(y == o).reshape(SAMPLES, -1).all(axis=1) for o, _ in often], 1
        )
        worst = scores(1.0 * hits, [p_o for _, p_o in often]).max()
        assert worst < BOUND if right else worst > BOUND


@pytest.mark.parametrize("name", ["normal", "mean_variance"])
def test_sampled_labels_are_normal(name, rng):
    """Kolmogorov-Smirnov distance below 1.95 / sqrt(n), its 0.1 % bound."""
    distribution, z, _ = on(np, name, (7,))
    y = distribution.sample(z, rng, SAMPLES)[:, 0, 1]
    sigma = 0.7**0.5 if name == "normal" else np.exp(z[0, 3] / 2)
    distance = [
        scipy.stats.kstest(y, "norm", (z[0, 1], factor * sigma)).statistic
        for factor in (1.0, 1.1)
    ]
    assert distance[0] < 1.95 / np.sqrt(SAMPLES) < distance[1]


@every_case
def test_samples_are_labels_and_the_same_on_every_backend(xp, name):
    """For one generator state; they have an axis in front, and the labels' dtype."""
    distribution, z, y = on(xp, name, (3, 2))
    drawn = distribution.sample(z, np.random.default_rng(5), 4)
    reference = distribution.sample(host(z), np.random.default_rng(5), 4)
    for a, b, y_i in zip(flat(drawn), flat(reference), flat(y), strict=True):
        assert tuple(a.shape) == (4, *y_i.shape)
        assert np.abs(host(a) - b).max() <= 1e-14
    distribution.check_labels(z, first(drawn))


class Fixed:
    """A generator whose uniform numbers are all the same."""

    def __init__(self, value):
        self.value = value

    def random(self, shape):
        return np.full(shape, self.value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("u, drawn", [(0.0, 1), (np.nextafter(1.0, 0.0), 2)])
def test_no_class_of_probability_zero_is_drawn(xp, dtype, u, drawn):
    z = xp.asarray(np.array([[-800.0, 0.1, 0.3, -800.0, -900.0]], dtype))
    assert host(Categorical().sample(z, Fixed(u), 3)).tolist() == [[drawn]] * 3
    certain = xp.asarray(np.array([[-800.0, 800.0]], dtype))
    assert host(Bernoulli().sample(certain, Fixed(u), 1)).tolist() == [[[0.0, 1.0]]]


def test_no_class_of_probability_zero_is_drawn_by_rounding(xp):
    """Ten times 0.1 is less than 1, u may lie between; class 10 has p = 0."""
    z, u = xp.asarray(np.array([[0.0] * 10 + [-800.0]])), np.nextafter(1.0, 0.0)
    assert np.cumsum(np.full(10, 0.1))[-1] < 1.0
    assert int(Categorical().sample(z, Fixed(u), 1)[0, 0]) == 9


def test_float32_outputs_have_float64_probabilities(xp):
    """Labels change at u = p of float64, for float32 outputs, too."""
    z = np.array([[0.3, 1.1]], "float32")
    p = scipy.special.expit(z[0].astype("float64"))[0]
    q = scipy.special.softmax(z[0].astype("float64"))[0]
    for factor, below in ((1 - 1e-10, 1), (1 + 1e-10, 0)):
        drawn = Bernoulli().sample(xp.asarray(z), Fixed(p * factor), 1)
        assert int(drawn[0, 0, 0]) == below
        drawn = Categorical().sample(xp.asarray(z), Fixed(q * factor), 1)
        assert int(drawn[0, 0]) == 1 - below


# Extreme outputs: finite wherever the truth is, by hand
