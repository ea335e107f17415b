"""K-FAC: Algorithm 2 of Martens & Grosse 2015, every part of it in the open.

`KFAC(network, ...)` is a choice of options; `init` and `step` map plain states to plain
states, and a step returns its trace. The defaults are the paper's; each option changes
the stage under whose comment it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.damping import factored_tikhonov
from kfac_ref.errors import ValueRangeError, choose
from kfac_ref.estimates import Estimate
from kfac_ref.matrices import SymmetricMatrix
from kfac_ref.network import Network
from kfac_ref.optimizer.averages import MovingAverage
from kfac_ref.optimizer.stages import (
    check_finite_stage,
    clip_stage,
    coefficient_stage,
    loss_stage,
    model_stage,
    proposal_stage,
    statistics_stage,
)
from kfac_ref.optimizer.state import Proposal, State, Trace
from kfac_ref.quadratic_model import QuadraticModel, reduction_ratio

MOMENTA = ("update", "gradient")


@dataclass(frozen=True)
class KFAC:
    """The options. Letters are the paper's; 0 in `..._every` means never."""

    network: Network
    # statistics: questions 1 and 2
    structure: str | Sequence[str] = "kronecker"  # one, or one for each layer
    estimate: str | Estimate = "sampled"
    samples: int = 1
    statistics_every: int = 1
    average: MovingAverage = field(default_factory=MovingAverage)
    # proposal: question 3
    damping_rule: Callable[[Any, float], SymmetricMatrix] = factored_tikhonov
    inverse_every: int = 20  # T_3
    gamma_every: int = 20  # T_2: three candidates; 0: gamma^2 = lambda + eta
    gamma_factor: float = math.sqrt(19 / 20) ** 20  # omega_2^T_2
    # norm constraint
    norm_constraint: float | None = None
    clip: str = "fisher"
    # coefficients; None: from the quadratic model
    learning_rate: float | None = None  # alpha
    momentum: float | None = None  # mu
    momentum_of: str = "update"
    matrix: str = "fisher"  # the exact one in the model
    # lambda, by the rule of Levenberg and Marquardt
    lambda_: float = 150.0
    lambda_every: int = 5  # T_1
    lambda_factor: float = (19 / 20) ** 5  # omega_1^T_1
    lambda_range: tuple[float, float] = (0.0, math.inf)
    damping_in_ratio: bool = True  # does the predicted change contain lambda?
    # and besides
    l2: float = 1e-5  # eta, in the loss and in the curvature
    reject: bool = False  # stay where the step would raise the loss of its batch

    def __post_init__(self) -> None:
        choose("momentum_of", self.momentum_of, MOMENTA)
        fixed = self.learning_rate is not None and self.momentum is not None
        if self.momentum_of == "gradient" and not fixed:
            raise ValueRangeError(
                "momentum_of 'gradient': expected a fixed learning_rate and momentum; "
                "the quadratic model solves for those of 'update'"
            )
        if self.norm_constraint is not None and self.learning_rate is None:
            raise ValueRangeError(
                "norm_constraint: expected a fixed learning_rate with it; the quadratic "
                "model chooses the length of the step by itself"
            )

    def init(self, params: list[Array]) -> State:
        """The state before the first step."""
        theta = self.network.flatten(params)
        zero = get_xp(theta).zeros_like(theta)
        gamma = math.sqrt(self.lambda_ + self.l2)
        return State(theta, zero, self.average, self.lambda_, gamma)

    def params(self, state: State) -> list[Array]:
        """The parameters of a state, as matrices."""
        return self.network.unflatten(state.theta)

    def step(
        self, state: State, x: Array, y: Array, rng: np.random.Generator
    ) -> tuple[State, Trace]:
        """One step on the batch (x, y); the given state stays as it is.

        Raises Diverged, naming stage and layer, where a number is no longer finite, and
        the errors of the stages.
        """
        loss, gradient = loss_stage(self.network, state.theta, x, y, self.l2)
        self._finite("loss", loss)
        self._finite("gradient", gradient)

        def model_of(direction: Array) -> QuadraticModel:
            pair, net = [direction, state.last], self.network
            return model_stage(
                net, state.theta, x, y, pair, gradient, self.l2, self.matrix
            )

        statistics, average = self._statistics(state, x, y, rng)
        carried = gradient
        if self.momentum_of == "gradient":
            carried = gradient + self.momentum * state.last
        proposal = self._propose(state, average.value, carried, model_of)
        self._finite("proposal", proposal.direction)
        direction = proposal.clip * proposal.direction
        model = model_of(direction) if self._needs_model(state) else None
        alpha, mu = self._coefficients(state, model)
        update = alpha * direction
        if self.momentum_of == "update":
            update = carried = update + mu * state.last
        self._finite("update", update)
        moved = replace(
            state,
            theta=state.theta + update,
            last=carried,
            average=average,
            gamma=proposal.gamma,
            damped=proposal.damped,
            step=state.step + 1,
        )
        moved, judged = self._judge(moved, state, x, y, loss, model, (alpha, mu))
        trace = Trace(
            loss, gradient, statistics, average.value, proposal, model, alpha, mu,
            update, *judged,
        )  # fmt: skip
        return moved, trace

    def _statistics(
        self, state: State, x: Array, y: Array, rng: np.random.Generator
    ) -> tuple[SymmetricMatrix | None, MovingAverage]:
        """The curvature of this batch, if it is due, and the moving average."""
        if state.average.value is not None and state.step % self.statistics_every:
            return None, state.average
        newest = statistics_stage(
            self.network, state.theta, x, y, rng,
            self.structure, self.estimate, self.samples,
        )  # fmt: skip
        return newest, state.average.add(newest)

    def _propose(
        self,
        state: State,
        average: SymmetricMatrix,
        gradient: Array,
        model_of: Callable[[Array], QuadraticModel],
    ) -> Proposal:
        """The direction; where gamma is up for a change the best of three.

        The best is the one after which the quadratic model is lowest. Section 6.6.
        """
        rate = 1.0 if self.learning_rate is None else self.learning_rate

        def propose(gamma: float, damped: SymmetricMatrix | None = None) -> Proposal:
            damped = damped or self.damping_rule(average, gamma**2)
            direction = proposal_stage(damped, gradient)
            clip = clip_stage(
                direction, gradient, self.norm_constraint, rate, self.clip
            )
            return Proposal(gamma, damped, direction, clip)

        def lowest(proposal: Proposal) -> float:
            model = model_of(proposal.clip * proposal.direction)
            return model.value(self._coefficients(state, model), state.lambda_)

        if self.gamma_every and state.step and state.step % self.gamma_every == 0:
            factors = (1.0, self.gamma_factor, 1.0 / self.gamma_factor)
            return min((propose(state.gamma * f) for f in factors), key=lowest)
        if state.damped is not None and state.step % self.inverse_every:
            return propose(state.gamma, state.damped)
        if self.gamma_every:
            return propose(state.gamma)
        return propose(math.sqrt(state.lambda_ + self.l2))

    def _needs_model(self, state: State) -> bool:
        solves = self.learning_rate is None or self.momentum is None
        return solves or self._adapts(state)

    def _adapts(self, state: State) -> bool:
        """Is lambda up for a change after this step?"""
        return self.lambda_every > 0 and (state.step + 1) % self.lambda_every == 0

    def _coefficients(
        self, state: State, model: QuadraticModel | None
    ) -> tuple[float, float]:
        """(alpha, mu): those that are fixed, and for the others the model's minimum."""
        mu = self.momentum if self.momentum_of == "update" else 0.0
        if self.learning_rate is not None and mu is not None:
            return self.learning_rate, mu
        assert model is not None  # `_needs_model`
        return coefficient_stage(model, state.lambda_, self.learning_rate, mu)

    def _judge(
        self,
        moved: State,
        state: State,
        x: Array,
        y: Array,
        loss: float,
        model: QuadraticModel | None,
        coefficients: tuple[float, float],
    ) -> tuple[State, tuple[float | None, float | None, float, bool]]:
        """Look at the loss after the step: rho, the new lambda, perhaps back again."""
        predicted = ratio = None
        lambda_, rejected = state.lambda_, False
        if model is not None:
            inside = state.lambda_ if self.damping_in_ratio else 0.0
            predicted = model.value(coefficients, inside)
        if self._adapts(state) or self.reject:
            after, _ = loss_stage(self.network, moved.theta, x, y, self.l2)
            rejected = self.reject and not after <= loss
            if self._adapts(state) and predicted is not None:
                self._finite("loss after the step", after)
                ratio = reduction_ratio(loss, after, predicted)
                lambda_ = levenberg_marquardt(
                    lambda_, ratio, self.lambda_factor, self.lambda_range
                )
        moved = replace(moved, lambda_=lambda_)
        if rejected:
            moved = replace(moved, theta=state.theta, last=state.last)
        return moved, (predicted, ratio, lambda_, rejected)

    def _finite(self, stage: str, value: Array | float) -> None:
        check_finite_stage(stage, value, self.network)


def levenberg_marquardt(
    lambda_: float, ratio: float, factor: float, limits: tuple[float, float]
) -> float:
    """lambda * omega if rho > 3/4, lambda / omega if rho < 1/4. Section 6.5."""
    if ratio > 0.75:
        lambda_ *= factor
    elif ratio < 0.25:
        lambda_ /= factor
    return min(max(lambda_, limits[0]), limits[1])
