"""The natural gradient with the exact dense matrix, which K-FAC approximates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kfac_ref.backend import Array
from kfac_ref.errors import Unsupported, require
from kfac_ref.exact.dense import empirical_fisher_matrix, fisher_matrix, ggn_matrix
from kfac_ref.exact.products import PRODUCTS
from kfac_ref.matrices import DenseMatrix
from kfac_ref.optimizer.arguments import check_state, starting_point
from kfac_ref.optimizer.baselines import Baseline, Step, value_at
from kfac_ref.optimizer.schedules import Schedule
from kfac_ref.optimizer.stages import check_finite_stage, diverging
from kfac_ref.optimizer.state import Place
from kfac_ref.values import Value
from kfac_ref.words import translate


@dataclass(frozen=True, eq=False)
class NaturalGradientState(Value):
    """theta alone."""

    theta: Array
    step: int = 0
    place: Place | None = None


@dataclass(frozen=True, eq=False)
class NaturalGradient(Baseline):
    """theta <- theta - alpha (C + (lambda + eta) I)^-1 grad h. Amari 1998.

    C (P, P) is the Fisher of the batch, its GGN or its empirical Fisher. Raises
    Unsupported for a network of more than `limit` parameters, NotPositiveDefinite if C
    is singular and not damped.
    """

    state_type = NaturalGradientState
    may_change = ("learning_rate", "damping", "matrix", "limit")

    learning_rate: float | Schedule = 1.0
    damping: float = 0.0
    matrix: str = "fisher"
    limit: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        matrix = translate("matrix", self.matrix, PRODUCTS)
        object.__setattr__(self, "matrix", matrix)
        fits = 0 <= self.damping < math.inf
        require(fits, "NaturalGradient damping", ">= 0", self.damping)
        P = self.network.size
        if self.limit < P:
            raise Unsupported(
                f"NaturalGradient: the dense {self.matrix} matrix of {P:,} parameters "
                f"takes {8e-9 * P * P:.2g} GB and a time that grows with the cube; "
                f"expected at most limit = {self.limit:,} parameters; use KFAC or "
                "HessianFree, or raise the limit"
            )

    def init(self, params: list[Array]) -> NaturalGradientState:
        return NaturalGradientState(starting_point(self.network, params))

    def step(
        self, state: NaturalGradientState, x: Array, y: Array, rng: np.random.Generator
    ) -> tuple[NaturalGradientState, Step]:
        check_state(self, state)
        loss, gradient = self._loss(self._at(state.theta, x), y)
        alpha = value_at(self.learning_rate, state.step)
        with diverging("statistics", self.network):
            C = self._curvature(state, x, y)
        direction = -C.solve(gradient, self.damping + self.l2)
        check_finite_stage("proposal", direction, self.network)
        update = alpha * direction
        moved = NaturalGradientState(self._moved(state.theta, update), state.step + 1)
        return moved, Step(loss, gradient, update, alpha, damping=self.damping)

    def _curvature(
        self, state: NaturalGradientState, x: Array, y: Array
    ) -> DenseMatrix:
        params = self.params(state)
        if self.matrix == "fisher":
            return fisher_matrix(self.network, params, x)
        exact = ggn_matrix if self.matrix == "ggn" else empirical_fisher_matrix
        return exact(self.network, params, x, y)
