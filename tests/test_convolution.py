"""Convolution and pooling against nested loops, SciPy, and worked numbers.

The loops are the specification: one line of arithmetic inside of as many loops as the
formula has indices.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from helpers import assert_exact, host
from kfac_ref.errors import ShapeError
from kfac_ref.layers import AvgPool2d, Conv2d, Dense, MaxPool2d
from kfac_ref.layers.patches import make_grid

drawn = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
small = st.integers(1, 4)
pairs = st.tuples(small, small)
paddings = st.sampled_from(["SAME", "VALID", "CIRCULAR"]) | st.tuples(
    *[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2
)


def parameters(layer, rng):
    return [W + 0.3 * rng.normal(size=W.shape) for W in layer.init(rng)]


def forward(layer, params, x, xp):
    return layer.forward([xp.asarray(W) for W in params], xp.asarray(x))[0]


# Convolution


def starts(size, span, stride):
    """At how many pixels a window can start that lies inside."""
    return len(range(0, size - span + 1, stride))


def outputs_and_low(size, kernel, stride, dilation, padding):
    """How many outputs there are, and the padding before the first pixel."""
    span = range(0, kernel * dilation, dilation)[-1] + 1
    if padding in ("SAME", "CIRCULAR"):  # the least padding with ceil(size / stride)
        wanted = len(range(0, size, stride))
        total = next(
            t for t in itertools.count() if starts(size + t, span, stride) >= wanted
        )
        return wanted, total // 2
    low, high = (0, 0) if padding == "VALID" else padding
    return starts(low + size + high, span, stride), low


def conv_loops(layer, W, x):
    """y_nopc: sum over kernel rows i, kernel columns j, input channels b."""
    N, h, w, c_in = x.shape
    pads = [layer.padding] * 2 if isinstance(layer.padding, str) else layer.padding
    (oh, top), (ow, left) = (
        outputs_and_low(*axis)
        for axis in zip(
            (h, w), layer.kernel, layer.stride, layer.dilation, pads, strict=True
        )
    )
    y = np.zeros((N, oh, ow, layer.c_out))
    for n, o, p, c in np.ndindex(*y.shape):
        for i, j, b in np.ndindex(*layer.kernel, c_in):
            r = o * layer.stride[0] + i * layer.dilation[0] - top
            s = p * layer.stride[1] + j * layer.dilation[1] - left
            if layer.padding == "CIRCULAR":
                r, s = r % h, s % w
            if 0 <= r < h and 0 <= s < w:
                y[n, o, p, c] += (
                    x[n, r, s, b] * W[(i * layer.kernel[1] + j) * c_in + b, c]
                )
        y[n, o, p, c] += W[-1, c] if layer.dense.bias else 0.0
    return y


@drawn
@given(
    image=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=pairs,
    stride=pairs,
    dilation=pairs,
    padding=paddings,
    bias=st.booleans(),
)
@example(  # the kernel goes several times around the image
    image=(1, 2),
    kernel=(4, 3),
    stride=(1, 2),
    dilation=(2, 3),
    padding="CIRCULAR",
    bias=True,
)
def test_conv_is_the_nested_loops_and_its_vjp_their_adjoint(
    xp, image, kernel, stride, dilation, padding, bias
):
    rng = np.random.default_rng(5)
    layer = Conv2d(2, 5, kernel, stride, padding, dilation, bias)
    x = rng.normal(size=(3, *image, 2))
    W = parameters(layer, rng)
    expected = conv_loops(layer, W[0], x)
    if expected.size == 0:
        with pytest.raises(ShapeError, match="no output is left"):
            forward(layer, W, x, xp)
        return
    y, tape = layer.forward([xp.asarray(W[0])], xp.asarray(x))
    scale = np.linalg.norm(x) * np.linalg.norm(W[0])  # an output may be all padding
    assert host(y).shape == expected.shape
    assert np.linalg.norm(host(y) - expected) <= 1e-13 * scale

    dx, dy = rng.normal(size=(3, *x.shape)), rng.normal(size=(3, *y.shape))
    still = [xp.zeros((3, *W[0].shape))]
    moved = host(layer.jvp([xp.asarray(W[0])], tape, still, xp.asarray(dx)))
    back = host(layer.vjp([xp.asarray(W[0])], tape, xp.asarray(dy)))
    scale = np.linalg.norm(dx) * np.linalg.norm(dy) * np.linalg.norm(W[0])
    assert abs(np.sum(moved * dy) - np.sum(dx * back)) <= 1e-13 * scale


@pytest.mark.parametrize("padding, mode", [("SAME", "constant"), ("CIRCULAR", "wrap")])
def test_conv_of_odd_kernels_is_scipy_correlate(xp, rng, padding, mode):
    layer = Conv2d(1, 1, (3, 5), padding=padding, bias=False)
    W, x = parameters(layer, rng), rng.normal(size=(1, 7, 11, 1))
    expected = scipy.ndimage.correlate(x[0, :, :, 0], W[0].reshape(3, 5), mode=mode)
    assert_exact(forward(layer, W, x, xp)[0, :, :, 0], expected)


@pytest.mark.parametrize(
    "size, kernel, stride, dilation, outputs, low, high",
    [  # worked by hand from the rule in the docstring of Conv2d
        (5, 3, 1, 1, 5, 1, 1),
        (5, 2, 1, 1, 5, 0, 1),
        (5, 3, 2, 1, 3, 1, 1),
        (6, 3, 2, 1, 3, 0, 1),
        (7, 4, 3, 1, 3, 1, 2),
        (7, 3, 1, 2, 7, 2, 2),
        (7, 1, 3, 1, 3, 0, 0),
        (3, 5, 1, 1, 3, 2, 2),
    ],
)
def test_same_padding_splits_as_in_the_table(
    size, kernel, stride, dilation, outputs, low, high
):
    grid = make_grid((size, 9), (kernel, 1), (stride, 1), (dilation, 1), "SAME")
    rows = grid.rows
    last = (rows.outputs - 1) * stride + (kernel - 1) * dilation - rows.low
    assert (rows.outputs, rows.low, max(0, last - size + 1)) == (outputs, low, high)


def test_explicit_padding_is_top_bottom_left_right(xp):
    x = np.array([[[[2.0], [3.0]]]])  # one row, two columns
    layer = Conv2d(1, 1, 1, padding=((1, 0), (0, 2)))
    y = forward(layer, [np.array([[5.0], [7.0]])], x, xp)
    assert host(y)[0, :, :, 0].tolist() == [[7, 7, 7, 7], [17, 22, 7, 7]]


def test_conv_over_the_whole_image_is_a_dense_layer(xp, rng):
    conv, dense = Conv2d(2, 5, (3, 4), padding="VALID"), Dense(24, 5)
    W, x = parameters(dense, rng), rng.normal(size=(7, 3, 4, 2))
    y, tape = conv.forward([xp.asarray(W[0])], xp.asarray(x))
    assert y.shape == (7, 1, 1, 5) and conv.shapes() == dense.shapes()
    assert_exact(y[:, 0, 0], forward(dense, W, x.reshape(7, 24), xp))
    a = host(conv.read_a(tape))
    assert np.array_equal(a[:, 0, :24], x.reshape(7, 24)) and (a[..., 24] == 1.0).all()


def test_conv_of_one_pixel_is_a_dense_layer_at_every_position(xp, rng):
    conv, dense = Conv2d(2, 5, 1), Dense(2, 5)
    W, x = parameters(dense, rng), rng.normal(size=(7, 3, 4, 2))
    assert_exact(forward(conv, W, x, xp), forward(dense, W, x, xp))


def test_the_homogeneous_one_is_not_padded(xp, rng):
    layer = Conv2d(2, 5, 3, padding=((3, 3), (3, 3)))  # patches of nothing but padding
    _, tape = layer.forward(
        [xp.asarray(W) for W in parameters(layer, rng)], xp.ones((3, 4, 7, 2))
    )
    a = host(layer.read_a(tape))
    assert (a[..., -1] == 1.0).all() and not a[:, 0, :-1].any() and a[..., :-1].any()


# Pooling


def pool_loops(layer, x, take):
    """take(pixels of the window that lie inside of the image)"""
    N, h, w, c = x.shape
    (oh, top), (ow, left) = (
        outputs_and_low(size, k, s, 1, layer.padding)
        for size, k, s in zip((h, w), layer.size, layer.stride, strict=True)
    )
    y = np.zeros((N, oh, ow, c))
    for n, o, p, b in np.ndindex(*y.shape):
        pixels = []
        for i, j in np.ndindex(*layer.size):
            r, s = o * layer.stride[0] + i - top, p * layer.stride[1] + j - left
            if layer.padding == "CIRCULAR":
                r, s = r % h, s % w
            if 0 <= r < h and 0 <= s < w:
                pixels.append(x[n, r, s, b])
        y[n, o, p, b] = take(pixels)
    return y


@drawn
@given(
    image=st.tuples(st.integers(4, 7), st.integers(4, 7)),
    size=pairs,
    stride=st.none() | pairs,
    padding=st.sampled_from(["SAME", "VALID", "CIRCULAR"]),
)
def test_pooling_is_the_nested_loops(xp, image, size, stride, padding):
    # all below zero: padding would win a maximum, if it took part
    x = np.random.default_rng(5).normal(-9.0, 1.0, (2, *image, 3))
    for kind, take in ((MaxPool2d, max), (AvgPool2d, np.mean)):
        layer = kind(size, stride, padding)
        assert_exact(forward(layer, [], x, xp), pool_loops(layer, x, take))


def test_max_pooling_at_ties_takes_the_first_pixel(xp):
    x = xp.asarray(np.array([[[[4.0], [4.0]], [[1.0], [4.0]]]]))
    y, tape = MaxPool2d(2).forward([], x)
    assert host(y).tolist() == [[[[4.0]]]]
    back = MaxPool2d(2).vjp([], tape, xp.asarray(np.array([[[[[3.0]]]]])))
    assert host(back).reshape(2, 2).tolist() == [[3.0, 0.0], [0.0, 0.0]]
    dx = xp.asarray(np.array([[[[[5.0], [7.0]], [[8.0], [9.0]]]]]))
    assert host(MaxPool2d(2).jvp([], tape, [], dx)).ravel().tolist() == [5.0]
