"""Every distribution against the textbook log p(y|z), differentiated by autograd.

The witness is `kfac_ref.definition`, which shares no code with the distributions. Every
case is a sum of parts with weights (one part of weight 1 for a plain distribution), so
that the same tests run over joint losses.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import autograd
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.special
import scipy.stats
from hypothesis import HealthCheck, given, settings

from helpers import assert_exact, host, relative_error
from kfac_ref import definition
from kfac_ref.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Joint,
    Normal,
    NormalMeanVariance,
    Poisson,
    squared_error,
)
from kfac_ref.distributions.base import Diagonal
from kfac_ref.errors import BackendError, ShapeError, Unsupported, ValueRangeError
from kfac_ref.fisher import fisher_matrix, ggn_matrix
from kfac_ref.layers import Dense, Tanh
from kfac_ref.network import Network
from kfac_ref.pairs import pairs


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


@every_case
@every_front
def test_nll_is_the_textbook_loss(xp, name, front):
    distribution, z, y = on(xp, name, front)
    expected = by_rows(name, front, "loss")
    assert_exact(distribution.nll(z, y), expected)
    assert_exact(distribution.loss(z, y), expected.reshape(front[0], -1).sum(axis=1))


@every_case
@every_front
def test_gradient_is_the_derivative(xp, name, front):
    distribution, z, y = on(xp, name, front)
    assert_exact(distribution.gradient(z, y), by_rows(name, front, "grad"))


@every_case
@every_front
def test_hessian_is_the_second_derivative(xp, name, front):
    distribution, z, y = on(xp, name, front)
    assert_exact(distribution.hessian(z, y), by_rows(name, front, "hess"))


@every_case
@every_front
def test_fisher_is_the_expected_outer_product(xp, name, front):
    distribution, z, _ = on(xp, name, front)
    assert_exact(distribution.fisher(z), expected_outer(name, front))


@every_case
def test_autograd_differentiates_the_nll(name):
    """The very forward code is traced; so it is a witness of the gradient, too."""
    distribution, z, y = on(np, name, (3, 2))
    total = autograd.grad(lambda z: distribution.loss(z, y).sum())
    assert_exact(distribution.gradient(z, y), total(z))


@every_case
def test_roots(xp, name):
    """B B^T = F; S S^T = H where the outputs are natural parameters."""
    distribution, z, y = on(xp, name, (3, 2))
    B = host(distribution.root(z))
    assert_exact(B @ np.swapaxes(B, -1, -2), expected_outer(name, (3, 2)))
    if distribution.natural:
        S = host(distribution.hessian_root(z, y))
        assert_exact(S @ np.swapaxes(S, -1, -2), by_rows(name, (3, 2), "hess"))


@every_case
def test_products_are_those_with_the_dense_matrices(xp, name, rng):
    """Vectors have an axis K in front of (N, T, C)."""
    distribution, z, y = on(xp, name, (3, 2))
    v = rng.normal(size=(4, *z.shape))
    matrices = {
        "fisher_product": (distribution.fisher(z), ()),
        "root_product": (distribution.root(z), ()),
        "root_transpose": (xp.swapaxes(distribution.root(z), -1, -2), ()),
        "hessian_product": (distribution.hessian(z, y), (y,)),
    }
    if distribution.natural:
        S = distribution.hessian_root(z, y)
        matrices["hessian_root_product"] = S, (y,)
        matrices["hessian_root_transpose"] = xp.swapaxes(S, -1, -2), (y,)
    for method, (M, arguments) in matrices.items():
        product = getattr(distribution, method)(z, *arguments, xp.asarray(v))
        assert_exact(product, np.einsum("ntij,kntj->knti", host(M), v))


@pytest.mark.parametrize("name", NATURAL)
def test_natural_parameters_have_hessian_equal_fisher(xp, name):
    """So no labels are needed for it; the gradients' second moment is no such thing."""
    distribution, z, _ = on(xp, name, (7,))
    assert_exact(by_rows(name, (7,), "hess"), expected_outer(name, (7,)))
    H = distribution.hessian(z, None)
    assert_exact(H, distribution.fisher(z))
    assert_exact(distribution.hessian_root(z, None), distribution.root(z))
    assert_exact(
        distribution.hessian_root_transpose(z, None, z),
        distribution.root_transpose(z, z),
    )
    g = by_rows(name, (7,), "grad")
    assert relative_error(g[:, :, None] * g[:, None], H) > 0.1


@pytest.mark.parametrize("name", ["mean_variance", "joint_of_joint"])
def test_other_parameters_have_another_hessian(xp, name):
    distribution, z, y = on(xp, name, (7,))
    H, F = distribution.hessian(z, y), distribution.fisher(z)
    assert relative_error(H, F) > 0.1
    assert np.linalg.eigvalsh(host(H)).min() < -0.01
    assert np.linalg.eigvalsh(host(F)).min() > -1e-14
    for method in ("hessian_root_product", "hessian_root_transpose"):
        with pytest.raises(Unsupported, match=r"determinant is -r\^2 e\^\{-2s\}/2 < 0"):
            getattr(distribution, method)(z, y, z)


def test_mean_variance_by_hand(xp):
    """m = 1, s = log 4, y = 4, so r = 3: F = diag(1/4, 1/2), det H = -9/32."""
    z, y = xp.asarray([[1.0, math.log(4.0)]]), xp.asarray([[4.0]])
    distribution = NormalMeanVariance()
    H = host(distribution.hessian(z, y))[0]
    assert_exact(distribution.fisher(z), np.array([[[0.25, 0.0], [0.0, 0.5]]]))
    assert_exact(H, np.array([[0.25, 0.75], [0.75, 1.125]]))
    assert abs(np.linalg.det(H) + 9 / 32) < 1e-14
    assert_exact(distribution.gradient(z, y), np.array([[-0.75, 0.5 - 1.125]]))
    close(distribution.nll(z, y), [(9 / 4 + np.log(8 * np.pi)) / 2])


@every_case
def test_expected_gradient_is_zero(xp, name):
    """sum_y p(y|z) gradient(z, y) = 0; the labels have an axis in front of z's."""
    if "joint" in name:
        pytest.skip("the expectation of a joint loss is that of its parts")
    distribution, z, _ = on(xp, name, (3, 2))
    part = CASES[name][1][0][0]
    for n, t in np.ndindex(3, 2):
        y, p = part.outcomes(host(z)[n, t])
        g = host(distribution.gradient(z[n, t][None], xp.asarray(np.stack(y)[:, None])))
        assert g.shape == (len(y), 1, z.shape[-1])
        assert np.abs(np.einsum("yni,y->ni", g, p)).max() < 1e-13
        if name == "categorical":
            assert np.abs(np.einsum("yni,y->ni", g, 0.0 * p + 0.2)).max() > 0.01


@given(
    st.sampled_from([name for name in CASES if name != "bernoulli_soft"]),
    st.tuples(*[st.integers(1, 4)] * 3),
    st.floats(0.0, 30.0),
    st.integers(0, 2**32),
)
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_laws_of_the_roots(xp, name, shape, scale, seed):
    """<B u, v> = <u, B^T v>, F v = B B^T v, v^T F v = |B^T v|^2, at any logits."""
    (N, T, K), distribution = shape, CASES[name][0]
    rng = np.random.default_rng(seed)
    C = slices(name)[-1].stop
    z = xp.asarray(scale * rng.uniform(-1, 1, (N, T, C)))
    u, v = (xp.asarray(rng.normal(size=(K, N, T, C))) for _ in range(2))
    Bu, Bv = distribution.root_product(z, u), distribution.root_transpose(z, v)
    Fv = distribution.fisher_product(z, v)
    norm = np.linalg.norm
    u, v, Bu, Bv, Fv = (host(a) for a in (u, v, Bu, Bv, Fv))
    size = norm(Bu) * norm(v) + norm(u) * norm(Bv)
    assert abs((Bu * v).sum() - (u * Bv).sum()) <= 1e-13 * size
    size = np.abs(host(distribution.fisher(z))).max() * norm(v)
    BBv = host(distribution.root_product(z, xp.asarray(Bv)))
    assert norm(Fv - BBv) <= 1e-13 * size
    assert abs((v * Fv).sum() - (Bv * Bv).sum()) <= 1e-13 * size * norm(v)


# Normalisation, and the convention of the squared error


@pytest.mark.parametrize("name", ["categorical", "bernoulli", "poisson"])
def test_probabilities_of_all_labels_sum_to_one(xp, name):
    """So log y! and every other constant is in the loss."""
    distribution, z, _ = on(xp, name, (7,))
    outcomes, _ = CASES[name][1][0][0].outcomes(host(z)[0])
    nll = distribution.nll(z[:1], xp.asarray(np.stack(outcomes)[:, None]))
    assert abs(np.exp(-host(nll)).sum() - 1.0) < 1e-13


@pytest.mark.parametrize(
    "distribution, z, integral",
    [
        (Normal(0.7), [0.4], 1.0),
        (NormalMeanVariance(), [0.4, -0.9], 1.0),
        (Normal(0.7, normalized=False), [0.4], math.sqrt(2 * math.pi * 0.7)),
    ],
)
def test_density_integrates_to_one_where_normalized(distribution, z, integral):
    def density(y):
        return float(np.exp(-distribution.nll(np.array([z]), np.array([[y]]))[0]))

    assert (
        abs(scipy.integrate.quad(density, -15, 15, epsabs=1e-12)[0] - integral) < 1e-9
    )


def test_squared_error_is_without_a_half(xp):
    z, y = xp.asarray([[1.0, 2.0, 4.0]]), xp.asarray([[3.0, -1.0, 4.5]])
    whole, half = squared_error(), Normal(1.0, normalized=False)
    assert repr(whole) == "Normal(variance=0.5, normalized=False)"
    close(whole.loss(z, y), [4 + 9 + 0.25])
    close(whole.gradient(z, y), [[-4.0, 6.0, -1.0]])
    close(whole.fisher(z), [2.0 * np.eye(3)])
    close(half.loss(z, y), [6.625])
    close(half.fisher(z), [np.eye(3)])
    constant = host(Normal(0.5).loss(z, y)) - host(whole.loss(z, y))
    close(constant, [1.5 * np.log(np.pi)])


# Sampling

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


def flat(y):
    """All arrays of the labels."""
    return [a for y_i in y for a in flat(y_i)] if isinstance(y, list) else [y]


def first(y):
    return [first(y_i) for y_i in y] if isinstance(y, list) else y[0]


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


def test_extreme_logits_of_bernoulli(xp):
    z = xp.asarray([[800.0, -800.0, 40.0]])
    right, wrong = xp.asarray([[1, 0, 1]]), xp.asarray([[0, 1, 0]])
    b, tail = Bernoulli(), 1 / (1 + math.exp(40.0))
    close(b.nll(z, right), [tail])
    close(b.nll(z, wrong), [1640.0])
    close(b.gradient(z, right)[:, 2], [-tail])
    assert host(b.gradient(z, right))[0, :2].tolist() == [0.0, 0.0]
    assert 1 / (1 + np.exp(-40.0)) - 1 == 0.0  # what p - y would give
    close(b.gradient(z, wrong)[:, :2], [[1.0, -1.0]])
    for i, root in enumerate([math.exp(-400), math.exp(-400), math.sqrt(tail)]):
        close(b.root_diagonal(z)[0, i], root)


def test_extreme_logits_of_categorical(xp):
    z, c = xp.asarray([[800.0, -800.0, 799.0]]), Categorical()
    log_sum = math.log1p(math.exp(-1))
    for y, expected in ((0, log_sum), (1, 1600 + log_sum), (2, 1 + log_sum)):
        close(c.nll(z, xp.asarray([y])), [expected])
    p = np.array([1, 0, math.exp(-1)]) / (1 + math.exp(-1))
    close(c.gradient(z, xp.asarray([1])), [p - [0, 1, 0]])
    close(c.fisher(z), [np.diag(p) - np.outer(p, p)])
    assert np.isfinite(host(c.root(z))).all()
    shift = xp.asarray([[1e9, 1e9 + 1, 1e9 + 2]])
    expected = math.log(1 + math.e + math.e**2)
    close(c.nll(shift, xp.asarray([0])), [expected])


def test_categorical_keeps_its_digits_where_one_class_has_all(xp):
    """The references never subtract: F_ii = sum of p_i p_j, 1 - p_i of p_j, j != i."""
    z, c = np.array([[0.5, 40.0, 1.5, -3.0, 0.0]]), Categorical()
    e = np.exp(z[0] - 40.0)
    p, others = e / e.sum(), 1.0 - np.eye(5)
    off = np.outer(p, p) * others
    F, rest = np.diag(off.sum(axis=1)) - off, others[1] @ p
    z = xp.asarray(z)
    close(c.nll(z, xp.asarray([1])), [math.log1p(others[1] @ e)])
    g = p.copy()
    g[1] = -rest
    close(c.gradient(z, xp.asarray([1])), [g])
    assert p[1] - 1.0 == 0.0 and rest > 1e-17  # what p - 1 would give
    close(c.fisher(z), [F])
    B = host(c.root(z))[0]
    assert_exact(B @ B.T, F)
    assert_exact(c.root_transpose(z, xp.asarray(np.eye(5)[:, None]))[:, 0], B)


def test_ties_have_the_right_derivative():
    """At equal logits, as from zero weights: autograd must not split the maximum."""
    z, y = np.zeros((1, 5)), np.array([3])
    total = autograd.grad(lambda z: Categorical().loss(z, y).sum())
    close(total(z), [[0.2, 0.2, 0.2, -0.8, 0.2]])
    close(Categorical().gradient(z, y), [[0.2, 0.2, 0.2, -0.8, 0.2]])


def test_extreme_log_variances(xp):
    """s = -800: r^2 e^-s is 0 * inf for tiny r if it is not (r e^(-s/2))^2."""
    d, log_2pi = NormalMeanVariance(), math.log(2 * math.pi)
    z = xp.asarray([[0.0, -800.0], [0.0, -800.0], [0.0, 800.0]])
    y = xp.asarray([[0.0], [1e-170], [3.0]])
    t = 1e-170 * math.exp(400)
    expected = [(-800 + log_2pi) / 2, (t * t - 800 + log_2pi) / 2, (800 + log_2pi) / 2]
    close(d.nll(z, y), expected)
    g = host(d.gradient(z, y))
    close(g[:, 1], [0.5, 0.5 - t * t / 2, 0.5])
    close(g[1:2, 0], [-t * math.exp(400)])
    assert g[2, 0] == 0.0  # -3 exp(-800) is no float64
    close(d.root_diagonal(z)[2], [math.exp(-400), math.sqrt(0.5)])
    assert np.isfinite(host(d.hessian_product(z, y, 0.0 * z))).all()


def test_extreme_log_rates(xp):
    z = xp.asarray([[-800.0], [-800.0], [700.0]])
    y, p = xp.asarray([[0], [3], [0]]), Poisson()
    nll = host(p.nll(z, y))
    assert nll[0] == 0.0
    close(nll[1:2], [2400 + math.log(6)])
    close(nll[2:], [math.exp(700)])
    for i, exponent in enumerate([-400, -400, 350]):
        close(p.root_diagonal(z)[i, 0], math.exp(exponent))


# Weights


def test_weights_enter_as_w_as_root_and_squared(xp):
    """Over all 20 label pairs: E[sampled sampled^T] = w F, E[grad grad^T] = w^2 F."""
    w = 0.3, 2.5
    joint = Joint([(Categorical(), 5, w[0]), (Bernoulli(), 2, w[1])])
    plain = Joint([(Categorical(), 5, 1.0), (Bernoulli(), 2, 1.0)])
    z = np.random.default_rng(3).normal(size=(1, 7))
    both = itertools.product(
        zip(*definition.categorical_outcomes(z[0, :5]), strict=True),
        zip(*definition.bernoulli_outcomes(z[0, 5:]), strict=True),
    )
    outcomes = [(a, b, p * q) for (a, p), (b, q) in both]
    y = [xp.asarray(np.stack([o[i] for o in outcomes])[:, None]) for i in range(2)]
    p = np.array([o[2] for o in outcomes])
    z = xp.asarray(z)

    def moment(g):
        return np.einsum("yi,yj,y->ij", host(g)[:, 0], host(g)[:, 0], p)

    F = host(plain.fisher(z))[0]
    scale = np.repeat(w, [5, 2])
    assert_exact(joint.fisher(z)[0], scale * F)
    assert_exact(moment(joint.sampled_gradient(z, y)), scale * F)
    assert_exact(moment(joint.gradient(z, y)), scale**2 * F)
    assert relative_error(scale**2 * F, scale * F) > 0.5
    assert_exact(joint.root(z)[0], np.sqrt(scale)[:, None] * host(plain.root(z))[0])
    assert_exact(
        joint.sampled_gradient(z, y) * xp.asarray(np.sqrt(scale)), joint.gradient(z, y)
    )
    assert Categorical().sampled_gradient(z, y[0]).shape == (20, 1, 7)


def joint_network(rng):
    network = Network([Dense(4, 3), Tanh(), Dense(3, 8)], TWO)
    params = [W + 0.3 * rng.normal(size=W.shape) for W in network.init(rng)]
    return network, params, rng.normal(size=(7, 4))


def test_joint_losses_of_a_network(xp, rng):
    """Loss, gradient and Fisher are weighted sums of those from the definition."""
    network, host_params, x = joint_network(rng)
    y = [CATEGORICAL.labels(rng, (7,)), NORMAL.labels(rng, (7,))]
    theta = network.flatten(host_params)

    def part(theta, x, s):
        return network.forward(network.unflatten(theta), x)[0][..., s]

    def loss(theta):
        each = zip(part(theta, x, slice(None)), *y, strict=True)
        return sum(textbook_loss("joint", z_n, y_n) for z_n, *y_n in each) / 7

    params = [xp.asarray(W) for W in host_params]
    device_y = [xp.asarray(y_i) for y_i in y]
    actual, gradient = network.loss_and_gradient(params, xp.asarray(x), device_y)
    assert_exact(actual, loss(theta))
    assert_exact(network.flatten(gradient), autograd.grad(loss)(theta))
    expected = sum(
        w * definition.fisher(partial(part, s=s), theta, x, p.log_prob, p.outcomes)
        for (p, w), s in zip(CASES["joint"][1], slices("joint"), strict=True)
    )
    F = fisher_matrix(network, params, xp.asarray(x))
    assert_exact(F.to_dense(), expected)


def test_joint_losses_reach_every_estimate(xp, rng):
    """`sampled` takes sqrt(w) grad of sampled labels, `empirical` w grad."""
    network, params, x = joint_network(rng)
    params, x = [xp.asarray(W) for W in params], xp.asarray(x)
    y = [xp.asarray(CATEGORICAL.labels(rng, (7,))), xp.asarray(rng.normal(size=(7, 3)))]
    z = network.predict(params, x)
    drawn = TWO.sample(z, np.random.default_rng(8), 2)
    expected = {
        "empirical": TWO.gradient(z, y)[None],
        "sampled": TWO.sampled_gradient(z, drawn) / math.sqrt(2),
    }
    for estimate, samples in (("empirical", 1), ("sampled", 2)):
        again = np.random.default_rng(8)
        made = pairs(network, params, x, estimate, y=y, rng=again, samples=samples)
        for n in range(7):
            g = made.make(n, n + 1).g()[-1]  # the last layer's g is dloss/dz
            assert_exact(g[:, 0, 0], expected[estimate][:, n])


def test_mean_variance_network_has_a_ggn_without_a_root(xp, rng):
    """The GGN comes from products; as a sum of outer products it does not exist."""
    network = Network([Dense(4, 3), Tanh(), Dense(3, 4)], NormalMeanVariance())
    params = [W + 0.3 * rng.normal(size=W.shape) for W in network.init(rng)]
    x, y = rng.normal(size=(7, 4)), rng.normal(size=(7, 2))
    expected = definition.ggn(
        lambda t, x: network.forward(network.unflatten(t), x)[0],
        network.flatten(params),
        x,
        y,
        lambda z, y: -definition.normal_mean_variance_log_prob(z, y),
    )
    params, x, y = [xp.asarray(W) for W in params], xp.asarray(x), xp.asarray(y)
    G = ggn_matrix(network, params, x, y)
    assert_exact(G.to_dense(), expected)
    assert (
        relative_error(G.to_dense(), fisher_matrix(network, params, x).to_dense()) > 0.1
    )
    with pytest.raises(Unsupported, match="use the Fisher"):
        pairs(network, params, x, "ggn", y=y).make(0, 7).g()


# Types and errors


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
    with pytest.raises(BackendError, match="expected an array, found int"):
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
        ([(Normal(), 0, 1.0)], "at least 1 output, found"),
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
