"""What K-FAC is compared with: SGD with momentum, and Adam.

Every optimizer here has KFAC's protocol: `init(params) -> state`, `step(state, x, y,
rng) -> (state, trace)`, `params(state)`. The given state stays as it is; the generator
is not touched. h(theta) = mean loss + eta/2 ||theta||^2, eta = `l2`; the learning rate
alpha is a number or a schedule of the steps done. A step raises Diverged, naming stage
and layer, if a number is no longer finite. The dense natural gradient and Hessian-free
optimization have files of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.checks import check_number
from kfac_ref.errors import require
from kfac_ref.network import Linearization, Network, check_network
from kfac_ref.optimizer.arguments import (
    check_state,
    starting_point,
)
from kfac_ref.optimizer.schedules import Schedule
from kfac_ref.optimizer.stages import (
    check_finite_stage,
    loss_stage,
)
from kfac_ref.optimizer.state import Place
from kfac_ref.values import Value

Number = float | Schedule


@dataclass(frozen=True, eq=False)
class Step(Value):
    """What a step computed."""

    loss: float  # h before the step
    gradient: Array  # of h, (P,)
    update: Array  # (P,)
    alpha: float  # the learning rate
    mu: float | None = None  # momentum
    damping: float | None = None  # lambda, for the next step


def check_rate(what: str, rate: float) -> None:
    """ValueRangeError unless a learning rate that moves, and not without bound."""
    require(0 < check_number(what, rate) < math.inf, what, "a finite number > 0", rate)


@dataclass(frozen=True, eq=False)
class Baseline(Value):
    """What all baselines have in common."""

    state_type: ClassVar[type]  # what `init` makes, and `step` takes
    may_change: ClassVar[tuple[str, ...]] = ("learning_rate",)  # see origin.py

    network: Network
    learning_rate: float | Schedule
    l2: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_network(self.network)
        super().__post_init__()
        if not callable(self.learning_rate):
            check_rate(f"{name} learning_rate", self.learning_rate)
        require(0 <= self.l2 < math.inf, f"{name} l2", ">= 0", self.l2)

    def params(self, state: Any) -> list[Array]:
        """The parameters of a state as matrices."""
        check_state(self, state)
        return self.network.unflatten(state.theta)

    def _loss(self, at: Linearization, y: Array) -> tuple[float, Array]:
        """Return h and its gradient. Raises Diverged."""
        loss, gradient = loss_stage(at, y, self.l2)
        check_finite_stage("loss", loss, self.network)
        check_finite_stage("gradient", gradient, self.network)
        return loss, gradient

    def _at(self, theta: Array, x: Array) -> Linearization:
        return self.network.linearize(self.network.unflatten(theta), x)

    def _moved(self, theta: Array, update: Array) -> Array:
        """Return theta + update. Raises Diverged."""
        check_finite_stage("update", theta + update, self.network)
        return theta + update


def value_at(number: Number, step: int) -> float:
    """Return a number as it is, a schedule's value at the step."""
    return check_number("schedule", number(step)) if callable(number) else number


@dataclass(frozen=True, eq=False)
class SGDState(Value):
    """theta and the velocity v."""

    theta: Array
    velocity: Array
    step: int = 0
    place: Place | None = None


@dataclass(frozen=True, eq=False)
class SGD(Baseline):
    """v <- mu v - alpha grad h(theta), theta <- theta + v: classical momentum (Polyak).

    Nesterov's takes the gradient at theta + mu v (Sutskever et al. 2013, eq. 3 and 4).
    Here `theta` is that point, so that a state's loss belongs to where its gradient is
    taken; it moves by mu' v' - alpha grad, with v' and mu' of the next step.
    """

    state_type = SGDState

    momentum: float | Schedule = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.momentum):
            mu = self.momentum
            require(0 <= mu < 1, "SGD momentum", "a number in [0, 1)", mu)
            useful = mu > 0 or not self.nesterov
            require(useful, "SGD nesterov", "a momentum > 0 with it", mu)

    def init(self, params: list[Array]) -> SGDState:
        theta = starting_point(self.network, params)
        return SGDState(theta, get_xp(theta).zeros_like(theta))

    def step(
        self, state: SGDState, x: Array, y: Array, rng: np.random.Generator
    ) -> tuple[SGDState, Step]:
        check_state(self, state)
        loss, gradient = self._loss(self._at(state.theta, x), y)
        k = state.step
        alpha, mu = value_at(self.learning_rate, k), value_at(self.momentum, k)
        velocity = update = mu * state.velocity - alpha * gradient
        if self.nesterov:
            update = value_at(self.momentum, k + 1) * velocity - alpha * gradient
        theta = self._moved(state.theta, update)
        return SGDState(theta, velocity, k + 1), Step(loss, gradient, update, alpha, mu)


@dataclass(frozen=True, eq=False)
class AdamState(Value):
    """theta, and the moving averages m of the gradient and v of its square."""

    theta: Array
    m: Array
    v: Array
    step: int = 0
    place: Place | None = None


@dataclass(frozen=True, eq=False)
class Adam(Baseline):
    """theta <- theta - alpha m^ / (sqrt(v^) + epsilon). Kingma & Ba 2015, algorithm 1.

    m^ = m / (1 - beta_1^k) and v^ = v / (1 - beta_2^k) in step k = 1, 2, ... The
    gradient contains the L2 term, which is not decoupled.
    """

    state_type = AdamState
    may_change = ("learning_rate", "epsilon")

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("beta_1", "beta_2"):
            beta = getattr(self, name)
            require(0 <= beta < 1, f"Adam {name}", "a number in [0, 1)", beta)
        require(0 < self.epsilon < math.inf, "Adam epsilon", "> 0", self.epsilon)

    def init(self, params: list[Array]) -> AdamState:
        theta = starting_point(self.network, params)
        zero = get_xp(theta).zeros_like(theta)
        return AdamState(theta, zero, zero)

    def step(
        self, state: AdamState, x: Array, y: Array, rng: np.random.Generator
    ) -> tuple[AdamState, Step]:
        check_state(self, state)
        loss, gradient = self._loss(self._at(state.theta, x), y)
        k, alpha = state.step + 1, value_at(self.learning_rate, state.step)
        m = self.beta_1 * state.m + (1 - self.beta_1) * gradient
        v = self.beta_2 * state.v + (1 - self.beta_2) * gradient**2
        m_hat, v_hat = m / (1 - self.beta_1**k), v / (1 - self.beta_2**k)
        update = -alpha * m_hat / (get_xp(v).sqrt(v_hat) + self.epsilon)
        theta = self._moved(state.theta, update)
        return AdamState(theta, m, v, k), Step(loss, gradient, update, alpha)
