"""From averaged curvature and gradient to an update, and what comes of it.

    Delta = -(damped curvature)^-1 grad h
    update = alpha nu Delta + mu velocity

alpha and mu minimise the quadratic model M, where they are not fixed; nu shortens the
proposal to a norm constraint. Every T_2 steps three gammas are tried, and the proposal
after which M is lowest is taken. Afterwards rho compares the loss with M, and moves
lambda. Martens & Grosse 2015, sections 6.4 to 7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from kfac_ref.backend import Array, add_scaled
from kfac_ref.matrices import SymmetricMatrix
from kfac_ref.network import Network
from kfac_ref.optimizer.levenberg_marquardt import gamma_candidates
from kfac_ref.optimizer.option_groups import Practice
from kfac_ref.optimizer.options import Options
from kfac_ref.optimizer.stages import (
    check_finite_stage,
    clip_stage,
    coefficient_stage,
    damping_stage,
    diverging,
    invert_stage,
    proposal_stage,
)
from kfac_ref.optimizer.state import Outcome, Proposal, State
from kfac_ref.quadratic_model import QuadraticModel, quadratic_model, reduction_ratio
from kfac_ref.values import Value


@dataclass(frozen=True, eq=False)
class Local(Value):
    """What a proposal starts from: a state, and what the batch says of h near it."""

    network: Network
    state: State
    gradient: Array  # of h, (P,)
    carried: Array  # what is preconditioned: the gradient, or a sum of gradients
    curvature: Any  # the quadratic model's matrix C; None: no model is needed


def propose(options: Options, local: Local, average: Any) -> Proposal:
    """Propose with the best of three gammas, with a new inverse or with the stored one.

    Which of these depends on what is due in this step.
    """
    inversion, state = options.inversion, local.state
    due = options.due(state.step)
    if due.search:
        gammas = gamma_candidates(state.gamma, inversion.gamma_factor)
        proposals = (propose_anew(options, local, average, gamma) for gamma in gammas)
        return min(proposals, key=lambda found: predicted(found, state.damping))
    if due.inverse or state.damped is None:
        searched = inversion.gamma_every > 0
        gamma = state.gamma if searched else options.gamma_of(state.damping)
        return propose_anew(options, local, average, gamma)
    inverse = state.inverse or invert_stage(state.damped)
    return propose_with(options, local, state.gamma, state.damped, inverse)


def propose_anew(
    options: Options, local: Local, average: Any, gamma: float
) -> Proposal:
    """Propose with the average damped by gamma^2."""
    with diverging("damped matrix", local.network):
        damped = damping_stage(average, gamma**2, options.inversion.damping_rule)
    return propose_with(options, local, gamma, damped, None)


def propose_with(
    options: Options,
    local: Local,
    gamma: float,
    damped: SymmetricMatrix,
    inverse: SymmetricMatrix | None,
) -> Proposal:
    """Propose with a damped matrix, or with its inverse."""
    own, state = options.practice, local.state
    with diverging("proposal", local.network):
        direction = proposal_stage(damped, local.carried, inverse)
    check_finite_stage("proposal", direction, local.network)
    clip = clip_stage(direction, local.carried, own.norm_constraint, own.rate, own.clip)
    model = _model(local, direction if clip == 1.0 else clip * direction, options)
    alpha, mu = _coefficients(own, state.damping, model)
    update = add_scaled((alpha * clip) * direction, mu, state.velocity)
    return Proposal(gamma, damped, inverse, direction, clip, model, alpha, mu, update)


def predicted(proposal: Proposal, damping: float) -> float:
    """M(update), the predicted change of h."""
    assert proposal.model is not None
    return proposal.model.value((proposal.alpha, proposal.mu), damping)


def judge(
    options: Options, state: State, proposal: Proposal, loss: float, after: float | None
) -> Outcome:
    """Compute rho from the loss after the step, move lambda, possibly reject the step.

    after: None if lambda is not up for a change and nothing is rejected.
    """
    inversion, damping, ratio = options.inversion, state.damping, None
    inside = damping if inversion.damping_in_ratio else 0.0
    change = predicted(proposal, inside) if proposal.model else None
    if after is None:
        return Outcome(change, None, damping, False)
    rule, adapts = inversion.adapt_damping, options.due(state.step).adapts
    if rule and adapts and change:  # none at a stationary point
        finite = math.isfinite(after)
        ratio = reduction_ratio(loss, after, change) if finite else -math.inf
        damping = rule(damping, ratio, change)
    rejected = options.practice.reject and not after <= loss
    return Outcome(change, ratio, damping, rejected)


def _model(local: Local, direction: Array, options: Options) -> QuadraticModel | None:
    """M along a direction and the velocity."""
    if local.curvature is None:
        return None
    directions, l2 = [direction, local.state.velocity], options.update.l2
    found = quadratic_model(directions, local.gradient, local.curvature, l2)
    numbers = found.matrix(local.state.damping).sum() + found.slope.sum()
    check_finite_stage("quadratic model", float(numbers), local.network)
    return found


def _coefficients(
    own: Practice, damping: float, model: QuadraticModel | None
) -> tuple[float, float]:
    """(alpha, mu): those that are fixed, the others where M is lowest."""
    alpha, mu = own.learning_rate, own.momentum
    if own.momentum_of == "gradient":
        mu = 0.0
    if alpha is not None and mu is not None:
        return alpha, mu
    assert model is not None
    return coefficient_stage(model, damping, alpha, mu)
