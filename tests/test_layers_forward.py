"""Forward passes against loops: dense, embedding, scale and shift, standardisation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import assert_exact, host, relative_error
from kfac_ref.layers import (
    BatchStandardize,
    Dense,
    Embedding,
    LayerStandardize,
    ScaleShift,
    Sigmoid,
)

small = st.integers(1, 4)


def parameters(layer, rng):
    return [W + 0.3 * rng.normal(size=W.shape) for W in layer.init(rng)]


def forward(layer, params, x, xp):
    return layer.forward([xp.asarray(W) for W in params], xp.asarray(x))[0]


@settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    positions=st.lists(small, max_size=2),
    d_in=small,
    d_out=small,
    bias=st.booleans(),
)
def test_dense_is_the_nested_loops(xp, positions, d_in, d_out, bias):
    rng = np.random.default_rng(5)
    layer, x = Dense(d_in, d_out, bias), rng.normal(size=(3, *positions, d_in))
    W = parameters(layer, rng)[0]
    expected = np.zeros((*x.shape[:-1], d_out))
    for *at, o in np.ndindex(*expected.shape):
        terms = [x[(*at, i)] * W[i, o] for i in range(d_in)]
        expected[(*at, o)] = sum(terms) + (W[d_in, o] if bias else 0.0)
    y = host(forward(layer, [W], x, xp))
    assert np.linalg.norm(y - expected) <= 1e-13 * np.linalg.norm(x) * np.linalg.norm(W)


def test_embedding_looks_rows_up_and_is_dense_on_one_hot_input(xp, rng):
    layer, dense = Embedding(11, 3), Dense(11, 3, bias=False)
    W, x = parameters(layer, rng), rng.integers(0, 11, (7, 4))
    y, tape = layer.forward([xp.asarray(W[0])], xp.asarray(x))
    one_hot = np.zeros((7, 4, 11))
    for n, t in np.ndindex(7, 4):
        assert np.array_equal(host(y)[n, t], W[0][x[n, t]])
        one_hot[n, t, x[n, t]] = 1.0
    assert np.array_equal(host(layer.read_a(tape)), one_hot)
    assert_exact(y, forward(dense, W, one_hot, xp))


def test_scale_shift_starts_as_the_identity_and_is_elementwise(xp, rng):
    layer, x = ScaleShift(5), rng.normal(size=(7, 3, 5))
    assert np.array_equal(host(forward(layer, layer.init(rng), x, xp)), x)
    W = rng.normal(size=(2, 5))
    expected = np.zeros_like(x)
    for n, t, c in np.ndindex(*x.shape):
        expected[n, t, c] = x[n, t, c] * W[0, c] + W[1, c]
    assert_exact(forward(layer, [W], x, xp), expected)


def standardized(values, epsilon):
    """One group of numbers, by Python's arithmetic."""
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    return [(v - mean) / (variance + epsilon) ** 0.5 for v in values]


def test_standardisation_by_loops(xp, rng):
    x = rng.normal(3.0, 2.0, (7, 3, 5))
    batch, layer = np.zeros_like(x), np.zeros_like(x)
    for c in range(5):
        batch[..., c] = np.reshape(standardized(x[..., c].ravel(), 0.3), (7, 3))
    for n, t in np.ndindex(7, 3):
        layer[n, t] = standardized(x[n, t], 0.3)
    assert_exact(forward(BatchStandardize(0.3), [], x, xp), batch)
    assert_exact(forward(LayerStandardize(0.3), [], x, xp), layer)


def test_frozen_statistics_keep_the_output_but_not_the_derivative(xp, rng):
    x = xp.asarray(rng.normal(3.0, 2.0, (7, 3, 5)))
    own = BatchStandardize()
    mean, variance = own.statistics(x)
    assert mean.shape == variance.shape == (1, 1, 5)
    frozen = BatchStandardize(mean=mean, variance=variance)
    assert own.mixes_examples and not frozen.mixes_examples
    (y, tape), (z, kept) = own.forward([], x), frozen.forward([], x)
    assert_exact(z, y)
    dy = xp.asarray(rng.normal(size=(2, 7, 3, 5)))
    assert relative_error(frozen.vjp([], kept, dy), own.vjp([], tape, dy)) > 0.1


@pytest.mark.filterwarnings("error")
def test_sigmoid_in_both_tails(xp):
    """y and y (1 - y), by exp(-|x|), which is them where it is below eps."""
    near = np.array([-1e300, -745.0, -700.0, -40.0, 40.0, 700.0, 1e300, np.inf])
    tail = np.exp(-abs(near))
    y, slope = (host(part) for part in Sigmoid().forward([], xp.asarray(near)))
    assert_exact(y[:4], tail[:4] / (1 + tail[:4]))
    assert (y[4:] == 1.0).all()
    assert_exact(slope, tail / (1 + tail) ** 2)
    y, slope = Sigmoid().forward([], xp.asarray(np.array([-1e10, 1e10], np.float32)))
    assert y.dtype == slope.dtype == np.float32
    assert host(y).tolist() == [0.0, 1.0] and host(slope).tolist() == [0.0, 0.0]
