"""The case of a whole step: the autoencoder of Martens & Grosse 2015, every stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.straight_step import Arrays, BareStep, Given
from kfac_ref.exact.products import curvature_product
from kfac_ref.gpu.nets import SEED, Place
from kfac_ref.gpu.tasks import Step
from kfac_ref.optimizer import State
from kfac_ref.optimizer.stages import (
    damping_stage,
    loss_alone_stage,
    loss_stage,
    proposal_stage,
)
from kfac_ref.optimizer.statistics import statistics_stage
from kfac_ref.quadratic_model import quadratic_model


def given(step: Step) -> Given:
    """What the step begins with, for plain NumPy."""
    state, unflatten = step.state, step.kfac.network.unflatten
    blocks = state.average.value.blocks
    return Given(
        unflatten(state.theta),
        step.x,
        unflatten(state.velocity),
        [block.A for block in blocks],
        [block.G for block in blocks],
        0.5,  # weight of the second of two
        np.random.default_rng(SEED).random((1, *step.x.shape))[0],
        state.damping,
        step.kfac.options.update.l2,
    )


def stages(step: Step) -> dict[str, Callable[[], Any]]:
    """Each stage as a function, on the results of the stages before it."""
    k, s, x = step.kfac, step.state, step.x
    net, l2 = k.network, k.options.update.l2
    moved, trace = step()
    before, gradient = net.linearize(net.unflatten(s.theta), x), trace.gradient
    directions = [trace.proposal.direction, s.velocity]
    damping = trace.proposal.gamma**2

    def first() -> Any:
        return loss_stage(net.linearize(net.unflatten(s.theta), x), x, l2)

    def statistics() -> Any:
        rng = np.random.default_rng(SEED)
        return k.options.statistics.average.add(
            s.average, statistics_stage(before, x, rng)
        )

    def proposal() -> Any:
        damped = damping_stage(trace.average, damping, k.options.inversion.damping_rule)
        return proposal_stage(damped, gradient)

    def model() -> Any:
        products = curvature_product(k.options.update.matrix, before, x)
        return quadratic_model(directions, gradient, products, l2)

    def after() -> Any:
        return loss_alone_stage(net.linearize(net.unflatten(moved.theta), x), x, l2)

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
    blocks, outcome = trace.statistics.blocks, trace.outcome
    after = trace.loss + outcome.reduction_ratio * outcome.predicted
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


class ToProposal:
    """The part of a step that libraries without a quadratic model have.

    Gradient, statistics of the batch from one sampled label, factored damping, and the
    proposal; no average, no L2, no model, and no loss afterwards.
    """

    def __init__(self, step: Step):
        self.step = step
        self.bare = BareStep(replace(given(step), weight=1.0, l2=0.0))

    def __call__(self) -> tuple[Any, Any, Any]:
        """The gradient, the statistics, the proposal."""
        k, s, x = self.step.kfac, self.step.state, self.step.x
        net = k.network
        forward = net.linearize(net.unflatten(s.theta), x)
        _, gradient = loss_stage(forward, x, 0.0)
        newest = statistics_stage(forward, x, np.random.default_rng(SEED))
        damped = damping_stage(newest, s.damping, k.options.inversion.damping_rule)
        return gradient, newest, proposal_stage(damped, gradient)

    def baseline(self) -> dict[str, Arrays]:
        """The bare products of these stages."""
        names = "gradient", "statistics", "proposal"
        return {name: self.bare.stages[name]() for name in names}

    def compare(self, ours: tuple, made: dict[str, Arrays]) -> tuple[Arrays, Arrays]:
        """Gradient, A, G and proposal of every layer."""
        unflatten, N = self.step.kfac.network.unflatten, len(self.step.x)
        gradient, newest, direction = ours
        L, blocks = len(newest.blocks), newest.blocks
        factors = [b.A for b in blocks] + [b.G for b in blocks]
        sums = made["gradient"][-L:] + made["statistics"][-2 * L :]
        found = [*unflatten(gradient), *factors, *unflatten(direction)]
        return found, [M / N for M in sums] + made["proposal"]


def autoencoder(encoder: Sequence[int], N: int, dtype: type) -> tuple[Step, BareStep]:
    """Ours, and the bare products, at the same point."""
    step = Step(encoder, N, Place(np.asarray, dtype))
    return step, BareStep(given(step))
