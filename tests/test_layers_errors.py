"""What layers and their constructors refuse, and in which words."""

from __future__ import annotations

import re

import numpy as np
import pytest

import strict
from kfac_ref.errors import (
    BackendError,
    ShapeError,
    UnknownName,
    Unsupported,
    ValueRangeError,
)
from kfac_ref.layers import (
    AvgPool2d,
    BatchStandardize,
    Conv2d,
    Dense,
    Embedding,
    Flatten,
    LayerStandardize,
    MaxPool2d,
    ReLU,
    Residual,
    ScaleShift,
    Sequential,
)


@pytest.mark.parametrize(
    "layer, shape, expected",
    [
        (Dense(5, 3), (7, 4), "(N, 5)"),
        (Dense(5, 3), (7, 2, 4), "(N, any, 5)"),
        (Dense(5, 3), (5,), "(N, 5)"),
        (ScaleShift(5), (7, 2, 4), "(N, any, 5)"),
        (Conv2d(2, 3, 2), (7, 5, 4, 3), "(N, h, w, 2)"),
        (Conv2d(2, 3, 2), (5, 4, 2), "(N, h, w, 2)"),
        (MaxPool2d(2), (7, 5, 4), "(N, h, w, c)"),
        (AvgPool2d(2), (7, 5), "(N, h, w, c)"),
        (Flatten(), (7,), "(N, ...)"),
        (Embedding(5, 3), (), "(N,)"),
        (BatchStandardize(), (7,), "(N, features)"),
        (LayerStandardize(), (7,), "(N, features)"),
        (
            BatchStandardize(mean=np.zeros(5), variance=np.ones(5)),
            (7, 2, 4),
            "(N, any, 5)",
        ),
    ],
    ids=str,
)
def test_inputs_of_another_shape(layer, shape, expected, xp, rng):
    params = [xp.asarray(W) for W in layer.init(rng)]
    message = f"layer 1: input of {layer!r}: expected shape {expected}, found {shape}"
    with pytest.raises(ShapeError, match=re.escape(message)):
        Sequential([ReLU(), layer]).forward(params, xp.asarray(np.ones(shape)))


@pytest.mark.parametrize(
    "layer", [Dense(5, 3), Flatten(), Embedding(5, 3), Conv2d(2, 3, 2)], ids=str
)
def test_inputs_that_are_no_arrays(layer, rng):
    message = f"input of {layer!r}: expected an array of shape"
    with pytest.raises(ShapeError, match=re.escape(message) + ".* found list"):
        layer.forward(layer.init(rng), [[1, 2]])


@pytest.mark.parametrize(
    "layer, shape, message",
    [
        (
            Conv2d(2, 3, (4, 3), padding="VALID"),
            (7, 3, 5, 2),
            r"Conv2d\(2, 3, \(4, 3\), padding='VALID'\): the kernel spans 4 rows, the "
            r"image has 3 \(padding 0 \+ 0\): no output is left; use a smaller kernel",
        ),
        (
            Conv2d(2, 3, 3, padding=((0, 0), (1, 2)), dilation=4),
            (7, 9, 5, 2),
            r"the kernel spans 9 columns, the image has 5 \(padding 1 \+ 2\)",
        ),
        (
            MaxPool2d(4),
            (7, 5, 3, 2),
            r"MaxPool2d\(4\): the kernel spans 4 columns, the image has 3",
        ),
    ],
)
def test_outputs_of_size_zero(layer, shape, message, xp, rng):
    params = [xp.asarray(W) for W in layer.init(rng)]
    with pytest.raises(ShapeError, match=message):
        layer.forward(params, xp.ones(shape))


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: Dense(0, 3),
            "Dense: d_in: expected a whole number >= 1, found 0",
        ),
        (lambda: Dense(5, 3.0), "Dense: d_out: expected a whole number .* found 3.0"),
        (lambda: Dense(5, True), "Dense: d_out: expected a whole number .* found True"),
        (lambda: ScaleShift(0), "ScaleShift: channels: expected .* found 0"),
        (lambda: Embedding(-1, 3), "Embedding: words: expected .* found -1"),
        (lambda: Embedding(5, 0), "Embedding: d_out: expected .* found 0"),
        (lambda: Conv2d(0, 3, 2), "Conv2d: c_in: expected .* found 0"),
        (lambda: Conv2d(2, 0, 2), "Conv2d: c_out: expected .* found 0"),
        (lambda: Conv2d(2, 3, 0), "Conv2d: kernel: expected .* found 0"),
        (
            lambda: Conv2d(2, 3, (2, 2, 2)),
            r"Conv2d: kernel: expected a whole number or a pair \(vertical, "
            r"horizontal\), found \(2, 2, 2\)",
        ),
        (lambda: Conv2d(2, 3, 2, stride=(1, 0)), "Conv2d: stride: expected .* found 0"),
        (lambda: Conv2d(2, 3, 2, dilation=0), "Conv2d: dilation: expected .* found 0"),
        (
            lambda: Conv2d(2, 3, 2, padding=1),
            r"Conv2d: padding: expected one of SAME, VALID, CIRCULAR or "
            r"\(\(top, bottom\), \(left, right\)\), found 1",
        ),
        (
            lambda: Conv2d(2, 3, 2, padding=((1, 1), (0, -1))),
            "Conv2d: padding: expected a whole number >= 0, found -1",
        ),
        (lambda: MaxPool2d(0), "MaxPool2d: size: expected .* found 0"),
        (lambda: AvgPool2d(2, stride=0), "AvgPool2d: stride: expected .* found 0"),
        (
            lambda: LayerStandardize(0.0),
            "LayerStandardize: epsilon: expected a positive number, found 0.0",
        ),
        (
            lambda: BatchStandardize(mean=np.zeros(3), variance=np.array([1, -2, 1])),
            "BatchStandardize: variance: an entry is negative",
        ),
        (
            lambda: BatchStandardize(mean=np.array([np.nan]), variance=np.ones(1)),
            "BatchStandardize: mean: 1 of 1 numbers are NaN or infinite",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueRangeError, match=message):
        make()


def test_given_statistics_fit_each_other():
    with pytest.raises(ShapeError, match="give both mean and variance, or neither"):
        BatchStandardize(mean=np.zeros(3))
    with pytest.raises(
        ShapeError, match=r"variance: expected shape \(3,\), found \(2,\)"
    ):
        BatchStandardize(mean=np.zeros(3), variance=np.ones(2))
    with pytest.raises(
        ShapeError, match=r"mean: expected one number per channel, found"
    ):
        BatchStandardize(mean=np.zeros((2, 3)), variance=np.ones(3))


@pytest.mark.parametrize("name, near", [("same", "SAME"), ("circle", "CIRCULAR")])
def test_unknown_padding(name, near):
    with pytest.raises(
        UnknownName, match=f"Conv2d: padding '{name}': did you mean '{near}"
    ):
        Conv2d(2, 3, 2, padding=name)
    with pytest.raises(
        UnknownName, match=f"padding of MaxPool2d '{name}': did you mean"
    ):
        MaxPool2d(2, padding=name)


@pytest.mark.parametrize("worst", [-1, 5])
def test_words_outside_of_the_range(worst, xp, rng):
    x = xp.asarray(np.array([[0, 4], [worst, 2]]))
    message = (
        r"input of Embedding\(5, 3\): expected integers from 0 to 4, one per word; "
        f"found values from {min(0, worst)} to {max(4, worst)}"
    )
    with pytest.raises(ValueRangeError, match=message):
        Embedding(5, 3).forward([xp.ones((5, 3))], x)


def test_words_that_are_not_integers(xp):
    with pytest.raises(ValueRangeError, match="expected integers, found float64"):
        Embedding(5, 3).forward([xp.ones((5, 3))], xp.ones((7,)))


def test_an_embedding_has_no_derivative_with_respect_to_its_input(xp):
    layer, W = Embedding(5, 3), [xp.ones((5, 3))]
    _, tape = layer.forward(W, xp.asarray(np.array([0, 4])))
    message = (
        r"Embedding\(5, 3\): its input is made of integers, which have no {}; an "
        "embedding must be the first layer"
    )
    with pytest.raises(Unsupported, match=message.format("cotangent")):
        layer.vjp(W, tape, xp.ones((1, 2, 3)))
    with pytest.raises(Unsupported, match=message.format("tangent")):
        layer.jvp(W, tape, [xp.ones((1, 5, 3))], xp.ones((1, 2)))


def test_residual_layers_keep_the_shape(xp, rng):
    layer = Residual([Dense(5, 3)])
    W = [xp.asarray(W) for W in layer.init(rng)]
    message = (
        r"output of the layers inside Residual.*: expected .*\(7, 5\), found \(7, 3\)"
    )
    with pytest.raises(ShapeError, match=message):
        layer.forward(W, xp.ones((7, 5)))


@pytest.mark.parametrize(
    "layer, x",
    [
        (Dense(5, 3), np.ones((7, 5))),
        (Conv2d(2, 3, 2), np.ones((7, 5, 4, 2))),
        (ScaleShift(5), np.ones((7, 5))),
        (Embedding(5, 3), np.ones(7, dtype=int)),
    ],
    ids=str,
)
def test_parameters_and_inputs_of_two_backends(layer, x, rng):
    params = [strict.xp.asarray(W) for W in layer.init(rng)]
    with pytest.raises(BackendError, match="arrays of two backends meet: cupy, numpy"):
        layer.forward(params, x)
