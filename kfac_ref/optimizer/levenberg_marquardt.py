"""Damping that adapts: lambda by the reduction ratio, gamma by a search.

rho = (loss after - loss before) / M(delta) says how far the quadratic model M can be
trusted (quadratic_model.reduction_ratio). Every T_1 steps, with omega_1 = (19/20)^T_1:

    rho > 3/4    lambda <- omega_1 lambda          Martens & Grosse 2015, section 6.5
    rho < 1/4    lambda <- lambda / omega_1

gamma of factored Tikhonov damping starts at sqrt(lambda + eta), and every T_2 steps
becomes one of gamma, omega_2 gamma, gamma / omega_2, omega_2 = sqrt(19/20)^T_2: the one
whose proposal has the lowest M(delta) (section 6.6). `factored_tikhonov(C, gamma**2)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kfac_ref.checks import check_count, check_number
from kfac_ref.errors import choose, require
from kfac_ref.matrices.definite import check_damping
from kfac_ref.values import Value

OMEGA_2 = math.sqrt(19 / 20) ** 20  # for T_2 = 20


@dataclass(frozen=True)
class LevenbergMarquardt(Value):
    """The rule that moves lambda: `if rule.due(step): damping = rule(damping, rho)`.

    nan: what happens if rho is not a number: "error", "grow" or "keep". any_fall: also
    shrink lambda if the loss fell although the model predicted a rise
    (rho < 0 < M(delta)). If both rose, rho > 3/4 shrinks lambda; no known rule checks.
    KFAC-JAX's rule is decay=0.9, minimum=1e-8, nan="grow". TensorFlow K-FAC's lambda
    includes its l2_reg: with decay=0.95, minimum=1e-8 + l2_reg, nan="keep" and
    any_fall=True, its rule for a lambda without is rule(lambda + l2_reg) - l2_reg.
    """

    decay: float = 19 / 20
    period: int = 5
    lower: float = 1 / 4
    upper: float = 3 / 4
    minimum: float = 0.0
    maximum: float = math.inf
    nan: str = "error"
    any_fall: bool = False

    def __post_init__(self) -> None:
        name = "LevenbergMarquardt"
        check_count(f"{name} period", self.period)
        super().__post_init__()
        require(0 < self.decay <= 1, name, "0 < decay <= 1", self.decay)
        thresholds, bounds = (self.lower, self.upper), (self.minimum, self.maximum)
        require(self.lower <= self.upper, name, "lower <= upper", thresholds)
        ordered = 0 <= self.minimum <= self.maximum
        require(ordered, name, "0 <= minimum <= maximum", bounds)
        choose("LevenbergMarquardt nan", self.nan, ("error", "grow", "keep"))

    @property
    def omega(self) -> float:
        """omega_1 = decay^period"""
        return self.decay**self.period

    def due(self, step: int) -> bool:
        """Does lambda move after this step, counted from 0? Every `period` steps."""
        return (check_count("step", step, least=0) + 1) % self.period == 0

    def __call__(
        self, damping: float, rho: float, predicted: float | None = None
    ) -> float:
        """Return the new lambda, from minimum to maximum. any_fall needs M(delta)."""
        damping, rho = check_damping(damping), check_number("rho", rho)
        known = not math.isnan(rho) or self.nan != "error"
        require(known, "rho", "a number (or the rule with nan='grow' or 'keep')", rho)
        known = predicted is not None or not self.any_fall
        require(known, "predicted", "M(delta), which any_fall needs", predicted)
        fell_anyway = self.any_fall and rho < 0 < check_number("predicted", predicted)
        if rho > self.upper or fell_anyway:
            damping *= self.omega
        elif rho < self.lower or (math.isnan(rho) and self.nan == "grow"):
            damping /= self.omega
        return min(max(damping, self.minimum), self.maximum)


def gamma_candidates(
    gamma: float,
    omega_2: float = OMEGA_2,
    minimum: float = 0.0,
    maximum: float = math.inf,
) -> tuple[float, ...]:
    """Return gamma, omega_2 gamma and gamma / omega_2, within bounds, without repeats.

    gamma comes first, so that it wins ties; at a bound there are only two. Martens &
    Grosse 2015, section 6.6.
    """
    gamma, omega_2 = check_number("gamma", gamma), check_number("omega_2", omega_2)
    minimum, maximum = (
        check_number("minimum", minimum),
        check_number("maximum", maximum),
    )
    require(0 < gamma < math.inf, "gamma", "a finite number > 0", gamma)
    require(0 < omega_2 < 1, "omega_2", "0 < omega_2 < 1", omega_2)
    ordered = 0 <= minimum <= maximum
    require(ordered, "gamma", "0 <= minimum <= maximum", (minimum, maximum))
    three = (gamma, omega_2 * gamma, gamma / omega_2)
    return tuple(dict.fromkeys(min(max(g, minimum), maximum) for g in three))
