"""SGD, Adam, the natural gradient and Hessian-free against straight-line NumPy."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import transcription as paper
from helpers import assert_exact, host, relative_error
from kfac_ref.distributions import Normal
from kfac_ref.errors import (
    NotPositiveDefinite,
    UnknownName,
    Unsupported,
    ValueRangeError,
)
from kfac_ref.layers import Dense
from kfac_ref.network import Network
from kfac_ref.optimizer import SGD, Adam, Diverged, HessianFree, NaturalGradient
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.optimizer.schedules import Exponential
from networks import inputs, linear
from optimizer_cases import KINDS, labels, on_host, problem, run

ETA = 0.03
RATES = Exponential(0.2, 0.9)  # a learning rate


def grows(step):
    """A momentum."""
    return min(0.3 + 0.1 * step, 0.8)


CLOSE = 1e-10  # relative, where both sides solve systems, each in its own way
BASELINES = {
    "sgd": lambda net: SGD(net, RATES, l2=ETA, momentum=0.6),
    "nesterov": lambda net: SGD(net, RATES, l2=ETA, momentum=grows, nesterov=True),
    "adam": lambda net: Adam(net, RATES, l2=ETA),
    "natural gradient": lambda net: NaturalGradient(net, RATES, l2=ETA, damping=0.3),
    "hessian-free": lambda net: HessianFree(net, 0.9, l2=ETA, iterations=5),
}


@pytest.fixture(params=BASELINES)
def baseline(request):
    return BASELINES[request.param]


def one_weight(xp, weight, x, y):
    """z = w x, loss (z - y)^2 / 2 on one example: gradient (w x - y) x."""
    net = Network([Dense(1, 1, bias=False)], Normal(1.0, normalized=False))
    arrays = (xp.asarray(np.array([[float(v)]])) for v in (weight, x, y))
    return net, *arrays


# By hand: w = 1, x = 2, y = 3. In w the gradient is 4 w - 6.


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        # g = -2, v = 0.2, w = 1.2; g = -1.2, v = 0.1 + 0.12, w = 1.42
        (dict(momentum=0.5), [1.2, 1.42]),
        # g = -2, v = 0.2, w = 1 + 0.1 + 0.2; g = -0.8, v = 0.1 + 0.08, w = 1.3 + 0.17
        (dict(momentum=0.5, nesterov=True), [1.3, 1.47]),
        # eta = 1: g = -1, w = 1.1; g = -1.6 + 1.1 = -0.5, w = 1.15
        (dict(l2=1.0), [1.1, 1.15]),
        # alpha = 0.1, 0.05: w = 1.2; g = -1.2, w = 1.26
        (dict(learning_rate=Exponential(0.1, 0.5)), [1.2, 1.26]),
    ],
)
def test_sgd_by_hand(options, weights, xp):
    net, w, x, y = one_weight(xp, 1, 2, 3)
    states, traces = run(
        SGD(net, **{"learning_rate": 0.1, **options}), [w], [(x, y)] * 2
    )
    for state, weight in zip(states, weights, strict=True):
        assert_exact(state.theta, np.array([weight]))
    assert traces[0].loss == 0.5 + options.get("l2", 0.0) / 2
    assert [s.step for s in states] == [1, 2]


def test_adam_by_hand(xp):
    """beta_1 = 1/2, beta_2 = 3/4, epsilon = 1, alpha = 1/10; g = -2, then 4 w - 6.

    m^ = -2, v^ = 4: w = 1 + 0.1 * 2/3 = 16/15. g = -26/15: m = -1/2 - 13/15 = -41/30,
    m^ = -82/45; v = 3/4 + 169/225, v^ = (3/4 + 169/225) / (7/16).
    """
    net, w, x, y = one_weight(xp, 1, 2, 3)
    adam = Adam(net, 0.1, beta_1=0.5, beta_2=0.75, epsilon=1.0)
    states, _ = run(adam, [w], [(x, y)] * 2)
    assert_exact(states[0].theta, np.array([16 / 15]))
    v_hat = (3 / 4 + 169 / 225) * 16 / 7
    second = 16 / 15 + 0.1 * (82 / 45) / (math.sqrt(v_hat) + 1)
    assert_exact(states[1].theta, np.array([second]))


def test_natural_gradient_and_hessian_free_by_hand(xp):
    """F = 4, so w = 1 + 2 / (4 + 1), lambda = 1; undamped 3/2, the solution.

    M = -2 (2/5) + 1/2 (4 + 1) (2/5)^2 = -2/5; the loss falls from 1/2 to
    (14/5 - 3)^2 / 2 = 1/50: rho = (12/25) / (2/5) = 6/5 > 3/4, so lambda = 2/3.
    """
    net, w, x, y = one_weight(xp, 1, 2, 3)
    (state,), _ = run(NaturalGradient(net, damping=1.0), [w], [(x, y)])
    assert_exact(state.theta, np.array([1.4]))
    (state,), _ = run(NaturalGradient(net), [w], [(x, y)])
    assert_exact(state.theta, np.array([1.5]))
    (state,), (trace,) = run(HessianFree(net), [w], [(x, y)])
    assert_exact(state.theta, np.array([1.4]))
    assert_exact(trace.reduction_ratio, 1.2)
    assert_exact(state.damping, 2 / 3)
    assert (trace.iterations, trace.rejected, trace.damping) == (
        1,
        False,
        state.damping,
    )


# Against transcriptions, with schedules and L2.


def momentum_sgd(kind, Ws, batches, alphas, mus, nesterov):
    """v <- mu v - alpha grad h(theta [+ mu v]), theta <- theta + v.

    Yields the point where the next gradient is taken. Sutskever et al. 2013.
    """
    theta = paper.vec(Ws)
    v = 0 * theta
    for k, (x, y) in enumerate(batches):
        at = theta + mus[k] * v if nesterov else theta
        g = paper.gradient(kind, paper.matrices_like(Ws, at), x, y, ETA)
        v = mus[k] * v - alphas[k] * g
        theta = theta + v
        yield theta + mus[k + 1] * v if nesterov else theta


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_with_momentum(nesterov, kind, xp, rng):
    net, params, batches = problem(kind, xp, rng, 5)
    mus, alphas = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8], [0.2 * 0.9**k for k in range(5)]
    expected = momentum_sgd(kind, *on_host(params, batches), alphas, mus, nesterov)
    sgd = SGD(net, RATES, grows, nesterov, l2=ETA)
    states, traces = run(sgd, params, batches)
    for state, theta in zip(states, expected, strict=True):
        assert_exact(state.theta, theta)
    assert_exact(np.array([t.alpha for t in traces]), np.array(alphas))
    assert_exact(np.array([t.mu for t in traces]), np.array(mus[:5]))
    x, y = on_host(params, batches)[1][0]
    assert_exact(traces[0].loss, paper.objective(kind, host(params), x, y, ETA))
    plain, _ = run(SGD(net, RATES, grows, not nesterov, l2=ETA), params, batches)
    assert relative_error(plain[-1].theta, host(states[-1].theta)) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_adam_is_its_transcription(kind, xp, rng):
    net, params, batches = problem(kind, xp, rng, 5)
    Ws, on = on_host(params, batches)
    theta = paper.vec(Ws)
    m, v = 0 * theta, 0 * theta
    states, _ = run(Adam(net, RATES, 0.8, 0.95, 1e-3, l2=ETA), params, batches)
    for k, ((x, y), state) in enumerate(zip(on, states, strict=True), 1):
        g = paper.gradient(kind, paper.matrices_like(Ws, theta), x, y, ETA)
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        step = (m / (1 - 0.8**k)) / (np.sqrt(v / (1 - 0.95**k)) + 1e-3)
        theta = theta - 0.2 * 0.9 ** (k - 1) * step
        assert_exact(state.theta, theta)


def test_adams_first_step_is_the_sign_of_the_gradient(xp, rng):
    """-alpha g / (|g| + epsilon): by no more than alpha epsilon / |g| from alpha."""
    net, params, batches = problem("softmax", xp, rng, 1)
    _, (trace,) = run(Adam(net, 0.01), params, batches)
    update, g = host(trace.update), host(trace.gradient)
    assert_exact(update, -0.01 * g / (np.abs(g) + 1e-8))
    shortfall = np.abs(update + 0.01 * np.sign(g))
    assert (shortfall <= 0.01 * 1e-8 / np.abs(g) + 1e-16).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("matrix", ["fisher", "ggn", "empirical"])
def test_natural_gradient_solves_with_the_exact_matrix(matrix, kind, xp, rng):
    net, params, batches = problem(kind, xp, rng, 3)
    Ws, on = on_host(params, batches)
    theta = paper.vec(Ws)
    natural = NaturalGradient(net, RATES, l2=ETA, damping=0.3, matrix=matrix)
    states, traces = run(natural, params, batches)
    for k, ((x, y), state) in enumerate(zip(on, states, strict=True)):
        at = paper.matrices_like(Ws, theta)
        C = paper.fisher(kind, at, x)
        if matrix == "empirical":
            each = [
                paper.gradient(kind, at, x[[n]], y[[n]], 0.0) for n in range(len(x))
            ]
            C = np.mean([np.outer(g, g) for g in each], axis=0)
        damped = C + (0.3 + ETA) * np.eye(len(theta))
        g = paper.gradient(kind, at, x, y, ETA)
        theta = theta - 0.2 * 0.9**k * np.linalg.solve(damped, g)
        assert_exact(state.theta, theta, CLOSE)
    assert traces[0].damping == 0.3


def test_natural_gradient_solves_linear_regression_in_one_step(xp, rng):
    """And not with damping, and not where the network is deep."""
    net = linear(Normal(2.0), sizes=(5, 3))
    params = [xp.asarray(rng.normal(size=(6, 3)))]
    x, y = inputs(rng, xp), labels("squared", rng, xp, 11)
    X = np.hstack([host(x), np.ones((11, 1))])
    solution = np.linalg.lstsq(X, host(y), rcond=None)[0]
    (state,), _ = run(NaturalGradient(net), params, [(x, y)])
    assert_exact(
        net.unflatten(state.theta)[0], solution, 1e-12 * np.linalg.cond(X) ** 2
    )
    (damped,), _ = run(NaturalGradient(net, damping=0.1), params, [(x, y)])
    assert relative_error(net.unflatten(damped.theta)[0], solution) > 1e-2
    deep = linear(Normal(2.0), sizes=(5, 4, 3))
    Ws = [xp.asarray(rng.normal(size=shape)) for shape in deep.shapes]
    (state,), _ = run(NaturalGradient(deep, damping=1e-6), Ws, [(x, y)])
    best = float(host(net.loss([xp.asarray(solution)], x, y)))
    assert float(host(deep.loss(deep.unflatten(state.theta), x, y))) > best + 0.1


def conjugate_gradients(B, b, x, steps):
    """Hestenes & Stiefel 1952."""
    r = b - B @ x
    p, rr = r, r @ r
    for _ in range(steps):
        Bp = B @ p
        a = rr / (p @ Bp)
        x, r = x + a * p, r - a * Bp
        p, rr = r + (r @ r) / rr * p, r @ r
    return x


@pytest.mark.parametrize("kind", KINDS)
def test_hessian_free_is_its_transcription(kind, xp, rng):
    """Five iterations from 0.8 of the last proposal; lambda moves; steps undone."""
    net, params, batches = problem(kind, xp, rng, 8)
    Ws, on = on_host(params, batches)
    free = HessianFree(
        net, lambda step: 0.9 + 0.3 * step, 0.1, l2=ETA, iterations=5, warm_start=0.8,
        tolerance=1e-14, adapt_damping=LevenbergMarquardt(decay=0.6, period=1),
    )  # fmt: skip
    theta, lam = paper.vec(Ws), 0.1
    d, moves, rejections = 0 * theta, set(), set()
    states, traces = run(free, params, batches)
    for k, ((x, y), state, trace) in enumerate(zip(on, states, traces, strict=True)):
        at, alpha = paper.matrices_like(Ws, theta), 0.9 + 0.3 * k
        g = paper.gradient(kind, at, x, y, ETA)
        B = paper.fisher(kind, at, x) + (lam + ETA) * np.eye(len(theta))
        d = conjugate_gradients(B, -g, 0.8 * d, 5)
        there = paper.matrices_like(Ws, theta + alpha * d)
        before = paper.objective(kind, at, x, y, ETA)
        change = paper.objective(kind, there, x, y, ETA) - before
        rho = change / (alpha * g @ d + alpha**2 / 2 * d @ B @ d)
        lam = lam * 0.6 if rho > 0.75 else lam / 0.6 if rho < 0.25 else lam
        theta = theta + alpha * d if change <= 0 else theta
        assert_exact(trace.update, alpha * d, CLOSE)
        assert_exact(trace.reduction_ratio, rho, CLOSE)
        assert_exact(state.theta, theta, CLOSE)
        assert_exact(state.damping, lam, CLOSE)
        assert (trace.rejected, trace.iterations) == (change > 0, 5)
        moves.add(np.sign(np.log(lam / 0.1)))
        rejections.add(trace.rejected)
    assert rejections == {True, False} and len(moves) > 1


@pytest.mark.parametrize("matrix", ["fisher", "ggn", "empirical"])
def test_hessian_free_with_enough_iterations_is_the_natural_gradient(matrix, xp, rng):
    """As near as the condition number times the residual; not with two iterations."""
    net, params, batches = problem("softmax", xp, rng, 1)
    (x, y), damping = batches[0], 0.2
    options = dict(learning_rate=0.5, l2=ETA, damping=damping, matrix=matrix)
    _, (exact,) = run(NaturalGradient(net, **options), params, batches)
    free = HessianFree(net, **options, tolerance=1e-12)
    _, (many,) = run(free, params, batches)
    _, (two,) = run(replace(free, iterations=2), params, batches)
    state = NaturalGradient(net, matrix=matrix)
    C = host(state._curvature(state.init(params), x, y).to_dense())
    condition = (np.linalg.norm(C, 2) + damping + ETA) / (damping + ETA)
    assert many.iterations < 250
    assert_exact(many.update, host(exact.update), 2e-12 * condition)
    assert relative_error(two.update, host(exact.update)) > 1e-2


def test_the_warm_start_saves_iterations(xp, rng):
    net, params, batches = problem("softmax", xp, rng, 1)
    options = dict(adapt_damping=None, learning_rate=1e-9, tolerance=1e-3)
    for share, fewer in ((0.0, False), (1.0, True)):
        free = HessianFree(net, **options, warm_start=share)
        states, (first, second) = run(free, params, batches * 2)
        assert (second.iterations < first.iterations) == fewer
        assert [s.damping for s in states] == [1.0, 1.0]


def test_a_stationary_point_stays(xp):
    net, w, x, y = one_weight(xp, 1.5, 2, 3)
    (state,), (trace,) = run(HessianFree(net), [w], [(x, y)])
    assert host(state.theta) == [1.5] and state.damping == 1.0
    assert trace.reduction_ratio is None and not trace.rejected


def test_hessian_free_undoes_a_step_to_infinity(xp):
    """exp of the outputs: beyond all bounds, so rho = -inf and lambda grows."""
    net, w, x, y = one_weight(xp, 1, 2, 3)
    with np.errstate(over="ignore"):
        (state,), (trace,) = run(HessianFree(net, 1e160), [w], [(x, y)])
    assert trace.rejected and trace.reduction_ratio == -math.inf
    assert host(state.theta) == [1.0] and state.damping == 1.5


# What all have in common.


def test_steps_are_pure(baseline, xp, rng):
    """The given state stays as it is, and so does the generator."""
    net, params, batches = problem("softmax", xp, rng, 1)
    optimizer, generator = baseline(net), np.random.default_rng(2)
    start = optimizer.init(params)
    before = {n: v for n, v in vars(start).items() if v is not None}
    before = {n: np.copy(host(v)) for n, v in before.items()}
    one, _ = optimizer.step(start, *batches[0], generator)
    two, _ = optimizer.step(start, *batches[0], generator)
    for name, value in before.items():
        np.testing.assert_array_equal(host(getattr(start, name)), value)
    assert {"theta", "step"} <= set(before)
    np.testing.assert_array_equal(host(one.theta), host(two.theta))
    assert (host(one.theta) != host(start.theta)).all()
    assert generator.random() == np.random.default_rng(2).random()
    for W, before_W in zip(optimizer.params(start), params, strict=True):
        np.testing.assert_array_equal(host(W), host(before_W))


def test_float32_stays(baseline, xp, rng):
    net, params, batches = problem("squared", xp, rng, 2)
    single = [W.astype("float32") for W in params]
    batches = [(x.astype("float32"), y.astype("float32")) for x, y in batches]
    (*_, state), (*_, trace) = run(baseline(net), single, batches)
    assert state.theta.dtype == trace.update.dtype == np.float32


def test_the_training_loss_falls(baseline, xp, rng):
    net, params, batches = problem("softmax", xp, rng, 1)
    _, traces = run(baseline(net), params, batches * 6)
    assert traces[-1].loss < 0.9 * traces[0].loss


def test_divergence_names_stage_and_layer(xp, rng):
    net, params, batches = problem("squared", xp, rng, 1)
    sgd = SGD(net, 1e308)
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(Diverged, match="the update of layer .*Dense") as caught,
    ):
        run(sgd, params, [(batches[0][0], batches[0][1] * 1e9)])
    assert caught.value.stage == "update"
    with np.errstate(over="ignore"), pytest.raises(Diverged, match="the loss is not"):
        run(sgd, params, [(batches[0][0], batches[0][1] * 1e200)])


def test_a_singular_matrix_needs_damping(xp, rng):
    net, params, batches = problem("softmax", xp, rng, 1)
    with pytest.raises(NotPositiveDefinite, match="fisher matrix.*larger damping"):
        run(NaturalGradient(net), params, batches)


WRONG = [
    (
        SGD,
        dict(learning_rate=0.0),
        "SGD learning_rate: expected a finite number > 0, found 0.0",
    ),
    (
        SGD,
        dict(learning_rate=math.inf),
        "SGD learning_rate: expected a finite number > 0, found inf",
    ),
    (Adam, dict(l2=-1.0), "Adam l2: expected >= 0, found -1.0"),
    (
        SGD,
        dict(momentum=1.0),
        r"SGD momentum: expected a number in \[0, 1\), found 1.0",
    ),
    (Adam, dict(beta_1=1.0), r"Adam beta_1: expected a number in \[0, 1\), found 1.0"),
    (Adam, dict(beta_2=-0.1), r"Adam beta_2: expected a number in .*, found -0.1"),
    (Adam, dict(epsilon=0.0), "Adam epsilon: expected > 0, found 0.0"),
    (NaturalGradient, dict(damping=-1), "NaturalGradient damping: expected >= 0"),
    (HessianFree, dict(damping=math.nan), "HessianFree damping: expected >= 0, found"),
    (HessianFree, dict(iterations=0), "HessianFree iterations: expected >= 1, found 0"),
    (
        HessianFree,
        dict(tolerance=0.0),
        r"HessianFree tolerance: .* \(0, 1\), found 0.0",
    ),
    (HessianFree, dict(warm_start=2), r"HessianFree warm_start: .* \[0, 1\], found 2"),
]


@pytest.mark.parametrize(("kind", "options", "message"), WRONG)
def test_wrong_options(kind, options, message):
    net = linear(Normal())
    with pytest.raises(ValueRangeError, match=message):
        kind(net, **{"learning_rate": 0.1, **options})


def test_wrong_matrices_and_too_many_parameters():
    net = linear(Normal())
    for kind in (NaturalGradient, HessianFree):
        with pytest.raises(UnknownName, match="unknown matrix 'fischer'.*'fisher'"):
            kind(net, matrix="fischer")
    message = (
        "the dense ggn matrix of 83 parameters takes 5.5e-05 GB .* expected at most "
        "limit = 82 parameters; use KFAC or HessianFree"
    )
    with pytest.raises(Unsupported, match=message):
        NaturalGradient(net, matrix="ggn", limit=82)
    assert NaturalGradient(net, limit=83).network.size == 83
