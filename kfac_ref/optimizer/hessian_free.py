"""Hessian-free optimization: conjugate gradients with exact products. Martens 2010.

The proposal Delta solves (C + (lambda + eta) I) Delta = -grad h by SciPy's `cg`, which
starts from a share of the last proposal; lambda moves by the Levenberg-Marquardt rule.
Products are computed where the data are, the vectors of `cg` live on the host. Unlike
Martens' recipe, this has no preconditioner, `cg` stops at a relative residual, not at
his relative progress, and a step that would raise the loss is not made (he first goes
back through the iterates).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from kfac_ref.backend import Array, asarray, get_xp, to_numpy
from kfac_ref.errors import require
from kfac_ref.exact.products import PRODUCTS, curvature_product
from kfac_ref.optimizer.arguments import (
    check_adapt_damping,
    check_state,
    starting_point,
)
from kfac_ref.optimizer.baselines import Baseline, Step, value_at
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.optimizer.schedules import Schedule
from kfac_ref.optimizer.stages import (
    check_finite_stage,
    diverging,
    loss_alone_stage,
)
from kfac_ref.optimizer.state import Place
from kfac_ref.quadratic_model import quadratic_model, reduction_ratio
from kfac_ref.values import Value
from kfac_ref.words import translate

Product = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class HessianFreeState(Value):
    """theta, the last proposal, lambda."""

    theta: Array
    direction: Array
    damping: float
    step: int = 0
    place: Place | None = None


@dataclass(frozen=True, eq=False)
class HessianFreeStep(Step):
    """The trace of a step."""

    reduction_ratio: float | None = None  # rho; None if the model predicts no change
    rejected: bool = False  # theta stays, for the loss would have risen
    iterations: int = 0  # of conjugate gradients


@dataclass(frozen=True, eq=False)
class HessianFree(Baseline):
    """theta <- theta + alpha Delta, unless that raises h on the batch.

    rho compares the change of h with M(alpha Delta), which contains lambda and eta. If
    adapt_damping is None, lambda stays. `cg` makes at most `iterations` iterations; it
    stops once the residual is `tolerance` times the gradient.
    """

    state_type = HessianFreeState
    may_change = (
        "learning_rate",
        "adapt_damping",
        "iterations",
        "tolerance",
        "warm_start",
    )

    learning_rate: float | Schedule = 1.0
    damping: float = 1.0
    adapt_damping: LevenbergMarquardt | None = field(
        default_factory=lambda: LevenbergMarquardt(decay=2 / 3, period=1)
    )
    matrix: str = "ggn"
    iterations: int = 250
    tolerance: float = 1e-4
    warm_start: float = 0.95  # share of the last proposal to start from

    def __post_init__(self) -> None:
        super().__post_init__()
        matrix = translate("matrix", self.matrix, PRODUCTS)
        object.__setattr__(self, "matrix", matrix)
        check_adapt_damping("HessianFree", self.adapt_damping)
        for name, fits, expected in (
            ("iterations", self.iterations >= 1, ">= 1"),
            ("damping", 0 <= self.damping < math.inf, ">= 0"),
            ("tolerance", 0 < self.tolerance < 1, "a number in (0, 1)"),
            ("warm_start", 0 <= self.warm_start <= 1, "a number in [0, 1]"),
        ):
            require(fits, f"HessianFree {name}", expected, getattr(self, name))

    def init(self, params: list[Array]) -> HessianFreeState:
        theta = starting_point(self.network, params)
        return HessianFreeState(theta, get_xp(theta).zeros_like(theta), self.damping)

    def step(
        self, state: HessianFreeState, x: Array, y: Array, rng: np.random.Generator
    ) -> tuple[HessianFreeState, HessianFreeStep]:
        check_state(self, state)
        here = self._at(state.theta, x)
        loss, gradient = self._loss(here, y)
        alpha = value_at(self.learning_rate, state.step)
        curvature = curvature_product(self.matrix, here, y)
        with diverging("proposal", self.network):
            direction, iterations = self._solve(curvature.__matmul__, state, gradient)
        check_finite_stage("proposal", direction, self.network)
        update = alpha * direction
        theta = self._moved(state.theta, update)
        model = quadratic_model([direction], gradient, curvature, self.l2)
        predicted = model.value((alpha,), state.damping)
        after = loss_alone_stage(self._at(theta, x), y, self.l2)
        ratio, damping = self._judge(state, loss, after, predicted)
        rejected = not after <= loss
        theta = state.theta if rejected else theta
        moved = HessianFreeState(theta, direction, damping, state.step + 1)
        return moved, HessianFreeStep(
            loss, gradient, update, alpha, None, damping, ratio, rejected, iterations
        )

    def _solve(
        self, product: Product, state: HessianFreeState, gradient: Array
    ) -> tuple[Array, int]:
        """Return Delta and the number of iterations."""
        damping = state.damping + self.l2
        seen: list[np.ndarray] = []

        def damped(v: np.ndarray) -> np.ndarray:
            return to_numpy(product(asarray(v, like=gradient))) + damping * v

        right = to_numpy(-gradient)
        P = len(right)
        found, _ = cg(
            LinearOperator((P, P), damped, dtype=right.dtype),
            right,
            x0=self.warm_start * to_numpy(state.direction),
            rtol=self.tolerance,
            maxiter=self.iterations,
            callback=seen.append,
        )
        return asarray(found, like=gradient), len(seen)

    def _judge(
        self, state: HessianFreeState, before: float, after: float, predicted: float
    ) -> tuple[float | None, float]:
        """Return rho and the new lambda."""
        damping, rule = state.damping, self.adapt_damping
        if not predicted:  # a stationary point
            return None, damping
        finite = math.isfinite(after)
        ratio = reduction_ratio(before, after, predicted) if finite else -math.inf
        moves = rule is not None and rule.due(state.step)
        return ratio, rule(damping, ratio, predicted) if rule and moves else damping
