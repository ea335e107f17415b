"""Initial weights: moments with stated bounds, exact counts, what layers ask for."""

from __future__ import annotations

import numpy as np
import pytest

from kfac_ref.layers import Conv2d, Dense, Embedding, glorot, he, lecun, sparse

SHAPE = 301, 200  # 300 inputs and a bias: 60,000 weights
FANS = 70, 500
Z = 5.0  # standard errors; a normal variable is farther away once in 1.7 million


@pytest.mark.parametrize(
    "initializer, variance, kurtosis",
    [
        (glorot, lambda fan_in, fan_out: 2 / (fan_in + fan_out), 1.8),  # uniform
        (lecun, lambda fan_in, fan_out: 1 / fan_in, 3.0),  # normal
        (he, lambda fan_in, fan_out: 2 / fan_in, 3.0),
    ],
)
@pytest.mark.parametrize("fans", [None, FANS])
def test_weights_have_the_moments_they_promise(
    initializer, variance, kurtosis, fans, rng
):
    W = initializer(rng, SHAPE, bias=True, fans=fans)
    assert W.shape == SHAPE and W.dtype == np.float64
    assert (W[-1] == 0.0).all()  # the biases
    w, expected = W[:-1].ravel(), variance(*(fans or (300, 200)))
    assert abs(w.mean()) < Z * np.sqrt(expected / w.size)
    assert abs(w.var() / expected - 1) < Z * np.sqrt((kurtosis - 1) / w.size)
    # the variance of the fourth power of a standard normal is 105 - 9 = 96
    error = Z * np.sqrt(96 / w.size)
    assert abs((w**4).mean() / expected**2 - kurtosis) < error


@pytest.mark.parametrize("initializer", [glorot, lecun, he, sparse(3)])
def test_without_bias_there_is_no_row_and_a_seed_repeats(initializer):
    first, again = (
        initializer(np.random.default_rng(7), (11, 5), bias=False) for _ in range(2)
    )
    assert first.shape == (11, 5) and np.array_equal(first, again)
    with_bias = initializer(np.random.default_rng(7), (12, 5), bias=True)
    assert np.array_equal(with_bias[:-1], first)


def test_sparse_has_exactly_so_many_connections(rng):
    W = sparse(connections=17, scale=0.25, hidden_bias=0.5)(rng, SHAPE, bias=True)
    chosen = W[:-1] != 0.0
    assert (chosen.sum(axis=0) == 17).all()
    assert (W[-1] == 0.5).all()
    w = W[:-1][chosen]
    assert abs(w.mean()) < Z * 0.25 / np.sqrt(w.size)
    assert abs(w.var() / 0.25**2 - 1) < Z * np.sqrt(2 / w.size)


def test_sparse_chooses_every_input_as_often_and_columns_apart(rng):
    chosen = sparse(connections=3)(rng, (10, 4000), bias=False) != 0.0
    p = 3 / 10
    assert np.abs(chosen.mean(axis=1) - p).max() < Z * np.sqrt(p * (1 - p) / 4000)
    # two units agree in all three inputs once in binomial(10, 3) = 120 pairs
    equal = (chosen[:, ::2] == chosen[:, 1::2]).all(axis=0).mean()
    assert abs(equal - 1 / 120) < Z * np.sqrt(1 / 120 / 2000)


def test_sparse_may_use_all_inputs(rng):
    assert (sparse(5)(rng, (6, 3), bias=True)[:-1] != 0.0).all()


def test_layers_say_what_they_need(rng):
    asked = []

    def remember(rng, shape, bias, fans=None):
        asked.append((shape, bias, fans))
        return np.zeros(shape)

    Dense(5, 3, initializer=remember).init(rng)
    Dense(5, 3, bias=False, initializer=remember).init(rng)
    Conv2d(2, 11, (3, 5), initializer=remember).init(rng)
    Conv2d(2, 11, (3, 5), bias=False, initializer=remember).init(rng)
    Embedding(7, 3, initializer=remember).init(rng)
    assert asked == [
        ((6, 3), True, None),
        ((5, 3), False, None),
        ((31, 11), True, (30, 165)),  # 3 * 5 * 2 and 3 * 5 * 11
        ((30, 11), False, (30, 165)),
        ((7, 3), False, (1, 3)),  # of a one-hot input, one entry is not zero
    ]


def test_conv_starts_with_sparse_and_glorot_weights(rng):
    W = Conv2d(2, 11, (3, 5), initializer=sparse(7)).init(rng)[0]
    assert ((W[:-1] != 0.0).sum(axis=0) == 7).all()
    W = Conv2d(2, 300, (3, 5)).init(rng)[0][:-1]  # uniform up to sqrt(6 / (fans))
    limit = np.sqrt(6 / (30 + 15 * 300))
    assert 0.99 * limit < np.abs(W).max() <= limit
