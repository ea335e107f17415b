"""Laws of the whole step: reparametrisation, duplication, scale, order, no memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest

from helpers import assert_exact, host, relative_error
from kfac_ref.backend import Array, get_xp
from kfac_ref.damping import separate
from kfac_ref.distributions import Categorical, Joint, Normal
from kfac_ref.layers import Dense, Tanh
from kfac_ref.layers.base import Layer, append_one
from kfac_ref.matrices import BlockDiagonalMatrix, DenseMatrix
from kfac_ref.network import Network
from kfac_ref.optimizer import KFAC, MovingAverage
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from networks import SIZES, chain
from optimizer_cases import KINDS, problem, run

EXPECTED = dict(
    estimate="expectation", l2=0.02, damping=0.3, gamma_every=2, inverse_every=2,
    adapt_damping=LevenbergMarquardt(period=2),
)  # fmt: skip


# Invariance: Martens & Grosse 2015, Theorem 1. With new coordinates for every layer's
# inputs, a -> a Omega (homogeneous), and outputs, s = s' Phi, the same functions have
# the weights W' = Omega^-1 W Phi^-1; an undamped K-FAC step is the same function again.


@dataclass(repr=False)
class Fixed(Layer):
    """x -> [x, 1] M or x M, M a given matrix and no parameter."""

    M: Array
    homogeneous: bool = False

    def forward(self, params, x):
        return (append_one(x) if self.homogeneous else x) @ self.M, None

    def jvp(self, params, tape, dparams, dx):
        return dx @ self._linear

    def vjp(self, params, tape, dy):
        return dy @ self._linear.T

    @property
    def _linear(self):
        return self.M[:-1] if self.homogeneous else self.M


def well_conditioned(rng, d):
    return np.eye(d) + 0.3 * rng.normal(size=(d, d))


def reparametrised(distribution, xp, rng, last_free):
    """The network in other coordinates, and each layer's Omega and Phi."""
    layers, maps = [], []
    for i, (d, o) in enumerate(pairwise(SIZES)):
        Omega, Phi = well_conditioned(rng, d + 1), well_conditioned(rng, o)
        if i == len(SIZES) - 2 and not last_free:
            Phi = np.eye(o)
        layers += [
            Fixed(xp.asarray(Omega), True),
            Dense(d + 1, o, bias=False),
            Fixed(xp.asarray(Phi)),
            Tanh(),
        ]
        maps.append((Omega, Phi))
    return Network(layers[:-1], distribution), maps


def both_ways(kind, options, xp, rng, last_free=True, steps=3):
    """theta after some steps, and that of the other coordinates, brought back."""
    net, params, batches = problem(kind, xp, rng, steps, n=37)
    other, maps = reparametrised(net.distribution, xp, rng, last_free)
    start = [
        xp.asarray(np.linalg.inv(Omega) @ host(W) @ np.linalg.inv(Phi))
        for W, (Omega, Phi) in zip(params, maps, strict=True)
    ]
    x = batches[0][0]
    assert_exact(other.predict(start, x), net.predict(params, x), 1e-11)
    ends = []
    for network, initial in ((net, params), (other, start)):
        kfac = KFAC(network, **options)
        states, _ = run(kfac, initial, batches)
        ends.append([host(W) for W in kfac.params(states[-1])])
    back = [Omega @ W @ Phi for W, (Omega, Phi) in zip(ends[1], maps, strict=True)]
    moved = relative_error(net.flatten(params), _flat(ends[0]))
    assert moved > 0.05  # it is about steps, not about standing still
    return _flat(ends[0]), _flat(back)


def _flat(matrices):
    return np.concatenate([M.reshape(-1) for M in matrices])


# Undamped matrices pass rounding on: here cond A * cond G goes up to 1e4 or so.
INVARIANT = 1e-9
UNDAMPED = dict(EXPECTED, l2=0.0, damping=0.0, gamma_every=0, inverse_every=1)


@pytest.mark.parametrize("structure", ["kronecker", "block_tridiagonal"])
@pytest.mark.parametrize("fixed", [{}, dict(learning_rate=0.3, momentum=0.8)])
def test_undamped_steps_are_the_same_functions_in_other_coordinates(
    fixed, structure, xp, rng
):
    """Squared error, so that A and G can be inverted."""
    options = {**UNDAMPED, **fixed, "structure": structure}
    assert_exact(*both_ways("squared", options, xp, rng)[::-1], INVARIANT)


@pytest.mark.parametrize(
    "change",
    [
        dict(damping=0.1),
        dict(l2=0.1),
        dict(structure="diagonal", damping_rule=lambda matrix, damping: matrix),
        dict(damping_rule=lambda matrix, damping: _no_curvature(matrix)),
    ],
)
def test_steps_depend_on_coordinates_if_damped_or_with_less_than_k_fac(change, xp, rng):
    """Neither with lambda nor with eta; neither the diagonal nor gradient descent."""
    options = {**UNDAMPED, "learning_rate": 0.3, "momentum": 0.8, **change}
    one, two = both_ways("squared", options, xp, rng)
    assert relative_error(two, one) > 1e-3


def _no_curvature(matrix):
    eye = get_xp(matrix.blocks[0].A).eye(matrix.size)
    return DenseMatrix(20.0 * eye)


@pytest.mark.parametrize("last_free", [True, False])
def test_softmax_steps_are_invariant_only_if_its_output_coordinates_stay(
    last_free, xp, rng
):
    """The last G has rank C - 1, so it needs damping; invariant only with Phi_L = I."""

    def rule(matrix, damping):
        numbers = zip(matrix.blocks, (0.0, 0.0, 0.01), strict=True)
        return BlockDiagonalMatrix(
            [separate(block, 0.0, errors) for block, errors in numbers]
        )

    options = {**UNDAMPED, "learning_rate": 0.3, "momentum": 0.8, "damping_rule": rule}
    one, two = both_ways("softmax", options, xp, rng, last_free)
    if last_free:
        assert relative_error(two, one) > 1e-3
    else:
        assert_exact(two, one, INVARIANT)


# The batch is a mean.


@pytest.mark.parametrize("kind", KINDS)
def test_duplicated_examples_change_nothing(kind, xp, rng):
    net, params, batches = problem(kind, xp, rng, 3)
    twice = [tuple(xp.concatenate([v, v, v]) for v in batch) for batch in batches]
    compare(KFAC(net, **EXPECTED), params, batches, twice)


@pytest.mark.parametrize("kind", KINDS)
def test_permuted_examples_change_nothing(kind, xp, rng):
    net, params, batches = problem(kind, xp, rng, 3)
    orders = [xp.asarray(rng.permutation(len(x))) for x, _ in batches]
    shuffled = [(x[i], y[i]) for (x, y), i in zip(batches, orders, strict=True)]
    assert not (host(shuffled[0][0]) == host(batches[0][0])).all()
    compare(KFAC(net, **EXPECTED), params, batches, shuffled)


def compare(kfac, params, batches, others):
    """Gradient, A, G, update and lambda of the two runs."""
    runs = run(kfac, params, batches), run(kfac, params, others)
    for one, two in zip(runs[0][1], runs[1][1], strict=True):
        assert_exact(two.gradient, one.gradient, 1e-11)
        for a, b in zip(one.statistics.blocks, two.statistics.blocks, strict=True):
            assert_exact(b.A, a.A, 1e-11)
            assert_exact(b.G, a.G, 1e-11)
        assert_exact(two.proposal.update, one.proposal.update, 1e-9)
        assert_exact(two.outcome.damping, one.outcome.damping, 1e-9)


def test_one_example_more_changes_the_step(xp, rng):
    net, params, ((x, y),) = problem("softmax", xp, rng, 1)
    more = [(xp.concatenate([x, x[:1]]), xp.concatenate([y, y[:1]]))]
    kfac = KFAC(net, **EXPECTED)
    one, two = (run(kfac, params, batch)[0][0] for batch in ([(x, y)], more))
    assert relative_error(two.theta, one.theta) > 1e-3


@pytest.mark.parametrize("scaled", [("l2", "damping"), ("damping",), ("l2",)])
@pytest.mark.parametrize("estimate", ["sampled", "expectation"])
def test_c_times_the_loss_lambda_and_eta_give_the_same_updates(
    estimate, scaled, xp, rng
):
    """c times the loss, with c times lambda and eta: the same updates; else not."""
    c = 5.0
    ends = []
    for factor in (1.0, c):
        net = chain(distribution=Joint([(Categorical(), SIZES[-1], factor)]))
        options = {**EXPECTED, "estimate": estimate}
        for name in scaled:
            options[name] = factor * options[name]
        generator = np.random.default_rng(8)
        _, params, batches = problem("softmax", xp, generator, 4)
        batches = [(x, [y]) for x, y in batches]
        states, traces = run(KFAC(net, **options), params, batches)
        ends.append((states[-1], traces[-1]))
    (one, first), (two, last) = ends
    if len(scaled) == 2:
        assert_exact(two.theta, one.theta, 1e-10)
        assert_exact(two.damping, c * one.damping)
        assert_exact(two.gamma, c**0.5 * one.gamma)
        assert_exact(last.loss, c * first.loss, 1e-10)
        assert_exact(last.proposal.alpha, first.proposal.alpha, 1e-9)
    else:
        assert relative_error(two.theta, one.theta) > 1e-4


def test_several_losses_are_the_sum_of_their_curvatures(xp, rng):
    """Weights inside: Joint of two normals is one normal of two variances."""
    sizes = (5, 4, 7, 3)
    joint = Joint([(Normal(0.5, False), 1, 0.25), (Normal(0.5, False), 2, 0.25)])
    plain = Normal(2.0, normalized=False)
    _, params, batches = problem("squared", xp, rng, 3)
    split = [(x, [y[:, :1], y[:, 1:]]) for x, y in batches]
    ends = [
        run(KFAC(chain(distribution=d, sizes=sizes), **EXPECTED), params, data)[0][-1]
        for d, data in ((joint, split), (plain, batches))
    ]
    assert_exact(ends[0].theta, ends[1].theta, 1e-10)


# No hidden memory.


def test_a_second_identical_call_gives_the_same_result(xp, rng):
    """States and generators decide; the optimizer and the given state stay."""
    net, params, batches = problem("softmax", xp, rng, 4)
    kfac = KFAC(net, gamma_every=2, inverse_every=3, average=MovingAverage("debiased"))
    states, _ = run(kfac, params, batches[:3])
    state = states[-1]
    frozen = [host(v) for v in (state.theta, state.velocity, *_factors(state))]
    again = []
    for _ in range(2):
        moved, trace = kfac.step(state, *batches[3], np.random.default_rng(1))
        again.append((moved.theta, trace.proposal.update, *_factors(moved)))
    for one, two in zip(*again, strict=True):
        assert (host(one) == host(two)).all()
    kept = [state.theta, state.velocity, *_factors(state)]
    for one, two in zip(frozen, kept, strict=True):
        assert (one == host(two)).all()
    other, _ = kfac.step(state, *batches[3], np.random.default_rng(2))
    assert relative_error(other.theta, again[0][0]) > 1e-6  # other labels were drawn
    repeated, _ = run(replace(kfac), params, batches[:3])
    assert (host(repeated[-1].theta) == host(state.theta)).all()


def _factors(state):
    return [M for block in state.average.value.blocks for M in (block.A, block.G)]


def test_float32_stays_float32(xp, rng):
    net, params, batches = problem("softmax", xp, rng, 3)
    params = [W.astype(np.float32) for W in params]
    batches = [(x.astype(np.float32), y) for x, y in batches]
    for options in ({}, dict(learning_rate=0.1, momentum=0.9, norm_constraint=0.01)):
        states, traces = run(KFAC(net, **EXPECTED, **options), params, batches)
        for state, trace in zip(states, traces, strict=True):
            arrays = [
                state.theta,
                state.velocity,
                trace.gradient,
                trace.proposal.direction,
            ]
            assert {a.dtype for a in [*arrays, *_factors(state)]} == {np.dtype("f4")}
