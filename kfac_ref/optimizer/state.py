"""What one step hands to the next, and what it shows of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kfac_ref.backend import Array
from kfac_ref.matrices import SymmetricMatrix
from kfac_ref.optimizer.averages import Average
from kfac_ref.quadratic_model import QuadraticModel
from kfac_ref.values import Value


@dataclass(frozen=True, eq=False)
class Place(Value):
    """Where `train` stands in an epoch; a step neither reads it nor passes it on."""

    order: Array  # the permutation of the examples, (N,)
    seen: int  # how many of them have been used, from its beginning


@dataclass(frozen=True, eq=False)
class State(Value):
    """Everything that one step hands to the next."""

    theta: Array  # (P,)
    velocity: Array  # (P,): the last update, or the sum of gradients (momentum_of)
    average: Average  # of the curvature
    iterates: Average  # of theta
    damping: float
    gamma: float
    damped: SymmetricMatrix | None = None  # with its damping inside
    inverse: SymmetricMatrix | None = None  # of `damped`, from its second use on
    step: int = 0  # steps done
    place: Place | None = None  # in the epoch, if `train` ended inside of one


@dataclass(frozen=True, eq=False)
class Proposal(Value):
    """From the gradient to an update, for one gamma."""

    gamma: float
    damped: SymmetricMatrix  # the damping, gamma^2, inside
    inverse: SymmetricMatrix | None  # None: solved with the damped matrix
    direction: Array  # Delta = -(damped)^-1 gradient
    clip: float  # nu of the norm constraint
    model: QuadraticModel | None  # along (nu Delta, velocity); None: not needed
    alpha: float
    mu: float
    update: Array  # alpha nu Delta + mu velocity


@dataclass(frozen=True, eq=False)
class Outcome(Value):
    """What came of the step, and what follows for the next one."""

    predicted: float | None  # M(update); None: no model was needed
    reduction_ratio: float | None  # rho; None: lambda was not up for a change
    damping: float  # for the next step
    rejected: bool


@dataclass(frozen=True, eq=False)
class Trace(Value):
    """What the stages of one step computed, in their order."""

    loss: float  # h before the step
    gradient: Array  # of h
    statistics: Any  # curvature of this batch; None: none was due
    average: Any
    proposal: Proposal
    outcome: Outcome
