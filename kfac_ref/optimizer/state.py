"""What one step hands to the next, and what it lets be seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kfac_ref.backend import Array
from kfac_ref.matrices import SymmetricMatrix
from kfac_ref.optimizer.averages import MovingAverage
from kfac_ref.quadratic_model import QuadraticModel
from kfac_ref.values import Value


@dataclass(frozen=True, eq=False)
class Place(Value):
    """Where `train` stands in an epoch. A step does not look at it, nor hand it on."""

    order: Array  # the permutation of the examples, (N,)
    seen: int  # so many of them, from its beginning


@dataclass(frozen=True, eq=False)
class State(Value):
    """Everything that one step hands to the next."""

    theta: Array  # (P,)
    last: Array  # (P,): the last update, or the sum of gradients (momentum_of)
    average: MovingAverage  # of the curvature
    iterates: MovingAverage  # of theta
    lambda_: float
    gamma: float
    damped: SymmetricMatrix | None = None  # with its damping inside
    inverse: SymmetricMatrix | None = None  # of `damped`, once it has served a 2nd time
    step: int = 0  # steps done
    place: Place | None = None  # in the epoch, if `train` ended inside of one


@dataclass(frozen=True, eq=False)
class Proposal(Value):
    """From the gradient to an update, for one gamma."""

    gamma: float
    damped: SymmetricMatrix  # the damping, gamma^2, inside
    inverse: SymmetricMatrix | None  # None: the damped matrix was solved with
    direction: Array  # Delta = -(damped)^-1 gradient
    clip: float  # nu of the norm constraint
    model: QuadraticModel | None  # along (nu Delta, last update); None: not needed
    alpha: float
    mu: float
    update: Array  # alpha nu Delta + mu last


@dataclass(frozen=True, eq=False)
class Verdict(Value):
    """What the loss after the step says."""

    predicted: float | None  # M(update); None: no model was needed
    ratio: float | None  # rho; None where lambda was not up for a change
    lambda_: float  # for the next step
    rejected: bool


@dataclass(frozen=True, eq=False)
class Trace(Value):
    """What the stages of one step gave, in their order."""

    loss: float  # h before the step
    gradient: Array  # of h
    statistics: Any  # curvature of this batch; None where none was due
    average: Any
    proposal: Proposal
    verdict: Verdict
