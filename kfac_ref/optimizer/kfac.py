"""K-FAC: Algorithm 2 of Martens & Grosse 2015, every part of it in the open.

`KFAC(network, ...)` has options (options.py), and `init` and `step` map plain states to
plain states; a step returns its trace as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.checks import check_flag, check_kind
from kfac_ref.exact.products import curvature_product
from kfac_ref.network import Linearization, Network, check_network
from kfac_ref.optimizer.arguments import check_batches, check_state, starting_point
from kfac_ref.optimizer.averages import Average
from kfac_ref.optimizer.option_groups import Practice
from kfac_ref.optimizer.options import FIXED, MAY_CHANGE, PAPER, Options, with_options
from kfac_ref.optimizer.proposal import Local, judge, propose
from kfac_ref.optimizer.stages import (
    check_finite_stage,
    diverging,
    loss_alone_stage,
    loss_stage,
    subset_stage,
)
from kfac_ref.optimizer.state import Outcome, Proposal, State, Trace
from kfac_ref.optimizer.statistics import statistics_stage
from kfac_ref.values import Value


@with_options
@dataclass(frozen=True, eq=False, init=False, repr=False)
class KFAC(Value):
    """Algorithm 2 of Martens & Grosse 2015, for a network and with these options.

    By default it is the paper's algorithm on the whole batch, with a damping for small
    problems. `KFAC.paper` has the paper's own values, `KFAC.fixed` what is common in
    other libraries. Options are named one by one: `KFAC(network, damping=0.3)`.
    """

    state_type = State
    may_change = MAY_CHANGE

    network: Network
    options: Options

    def __init__(self, network: Network, options: Options | None = None, **named: Any):
        check_network(network)
        given = Options() if options is None else options
        check_kind("options", given, Options, "or each by its name")
        object.__setattr__(self, "network", network)
        object.__setattr__(self, "options", given.replaced(**named))
        self.options.check_together(network)

    def __repr__(self) -> str:
        given = {"network": self.network} | self.options.flat()
        return f"KFAC({', '.join(f'{k}={v!r}' for k, v in given.items())})"

    @classmethod
    def paper(cls, network: Network, **options: Any) -> Self:
        """Algorithm 2 with the paper's own values, meant for its autoencoders.

        lambda = 150, which a small problem takes hundreds of steps to come down from;
        tau_1 = 1/8 and tau_2 = 1/4 of the batch, which should be large. Other options
        as in KFAC, whose defaults are the paper's. Sections 8 and 13.
        """
        return cls(network, **PAPER | options)

    @classmethod
    def fixed(cls, network: Network, **options: Any) -> Self:
        """K-FAC as in most libraries: fixed learning rate, momentum and damping.

        Nothing is solved for, searched or adapted, and no exact product is made. An
        update of squared Fisher norm above norm_constraint is shortened to it.
        learning_rate=0.1, momentum=0.9, norm_constraint=0.01, damping=0.03,
        inverse_every=5; other options as in KFAC.
        """
        return cls(network, **FIXED | options)

    def init(self, params: list[Array]) -> State:
        """The state before the first step."""
        theta = starting_point(self.network, params)
        zero, damping = get_xp(theta).zeros_like(theta), self.options.inversion.damping
        gamma = self.options.gamma_of(damping)
        return State(theta, zero, Average(), Average(), damping, gamma)

    def burn_in(
        self, state: State, batches: Iterable[tuple], rng: np.random.Generator
    ) -> State:
        """Average the statistics of some batches (x, y), equally, before any step."""
        check_state(self, state)
        average, rule = state.average, self.options.statistics.average
        for x, y in check_batches(batches):
            newest = self._curvature(self._at(state.theta, x), y, rng)
            average = rule.add(average, newest, burn_in=True)
        return replace(state, average=average)

    def params(self, state: State, averaged: bool = False) -> list[Array]:
        """The parameters of a state as matrices, or their average over the steps."""
        check_state(self, state)
        averaged = check_flag("averaged", averaged) and state.iterates.count > 0
        return self.network.unflatten(state.iterates.value if averaged else state.theta)

    def step(
        self, state: State, x: Array, y: Array, rng: np.random.Generator
    ) -> tuple[State, Trace]:
        """Take one step on the batch (x, y); the given state stays as it is.

        Raises Diverged, naming stage and layer, if a number is not finite.
        """
        check_state(self, state)
        at = self._at(state.theta, x)
        loss, gradient = self._loss_and_gradient(at, y)
        taus = self.options.statistics.tau_1, self.options.update.tau_2
        S1, S2 = (subset_stage(x, y, tau, rng) for tau in taus)
        newest, average = self._statistics(state, at, *S1, rng)
        curvature = self._model_curvature(state, at, *S2, average.value)
        carried = self._carried(state, gradient)
        local = Local(self.network, state, gradient, carried, curvature)
        proposal = propose(self.options, local, average.value)
        theta = self._decayed(state.theta) + proposal.update
        self._finite("update", theta)
        outcome = self._outcome(state, proposal, theta, x, y, loss)
        sums = self._practice.momentum_of == "gradient"
        velocity = carried if sums else proposal.update
        if outcome.rejected:
            theta, velocity = state.theta, state.velocity
        moved = State(
            theta, velocity, average, self._iterates(state, theta), outcome.damping,
            proposal.gamma, proposal.damped, proposal.inverse, state.step + 1,
        )  # fmt: skip
        return moved, Trace(loss, gradient, newest, average.value, proposal, outcome)

    @property
    def structures(self) -> list[str]:
        """The structure of each layer."""
        return self.options.structures(self.network)

    # The stages, with the options of this optimizer.

    @property
    def _practice(self) -> Practice:
        return self.options.practice

    def _at(self, theta: Array, x: Array) -> Linearization:
        return self.network.linearize(self.network.unflatten(theta), x)

    def _loss_and_gradient(self, at: Linearization, y: Array) -> tuple[float, Array]:
        loss, gradient = loss_stage(at, y, self.options.update.l2)
        self._finite("loss", loss)
        self._finite("gradient", gradient)
        return loss, gradient

    def _carried(self, state: State, gradient: Array) -> Array:
        """What is preconditioned: the gradient, or the sum of those so far."""
        if self._practice.momentum_of == "update":
            return gradient
        return gradient + self._practice.momentum * state.velocity

    def _statistics(
        self, state: State, at: Linearization, x: Array, y: Array,
        rng: np.random.Generator,
    ) -> tuple[Any, Average]:  # fmt: skip
        """The curvature of this batch, if it is due, and the moving average."""
        own = self.options.statistics
        if state.average.count and not self.options.due(state.step).statistics:
            return None, state.average
        newest = self._curvature(at.on(x), y, rng)
        return newest, own.average.add(state.average, newest)

    def _curvature(self, at: Linearization, y: Array, rng: np.random.Generator) -> Any:
        own = self.options.statistics
        with diverging("statistics", self.network):
            return statistics_stage(
                at, y, rng, own.structure, own.estimate, own.samples,
                own.position_share,
            )  # fmt: skip

    def _model_curvature(
        self, state: State, at: Linearization, x: Array, y: Array, average: Any
    ) -> Any:
        """The matrix of the quadratic model; None in a step that needs no model."""
        if not self.options.due(state.step).model:
            return None
        matrix = self.options.update.matrix
        approximate = matrix == "approximation"
        return average if approximate else curvature_product(matrix, at.on(x), y)

    def _outcome(
        self, state: State, proposal: Proposal, theta: Array, x: Array, y: Array,
        loss: float,
    ) -> Outcome:  # fmt: skip
        """Look at the loss after the step, where it matters."""
        after = None
        if self.options.due(state.step).after:
            after = self._loss(theta, x, y)
            if not self._practice.reject:
                self._finite("loss after the step", after)
        return judge(self.options, state, proposal, loss, after)

    def _loss(self, theta: Array, x: Array, y: Array) -> float:
        return loss_alone_stage(self._at(theta, x), y, self.options.update.l2)

    def _iterates(self, state: State, theta: Array) -> Average:
        return self.options.update.iterates.add(state.iterates, theta)

    def _decayed(self, theta: Array) -> Array:
        decay = self._practice.rate * self._practice.weight_decay
        return (1.0 - decay) * theta if decay else theta

    def _finite(self, stage: str, value: Array | float) -> None:
        check_finite_stage(stage, value, self.network)
