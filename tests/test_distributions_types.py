"""Types: float32 stays, labels of any type that can hold them count the same."""

from __future__ import annotations

import numpy as np
import pytest

from distribution_cases import CASES, TWO, data, every_case, first, flat, labels, on
from helpers import assert_exact, relative_error
from kfac_ref import distributions
from kfac_ref.distributions import Bernoulli, Joint, Normal, Poisson


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


def test_reprs_can_be_typed_in():
    for distribution, _ in CASES.values():
        assert repr(eval(repr(distribution), vars(distributions))) == repr(distribution)
    expected = (
        "(Categorical(), 5, 0.3), (Normal(variance=0.7, normalized=True), 3, 2.5)"
    )
    assert repr(TWO) == f"Joint([{expected}])"
