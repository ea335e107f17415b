"""Each stage of a step by itself: hand-worked numbers, definitions, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

import transcription
from helpers import assert_exact, host
from kfac_ref.damping import factored_tikhonov, separate, tikhonov
from kfac_ref.errors import ShapeError, UnknownName, Unsupported, ValueRangeError
from kfac_ref.matrices import (
    BlockTridiagonalInverse,
    ChainFactors,
    DenseMatrix,
    DiagonalMatrix,
    KroneckerProduct,
)
from kfac_ref.optimizer import Diverged
from kfac_ref.optimizer.stages import (
    check_finite_stage,
    clip_stage,
    coefficient_stage,
    damping_stage,
    invert_stage,
    loss_alone_stage,
    loss_stage,
    proposal_stage,
    subset_stage,
)
from kfac_ref.optimizer.statistics import statistics_stage
from kfac_ref.pairs import propagate
from kfac_ref.quadratic_model import quadratic_model
from kfac_ref.structures import make_structure
from optimizer_cases import KINDS, SEED, on_host, passed, problem

ETA = 0.3


def start(kind, xp, rng, n=11):
    """Network, theta and one batch on the backend; the same on the host."""
    net, params, batches = problem(kind, xp, rng, 1, n)
    return net, net.flatten(params), *batches[0], on_host(params, batches)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient(kind, xp, rng):
    net, theta, x, y, (params, batches) = start(kind, xp, rng)
    value, gradient = loss_stage(passed(net, theta, x), y, ETA)
    assert isinstance(value, float)
    assert loss_alone_stage(passed(net, theta, x), y, ETA) == value
    assert_exact(value, transcription.objective(kind, params, *batches[0], ETA))
    v = rng.normal(size=net.size)
    ends = [
        loss_stage(passed(net, theta + xp.asarray(h * v), x), y, ETA)[0]
        for h in (1e-5, -1e-5)
    ]
    slope = (ends[0] - ends[1]) / 2e-5
    assert abs(host(gradient) @ v / slope - 1) < 1e-8


def test_a_subset_is_in_order_and_never_empty(xp, rng):
    """In order, without repetition; labels of several losses; at least one example."""
    x = xp.asarray(np.arange(11.0)[:, None] + np.zeros(5))
    y = xp.asarray(np.arange(11))
    assert subset_stage(x, y, 1.0, rng) == (x, y)
    few, (first, second) = subset_stage(x, [y, 2 * y], 0.4, rng)
    chosen = host(first)
    assert len(chosen) == 4 and (np.diff(chosen) > 0).all()
    assert (host(few) == chosen[:, None]).all() and (host(second) == 2 * chosen).all()
    assert len(subset_stage(x, y, 0.01, rng)[0]) == 1
    for share in (0.0, 1.1, math.nan):
        with pytest.raises(ValueRangeError, match=r"tau: .* in \(0, 1\], found"):
            subset_stage(x, y, share, rng)


def statistics(problem_, structure="kronecker", **options):
    net, theta, x, y, _ = problem_
    rng = np.random.default_rng(SEED)
    forward = passed(net, theta, x)
    return statistics_stage(forward, y, rng, structure, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("structure", ["full", "diagonal", "eigenvalue_corrected"])
def test_statistics_are_the_structure_of_the_pairs(structure, kind, xp, rng):
    given = net, theta, x, *_ = start(kind, xp, rng)
    pairs = propagate(
        net.linearize(net.unflatten(theta), x),
        "sampled",
        rng=np.random.default_rng(SEED),
    )
    expected = make_structure(structure, pairs).to_dense()
    assert_exact(statistics(given, structure).to_dense(), expected)


def test_one_structure_for_each_layer_from_the_same_vectors(xp, rng):
    given = start("softmax", xp, rng)
    names = ["diagonal", "kronecker", "block_diagonal"]
    mixed = statistics(given, names)
    assert [type(b) for b in mixed.blocks] == [
        DiagonalMatrix,
        KroneckerProduct,
        DenseMatrix,
    ]
    for i, name in enumerate(names):
        alone = statistics(given, name).block(i)
        assert_exact(mixed.block(i).to_dense(), alone.to_dense())
        assert mixed.block(i).name == alone.name


def test_more_samples_and_other_estimates(xp, rng):
    """sampled has the expectation's A and another G; 500 samples come nearer to it."""
    given = start("softmax", xp, rng)
    exact = statistics(given, estimate="expectation").blocks
    errors = []
    for samples in (1, 500):
        blocks = statistics(given, samples=samples).blocks
        for block, e in zip(blocks, exact, strict=True):
            assert_exact(block.A, e.A)
        D = host(blocks[-1].G) - host(exact[-1].G)
        errors.append(np.linalg.norm(D) / np.linalg.norm(host(exact[-1].G)))
    assert errors[0] > 0.2
    assert errors[1] < errors[0] / 5  # falls as 1 / sqrt(samples), so 22 times or so


def test_empirical_statistics_look_at_the_labels(xp, rng):
    *_, (params, batches) = given = start("softmax", xp, rng)
    hx, hy = batches[0]
    _, G = transcription.factors(
        "softmax", params, hx, lambda z: transcription.output_gradient("softmax", z, hy)
    )
    found = statistics(given, estimate="empirical")
    for block, expected in zip(found.blocks, G, strict=True):
        assert_exact(block.G, expected)


@pytest.mark.parametrize("rule", [factored_tikhonov, "separate"])
def test_a_chain_is_averaged_first_and_damped_then(rule, xp, rng):
    """The same matrix as the rule makes of block_tridiagonal(pairs)."""
    given = net, theta, x, *_ = start("softmax", xp, rng)
    chain = statistics(given, "block_tridiagonal")
    assert isinstance(chain, ChainFactors) and chain.size == net.size
    if rule == "separate":
        found = damping_stage(chain, 0.04, lambda M, d: separate(M, d, 3 * d))
        expected = [host(A) + 0.04 * np.eye(len(A)) for A in chain.A]
        for A, e in zip(found.A, expected, strict=True):
            assert_exact(A, e)
        return
    pairs = propagate(
        net.linearize(net.unflatten(theta), x),
        "sampled",
        rng=np.random.default_rng(SEED),
    )
    expected = rule(make_structure("block_tridiagonal", pairs), 0.04)
    found = damping_stage(chain, 0.04, rule)
    assert isinstance(found, BlockTridiagonalInverse) and invert_stage(found) is None
    assert_exact(found.to_dense(), expected.to_dense())


def test_damping_and_proposal(xp, rng):
    given = net, theta, x, y, _ = start("squared", xp, rng)
    average = statistics(given)
    gradient = loss_stage(passed(net, theta, x), y, ETA)[1]
    damped = damping_stage(average, 0.7, tikhonov)
    expected = host(average.to_dense()) + 0.7 * np.eye(net.size)
    assert_exact(damped.to_dense(), expected)
    for inverse in (None, invert_stage(damped)):
        found = proposal_stage(damped, gradient, inverse)
        assert_exact(found, -np.linalg.solve(expected, host(gradient)))


G_TF = np.array([1.0, 2, 3, 4, 2, 3, 4, 5])
P_TF = np.array([3.0, 4, 5, 6, 7, 8, 9, 10])  # P_TF . G_TF = 174


@pytest.mark.parametrize(
    ("form", "constraint", "rate", "squared"),
    [
        ("fisher", 10.0, 0.1, None),  # 0.01 * 174 = 1.74 <= 10
        ("fisher", 0.5, 0.1, 1.74),  # nu = 0.536056, as TensorFlow K-FAC tests it
        ("fisher", 0.5, 0.01, None),  # 0.0174
        ("fisher_no_rate", 200.0, 0.1, None),
        ("fisher_no_rate", 10.0, 0.1, 174.0),
        ("euclidean", 10.0, 0.1, None),  # 0.01 * 380 = 3.8
        ("euclidean", 0.5, 0.1, 3.8),
    ],
)
def test_clip_by_hand(form, constraint, rate, squared, xp):
    g, p = xp.asarray(G_TF), xp.asarray(-P_TF)
    nu = clip_stage(p, g, constraint, rate, form)
    assert isinstance(nu, float)
    if squared is None:
        assert nu == 1.0
    else:
        assert abs(nu**2 * squared / constraint - 1) < 1e-14


def test_clip_by_the_libraries_numbers(xp):
    """TensorFlow K-FAC's nu; LBANN's [0.1, -0.2], shortened to a length of 0.0316."""
    g, p = xp.asarray(G_TF), xp.asarray(-P_TF)
    assert abs(clip_stage(p, g, 0.5, 0.1) - 0.536056) < 5e-7
    assert clip_stage(p, g, None, 0.1) == 1.0
    P = xp.asarray(np.array([0.1, -0.2]))
    clipped = host(P) * clip_stage(P, P, 0.001, 1.0, "euclidean")
    assert np.abs(clipped - [0.0141421, -0.0282843]).max() < 5e-8
    assert clip_stage(P, P, 0.001, 0.1, "euclidean") == 1.0


@pytest.mark.parametrize("form", ["fisher", "fisher_no_rate", "euclidean"])
@pytest.mark.parametrize("rate", [0.1, 2.0])
def test_the_clipped_update_has_the_norm_of_the_constraint(form, rate, xp, rng):
    given = net, theta, x, y, _ = start("squared", xp, rng)
    damped = factored_tikhonov(statistics(given), 0.2)
    gradient = loss_stage(passed(net, theta, x), y, ETA)[1]
    proposal = proposal_stage(damped, gradient)
    metric = np.eye(net.size) if form == "euclidean" else host(damped.to_dense())
    delta = host(proposal) * (1.0 if form == "fisher_no_rate" else rate)
    squared = delta @ metric @ delta
    nu = clip_stage(proposal, gradient, 0.25 * squared, rate, form)
    assert abs(nu - 0.5) < 1e-12
    assert clip_stage(proposal, gradient, 1.01 * squared, rate, form) == 1.0


def test_clip_of_nothing_and_errors(xp):
    g, zero = xp.asarray(G_TF), xp.asarray(0 * G_TF)
    assert clip_stage(zero, g, 0.5, 0.1) == 1.0
    for constraint in (0.0, -1.0, math.nan):
        with pytest.raises(ValueRangeError, match="norm constraint: expected > 0"):
            clip_stage(g, g, constraint)
    with pytest.raises(UnknownName, match="did you mean 'euclidean'"):
        clip_stage(g, g, 1.0, 1.0, "euclid")


def test_coefficients_by_hand(xp):
    """The system [[9/2, 11/2], [11/2, 10]] c = -(1, 3), lambda = 1/2 inside."""
    C, gradient = np.array([[4.0, 1], [1, 3]]), xp.asarray(np.array([1.0, 2.0]))
    directions = [xp.asarray(np.array(d)) for d in ([1.0, 0.0], [1.0, 1.0])]
    model = quadratic_model(directions, gradient, DenseMatrix(xp.asarray(C)))
    table = {
        (None, None): (26 / 59, -32 / 59),
        (None, 0.7): (-(1 + 5.5 * 0.7) / 4.5, 0.7),
        (-0.2, None): (-0.2, -(3 - 5.5 * 0.2) / 10),
        (-0.2, 0.7): (-0.2, 0.7),
    }
    for given, expected in table.items():
        found = coefficient_stage(model, 0.5, *given)
        assert all(isinstance(c, float) for c in found)
        assert_exact(np.array(found), np.array(expected))


def test_not_finite_names_stage_and_first_layer(xp, rng):
    net, theta, *_ = start("softmax", xp, rng)
    check_finite_stage("loss", 1.5, net)
    check_finite_stage("gradient", theta, net)
    for bad in (math.nan, math.inf):
        with pytest.raises(Diverged, match="diverged: the loss is not finite; go on"):
            check_finite_stage("loss", bad, net)
        layers = net.unflatten(1.0 * theta)
        layers[1][2, 3] = bad
        layers[2][0, 0] = bad
        with pytest.raises(Diverged, match=r"the update of layer 2: Dense\(4, 7\) is"):
            check_finite_stage("update", net.flatten(layers), net)
    error = Diverged("update", "2: Dense(4, 7)")
    assert (error.stage, error.layer) == ("update", "2: Dense(4, 7)")


def test_errors(xp, rng):
    given = start("softmax", xp, rng)
    with pytest.raises(
        ShapeError, match=r"one name, or 3, one for each of 0: .*; f.* 2"
    ):
        statistics(given, ["kronecker", "diagonal"])
    for name in ("full", "block_tridiagonal"):
        with pytest.raises(Unsupported, match=f"'{name}' .* 'block_diagonal'"):
            statistics(given, ["kronecker", name, "kronecker"])
    with pytest.raises(UnknownName, match="did you mean 'kronecker'"):
        statistics(given, "kroneker")
    chain = statistics(given, "block_tridiagonal")
    with pytest.raises(Unsupported, match="keeps a Kronecker .* found EigenKronecker"):
        damping_stage(chain, 0.1, tikhonov)
