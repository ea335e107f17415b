"""The stages of a K-FAC step, each a function of plain values: Algorithm 2.

    subset_stage        batch -> S_1 or S_2, a random share of it
    loss_stage          network at theta -> h(theta), grad h
    statistics_stage    network at theta -> curvature matrix (questions 1 and 2)
    damping_stage       averaged curvature, lambda -> damped matrix (question 3)
    invert_stage        damped matrix -> its inverse, where it serves many steps
    proposal_stage      damped matrix, gradient -> Delta = -(damped)^-1 grad h
    clip_stage          proposal -> nu, how far to shorten it (norm constraint)
    coefficient_stage   quadratic model -> (alpha, mu)
    loss_alone_stage    network after the step -> h

h(theta) = mean loss + eta/2 ||theta||^2, with eta the L2 coefficient. Vectors are (P,).
proposal.py and kfac.py put the stages together, with what one step hands to the next
(averages, inverses, lambda); statistics_stage is in statistics.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from kfac_ref.backend import Array, add_scaled, asarray
from kfac_ref.checks import all_finite, check_kind, check_number, check_share
from kfac_ref.errors import NotFinite, ValueRangeError
from kfac_ref.matrices import BlockTridiagonalInverse, SymmetricMatrix
from kfac_ref.network import Linearization, Network
from kfac_ref.quadratic_model import QuadraticModel
from kfac_ref.words import translate

CLIPS = ("fisher", "fisher_no_rate", "euclidean")


def loss_stage(at: Linearization, y: Array, l2: float) -> tuple[float, Array]:
    """Return h(theta) = mean loss + eta/2 ||theta||^2 and its gradient (P,)."""
    loss, gradient = at.loss_and_gradient(y)
    l2 = check_number("l2", l2)
    if l2:
        pairs = zip(gradient, at.params, strict=True)
        gradient = [add_scaled(D, l2, W) for D, W in pairs]
    return _with_l2(loss, at, l2), at.network.flatten(gradient)


def loss_alone_stage(at: Linearization, y: Array, l2: float) -> float:
    """Return h(theta) without its gradient: the loss after a step."""
    return _with_l2(at.loss(y), at, check_number("l2", l2))


def _with_l2(loss: Array, at: Linearization, l2: float) -> float:
    squares = [float(W.reshape(-1) @ W.reshape(-1)) for W in at.params if l2]
    return float(loss) + 0.5 * l2 * sum(squares)


def subset_stage(
    x: Array, y: Any, share: float, rng: np.random.Generator
) -> tuple[Array, Any]:
    """Return a random share of the batch, in order: at least one example, all for 1."""
    check_share("tau", share)
    if share == 1.0:
        return x, y
    count = max(1, round(share * len(x)))
    chosen = asarray(np.sort(rng.choice(len(x), count, replace=False)), like=x)
    several = isinstance(y, list | tuple)  # losses
    return x[chosen], [part[chosen] for part in y] if several else y[chosen]


def damping_stage(
    average: Any, damping: float, rule: Callable[[Any, float], SymmetricMatrix]
) -> SymmetricMatrix:
    """Damp the averaged curvature by the rule."""
    damped = rule(average, damping)
    check_kind("damping_rule", damped, SymmetricMatrix, "as tikhonov gives it")
    return damped


def invert_stage(damped: SymmetricMatrix) -> SymmetricMatrix | None:
    """Return (damped)^-1 for many steps; None for a chain, factorised already."""
    return None if isinstance(damped, BlockTridiagonalInverse) else damped.inverse()


def proposal_stage(
    damped: SymmetricMatrix, gradient: Array, inverse: SymmetricMatrix | None = None
) -> Array:
    """Return Delta = -(damped)^-1 gradient; the damping is inside `damped`."""
    return -(damped.solve(gradient) if inverse is None else inverse @ gradient)


def clip_stage(
    proposal: Array,
    gradient: Array,
    constraint: float | None,
    rate: float = 1.0,
    form: str = "fisher",
) -> float:
    """Return nu: the squared norm of the update nu Delta is at most `constraint`.

    fisher           rate^2 |Delta . grad| = rate^2 Delta^T (damped F) Delta: Ba, Grosse
                     & Martens 2017, section 5; TensorFlow K-FAC, KFAC-JAX
    fisher_no_rate   the same without rate^2: KFAC-JAX's optax interface
    euclidean        rate^2 ||Delta||^2: LBANN (there for each tensor)
    """
    if constraint is None:
        return 1.0
    constraint = check_number("norm constraint", constraint)
    rate = check_number("rate", rate)
    if not constraint > 0.0:
        raise ValueRangeError(f"norm constraint: expected > 0, found {constraint}")
    form = translate("clip", form, CLIPS, "norm constraint")
    other = proposal if form == "euclidean" else gradient
    squared = abs(float(proposal @ other))
    if form != "fisher_no_rate":
        squared *= rate**2
    return min(1.0, math.sqrt(constraint / squared)) if squared > 0.0 else 1.0


def coefficient_stage(
    model: QuadraticModel,
    damping: float,
    alpha: float | None = None,
    mu: float | None = None,
) -> tuple[float, float]:
    """Return (alpha, mu): those given are kept, the others minimise the model."""
    fixed = {i: c for i, c in enumerate((alpha, mu)) if c is not None}
    found = model.solve(damping, fixed=fixed)
    return float(found[0]), float(found[1])


def check_finite_stage(stage: str, value: Array | float, network: Network) -> None:
    """Raise Diverged, naming stage and first layer, if a number is not finite."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Diverged(stage)
        return
    if not all_finite(value):
        parts = zip(network.names, network.unflatten(value), strict=True)
        raise Diverged(stage, next(name for name, D in parts if not all_finite(D)))


class Diverged(ValueRangeError):
    """A number of the training is no longer finite; the state before stays good."""

    def __init__(self, stage: str, layer: str = ""):
        self.stage, self.layer = stage, layer
        where = f" of layer {layer}" if layer else ""
        super().__init__(
            f"training diverged: the {stage}{where} is not finite; go on from the last "
            "state with a smaller learning rate or a larger damping (in the first "
            "step, scale the inputs or the parameters)"
        )


@contextmanager
def diverging(stage: str, network: Network) -> Iterator[None]:
    """Turn NotFinite, of a matrix, into Diverged with the stage and the layer."""
    try:
        yield
    except NotFinite as error:
        named = [name for name in network.names if str(error).startswith(name)]
        raise Diverged(stage, *named[:1]) from error
