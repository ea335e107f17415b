"""What one step hands to the next, and what it lets be seen."""

from __future__ import annotations

from dataclasses import dataclass

from kfac_ref.backend import Array
from kfac_ref.matrices import SymmetricMatrix
from kfac_ref.optimizer.averages import MovingAverage
from kfac_ref.quadratic_model import QuadraticModel


@dataclass(frozen=True)
class State:
    """Everything that one step hands to the next."""

    theta: Array  # (P,)
    last: Array  # (P,): the last update, or the sum of gradients (momentum_of)
    average: MovingAverage
    lambda_: float
    gamma: float
    damped: SymmetricMatrix | None = None  # with its damping inside
    step: int = 0  # steps done


@dataclass(frozen=True)
class Proposal:
    """The way from the gradient to a direction."""

    gamma: float
    damped: SymmetricMatrix  # the damping, gamma^2, inside
    direction: Array  # -(damped)^-1 gradient
    clip: float  # nu of the norm constraint


@dataclass(frozen=True)
class Trace:
    """What the stages of one step gave, in their order."""

    loss: float  # h before the step
    gradient: Array  # of h
    statistics: SymmetricMatrix | None  # of this batch; None where none were due
    average: SymmetricMatrix
    proposal: Proposal
    model: QuadraticModel | None  # along (direction, last update); None: not needed
    alpha: float
    mu: float
    update: Array  # alpha nu direction + mu last
    predicted: float | None  # M(update)
    ratio: float | None  # rho; None where lambda was not up for a change
    lambda_: float  # after the step
    rejected: bool
