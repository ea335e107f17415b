"""The stages of one K-FAC step, each a function of plain values: Algorithm 2.

    loss_stage          batch -> h(theta), grad h
    subset_stage        batch -> S_1 or S_2, a random share of it
    statistics_stage    batch -> curvature matrix (questions 1 and 2)
    damping_stage       averaged curvature, lambda -> damped matrix (question 3)
    invert_stage        damped matrix -> its inverse, where it serves many steps
    proposal_stage      damped matrix, gradient -> Delta = -(damped)^-1 grad h
    clip_stage          proposal -> nu, how far to shorten it (norm constraint)
    product_stage       batch -> v -> C v, C the exact matrix of the quadratic model
    coefficient_stage   quadratic model -> (alpha, mu)

h(theta) = mean loss + eta/2 ||theta||^2, eta the L2 coefficient. Vectors are (P,). What
moves from one step to the next (averages, inverses, lambda) is put together in kfac.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from kfac_ref.backend import Array, asarray, get_xp
from kfac_ref.errors import NotFinite, ShapeError, Unsupported, ValueRangeError, choose
from kfac_ref.estimates import Estimate
from kfac_ref.matrices import BlockDiagonal, BlockTridiagonalInverse, SymmetricMatrix
from kfac_ref.network import Network
from kfac_ref.pairs import propagate
from kfac_ref.products import CurvatureProduct
from kfac_ref.quadratic_model import QuadraticModel
from kfac_ref.structures import ChainFactors, chain_factors, make_structure

CLIPS = ("fisher", "fisher_no_rate", "euclidean")


def loss_stage(
    network: Network, theta: Array, x: Array, y: Array, l2: float
) -> tuple[float, Array]:
    """h(theta) = mean loss + eta/2 ||theta||^2, and its gradient (P,)."""
    loss, matrices = network.loss_and_gradient(network.unflatten(theta), x, y)
    value = float(loss) + 0.5 * l2 * float(theta @ theta)
    return value, network.flatten(matrices) + l2 * theta


def subset_stage(
    x: Array, y: Any, share: float, rng: np.random.Generator
) -> tuple[Array, Any]:
    """A random share of the batch, in its order; all of it for 1, else at least one."""
    if not 0.0 < share <= 1.0:
        raise ValueRangeError(f"tau: expected a share in (0, 1], found {share!r}")
    if share == 1.0:
        return x, y
    count = max(1, round(share * len(x)))
    chosen = asarray(np.sort(rng.choice(len(x), count, replace=False)), like=x)
    several = isinstance(y, list | tuple)  # losses
    return x[chosen], [part[chosen] for part in y] if several else y[chosen]


def statistics_stage(
    network: Network,
    theta: Array,
    x: Array,
    y: Array,
    rng: np.random.Generator,
    structure: str | Sequence[str] = "kronecker",
    estimate: str | Estimate = "sampled",
    samples: int = 1,
) -> Any:
    """The curvature of the batch: one structure, or one for each layer.

    All layers see the same propagated vectors. 'block_tridiagonal' gives ChainFactors.
    Raises ShapeError, UnknownName, Unsupported.
    """
    params = network.unflatten(theta)
    pairs = propagate(network, params, x, estimate, y=y, rng=rng, samples=samples)
    if isinstance(structure, str):
        chain = structure == "block_tridiagonal"  # damped later, for it is averaged
        return chain_factors(pairs) if chain else make_structure(structure, pairs)
    check_one_each(structure, network)
    blocks: dict[int, SymmetricMatrix] = {}
    for name in dict.fromkeys(structure):  # the layers of one structure at once
        layers = [i for i, each in enumerate(structure) if each == name]
        made = make_structure(_own(name), pairs.select(layers))
        blocks |= zip(layers, getattr(made, "blocks", []), strict=True)
    return BlockDiagonal([blocks[i] for i in range(len(structure))])


def check_one_each(structure: Sequence[str], network: Network) -> None:
    """ShapeError unless there is one structure for each layer with parameters."""
    if len(structure) != len(network.names):
        raise ShapeError(
            f"structure: expected one name, or {len(network.names)}, one for each of "
            f"{', '.join(network.names)}; found {len(structure)}"
        )


def _own(structure: str) -> str:
    """The name of a structure that one layer has by itself."""
    if structure in ("full", "block_tridiagonal"):
        raise Unsupported(
            f"structure {structure!r} belongs to all layers together; for one layer "
            "its exact block is 'block_diagonal'"
        )
    return structure


def damping_stage(
    average: Any, damping: float, rule: Callable[[Any, float], SymmetricMatrix]
) -> SymmetricMatrix:
    """The averaged curvature, damped by the rule; of a chain, each diagonal block."""
    if isinstance(average, ChainFactors):
        return average.damped(lambda block: rule(block, damping))
    return rule(average, damping)


def invert_stage(damped: SymmetricMatrix) -> SymmetricMatrix | None:
    """(damped)^-1, for many steps; None for a chain, which is factorised already."""
    return None if isinstance(damped, BlockTridiagonalInverse) else damped.inverse()


def proposal_stage(
    damped: SymmetricMatrix, gradient: Array, inverse: SymmetricMatrix | None = None
) -> Array:
    """Delta = -(damped)^-1 gradient; `damped` has its damping inside."""
    return -(damped.solve(gradient) if inverse is None else inverse @ gradient)


def clip_stage(
    proposal: Array,
    gradient: Array,
    constraint: float | None,
    rate: float = 1.0,
    form: str = "fisher",
) -> float:
    """nu, such that the squared norm of the update nu Delta is at most `constraint`.

    fisher           rate^2 |Delta . grad| = rate^2 Delta^T (damped F) Delta: Ba, Grosse
                     & Martens 2017, section 5; TensorFlow K-FAC, KFAC-JAX
    fisher_no_rate   the same without rate^2: KFAC-JAX's optax interface
    euclidean        rate^2 ||Delta||^2: LBANN (there for each tensor)
    """
    if constraint is None:
        return 1.0
    if not constraint > 0.0:
        raise ValueRangeError(f"norm constraint: expected > 0, found {constraint!r}")
    choose("norm constraint", form, CLIPS)
    other = proposal if form == "euclidean" else gradient
    squared = abs(float(proposal @ other))
    if form != "fisher_no_rate":
        squared *= rate**2
    return min(1.0, math.sqrt(constraint / squared)) if squared > 0.0 else 1.0


def product_stage(
    network: Network, theta: Array, x: Array, y: Array, matrix: str = "fisher"
) -> Callable[[Array], Array]:
    """v -> C v with the exact matrix of the batch, for the quadratic model."""
    return CurvatureProduct(network, network.unflatten(theta), x, y, matrix).product


def coefficient_stage(
    model: QuadraticModel,
    damping: float,
    alpha: float | None = None,
    mu: float | None = None,
) -> tuple[float, float]:
    """(alpha, mu): those given are held, the others minimise the model."""
    fixed = {i: c for i, c in enumerate((alpha, mu)) if c is not None}
    found = model.solve(damping, fixed=fixed)
    return float(found[0]), float(found[1])


def check_finite_stage(stage: str, value: Array | float, network: Network) -> None:
    """Diverged, naming the stage and the first layer, if a number is not finite."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Diverged(stage)
        return
    xp = get_xp(value)
    if not bool(xp.all(xp.isfinite(value))):
        parts = zip(network.names, network.unflatten(value), strict=True)
        raise Diverged(
            stage, next(n for n, D in parts if not bool(xp.all(xp.isfinite(D))))
        )


class Diverged(ValueRangeError):
    """A number of the training is no longer finite; the state before it is kept."""

    def __init__(self, stage: str, layer: str = ""):
        self.stage, self.layer = stage, layer
        where = f" of layer {layer}" if layer else ""
        super().__init__(
            f"training diverged: the {stage}{where} is not finite; go on from the last "
            "state with a smaller learning rate or a larger damping"
        )


@contextmanager
def diverging(stage: str, network: Network) -> Iterator[None]:
    """A matrix that is not finite becomes Diverged, with the stage and the layer."""
    try:
        yield
    except NotFinite as error:
        named = [name for name in network.names if str(error).startswith(name)]
        raise Diverged(stage, *named[:1]) from error
