"""Numbers that change with the steps: damping, learning rates, batch sizes.

A schedule is a function step -> value, with steps counted from 0 (or epochs, if the
caller counts those). Any function will do, such as `lambda step: 0.1 / (1 + step)`.
Those here are plain data: compared, printed and stored by their fields.

    Constant(v)                   v
    Exponential(i, r)             i r^step
    ApproachTarget(i, f, n)       LBANN's, which has not quite arrived at step n
    Bounded(then, low, high)      then(step), but not below low and not above high
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from kfac_ref.checks import check_number, check_real
from kfac_ref.errors import require
from kfac_ref.values import Value

Schedule = Callable[[float], float]


def check_step(step: float) -> float:
    """`step` as Python's own number, >= 0."""
    number = check_real("schedule, step", step)
    require(0 <= number < math.inf, "schedule", "a step >= 0", step)
    return number


def check_finite_numbers(what: object, *numbers: float) -> None:
    for number in numbers:
        require(math.isfinite(number), str(what), "finite numbers", number)


@dataclass(frozen=True)
class Constant(Value):
    """The same value at every step."""

    value: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite_numbers(self, self.value)

    def __call__(self, step: float) -> float:
        step = check_step(step)
        return self.value


@dataclass(frozen=True)
class Exponential(Value):
    """initial * rate^step, for ever; `Bounded` stops it."""

    initial: float
    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite_numbers(self, self.initial, self.rate)
        require(self.rate > 0, "Exponential", "rate > 0", self.rate)
        require(self.initial != 0, "Exponential", "initial not 0", self.initial)

    def __call__(self, step: float) -> float:
        step = check_step(step)
        try:
            return self.initial * self.rate**step
        except OverflowError:  # Python's, for floats; beyond all bounds
            return self.initial * math.inf

    @classmethod
    def through(cls, initial: float, final: float, steps: float) -> Exponential:
        """The one that is `final` at `steps`: initial (final / initial)^(step / n)."""
        what = "Exponential.through"
        initial, final, steps = (check_number(what, n) for n in (initial, final, steps))
        check_finite_numbers(what, initial, final, steps)
        fits = initial != 0 and final / initial > 0 and steps > 0
        expected = "initial and final of one sign, not 0, and steps > 0"
        require(fits, "Exponential.through", expected, (initial, final, steps))
        return cls(initial, (final / initial) ** (1 / steps))


@dataclass(frozen=True)
class ApproachTarget(Value):
    """LBANN's damping with two numbers and damping_warmup_steps.

    v <- (1 - alpha) v + alpha target before each step, the first too, with
    alpha = 2 log10(initial / target) / steps; so at a step

        target + (1 - alpha)^(step + 1) (initial - target)

    It neither reaches the target at `steps` (for a factor of ten it is then at 2.2
    times the target) nor stops there. Raises ValueRangeError where it would run away
    from the target or swing about it: initial < target, or steps too few. LBANN rounds
    alpha to float32, and so differs in the eighth digit or so.
    """

    initial: float
    target: float
    steps: float = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite_numbers(self, self.initial, self.target, self.steps)
        fits = 0 < self.target <= self.initial
        found = (self.initial, self.target)
        require(fits, "ApproachTarget", "initial >= target > 0", found)
        least = 2 * math.log10(self.initial / self.target)
        enough = f"at least 2 log10(initial / target) = {least:.3g} steps, not 0"
        require(0 < self.steps >= least, "ApproachTarget", enough, self.steps)

    @property
    def alpha(self) -> float:
        return 2 * math.log10(self.initial / self.target) / self.steps

    def __call__(self, step: float) -> float:
        step = check_step(step)
        left = (1 - self.alpha) ** (step + 1)
        return self.target + left * (self.initial - self.target)


@dataclass(frozen=True)
class Bounded(Value):
    """Keep another schedule between `low` and `high`."""

    then: Schedule
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.low <= self.high
        require(fits, "Bounded", "low <= high", (self.low, self.high))

    def __call__(self, step: float) -> float:
        return min(max(self.then(check_step(step)), self.low), self.high)
