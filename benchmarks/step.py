"""The case of a whole step: the autoencoder of Martens & Grosse 2015, every stage."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.straight_step import Arrays, BareStep, Given
from kfac_ref import Network
from kfac_ref.distributions import Bernoulli
from kfac_ref.layers import Dense, Sigmoid
from kfac_ref.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.optimizer import KFAC, State
from kfac_ref.optimizer.stages import (
    damping_stage,
    forward_stage,
    loss_alone_stage,
    loss_stage,
    product_stage,
    proposal_stage,
)
from kfac_ref.optimizer.statistics import statistics_stage
from kfac_ref.quadratic_model import quadratic_model

SEED = 20150601


class Step:
    """A step that is not the first: it has averages, and a last update.

    Every stage on every step; lambda is judged on every step, too, so the loss after
    it is needed. gamma^2 = lambda + eta, one inversion; a search would make three.
    """

    def __init__(self, encoder: list[int], N: int, dtype: type):
        sizes = [*encoder, *encoder[-2::-1]]
        layers = [m for pair in pairwise(sizes) for m in (Dense(*pair), Sigmoid())]
        network = Network(layers[:-1], Bernoulli())
        rng = np.random.default_rng(SEED)
        self.kfac = KFAC(
            network, statistics_every=1, inverse_every=1, gamma_every=0,
            tau_1=1.0, tau_2=1.0, lambda_rule=LevenbergMarquardt(period=1),
        )  # fmt: skip
        self.x = rng.random((N, encoder[0])).astype(dtype)
        start = self.kfac.init(network.init(rng, dtype))
        self.state: State = self.kfac.step(start, self.x, self.x, rng)[0]

    def __call__(self) -> tuple[State, Any]:
        """The state after the step, and its trace."""
        rng = np.random.default_rng(SEED)
        return self.kfac.step(self.state, self.x, self.x, rng)

    def given(self) -> Given:
        """The same for plain NumPy."""
        state, unflatten = self.state, self.kfac.network.unflatten
        blocks = state.average.value.blocks
        return Given(
            unflatten(state.theta),
            self.x,
            unflatten(state.last),
            [block.A for block in blocks],
            [block.G for block in blocks],
            0.5,  # of the second of two
            np.random.default_rng(SEED).random((1, *self.x.shape))[0],
            state.lambda_,
            self.kfac.l2,
        )

    def stages(self) -> dict[str, Callable[[], Any]]:
        """The stages by themselves, each on what those before it gave."""
        k, s, x = self.kfac, self.state, self.x
        moved, trace = self()
        before, gradient = forward_stage(k.network, s.theta, x), trace.gradient
        directions = [trace.proposal.direction, s.last]
        damping = trace.proposal.gamma**2

        def first() -> Any:
            return loss_stage(forward_stage(k.network, s.theta, x), x, k.l2)

        def statistics() -> Any:
            rng = np.random.default_rng(SEED)
            return s.average.add(statistics_stage(before, x, rng))

        def proposal() -> Any:
            damped = damping_stage(trace.average, damping, k.damping_rule)
            return proposal_stage(damped, gradient)

        def model() -> Any:
            products = product_stage(before, x, k.matrix)
            return quadratic_model(directions, gradient, products, k.l2)

        def after() -> Any:
            return loss_alone_stage(forward_stage(k.network, moved.theta, x), x, k.l2)

        return dict(
            gradient=first,
            statistics=statistics,
            proposal=proposal,
            model=model,
            loss=after,
        )


def compare(
    step: Step, bare: BareStep, ours: tuple[State, Any], made: dict[str, Arrays]
) -> tuple[Arrays, Arrays]:
    """Gradient, A, G, proposal and parameters of every layer; the losses."""
    state, trace = ours
    unflatten, L, N = step.kfac.network.unflatten, len(bare.given.W), len(step.x)
    blocks, verdict = trace.statistics.blocks, trace.verdict
    after = trace.loss + verdict.ratio * verdict.predicted
    found = [
        *unflatten(trace.gradient),
        *[block.A for block in blocks],
        *[block.G for block in blocks],
        *unflatten(trace.proposal.direction),
        *unflatten(state.theta),
        np.array([trace.loss, after]),
    ]
    gradient = zip(made["gradient"][-L:], bare.given.W, strict=True)
    expected = [
        *[D / N + bare.given.l2 * W for D, W in gradient],
        *[M / N for M in made["statistics"][-2 * L :]],
        *made["proposal"],
        *bare.W_new,
        np.array(bare.losses),
    ]
    return found, expected


def autoencoder(encoder: list[int], N: int, dtype: type) -> tuple[Step, BareStep]:
    """Ours, and the bare products, at the same point."""
    step = Step(encoder, N, dtype)
    return step, BareStep(step.given())
