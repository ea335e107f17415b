"""Moving averages: closed forms of the seven variants, and every kind of matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import assert_exact, host, relative_error
from kfac_ref.errors import ShapeError, UnknownName, Unsupported, ValueRangeError
from kfac_ref.matrices import (
    BlockDiagonalMatrix,
    ChainFactors,
    DenseMatrix,
    DiagonalMatrix,
    KroneckerProduct,
)
from kfac_ref.optimizer import Average, MovingAverage
from kfac_ref.optimizer.averages import AVERAGES, mix
from kfac_ref.structures import curvature
from matrix_cases import moment
from networks import chain, inputs, parameters

EPS = 0.8


def closed_form(variant, k, eps):
    """Weights of the values 1, ..., k in the average, and of the identity."""
    newest_first = eps ** np.arange(k)[::-1]
    if variant == "latest":
        return np.eye(k)[-1], 0.0
    if variant == "plain":
        return np.full(k, 1 / k), 0.0
    if variant == "debiased":
        return newest_first / newest_first.sum(), 0.0
    if variant == "first":
        return np.concatenate([newest_first[:1], (1 - eps) * newest_first[1:]]), 0.0
    if variant == "zero":
        return (1 - eps) * newest_first, 0.0
    if variant == "identity":
        return (1 - eps) * newest_first, eps**k
    weights = np.array([1.0])  # paper: the recursion, written out
    for i in range(2, k + 1):
        e = min(1 - 1 / i, eps)
        weights = np.concatenate([e * weights, [1 - e]])
    return weights, 0.0


def average_of(values, variant, eps=EPS, burn_in=0):
    rule, average = MovingAverage(variant, eps), Average()
    for i, value in enumerate(values):
        average = rule.add(average, value, burn_in=i < burn_in)
    return average


def dense(xp, rng, count, d=5):
    host_values = [moment(rng, d) for _ in range(count)]
    return host_values, [DenseMatrix(xp.asarray(M), "layer 0") for M in host_values]


@pytest.mark.parametrize("variant", AVERAGES)
@given(k=st.integers(1, 12), eps=st.floats(0.05, 0.99))
@settings(
    deadline=None,
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_average_has_the_weights_of_its_closed_form(variant, xp, k, eps):
    arrays, values = dense(xp, np.random.default_rng(k), k)
    weights, identity = closed_form(variant, k, eps)
    expected = sum(w * M for w, M in zip(weights, arrays, strict=True))
    average = average_of(values, variant, eps)
    assert_exact(average.value.to_dense(), expected + identity * np.eye(5))
    assert average.count == k
    assert average.value.name == "layer 0"


@pytest.mark.parametrize("variant", AVERAGES)
def test_weights_sum_to_one_but_for_the_two_bugs(variant):
    """zero is too small by 1 - eps^k, and identity keeps eps^k I."""
    weights, identity = closed_form(variant, 4, EPS)
    short = EPS**4 if variant in ("zero", "identity") else 0.0
    assert abs(weights.sum() - (1 - short)) < 1e-15
    assert identity == (EPS**4 if variant == "identity" else 0.0)


def test_three_averages_are_those_worked_by_hand(xp):
    """The values 8, 4, 2 with decay 1/2."""
    values = [DiagonalMatrix(xp.asarray(np.array([v]))) for v in (8.0, 4.0, 2.0)]
    expected = {
        "latest": 2.0,
        "plain": 14 / 3,
        "paper": ((8 + 4) / 2 + 2) / 2,  # weights 1/2, then 1/2: eps holds
        "debiased": (8 / 4 + 4 / 2 + 2) / (7 / 4),
        "first": (8 / 2 + 4 / 2) / 2 + 2 / 2,
        "zero": 8 / 8 + 4 / 4 + 2 / 2,
        "identity": 1 / 8 + 8 / 8 + 4 / 4 + 2 / 2,
    }
    for variant, number in expected.items():
        assert_exact(average_of(values, variant, 0.5).value.values, np.array([number]))


@pytest.mark.parametrize("variant", AVERAGES)
def test_the_order_matters_but_to_the_mean(variant, xp, rng):
    _, values = dense(xp, rng, 3)
    there = average_of(values, variant, 0.4).value.to_dense()
    back = average_of(values[::-1], variant, 0.4).value.to_dense()
    if variant == "plain":
        assert_exact(there, back)
    else:
        assert relative_error(there, back) > 0.01


def test_the_papers_average_is_the_mean_first_and_then_forgets(xp, rng):
    """1 - 1/k < eps up to k = 1/(1 - eps) = 5."""
    _, values = dense(xp, rng, 6)
    for k in range(1, 7):
        paper = average_of(values[:k], "paper").value.to_dense()
        plain = average_of(values[:k], "plain").value.to_dense()
        if k <= 5:
            assert_exact(paper, plain)
        else:
            assert relative_error(paper, plain) > 1e-3


def test_lbann_and_chainer_by_their_own_numbers(xp):
    """1, then 2: LBANN's 0.99 gives 1.01; ChainerKFAC's 0.99 is the newest's weight."""
    values = [DiagonalMatrix(xp.asarray(np.array([v]))) for v in (1.0, 2.0)]
    for decay, number in ((0.99, 1.01), (1 - 0.99, 1.99)):
        found = average_of(values, "first", decay).value.values
        assert_exact(found, np.array([number]))


def test_tensorflows_ema_of_the_same_matrix_is_that_matrix(xp, rng):
    """Its zero_debias=False would give 2.640625 C after three, at decay 7/8."""
    arrays, values = dense(xp, rng, 1)
    average = average_of(values * 3, "debiased", 0.875)
    assert_exact(average.value.to_dense(), arrays[0])
    assert average.total == 2.640625


@pytest.mark.parametrize("variant", AVERAGES)
def test_burn_in_is_a_plain_mean_from_which_the_variant_goes_on(variant, xp, rng):
    arrays, values = dense(xp, rng, 4)
    average = average_of(values[:3], variant, EPS, burn_in=3)
    mean = sum(arrays[:3]) / 3
    assert_exact(average.value.to_dense(), mean)
    w = {
        "latest": 1.0,
        "plain": 1 / 4,
        "paper": 1 / 4,
        "debiased": 1 / (3 * EPS + 1),  # three with the weight eps each
    }.get(variant, 1 - EPS)
    following = MovingAverage(variant, EPS).add(average, values[3]).value.to_dense()
    assert_exact(following, (1 - w) * mean + w * arrays[3])


KRONECKER_STRUCTURES = ["kronecker", "diagonal", "block_diagonal", "full"]


@pytest.mark.parametrize("variant", ["paper", "zero", "identity"])
@pytest.mark.parametrize("structure", KRONECKER_STRUCTURES)
def test_every_structure_is_averaged_array_by_array(structure, variant, xp, rng):
    net = chain()
    params = parameters(net, rng, xp)
    values = [curvature(net, params, inputs(rng, xp), structure) for _ in range(3)]
    found = average_of(values, variant).value
    weights, identity = closed_form(variant, 3, EPS)
    for block, *blocks in zip(_blocks(found), *map(_blocks, values), strict=True):
        for name in _arrays(block):
            arrays = [host(getattr(b, name)) for b in blocks]
            mean = sum(w * M for w, M in zip(weights, arrays, strict=True))
            one = np.ones_like(mean) if mean.ndim == 1 else np.eye(len(mean))
            assert_exact(getattr(block, name), mean + identity * one)
        assert block.name == blocks[0].name


def _blocks(matrix):
    return getattr(matrix, "blocks", [matrix])


def _arrays(block):
    kinds = {
        KroneckerProduct: ["A", "G"],
        DenseMatrix: ["matrix"],
        DiagonalMatrix: ["values"],
    }
    return kinds[type(block)]


def test_a_product_of_means_is_no_mean_of_products(xp, rng):
    """Kronecker factors are averaged apart; exact only where one of them stays."""
    A, B, G, H = (xp.asarray(moment(rng, d)) for d in (5, 5, 3, 3))
    for other, same in (
        (KroneckerProduct(B, G), True),
        (KroneckerProduct(B, H), False),
    ):
        values = [KroneckerProduct(A, G), other]
        found = average_of(values, "plain").value.to_dense()
        mean = (host(values[0].to_dense()) + host(other.to_dense())) / 2
        if same:
            assert_exact(found, mean)
        else:
            assert relative_error(found, mean) > 0.01


@pytest.mark.parametrize("variant", ["first", "identity"])
def test_the_factors_of_a_chain(variant, xp, rng):
    values = []
    for _ in range(2):
        A, G = ([moment(rng, d) for d in sizes] for sizes in ((5, 2), (3, 4)))
        cross = [rng.normal(size=(5, 2))], [rng.normal(size=(3, 4))]
        moved = [[xp.asarray(M) for M in factors] for factors in (A, G, *cross)]
        values.append(ChainFactors(*moved, ["0: a", "1: b"]))
    found = average_of(values, variant).value
    (w, v), identity = closed_form(variant, 2, EPS)
    for name in ("A", "G", "A_next", "G_next"):
        for new, *old in zip(
            *(getattr(c, name) for c in (found, *values)), strict=True
        ):
            mean = w * host(old[0]) + v * host(old[1])
            diagonal = 0.0 if "next" in name else np.eye(len(mean))
            assert_exact(new, mean + identity * diagonal)
    assert found.names == ["0: a", "1: b"]
    assert repr(found) == "ChainFactors(23 x 23, 'chain of 0: a, 1: b')"


def test_arrays_such_as_the_parameters(xp, rng):
    values = [xp.asarray(rng.normal(size=7)) for _ in range(3)]
    weights, _ = closed_form("debiased", 3, EPS)
    expected = sum(w * host(v) for w, v in zip(weights, values, strict=True))
    assert_exact(average_of(values, "debiased").value, expected)


def test_turning_bases_have_no_mean(xp, rng):
    net = chain()
    params = parameters(net, rng, xp)
    values = [
        curvature(net, params, inputs(rng, xp), "eigenvalue_corrected")
        for _ in range(2)
    ]
    with pytest.raises(Unsupported, match=r"0: Dense\(5, 4\).*basis turns.*'latest'"):
        average_of(values, "paper")
    with pytest.raises(Unsupported, match="'identity' of .*use another variant"):
        average_of(values, "identity")
    assert average_of(values, "latest").value is values[1]


def test_float32_stays(xp, rng):
    net = chain()
    params = [W.astype(np.float32) for W in parameters(net, rng, xp)]
    x = inputs(rng, xp).astype(np.float32)
    for structure in KRONECKER_STRUCTURES:
        values = [curvature(net, params, x, structure)] * 2
        for variant in AVERAGES:
            assert average_of(values, variant).value.dtype == np.float32


def test_a_matrix_of_a_new_kind_says_where_it_is_listed(rng):
    class Mine(DenseMatrix):
        """Not in PARTS."""

    made = Mine(np.diag([1.0, 2.0, 3.0]), "mine")
    rule = MovingAverage("first")
    with pytest.raises(Unsupported, match="list the arrays of its kind in PARTS"):
        rule.add(rule.add(Average(), made), made)


def test_errors(xp, rng):
    _, (value,) = dense(xp, rng, 1)
    _, (other,) = dense(xp, rng, 1, d=4)
    rule = MovingAverage("first")
    average = rule.add(Average(), value)
    with pytest.raises(
        ShapeError, match=r"DenseMatrix\(5 x 5.*DenseMatrix\(4 x 4.*different"
    ):
        rule.add(average, other)
    with pytest.raises(ShapeError, match="different kinds"):
        rule.add(average, BlockDiagonalMatrix([value]))
    with pytest.raises(ShapeError, match="different kinds"):
        mix(value, DiagonalMatrix(xp.asarray(np.ones(5))), 0.5)
    with pytest.raises(UnknownName, match="average 'frist': did you mean 'first'"):
        MovingAverage("frist")
    for decay in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueRangeError, match=r"decay .* in \[0, 1\), found"):
            MovingAverage("first", decay)
