"""Each option changes the stage it names, and nothing before it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import transcription
from helpers import assert_exact, host, relative_error
from kfac_ref.backend import get_xp
from kfac_ref.damping import (
    factored_tikhonov,
    same_on_each_factor,
    tikhonov,
)
from kfac_ref.distributions import Categorical
from kfac_ref.errors import (
    KfacTypeError,
    ShapeError,
    UnknownName,
    Unsupported,
    ValueRangeError,
)
from kfac_ref.exact.dense import fisher_matrix
from kfac_ref.layers import Conv2d, Dense, Flatten, Tanh
from kfac_ref.matrices import BlockDiagonalMatrix, DiagonalMatrix
from kfac_ref.network import Network
from kfac_ref.optimizer import (
    KFAC,
    SGD,
    Adam,
    Diverged,
    HessianFree,
    MovingAverage,
    NaturalGradient,
)
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.optimizer.schedules import Constant
from networks import chain, classes, parameters
from optimizer_cases import problem, run

RULE = LevenbergMarquardt(decay=0.7, period=2)
BASE = dict(
    l2=0.02, damping=0.5, adapt_damping=RULE, gamma_every=3, gamma_factor=0.6,
    inverse_every=2, inverse_early=0,
)  # fmt: skip
FIXED = dict(BASE, learning_rate=0.4, momentum=0.7)
CLIPPED = dict(FIXED, norm_constraint=0.01)


def stages(trace, state):
    """Every number of a step, stage by stage in the order of the algorithm."""
    p, v = trace.proposal, trace.outcome
    dense = [m.to_dense() if m else None for m in (trace.statistics, trace.average)]
    return {
        "loss": trace.loss,
        "gradient": trace.gradient,
        "statistics": dense[0],
        "average": dense[1],
        "gamma": p.gamma,
        "damped": p.damped.to_dense(),
        "direction": p.direction,
        "clip": p.clip,
        "coefficients": np.array([p.alpha, p.mu]),
        "update": p.update,
        "predicted": v.predicted,
        "ratio": v.reduction_ratio,
        "lambda": v.damping,
        "rejected": v.rejected,
        "theta": state.theta,
        "last": state.velocity,
        "iterates": state.iterates.value,
    }


def same(a, b):
    if a is None or b is None:
        return a is b
    a, b = host(a), host(b)
    return a.shape == b.shape and bool((a == b).all())


def first_difference(net, params, batches, base, changed):
    """(step, stage) of the first number that is not the same to the last bit."""
    runs = [run(KFAC(net, **options), params, batches) for options in (base, changed)]
    for step in range(len(batches)):
        a, b = (stages(traces[step], states[step]) for states, traces in runs)
        for name in a:
            if not same(a[name], b[name]):
                return step, name
    return None


LIST = ["kronecker", "best_kronecker", "kronecker"]
TABLE = [  # options on, what is changed, step and stage of the first difference
    (BASE, dict(structure="best_kronecker"), 0, "statistics"),
    (BASE, dict(structure=LIST), 0, "statistics"),
    (BASE, dict(estimate="expectation"), 0, "statistics"),
    (BASE, dict(estimate=["sampled", "sampled", "empirical"]), 0, "statistics"),
    (BASE, dict(samples=2), 0, "statistics"),
    (BASE, dict(position_share=0.5), None, None),  # no shared positions here
    (BASE, dict(tau_1=0.5), 0, "statistics"),
    (BASE, dict(statistics_every=2), 2, "statistics"),
    (BASE, dict(average=MovingAverage("first")), 1, "average"),
    (BASE, dict(average=MovingAverage("zero")), 0, "average"),
    (BASE, dict(average=MovingAverage("paper", 0.3)), 1, "average"),
    (BASE, dict(damping=0.7), 0, "gamma"),
    (BASE, dict(gamma_every=2), 2, "gamma"),
    (BASE, dict(gamma_every=0), 2, "gamma"),
    (BASE, dict(gamma_factor=0.9), 2, "gamma"),
    (BASE, dict(first_step=0), 0, "gamma"),
    (BASE, dict(damping_rule=same_on_each_factor), 0, "damped"),
    (BASE, dict(inverse_every=1), 4, "damped"),
    (BASE, dict(inverse_early=5), 4, "damped"),
    (FIXED, dict(norm_constraint=0.01), 0, "clip"),
    (FIXED, dict(norm_constraint=1e6), None, None),
    (CLIPPED, dict(clip="euclidean"), 0, "clip"),
    (CLIPPED, dict(clip="fisher_no_rate"), 0, "clip"),
    (BASE, dict(learning_rate=0.4), 0, "coefficients"),
    (BASE, dict(momentum=0.7), 0, "coefficients"),
    (BASE, dict(learning_rate=0.4, momentum=0.7), 0, "coefficients"),
    (BASE, dict(matrix="empirical"), 0, "coefficients"),
    (BASE, dict(matrix="approximation"), 0, "coefficients"),
    (dict(BASE, estimate="expectation"), dict(tau_2=0.5), 0, "coefficients"),
    (FIXED, dict(learning_rate=0.3), 0, "coefficients"),
    (FIXED, dict(momentum_of="gradient"), 0, "coefficients"),
    (BASE, dict(damping_in_ratio=False), 0, "predicted"),
    (BASE, dict(adapt_damping=None), 1, "ratio"),
    (BASE, dict(adapt_damping=replace(RULE, decay=0.8)), 1, "lambda"),
    (BASE, dict(adapt_damping=replace(RULE, minimum=0.45)), 1, "lambda"),
    (BASE, dict(weight_decay=0.1), 0, "theta"),
    (BASE, dict(iterates=MovingAverage("debiased", 0.7)), 1, "iterates"),
    (BASE, dict(l2=0.0), 0, "loss"),
    (BASE, dict(reject=True), None, None),  # here every step lowers the loss
    (dict(FIXED, learning_rate=20.0), dict(reject=True), 0, "rejected"),
]


@pytest.mark.parametrize(("base", "change", "step", "stage"), TABLE)
def test_the_first_stage_that_an_option_changes(base, change, step, stage, xp, rng):
    net, params, batches = problem("squared", xp, rng, 5)
    found = first_difference(net, params, batches, base, {**base, **change})
    assert found == (None if step is None else (step, stage))


def test_every_option_is_in_the_table():
    named = {name for _, change, _, _ in TABLE for name in change}
    assert set(KFAC(chain()).options.flat()) == named


def test_momentum_of_updates_step_by_step(xp, rng):
    """update = rate Delta + mu last, and the last update is carried on."""
    net, params, batches = problem("squared", xp, rng, 3)
    states, traces = run(KFAC(net, **FIXED), params, batches)
    last = np.zeros(net.size)
    for state, trace in zip(states, traces, strict=True):
        last = 0.4 * host(trace.proposal.direction) + 0.7 * last
        assert_exact(trace.proposal.update, last)
        assert_exact(state.velocity, last)


def test_momentum_of_gradients_step_by_step(xp, rng):
    """v <- mu v + gradient is preconditioned: not the momentum of updates.

    At the first step they agree, with a damped matrix that stays they always do.
    """
    net, params, batches = problem("squared", xp, rng, 3)
    options = dict(FIXED, momentum_of="gradient")
    states, traces = run(KFAC(net, **options), params, batches)
    v = np.zeros(net.size)
    for state, trace in zip(states, traces, strict=True):
        v = host(trace.gradient) + 0.7 * v
        damped = host(trace.proposal.damped.to_dense())
        assert_exact(trace.proposal.direction, -np.linalg.solve(damped, v), 1e-11)
        assert_exact(trace.proposal.update, 0.4 * host(trace.proposal.direction))
        assert_exact(state.velocity, v)
    for stays in (True, False):
        frozen = dict(gamma_every=0, inverse_every=100 if stays else 1)
        ends = [
            run(KFAC(net, **{**FIXED, **frozen, "momentum_of": of}), params, batches)
            for of in ("update", "gradient")
        ]
        one, two = (states[-1].theta for states, _ in ends)
        if stays:
            assert_exact(one, two, 1e-11)
        else:
            assert relative_error(one, two) > 1e-3


def test_a_velocity_without_the_rate_is_another_thing_once_the_rate_changes(xp, rng):
    """TensorFlow K-FAC's v <- m v + p, theta - rate v; here the rate is in `last`."""
    net, params, batches = problem("squared", xp, rng, 2)
    kfac = KFAC(net, **FIXED)
    first, second = kfac, replace(kfac, learning_rate=0.1)
    generator = np.random.default_rng(6)
    state, one = first.step(kfac.init(params), *batches[0], generator)
    state, two = second.step(state, *batches[1], generator)
    p, q = (host(trace.proposal.direction) for trace in (one, two))
    assert_exact(two.proposal.update, 0.1 * q + 0.7 * (0.4 * p))
    assert relative_error(two.proposal.update, 0.1 * (q + 0.7 * p)) > 0.1


def test_weight_decay_is_decoupled(xp, rng):
    """theta shrinks by rate * decay; neither gradient nor last update know of it."""
    net, params, batches = problem("squared", xp, rng, 1)
    for options, rate in ((FIXED, 0.4), (BASE, 1.0)):
        kfac = KFAC(net, **options, weight_decay=0.3)
        (state,), (trace,) = run(kfac, params, batches)
        theta, update = host(net.flatten(params)), host(trace.proposal.update)
        assert_exact(state.theta, (1 - 0.3 * rate) * theta + update)
        assert_exact(state.velocity, update)


def test_the_average_of_the_iterates(xp, rng):
    """theta_bar = sum xi^(k-i) theta_i / sum xi^(k-i), the start not among them."""
    net, params, batches = problem("squared", xp, rng, 3)
    kfac = KFAC(net, **BASE, iterates=MovingAverage("debiased", 0.7))
    beginning = kfac.params(kfac.init(params), averaged=True)
    assert_exact(net.flatten(beginning), net.flatten(params))
    states, _ = run(kfac, params, batches)
    a, b, c = (host(state.theta) for state in states)
    expected = (0.49 * a + 0.7 * b + c) / (0.49 + 0.7 + 1)
    found = net.flatten(kfac.params(states[-1], averaged=True))
    assert_exact(found, expected)
    assert_exact(net.flatten(kfac.params(states[-1])), c)
    assert relative_error(found, c) > 1e-3


# Accept or reject, and lambda.


def rising(xp, rng):
    """Optimizer, batches, states: from states[7] the loss of batches[7] will rise."""
    net, params, batches = problem("softmax", xp, rng, 8, n=5)
    kfac = KFAC(
        net, l2=0.02, damping=0.01, gamma_every=3, inverse_every=2, gamma_factor=0.6,
        adapt_damping=RULE, average=MovingAverage("paper", 0.8),
    )  # fmt: skip
    states, _ = run(kfac, params, batches)
    return kfac, batches, [kfac.init(params), *states]


@pytest.mark.parametrize("adapts", [True, False])
@pytest.mark.parametrize("reject", [True, False])
@pytest.mark.parametrize("rises", [True, False])
def test_accept_or_reject(rises, reject, adapts, xp, rng):
    kfac, batches, states = rising(xp, rng)
    k = 7 if rises else 3
    before, (x, y) = states[k], batches[k]
    kfac = replace(kfac, reject=reject, adapt_damping=RULE if adapts else None)
    after, trace = kfac.step(before, x, y, np.random.default_rng(1))
    theta = before.theta + trace.proposal.update
    moved = host(kfac.network.unflatten(theta))
    h = transcription.objective("softmax", moved, host(x), host(y), 0.02)
    assert (h > trace.loss) == rises
    outcome = trace.outcome
    assert outcome.rejected == (rises and reject)
    if outcome.rejected:
        assert after.theta is before.theta and after.velocity is before.velocity
    else:
        assert_exact(after.theta, host(before.theta) + host(trace.proposal.update))
        assert after.velocity is trace.proposal.update
    assert after.step == k + 1 and after.average.count == k + 1
    assert (outcome.reduction_ratio is None) != adapts
    if adapts:
        rho = (h - trace.loss) / outcome.predicted
        assert_exact(outcome.reduction_ratio, rho, 1e-10)
        assert rho < 0 if rises else rho > 0.25
        factor = 1 / 0.49 if rises else 0.49 if rho > 0.75 else 1.0
        assert_exact(after.damping, before.damping * factor)
    else:
        assert after.damping == before.damping


@pytest.mark.parametrize(
    ("rho", "factor"),
    [(5.0, 0.6), (0.76, 0.6), (0.5, 1.0), (0.24, 1 / 0.6), (-3.0, 1 / 0.6)],
)
def test_lambda_follows_the_ratio(rho, factor, xp, rng, monkeypatch):
    """From a loss after the step to the next state's lambda."""
    net, params, batches = problem("squared", xp, rng, 1)
    rule = LevenbergMarquardt(decay=0.6, period=1)
    kfac = KFAC(net, **{**BASE, "adapt_damping": rule})
    (_,), (trace,) = run(kfac, params, batches)
    after = trace.loss + rho * trace.outcome.predicted
    monkeypatch.setattr(KFAC, "_loss", lambda *_: after)
    (state,), (trace,) = run(kfac, params, batches)
    assert_exact(trace.outcome.reduction_ratio, rho)
    assert_exact(state.damping, 0.5 * factor)


def test_a_stationary_point_moves_nothing(xp, rng):
    """Gradient and prediction are zero: no ratio, lambda and theta stay."""
    net, params, ((x, _),) = problem("squared", xp, rng, 1)
    y = net.predict(params, x)
    kfac = KFAC(
        net, **{**BASE, "l2": 0.0, "adapt_damping": LevenbergMarquardt(period=1)}
    )
    (state,), (trace,) = run(kfac, params, [(x, y)])
    assert trace.loss == 0.0 and trace.outcome.reduction_ratio is None
    assert state.damping == 0.5
    assert (host(state.theta) == host(net.flatten(params))).all()


def test_an_inverse_is_made_where_it_serves_again(xp, rng):
    """k = 1: solved with the damped matrix; 2: inverted; 3: the same; 4: a new one."""
    net, params, batches = problem("squared", xp, rng, 4)
    options = dict(BASE, gamma_every=0, inverse_every=4)
    states, traces = run(KFAC(net, **options), params, batches)
    inverses = [state.inverse for state in states]
    assert inverses[0] is None and inverses[1] is not None and inverses[3] is None
    assert inverses[2] is inverses[1] is traces[1].proposal.inverse
    damped = states[0].damped
    assert states[1].damped is states[2].damped is damped is not states[3].damped
    for trace in traces[:3]:
        expected = -np.linalg.solve(host(damped.to_dense()), host(trace.gradient))
        assert_exact(trace.proposal.direction, expected, 1e-11)


# Structures that are not Kronecker products.


@pytest.mark.parametrize(
    ("structure", "options"),
    [
        ("full", {}),
        ("block_diagonal", {}),
        ("diagonal", {}),
        ("eigenvalue_corrected", dict(average=MovingAverage("latest"))),
        (["diagonal", "kronecker", "block_diagonal"], {}),
    ],
)
def test_structures_with_exact_damping(structure, options, xp, rng):
    """Every direction is -(average + gamma^2 I)^-1 gradient."""
    net, params, batches = problem("softmax", xp, rng, 3)
    kfac = KFAC(net, **BASE, structure=structure, damping_rule=tikhonov, **options)
    for trace in run(kfac, params, batches)[1]:
        p = trace.proposal
        if p.inverse is None:  # a new one
            dense = host(trace.average.to_dense()) + p.gamma**2 * np.eye(net.size)
            expected = -np.linalg.solve(dense, host(trace.gradient))
            assert_exact(p.direction, expected, 1e-11)
        assert trace.outcome.predicted < 0


@pytest.mark.parametrize(
    "structure",
    ["eigenvalue_corrected", ["kronecker", "eigenvalue_corrected", "kronecker"]],
)
def test_eigenvalue_corrected_statistics_have_no_mean(structure, xp, rng):
    net, *_ = problem("softmax", xp, rng, 1)
    with pytest.raises(Unsupported, match=r"turns .*=MovingAverage\('latest'\)"):
        KFAC(net, structure=structure, damping_rule=tikhonov)


def test_block_tridiagonal_factors_are_averaged_then_damped(xp, rng):
    """Averaged, then damped; a direction differs from the block-diagonal one's."""
    net, params, batches = problem("softmax", xp, rng, 5)
    kfac = KFAC(net, **BASE, structure="block_tridiagonal")
    _, traces = run(kfac, params, batches)
    _, plain = run(replace(kfac, structure="kronecker"), params, batches)
    for trace in traces:
        p = trace.proposal
        expected = -np.linalg.solve(host(p.damped.to_dense()), host(trace.gradient))
        assert_exact(p.direction, expected, 1e-10)
        assert p.inverse is None and trace.outcome.predicted < 0
    for A, B in zip(traces[0].average.A, plain[0].average.blocks, strict=True):
        assert_exact(A, B.A)
    one, two = traces[0].proposal, plain[0].proposal
    assert relative_error(one.direction, two.direction) > 0.05


def test_errors(xp, rng):
    net, *_ = problem("softmax", xp, rng, 1)
    with pytest.raises(UnknownName, match="momentum_of 'updates': did you mean 'up"):
        KFAC(net, momentum_of="updates")
    with pytest.raises(
        ValueRangeError, match="'gradient': expected a fixed learning_r"
    ):
        KFAC(net, momentum_of="gradient", momentum=0.9)
    with pytest.raises(
        ValueRangeError, match="norm_constraint: expected a fixed learn"
    ):
        KFAC(net, norm_constraint=0.1, momentum=0.9)
    with pytest.raises(ValueRangeError, match=r"gamma_every: .* sqrt\(damping \+ l2\)"):
        KFAC(net, damping=0.0, l2=0.0)
    with pytest.raises(Unsupported, match="'approximation': block_tridiagonal cannot"):
        KFAC(net, structure="block_tridiagonal", matrix="approximation")


@pytest.mark.parametrize(
    ("option", "values", "expected"),
    [
        ("inverse_every", (-1, 2.0, None), "a whole number >= 0"),
        ("gamma_every", (-1, 2.5), "a whole number >= 0"),
        ("statistics_every", (-1, "2"), "a whole number >= 0"),
        ("inverse_early", (-1, 0.5), "a whole number >= 0"),
        ("damping", (-1e-9, math.nan, math.inf), "a finite number >= 0"),
        ("l2", (-1e-9, math.nan), "a finite number >= 0"),
        ("weight_decay", (-0.1, math.nan), "a finite number >= 0"),
        ("learning_rate", (-0.1, math.inf), "None or a finite number >= 0"),
        ("momentum", (-0.1, 1.0, math.nan), r"None or a number in \[0, 1\)"),
        ("norm_constraint", (0.0, math.nan), "None or a finite number > 0"),
        ("gamma_factor", (0.0, 1.0, -3.0), r"a number in \(0, 1\)"),
        ("first_step", (-5, 1.5, True), "a whole number >= 0"),
        ("tau_1", (0.0, 1.1, math.nan), r"a share in \(0, 1\]"),
        ("position_share", (0.0, 1.1, math.nan), r"a share in \(0, 1\]"),
        ("tau_2", (0.0, 1.1, math.nan), r"a share in \(0, 1\]"),
    ],
)
def test_numbers_that_are_no_options(option, values, expected, xp, rng):
    net, *_ = problem("softmax", xp, rng, 1)
    for value in values:
        with pytest.raises(
            ValueRangeError, match=f"{option}: expected {expected}, fou"
        ):
            KFAC(net, **{option: value})


@pytest.mark.parametrize("option", ["damping", "tau_1", "learning_rate", "momentum"])
def test_options_that_are_no_numbers(option, xp, rng):
    net, *_ = problem("softmax", xp, rng, 1)
    with pytest.raises(KfacTypeError, match=f"KFAC {option}: expected a number, .*'x'"):
        KFAC(net, **{option: "x"})
    with pytest.raises(KfacTypeError, match="expected a number, found True"):
        KFAC(net, **{option: True})
    if option in ("learning_rate", "momentum"):  # a schedule is for the baselines
        with pytest.raises(ValueRangeError, match=f"{option}: expected None or a"):
            KFAC(net, **{option: Constant(0.1)})


def test_numpys_numbers_leave_float32_as_it_is(xp, rng):
    net, params, batches = problem("softmax", xp, rng, 1)
    params = [W.astype(np.float32) for W in params]
    x, y = batches[0]
    x = x.astype(np.float32)
    rate, mu = np.float64(0.1), np.float64(0.5)
    for optimizer in (
        KFAC(net, learning_rate=rate, momentum=mu, weight_decay=rate, damping=rate),
        KFAC(net, inverse_every=np.int64(2)),
        SGD(net, rate, momentum=mu, l2=rate),
        Adam(net, rate, beta_1=mu),
        NaturalGradient(net, rate, damping=rate),
        HessianFree(net, rate, damping=rate, iterations=3),
    ):
        state = optimizer.init(params)
        for _ in range(2):
            state, _ = optimizer.step(state, x, y, rng)
        assert state.theta.dtype == np.float32


@pytest.mark.parametrize("make", [KFAC, NaturalGradient, HessianFree])
def test_a_start_that_does_not_fit_the_network(make, xp, rng):
    net, params, _ = problem("softmax", xp, rng, 1)
    optimizer = make(net)
    with pytest.raises(ShapeError, match="params of layer 0: Dense"):
        optimizer.init([W.T for W in params])
    with pytest.raises(ShapeError, match="expected a list of"):
        optimizer.init(net.flatten(params))
    mixed = [params[0].astype(np.float32), *params[1:]]
    with pytest.raises(ValueRangeError, match="params: expected all float64 or all"):
        optimizer.init(mixed)


NAMES = ["clip", "matrix", "momentum_of", "structure", "estimate"]


@pytest.mark.parametrize("option", NAMES)
def test_names_that_are_no_options(option, xp, rng):
    net, *_ = problem("softmax", xp, rng, 1)
    with pytest.raises(UnknownName, match=f"unknown {option} 'fischer'"):
        KFAC(net, **{option: "fischer"})


def test_a_convolution_with_a_diagonal_block_and_kronecker_blocks(xp, rng):
    """One rule for each block; the first is the exact diagonal, the second KFC's."""
    layers = [
        Conv2d(2, 3, (2, 3), padding="VALID"),
        Tanh(),
        Flatten(),
        Dense(2 * 3 * 3, 4),
    ]
    net = Network(layers, Categorical())
    params = parameters(net, rng, xp)
    x = xp.asarray(rng.normal(size=(7, 3, 5, 2)))
    y = classes(rng, xp, 7, 4)
    rules = [tikhonov, factored_tikhonov]
    kfac = KFAC(
        net, **BASE, structure=["diagonal", "kronecker"], estimate="expectation",
        damping_rule=lambda matrix, damping: BlockDiagonalMatrix(
            [rule(block, damping)
             for rule, block in zip(rules, matrix.blocks, strict=True)]
        ),
    )  # fmt: skip
    (state,), (trace,) = run(kfac, params, [(x, y)])
    F = np.diag(host(fisher_matrix(net, params, x, block=0).to_dense()))
    gradient, p = net.unflatten(trace.gradient), trace.proposal
    first, second = (host(D) for D in net.unflatten(p.direction))
    shape = first.shape
    assert_exact(first, -host(gradient[0]) / (F + p.gamma**2).reshape(shape))
    block = p.damped.blocks[1]
    inverse_A, inverse_G = (np.linalg.inv(host(M)) for M in (block.A, block.G))
    assert_exact(second, -inverse_A @ host(gradient[1]) @ inverse_G)
    assert trace.outcome.predicted < 0 and state.step == 1


# Divergence.


def broken(stage, params, x, y, xp):
    """Options, parameters and batch for which the first bad number is in `stage`."""
    options, params = dict(FIXED, adapt_damping=None), list(params)
    if stage == "loss":
        y = 1e200 * y
    elif stage == "gradient":  # of layer 0 alone: its a is 1e160, its g 1e150
        params[0] = xp.asarray(np.vstack([np.zeros((5, 4)), host(params[0])[5:]]))
        x, y = 1e160 * x, 1e150 * y
        options["estimate"] = "expectation"
    elif stage == "statistics":  # A of layer 0 is 1e320
        params[0] = xp.asarray(np.vstack([np.zeros((5, 4)), host(params[0])[5:]]))
        x = 1e160 * x
    elif stage == "damped matrix":  # pi gamma is 1e350
        options["damping_rule"] = partial(factored_tikhonov, pi=1e200)
        options["damping"] = 1e300
        options["structure"] = "block_tridiagonal"
    elif stage == "proposal":  # of layer 2
        options["damping_rule"] = nearly_zero
        y = 1e10 * y
    elif stage == "quadratic model":
        options.update(learning_rate=None, damping=1e-8, l2=0.0)
        y = 1e153 * y
    elif stage == "update":
        options["learning_rate"] = 1e300
        y = 1e20 * y
    elif stage == "loss after the step":
        options.update(learning_rate=1e200, adapt_damping=replace(RULE, period=1))
    return options, params, x, y


def nearly_zero(matrix, damping):
    """A damped matrix whose second block is 1e-308."""
    blocks = [tikhonov(block, damping) for block in matrix.blocks]
    values = get_xp(matrix.blocks[1].A).full(matrix.blocks[1].size, 1e-308)
    blocks[1] = DiagonalMatrix(values)
    return BlockDiagonalMatrix(blocks)


WHERE = {
    "loss": "",
    "gradient": "0: Dense(5, 4)",
    "statistics": "0: Dense(5, 4)",
    "damped matrix": "0: Dense(5, 4)",
    "proposal": "2: Dense(4, 7)",
    "quadratic model": "",
    "update": "0: Dense(5, 4)",
    "loss after the step": "",
}


@pytest.mark.parametrize("stage", WHERE)
def test_divergence_names_the_first_stage_and_keeps_the_state(stage, xp, rng):
    net, params, (good, (x, y)) = problem("squared", xp, rng, 2)
    options, params, x, y = broken(stage, params, x, y, xp)
    kfac = KFAC(net, **options)
    state = kfac.init(params)
    theta, last = host(state.theta), host(state.velocity)
    with (
        np.errstate(all="ignore"),
        pytest.raises(Diverged, match=f"the {stage}.* is not finite; go on") as caught,
    ):
        kfac.step(state, x, y, np.random.default_rng(3))
    assert (caught.value.stage, caught.value.layer) == (stage, WHERE[stage])
    assert (host(state.theta) == theta).all() and (host(state.velocity) == last).all()
    assert state.average.count == state.step == 0 and state.damped is None
    if stage in ("loss", "gradient", "statistics", "quadratic model"):  # of the batch
        assert kfac.step(state, *good, np.random.default_rng(3))[0].step == 1


@pytest.mark.parametrize("adapts", [True, False])
def test_a_step_to_an_infinite_loss_is_rejected(adapts, xp, rng):
    """It counts as rho = -infinity: lambda grows."""
    net, params, ((x, y),) = problem("squared", xp, rng, 1)
    rule = replace(RULE, period=1) if adapts else None
    options = dict(FIXED, adapt_damping=rule, learning_rate=1e200, reject=True)
    kfac = KFAC(net, **options)
    state = kfac.init(params)
    with np.errstate(all="ignore"):
        moved, trace = kfac.step(state, x, y, np.random.default_rng(3))
    assert trace.outcome.rejected and moved.theta is state.theta
    assert trace.outcome.reduction_ratio == (-math.inf if adapts else None)
    assert_exact(moved.damping, 0.5 / 0.7 if adapts else 0.5)
