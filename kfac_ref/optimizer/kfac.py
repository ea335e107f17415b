"""K-FAC: Algorithm 2 of Martens & Grosse 2015, every part of it in the open.

`KFAC(network, ...)` is a choice of options (options.py); `init` and `step` map plain
states to plain states, and a step returns its trace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kfac_ref.backend import Array, add_scaled, get_xp
from kfac_ref.errors import check_flag
from kfac_ref.exact.products import curvature_product
from kfac_ref.matrices import SymmetricMatrix
from kfac_ref.network import Linearization
from kfac_ref.optimizer.arguments import check_batches, check_state, starting_point
from kfac_ref.optimizer.averages import MovingAverage
from kfac_ref.optimizer.levenberg_marquardt import gamma_candidates
from kfac_ref.optimizer.options import Options
from kfac_ref.optimizer.stages import (
    check_finite_stage,
    clip_stage,
    coefficient_stage,
    damping_stage,
    diverging,
    forward_stage,
    invert_stage,
    loss_alone_stage,
    loss_stage,
    proposal_stage,
    subset_stage,
)
from kfac_ref.optimizer.state import Proposal, State, Trace, Verdict
from kfac_ref.optimizer.statistics import statistics_stage
from kfac_ref.quadratic_model import QuadraticModel, quadratic_model, reduction_ratio

Model = Callable[[Array], QuadraticModel | None]  # of a direction and the last update


@dataclass(frozen=True, eq=False)
class KFAC(Options):
    """Algorithm 2, with these options."""

    state_type = State

    def init(self, params: list[Array]) -> State:
        """The state before the first step."""
        theta = starting_point(self.network, params)
        zero, gamma = get_xp(theta).zeros_like(theta), self.gamma_of(self.lambda_)
        return State(theta, zero, self.average, self.iterates, self.lambda_, gamma)

    def burn_in(
        self, state: State, batches: Iterable[tuple], rng: np.random.Generator
    ) -> State:
        """The plain mean of the statistics of some batches (x, y), before any step."""
        check_state(self, state)
        average = state.average
        for x, y in check_batches(batches):
            at = forward_stage(self.network, state.theta, x)
            newest = self._curvature(at, y, rng)
            average = average.add(newest, burn_in=True)
        return replace(state, average=average)

    def params(self, state: State, averaged: bool = False) -> list[Array]:
        """The parameters of a state as matrices, or their average over the steps."""
        check_state(self, state)
        averaged = check_flag("averaged", averaged) and state.iterates.count > 0
        return self.network.unflatten(state.iterates.value if averaged else state.theta)

    def step(
        self, state: State, x: Array, y: Array, rng: np.random.Generator
    ) -> tuple[State, Trace]:
        """One step on the batch (x, y); the given state stays as it is.

        Raises Diverged, naming stage and layer, where a number is not finite.
        """
        check_state(self, state)
        at = forward_stage(self.network, state.theta, x)
        loss, gradient = self._loss_and_gradient(at, y)
        S1, S2 = (subset_stage(x, y, tau, rng) for tau in (self.tau_1, self.tau_2))
        newest, average = self._statistics(state, at, *S1, rng)
        model = self._model(state, at, *S2, gradient, average.value)
        carried = self._carried(state, gradient)
        proposal = self._propose(state, average.value, carried, model)
        theta = self._decayed(state.theta) + proposal.update
        self._finite("update", theta)
        verdict = self._judge(state, proposal, theta, x, y, loss)
        last = carried if self.momentum_of == "gradient" else proposal.update
        if verdict.rejected:
            theta, last = state.theta, state.last
        moved = State(
            theta, last, average, state.iterates.add(theta), verdict.lambda_,
            proposal.gamma, proposal.damped, proposal.inverse, state.step + 1,
        )  # fmt: skip
        return moved, Trace(loss, gradient, newest, average.value, proposal, verdict)

    # The stages, with the options of this optimizer.

    def _loss_and_gradient(self, at: Linearization, y: Array) -> tuple[float, Array]:
        loss, gradient = loss_stage(at, y, self.l2)
        self._finite("loss", loss)
        self._finite("gradient", gradient)
        return loss, gradient

    def _carried(self, state: State, gradient: Array) -> Array:
        """What is preconditioned: the gradient, or the sum of those so far."""
        if self.momentum_of == "update":
            return gradient
        return gradient + self.momentum * state.last

    def _statistics(
        self, state: State, at: Linearization, x: Array, y: Array,
        rng: np.random.Generator,
    ) -> tuple[Any, MovingAverage]:  # fmt: skip
        """The curvature of this batch, if it is due, and the moving average."""
        if state.average.count and not self.due(state.step, self.statistics_every):
            return None, state.average
        newest = self._curvature(at.on(x), y, rng)
        return newest, state.average.add(newest)

    def _curvature(self, at: Linearization, y: Array, rng: np.random.Generator) -> Any:
        with diverging("statistics", self.network):
            return statistics_stage(
                at, y, rng, self.structure, self.estimate, self.samples,
                self.position_share,
            )  # fmt: skip

    def _model(
        self, state: State, at: Linearization, x: Array, y: Array, gradient: Array,
        average: Any,
    ) -> Model:  # fmt: skip
        """Direction -> quadratic model; -> None in a step that looks at none."""
        solves = self.learning_rate is None or self.momentum is None
        if not (
            solves or self.adapts(state.step) or self.due(state.step, self.gamma_every)
        ):
            return lambda direction: None
        curvature = (
            average
            if self.matrix == "approximation"
            else curvature_product(self.matrix, at.on(x), y)
        )

        def model(direction: Array) -> QuadraticModel:
            found = quadratic_model(
                [direction, state.last], gradient, curvature, self.l2
            )
            numbers = found.matrix(state.lambda_).sum() + found.slope.sum()
            self._finite("quadratic model", float(numbers))
            return found

        return model

    def _propose(
        self, state: State, average: Any, gradient: Array, model: Model
    ) -> Proposal:
        """With the stored inverse, with a new one, or with the best gamma of three.

        The best is the one after which the quadratic model is lowest. Section 6.6.
        """

        def of(gamma: float) -> Proposal:
            with diverging("damped matrix", self.network):
                damped = damping_stage(average, gamma**2, self.damping_rule)
            return self._proposal(state, gamma, damped, None, gradient, model)

        if self.due(state.step, self.gamma_every):
            gammas = gamma_candidates(state.gamma, self.gamma_factor)
            return min(
                (of(gamma) for gamma in gammas),
                key=lambda found: self._predicted(found, state.lambda_),
            )
        early = state.step < self.inverse_early
        due = self.due(state.step, self.inverse_every)
        if state.damped is None or early or due:
            return of(state.gamma if self.gamma_every else self.gamma_of(state.lambda_))
        damped, inverse = state.damped, state.inverse or invert_stage(state.damped)
        return self._proposal(state, state.gamma, damped, inverse, gradient, model)

    def _proposal(
        self,
        state: State,
        gamma: float,
        damped: SymmetricMatrix,
        inverse: SymmetricMatrix | None,
        gradient: Array,
        model_of: Model,
    ) -> Proposal:
        """Delta, shortened by nu; and the update alpha nu Delta + mu last."""
        with diverging("proposal", self.network):
            direction = proposal_stage(damped, gradient, inverse)
        self._finite("proposal", direction)
        clip = clip_stage(
            direction, gradient, self.norm_constraint, self.rate, self.clip
        )
        model = model_of(direction if clip == 1.0 else clip * direction)
        alpha, mu = self._coefficients(state, model)
        update = add_scaled((alpha * clip) * direction, mu, state.last)
        return Proposal(
            gamma, damped, inverse, direction, clip, model, alpha, mu, update
        )

    def _coefficients(
        self, state: State, model: QuadraticModel | None
    ) -> tuple[float, float]:
        """(alpha, mu): those that are fixed, and for the others the model's minimum."""
        mu = self.momentum if self.momentum_of == "update" else 0.0
        if self.learning_rate is not None and mu is not None:
            return self.learning_rate, mu
        assert model is not None  # `_model`
        return coefficient_stage(model, state.lambda_, self.learning_rate, mu)

    def _judge(
        self, state: State, proposal: Proposal, theta: Array, x: Array, y: Array,
        loss: float,
    ) -> Verdict:  # fmt: skip
        """Look at the loss after the step: rho, the new lambda, perhaps back again."""
        adapts, lambda_ = self.adapts(state.step), state.lambda_
        inside = lambda_ if self.damping_in_ratio else 0.0
        predicted = self._predicted(proposal, inside) if proposal.model else None
        if not (adapts or self.reject):
            return Verdict(predicted, None, lambda_, False)
        after = self._loss(theta, x, y)
        if not self.reject:
            self._finite("loss after the step", after)
        ratio = None
        if self.lambda_rule and adapts and predicted:  # none at a stationary point
            finite = math.isfinite(after)
            ratio = reduction_ratio(loss, after, predicted) if finite else -math.inf
            lambda_ = self.lambda_rule(lambda_, ratio, predicted)
        return Verdict(predicted, ratio, lambda_, self.reject and not after <= loss)

    def _loss(self, theta: Array, x: Array, y: Array) -> float:
        at = forward_stage(self.network, theta, x)
        return loss_alone_stage(at, y, self.l2)

    def _predicted(self, proposal: Proposal, damping: float) -> float:
        """M(update)"""
        assert proposal.model is not None
        return proposal.model.value((proposal.alpha, proposal.mu), damping)

    def _decayed(self, theta: Array) -> Array:
        decay = self.rate * self.weight_decay
        return (1.0 - decay) * theta if decay else theta

    def _finite(self, stage: str, value: Array | float) -> None:
        check_finite_stage(stage, value, self.network)
