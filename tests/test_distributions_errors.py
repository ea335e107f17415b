"""Types that are kept, and what does not fit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from distribution_cases import CASES, TWO, data, every_case, first, flat, labels, on
from helpers import assert_exact, relative_error
from kfac_ref.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Joint,
    Normal,
    NormalMeanVariance,
    Poisson,
)
from kfac_ref.distributions.base import Diagonal
from kfac_ref.errors import BackendError, ShapeError, Unsupported, ValueRangeError
from kfac_ref.layers import Dense
from kfac_ref.network import Network


@every_case
def test_float32_is_kept(xp, name):
    distribution, z, y = on(np, name, (3, 2))
    z32 = xp.asarray(z.astype("float32"))
    y32 = labels(name, xp, [to32(y_i) for y_i in data(name, (3, 2))[1]])
    distribution.check_labels(z32, y32)
    methods = {
        "nll": (y32,),
        "gradient": (y32,),
        "sampled_gradient": (y32,),
        "fisher_product": (z32,),
        "root_product": (z32,),
        "root_transpose": (z32,),
        "hessian_product": (y32, z32),
    }
    for method, arguments in methods.items():
        result = getattr(distribution, method)(z32, *arguments)
        assert result.dtype == "float32", method
        in64 = {id(y32): y, id(z32): z}
        expected = getattr(distribution, method)(z, *[in64[id(a)] for a in arguments])
        assert relative_error(result, expected) < 1e-5
    drawn = first(distribution.sample(z32, np.random.default_rng(1), 2))
    distribution.check_labels(z32, drawn)
    assert all(y_i.dtype in ("float32", "int64") for y_i in flat(drawn))


def to32(y):
    return y.astype("float32") if y.dtype.kind == "f" else y


def test_parameters_of_numpy_type_do_not_widen(xp):
    z = xp.asarray(np.ones((7, 3), "float32"))
    joint = Joint([(Normal(np.float64(0.5)), 3, np.float64(0.3))])
    assert joint.nll(z, [z]).dtype == "float32"
    assert joint.root_product(z, z).dtype == "float32"


@pytest.mark.parametrize(
    "distribution, y, message",
    [
        (
            Categorical(),
            np.zeros((7, 4), int),
            r"expected shape \(7,\), found \(7, 4\)",
        ),
        (Categorical(), np.zeros(7), "expected integers, found float64"),
        (Categorical(), np.arange(7), "from 0 to 3 .* found values from 0 to 6"),
        (Categorical(), np.arange(7) - 4, "found values from -4 to 2"),
        (Bernoulli(), np.zeros(7), r"expected shape \(7, 4\), found \(7,\)"),
        (Bernoulli(), np.full((7, 4), 2), "0, 1, or .* found values from 2 to 2"),
        (Bernoulli(), np.full((7, 4), -0.5), "found values from -0.5 to -0.5"),
        (Bernoulli(), np.full((7, 4), np.nan), "found values from nan to nan"),
        (Bernoulli(), np.zeros((7, 4), "float32"), "float64 like the outputs or integ"),
        (Normal(), np.zeros((7, 3)), r"expected shape \(7, 4\), found \(7, 3\)"),
        (
            Normal(),
            np.zeros((7, 4), int),
            "float64 like the outputs, found int64; conv",
        ),
        (
            Normal(),
            np.zeros((7, 4), "float32"),
            "found float32; convert them with y.as",
        ),
        (NormalMeanVariance(), np.zeros((7, 4)), r"\(7, 2\), found \(7, 4\)"),
        (NormalMeanVariance(), np.zeros((7, 2), int), "float64 like the outputs"),
        (Poisson(), np.zeros(7, int), r"expected shape \(7, 4\), found \(7,\)"),
        (
            Poisson(),
            np.full((7, 4), -2),
            "integers 0, 1, 2, ..., found the smallest -2",
        ),
        (Poisson(), np.full((7, 4), 1.5), "found fractions"),
        (Poisson(), np.zeros((7, 4), bool), "or integers, found bool"),
    ],
)
def test_labels_that_do_not_fit(xp, distribution, y, message):
    z = xp.asarray(np.zeros((7, 4)))
    with pytest.raises((ShapeError, ValueRangeError), match=message):
        distribution.check_labels(z, xp.asarray(y))


@pytest.mark.parametrize(
    "distribution, y",
    [
        (Bernoulli(), np.ones((7, 4), bool)),
        (Bernoulli(), np.ones((7, 4), "uint8")),
        (Bernoulli(), np.full((7, 4), 0.25)),
        (Poisson(), np.full((7, 4), 3.0)),
        (Poisson(), np.full((7, 4), 3, "uint8")),
    ],
)
def test_labels_of_other_types_count_the_same(xp, distribution, y):
    z = xp.asarray(np.linspace(-1, 1, 28).reshape(7, 4))
    for_float = xp.asarray(y.astype("float64"))
    distribution.check_labels(z, xp.asarray(y))
    for method in ("nll", "gradient"):
        result = getattr(distribution, method)(z, xp.asarray(y))
        assert_exact(result, getattr(distribution, method)(z, for_float), 0.0)


def test_labels_of_joint_losses_that_do_not_fit(xp):
    network = Network(Dense(4, 8), TWO)
    params = [xp.asarray(np.ones((5, 8)))]
    x = xp.asarray(np.ones((7, 4)))
    c, r = xp.asarray(np.zeros(7, int)), xp.asarray(np.zeros((7, 3)))
    assert float(network.loss(params, x, (c, r))) > 0.0
    for y, message in (
        ([c], "list of 2 arrays, one for each part, found 1"),
        (c, "list of 2 arrays, one for each part, found "),
        ([r, c], r"part 0, Categorical\(\): labels: expected shape \(7,\)"),
        ([c + 5, r], "part 0, .* from 0 to 4 .* found values from 5 to 5"),
        ([c, r[:0]], "labels: the batch is empty"),
        ([c, r * float("nan")], "21 of 21 numbers are NaN"),
    ):
        with pytest.raises((ShapeError, ValueRangeError), match=message):
            network.loss(params, x, y)
    with pytest.raises(BackendError, match="expected an array, found a list of int"):
        network.loss(params, x, [0, 1])
    for method in ("nll", "gradient"):
        with pytest.raises(ShapeError, match=r"8 entries .* found shape \(7, 9\)"):
            getattr(TWO, method)(xp.asarray(np.ones((7, 9))), [c, r])


@pytest.mark.parametrize(
    "parts, message",
    [
        ([], "Joint: expected at least one part, found none"),
        (
            [(Normal(), 3)],
            r"part 0 of Joint: expected \(distribution, number of outputs",
        ),
        ([(Normal(), 3, 1.0), ("mse", 3, 1.0)], "part 1 of Joint: expected .*found"),
        ([(Normal(), 0, 1.0)], "outputs of part 0 of Joint, Normal.* >= 1, found 0"),
        (
            [(Normal(), 3, 0.0)],
            r"weight of part 0 of Joint, Normal.*positive.*found 0.0",
        ),
        ([(Normal(), 3, -1.0)], "found -1.0"),
        ([(Normal(), 3, math.inf)], "found inf"),
        ([(Normal(), 3, math.nan)], "found nan"),
    ],
)
def test_parts_that_do_not_fit(parts, message):
    with pytest.raises((ShapeError, ValueRangeError), match=message):
        Joint(parts)


@pytest.mark.parametrize("variance", [0.0, -1.0, math.inf, math.nan])
def test_variances_that_are_none(variance):
    with pytest.raises(
        ValueRangeError, match=f"positive finite number, found {variance}"
    ):
        Normal(variance)


def test_outputs_that_do_not_fit(xp):
    odd, z = xp.asarray(np.ones((7, 3))), xp.asarray(np.full((7, 1), 44.0))
    with pytest.raises(ShapeError, match=r"an even number .* found shape \(7, 3\)"):
        NormalMeanVariance().fisher_product(odd, odd)
    with pytest.raises(ValueRangeError, match=r"for log rates up to 43\.64, found 44"):
        Poisson().sample(z, np.random.default_rng(0), 2)
    with pytest.raises(ValueRangeError, match="found nan"):
        Poisson().sample(z * float("nan"), np.random.default_rng(0), 2)


def test_a_distribution_says_what_it_lacks():
    class Halves(Normal):
        natural = False

    z = np.ones((7, 3))
    for method in ("hessian", "hessian_root"):
        with pytest.raises(
            Unsupported, match=f"Halves has no {method}_product: .*write"
        ):
            getattr(Halves(), method)(z, z)
    with pytest.raises(Unsupported, match="Halves has no hessian_root_transpose"):
        Halves().hessian_root_transpose(z, z, z)


def test_the_base_leaves_the_formulas_to_others():
    z, rng = np.ones((7, 3)), np.random.default_rng(0)
    methods = {"sample": (rng, 2), "root_product": (z,), "root_transpose": (z,)}
    methods |= {"check_labels": (z,), "nll": (z,), "gradient": (z,)}
    for method, arguments in methods.items():
        with pytest.raises(NotImplementedError):
            getattr(Distribution(), method)(z, *arguments)
    with pytest.raises(NotImplementedError):
        Diagonal().root_product(z, z)


def test_reprs_can_be_typed_in():
    for distribution, _ in CASES.values():
        assert repr(eval(repr(distribution))) == repr(distribution)
    expected = (
        "(Categorical(), 5, 0.3), (Normal(variance=0.7, normalized=True), 3, 2.5)"
    )
    assert repr(TWO) == f"Joint([{expected}])"
