"""Algorithm 2 against the page, and two libraries' steps against transcriptions."""

from __future__ import annotations

import numpy as np
import pytest

import transcription
from helpers import assert_exact, host
from kfac_ref.algorithm2 import algorithm_2
from kfac_ref.damping import separate
from kfac_ref.distributions import Normal
from kfac_ref.layers import Dense
from kfac_ref.network import Network
from kfac_ref.optimizer import KFAC, MovingAverage
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from optimizer_cases import KINDS, SEED, on_host, problem, run, sampler

CLOSE = 1e-10  # relative; both sides invert matrices, each in its own way
STEPS = 10
PAPER = dict(
    eta=0.02, T1=2, T2=3, T3=2, omega_1=0.7, omega_2=0.6, eps=0.8, tau_1=1, tau_2=1
)
CASES = [("softmax", 0.01, 3), ("softmax", 20.0, 11), ("squared", 0.05, 11)]


def page(kind, params, batches, **options):
    """The page's steps, with the generator that `run` gives the optimizer."""
    rng = np.random.default_rng(SEED)
    loss = transcription.LOSSES[kind]
    return algorithm_2(loss, *on_host(params, batches), rng, **options)


@pytest.mark.parametrize(("kind", "lam", "n"), CASES)
def test_every_part_of_algorithm_2(kind, lam, n, xp, rng):
    net, params, batches = problem(kind, xp, rng, STEPS, n)
    expected = page(kind, params, batches, lam=lam, **PAPER)
    kfac = KFAC(
        net, l2=0.02, damping=lam, gamma_every=3, inverse_every=2, gamma_factor=0.6,
        adapt_damping=LevenbergMarquardt(decay=0.7**0.5, period=2),
        average=MovingAverage("paper", 0.8),
    )  # fmt: skip
    states, traces = run(kfac, params, batches)
    damped = None
    for state, trace, e in zip(states, traces, expected, strict=True):
        compare_statistics(trace, e)
        compare_update(state, trace, e)
        assert (state.damped is not damped) == e["renewed"]
        damped = state.damped


def compare_statistics(trace, e):
    assert_exact(trace.loss, e["h"], CLOSE)
    assert_exact(trace.gradient, e["grad"], CLOSE)
    for found, key in ((trace.statistics, ""), (trace.average, "_bar")):
        for block, A, G in zip(found.blocks, e["A" + key], e["G" + key], strict=True):
            assert_exact(block.A, A, CLOSE)
            assert_exact(block.G, G, CLOSE)


def compare_update(state, trace, e):
    proposal, outcome = trace.proposal, trace.outcome
    assert_exact(proposal.gamma, e["gamma"], CLOSE)
    assert_exact(proposal.direction, e["Delta"], CLOSE)
    assert_exact(proposal.alpha, e["alpha"], CLOSE)
    assert abs(proposal.mu - e["mu"]) <= CLOSE * max(abs(e["mu"]), 1e-3)
    assert_exact(proposal.update, e["delta"], CLOSE)
    assert_exact(outcome.predicted, e["M"], CLOSE)
    assert (outcome.reduction_ratio is None) == (e["rho"] is None)
    if e["rho"] is not None:
        assert_exact(outcome.reduction_ratio, e["rho"], CLOSE)
    assert_exact(outcome.damping, e["lam"], CLOSE)
    assert_exact(state.theta, e["theta"], CLOSE)
    assert (state.damping, state.gamma) == (outcome.damping, proposal.gamma)


def test_these_runs_visit_every_branch():
    """gamma and lambda go up and down and stay, inverses are new and old."""
    moves = {"gamma": set(), "lam": set(), "renewed": set()}
    for kind, lam, n in CASES:
        rng = np.random.default_rng(20150601)
        _, params, batches = problem(kind, np, rng, STEPS, n)
        steps = list(page(kind, params, batches, lam=lam, **PAPER))
        for name in ("gamma", "lam"):
            moves[name] |= set(np.sign(np.diff([e[name] for e in steps])))
        moves["renewed"] |= {e["renewed"] for e in steps}
    assert moves["gamma"] == moves["lam"] == {-1, 0, 1}
    assert moves["renewed"] == {True, False}


def test_the_papers_own_values(xp, rng):
    """lambda 150, T1 = 5, T2 = T3 = 20, omega = 19/20, eta 1e-5, eps 0.95, tau."""
    net, params, batches = problem("softmax", xp, rng, 6, n=17)
    expected = page("softmax", params, batches, tau_1=1 / 8, tau_2=1 / 4)
    kfac = KFAC.paper(net)
    for state, trace, e in zip(*run(kfac, params, batches), expected, strict=True):
        compare_statistics(trace, e)
        compare_update(state, trace, e)
    assert_exact(kfac.options.inversion.gamma_factor, 0.95**10)


def test_random_subsets_of_the_batch(xp, rng):
    """S_1 for the statistics, S_2 for the products, drawn before the labels."""
    net, params, batches = problem("softmax", xp, rng, 4)
    shares = dict(tau_1=0.3, tau_2=0.6)
    expected = page("softmax", params, batches, lam=0.5, **PAPER | shares)
    kfac = KFAC(
        net, l2=0.02, damping=0.5, gamma_every=3, inverse_every=2, gamma_factor=0.6,
        adapt_damping=LevenbergMarquardt(decay=0.7**0.5, period=2), **shares,
    )  # fmt: skip
    for state, trace, e in zip(*run(kfac, params, batches), expected, strict=True):
        compare_statistics(trace, e)
        compare_update(state, trace, e)


LIBRARY = dict(
    average=MovingAverage("debiased", 0.95), gamma_every=0, first_step=0,
    inverse_early=0, damping_in_ratio=False, l2=0.0,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_tensorflow_kfac_momentum_adam(kind, xp, rng):
    """Its default: momentum of the gradients, norm constraint, decoupled decay."""
    net, params, batches = problem(kind, xp, rng, 3)
    expected = transcription.tensorflow_adam(
        kind, *on_host(params, batches), sampler(net),
        lr=0.1, m=0.9, lam=0.3, decay=0.95, invert_every=2, c=0.02, wd=0.4,
    )  # fmt: skip
    kfac = KFAC(
        net, **LIBRARY, damping=0.3, adapt_damping=None, inverse_every=2,
        learning_rate=0.1, momentum=0.9, momentum_of="gradient",
        norm_constraint=0.02, weight_decay=0.4,
    )  # fmt: skip
    states, traces = run(kfac, params, batches)
    for state, trace, (theta, nu) in zip(states, traces, expected, strict=True):
        assert_exact(state.theta, theta, CLOSE)
        assert_exact(trace.proposal.clip, nu, CLOSE)
    assert min(nu for _, nu in expected) < 0.9
    assert states[0].damped is states[1].damped
    assert states[1].damped is not states[2].damped


@pytest.mark.parametrize("kind", KINDS)
def test_tensorflow_kfac_momentum_regular(kind, xp, rng):
    """A velocity of preconditioned gradients, at a constant rate: momentum of updates.

    Not so when the rate changes: its velocity lacks the rate, an update has it.
    """
    net, params, batches = problem(kind, xp, rng, 3)
    host_problem = on_host(params, batches)
    options = dict(lr=0.1, m=0.9, lam=0.3, decay=0.95)
    kfac = KFAC(
        net, **LIBRARY, damping=0.3, adapt_damping=None, inverse_every=1,
        learning_rate=0.1, momentum=0.9,
    )  # fmt: skip
    thetas = transcription.tensorflow_regular(
        kind, *host_problem, sampler(net), **options
    )
    states, _ = run(kfac, params, batches)
    for state, theta in zip(states, thetas, strict=True):
        assert_exact(state.theta, theta, CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_tensorflow_kfac_qmodel(kind, xp, rng):
    """(alpha, mu) and lambda adapted; its lambda contains its l2."""
    net, params, batches = problem(kind, xp, rng, 5)
    expected = transcription.tensorflow_qmodel(
        kind, *on_host(params, batches), sampler(net),
        lam=0.3, l2=0.0, decay=0.95, interval=2, omega=0.95, floor=1e-8,
    )  # fmt: skip
    rule = LevenbergMarquardt(
        decay=0.95, period=2, minimum=1e-8, nan="keep", any_fall=True
    )
    kfac = KFAC(net, **LIBRARY, damping=0.3, adapt_damping=rule, inverse_every=1)
    states, traces = run(kfac, params, batches)
    for state, trace, (theta, change, rho, lam) in zip(
        states, traces, expected, strict=True
    ):
        assert_exact(state.theta, theta, CLOSE)
        assert_exact(trace.outcome.predicted, change, CLOSE)
        assert_exact(trace.outcome.damping, lam, CLOSE)
        assert (trace.outcome.reduction_ratio is None) == (rho is None)
    assert len({lam for *_, lam in expected}) > 1


def test_tensorflow_kfac_qmodel_with_l2(xp, rng):
    """lambda = 0.3 of TensorFlow K-FAC with l2 = 0.1 is lambda = 0.2 and eta = 0.1."""
    net, params, batches = problem("softmax", xp, rng, 3)
    expected = transcription.tensorflow_qmodel(
        "softmax", *on_host(params, batches), sampler(net),
        lam=0.3, l2=0.1, decay=0.95, interval=100, omega=0.95, floor=1e-8,
    )  # fmt: skip
    options = {**LIBRARY, "l2": 0.1}
    kfac = KFAC(net, **options, damping=0.2, adapt_damping=None, inverse_every=1)
    states, traces = run(kfac, params, batches)
    for state, trace, (theta, change, *_) in zip(states, traces, expected, strict=True):
        assert_exact(state.theta, theta, CLOSE)
        assert_exact(trace.outcome.predicted, change, CLOSE)


def sign_drawer(seed=SEED):
    rng = np.random.default_rng(seed)
    return lambda z: 2.0 * rng.integers(0, 2, (1, *z.shape))[0] - 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_kfac_jax_all_adaptive(kind, xp, rng):
    """Learning rate, momentum and damping from the exact model; with two burn-in
    batches, whose mean counts as two."""
    net, params, batches = problem(kind, xp, rng, 7)
    x_y = on_host(params, batches)[1]
    expected = transcription.kfac_jax(
        kind, host(params), x_y[2:], sign_drawer(), burn_in=x_y[:2], damping=0.2,
        l2=0.03, ema=0.95, inverse_period=3, interval=2, decay=0.9,
    )  # fmt: skip
    options = {**LIBRARY, "l2": 0.03}
    kfac = KFAC(
        net, **options, damping=0.2, inverse_every=3, estimate="ggn_curvature_prop",
        adapt_damping=LevenbergMarquardt(decay=0.9, period=2, minimum=1e-8, nan="grow"),
        matrix="ggn",
    )  # fmt: skip
    generator = np.random.default_rng(SEED)
    state = kfac.burn_in(kfac.init(params), batches[:2], generator)
    assert (state.average.count, state.step) == (2, 0)
    for (x, y), (theta, alpha, mu, change, rho, damping) in zip(
        batches[2:], expected, strict=True
    ):
        state, trace = kfac.step(state, x, y, generator)
        assert_exact(state.theta, theta, CLOSE)
        assert_exact(trace.proposal.alpha, alpha, CLOSE)
        assert abs(trace.proposal.mu - mu) < CLOSE
        assert_exact(trace.outcome.predicted, change, CLOSE)
        assert_exact(state.damping, damping, CLOSE)
        assert (trace.outcome.reduction_ratio is None) == (rho is None)


@pytest.mark.parametrize("kind", KINDS)
def test_kfac_jax_fixed_rate_momentum_and_norm_constraint(kind, xp, rng):
    """Its damping adapts, too; with a fixed rate it trusts the approximation there."""
    net, params, batches = problem(kind, xp, rng, 4)
    expected = transcription.kfac_jax(
        kind, *on_host(params, batches), sign_drawer(), damping=0.2, l2=0.03, ema=0.95,
        inverse_period=2, interval=2, decay=0.9, lr=0.3, momentum=0.8,
        norm_constraint=0.01,
    )  # fmt: skip
    kfac = KFAC(
        net, **{**LIBRARY, "l2": 0.03}, damping=0.2, inverse_every=2,
        estimate="ggn_curvature_prop", learning_rate=0.3, momentum=0.8,
        norm_constraint=0.01, matrix="approximation",
        adapt_damping=LevenbergMarquardt(decay=0.9, period=2, minimum=1e-8, nan="grow"),
    )  # fmt: skip
    states, traces = run(kfac, params, batches)
    for state, trace, (theta, _, _, change, rho, damping) in zip(
        states, traces, expected, strict=True
    ):
        assert_exact(state.theta, theta, CLOSE)
        assert_exact(state.damping, damping, CLOSE)
        assert trace.proposal.clip < 0.9
        assert (trace.outcome.reduction_ratio is None) == (rho is None)
        if rho is not None:
            assert_exact(trace.outcome.predicted, change, CLOSE)
            assert_exact(trace.outcome.reduction_ratio, rho, CLOSE)


# LBANN and ChainerKFAC, by hand: a = (1, 0), (1, 2) and g = 1, -1 give the factors
# A = [[1, 1], [1, 2]] and G = 1 (A (x) G is exact here), and the gradient (0, -1).
LBANN = {
    (1.0, "off"): (0.1, -0.2),
    (0.25, "off"): (64 / 145, -16 / 29),
    (0.25, "trace"): (0.41269969, -0.53906264),
}


def one_layer(xp, **options):
    """The proposal of the first step, with the sign of LBANN, and its clip factor."""
    net = Network([Dense(2, 1, bias=False)], Normal(1.0, normalized=False))
    x = xp.asarray(np.array([[1.0, 0.0], [1.0, 2.0]]))
    y = xp.asarray(np.array([[-1.0], [1.0]]))
    kfac = KFAC(
        net,
        **LIBRARY,
        estimate="empirical",
        adapt_damping=None,
        momentum=0.9,
        **options,
    )
    params = [xp.asarray(np.zeros((2, 1)))]
    (state,), (trace,) = run(kfac, params, [(x, y)])
    assert_exact(trace.gradient, np.array([0.0, -1.0]))
    assert_exact(state.theta, host(trace.proposal.update))
    rate = kfac.options.practice.learning_rate * trace.proposal.clip
    assert_exact(trace.proposal.update, rate * host(trace.proposal.direction))
    return -host(trace.proposal.direction), trace.proposal.clip


@pytest.mark.parametrize(("damping", "pi"), LBANN)
def test_lbann_by_hand(damping, pi, xp):
    """Damping is added as it is; the clip shortens to a length of sqrt(0.001)."""
    options = dict(
        damping=damping, damping_rule=lambda M, d: separate(M, d, d, pi),
        norm_constraint=0.001, clip="euclidean",
    )  # fmt: skip
    P, nu = one_layer(xp, learning_rate=1.0, **options)
    assert np.abs(P - LBANN[damping, pi]).max() < 5e-9
    assert_exact(nu, (0.001 / (P @ P)) ** 0.5)
    P, nu = one_layer(xp, learning_rate=0.01, **options)
    assert nu == 1.0


def test_chainerkfac_by_hand(xp):
    """Factored Tikhonov damping with pi, of the empirical Fisher."""
    P, _ = one_layer(xp, damping=0.25, learning_rate=0.1)
    assert np.abs(P - [0.22106978, -0.35644681]).max() < 5e-9
