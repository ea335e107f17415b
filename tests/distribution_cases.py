"""Every distribution with data, labels and a witness, for the tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import autograd
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.special
import scipy.stats

from helpers import host
from kfac_ref import definition
from kfac_ref.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Joint,
    Normal,
    NormalMeanVariance,
    Poisson,
)


class Part(NamedTuple):
    """What a textbook says about a distribution of `outputs` outputs."""

    log_prob: Callable
    outcomes: Callable
    outputs: int
    labels: Callable  # (rng, front) -> host labels


CATEGORICAL = Part(
    definition.categorical_log_prob,
    definition.categorical_outcomes,
    5,
    lambda rng, front: rng.integers(0, 5, front),
)
BERNOULLI = Part(
    definition.bernoulli_log_prob,
    definition.bernoulli_outcomes,
    3,
    lambda rng, front: rng.integers(0, 2, (*front, 3)),
)
SOFT = BERNOULLI._replace(labels=lambda rng, front: rng.random((*front, 3)))
NORMAL = Part(
    partial(definition.normal_log_prob, variance=0.7),
    partial(definition.normal_outcomes, variance=0.7),
    3,
    lambda rng, front: rng.normal(size=(*front, 3)),
)
MEAN_VARIANCE = Part(
    definition.normal_mean_variance_log_prob,
    definition.normal_mean_variance_outcomes,
    4,
    lambda rng, front: rng.normal(size=(*front, 2)),
)
POISSON = Part(
    definition.poisson_log_prob,
    definition.poisson_outcomes,
    2,
    lambda rng, front: rng.integers(0, 5, (*front, 2)),
)

TWO = Joint([(Categorical(), 5, 0.3), (Normal(0.7), 3, 2.5)])
THREE = Joint([(TWO, 8, 0.4), (NormalMeanVariance(), 4, 0.6), (Bernoulli(), 3, 1.7)])
CASES: dict[str, tuple[Distribution, list[tuple[Part, float]]]] = {
    "categorical": (Categorical(), [(CATEGORICAL, 1.0)]),
    "bernoulli": (Bernoulli(), [(BERNOULLI, 1.0)]),
    "bernoulli_soft": (Bernoulli(), [(SOFT, 1.0)]),
    "normal": (Normal(0.7), [(NORMAL, 1.0)]),
    "mean_variance": (NormalMeanVariance(), [(MEAN_VARIANCE, 1.0)]),
    "poisson": (Poisson(), [(POISSON, 1.0)]),
    "joint": (TWO, [(CATEGORICAL, 0.3), (NORMAL, 2.5)]),
    "joint_of_joint": (
        THREE,
        [(CATEGORICAL, 0.12), (NORMAL, 1.0), (MEAN_VARIANCE, 0.6), (BERNOULLI, 1.7)],
    ),
}
NATURAL = [name for name, (distribution, _) in CASES.items() if distribution.natural]
FRONTS = [(7,), (3, 2)]  # examples; examples and positions

every_case = pytest.mark.parametrize("name", CASES)
every_front = pytest.mark.parametrize("front", FRONTS)


# The references, row by row. `y` has one array for each part, `flat` of the host.


def slices(name):
    ends = np.cumsum([0] + [part.outputs for part, _ in CASES[name][1]])
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]


@cache
def data(name, front):
    rng = np.random.default_rng([len(name), *front])
    C = slices(name)[-1].stop
    z = 0.6 * rng.normal(size=(*front, C))
    return z, [part.labels(rng, front) for part, _ in CASES[name][1]]


def labels(name, xp, y):
    """The host labels of all parts, as the distribution of that case takes them."""
    y = [xp.asarray(y_i) for y_i in y]
    if name == "joint_of_joint":
        return [y[:2], *y[2:]]
    return y if name == "joint" else y[0]


def on(xp, name, front):
    """The distribution, z and y on a backend."""
    z, y = data(name, front)
    return CASES[name][0], xp.asarray(z), labels(name, xp, y)


def textbook_loss(name, z, y):
    """sum_i w_i (-log p_i(y_i|z_i)) at one position."""
    each = zip(CASES[name][1], slices(name), y, strict=True)
    return sum(-w * part.log_prob(z[s], y_i) for (part, w), s, y_i in each)


@cache
def by_rows(name, front, what):
    """`what` of the textbook loss at every position: itself, or a derivative."""
    z, y = data(name, front)
    function = {"loss": lambda f: f, "grad": autograd.grad, "hess": autograd.hessian}[
        what
    ](partial(textbook_loss, name))
    rows = [function(z[i], [y_i[i] for y_i in y]) for i in np.ndindex(front)]
    return np.reshape(rows, (*front, *np.shape(rows[0])))


@cache
def expected_outer(name, front):
    """sum_i of blocks w_i E[gradient gradient^T], over all outcomes of part i."""
    z, _ = data(name, front)

    def block(part, z):
        pairs_ = zip(*part.outcomes(z), strict=True)
        return sum(
            p * np.outer(g, g) for g, p in ((score(part, z, y), p) for y, p in pairs_)
        )

    def score(part, z, y):
        return autograd.grad(part.log_prob)(z, y)

    rows = []
    for i in np.ndindex(front):
        each = zip(CASES[name][1], slices(name), strict=True)
        blocks = [w * block(part, z[i][s]) for (part, w), s in each]
        rows.append(scipy.linalg.block_diag(*blocks))
    return np.reshape(rows, (*front, *rows[0].shape))


def close(actual, expected):
    """Every number to 1e-12, relative, of those written down by hand."""
    np.testing.assert_allclose(host(actual), np.array(expected), rtol=1e-12, atol=0.0)


# Derivatives and expectations


def flat(y):
    """All arrays of the labels."""
    return [a for y_i in y for a in flat(y_i)] if isinstance(y, list) else [y]


def first(y):
    return [first(y_i) for y_i in y] if isinstance(y, list) else y[0]
