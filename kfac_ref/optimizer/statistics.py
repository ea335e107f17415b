"""Questions 1 and 2 in a step: one answer for all layers, or one for each layer.

Layers with the same estimate share its vectors: each estimate is propagated once and
draws its labels once, in the order in which the layers first name it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kfac_ref.errors import KfacTypeError, ShapeError, Unsupported, describe
from kfac_ref.estimates import Estimate, make_estimate
from kfac_ref.matrices import BlockDiagonalMatrix
from kfac_ref.network import Linearization, Network
from kfac_ref.optimizer.subsampling import subsample_positions
from kfac_ref.pairs import Pairs, propagate
from kfac_ref.structures import STRUCTURES, make_structure
from kfac_ref.words import translate

TOGETHER = ("full", "block_tridiagonal")  # structures of all layers at once

Structures = str | Sequence[str]
Estimates = str | Estimate | Sequence[str | Estimate]


def statistics_stage(
    at: Linearization,
    y: Any,
    rng: np.random.Generator,
    structure: Structures = "kronecker",
    estimate: Estimates = "sampled",
    samples: int | None = None,
    position_share: float = 1.0,
) -> Any:
    """Return the curvature of the batch; one structure and estimate, or one per layer.

    samples: labels or signs drawn for each example, if the estimate draws.
    position_share: of the positions that share weights, see subsampling.py.
    'block_tridiagonal' gives ChainFactors. Raises ShapeError, UnknownName,
    Unsupported, ValueRangeError.
    """
    network = at.network
    structures, estimates = choices(network, structure, estimate, samples)

    def pairs_of(one: Estimate) -> Pairs:
        pairs = propagate(at, one, y=y, rng=rng)
        return subsample_positions(pairs, position_share, rng)

    if structures[0] in TOGETHER:
        return make_structure(structures[0], pairs_of(estimates[0]))
    blocks: list[Any] = [None] * len(structures)
    for one in _distinct(estimates):
        pairs = pairs_of(one)
        mine = [i for i, other in enumerate(estimates) if other == one]
        for name in _distinct([structures[i] for i in mine]):
            own = [i for i in mine if structures[i] == name]
            made = make_structure(name, pairs.select(own))
            for i, block in zip(own, getattr(made, "blocks", [made]), strict=True):
                blocks[i] = block
    return BlockDiagonalMatrix(blocks)


def choices(
    network: Network,
    structure: Structures,
    estimate: Estimates,
    samples: int | None = None,
) -> tuple[list[str], list[Estimate]]:
    """Check, and return the structure and the estimate of each layer."""
    given = _one_each("structure", structure, network)
    structures = [translate("structure", name, STRUCTURES) for name in given]
    for name in structures:
        if name in TOGETHER and not isinstance(structure, str):
            raise Unsupported(
                f"structure {name!r} belongs to all layers together; for one layer "
                "its exact block is 'block_diagonal'"
            )
    if isinstance(estimate, str | Estimate):
        return structures, [make_estimate(estimate, samples)] * len(structures)
    if structures[0] in TOGETHER:
        raise Unsupported(
            f"structure {structures[0]!r} belongs to all layers together, and needs "
            "the same vectors of all of them; expected one estimate"
        )
    each = _one_each("estimate", estimate, network)
    made = [make_estimate(one) for one in each]
    words = [
        isinstance(one, str) and same.is_random
        for one, same in zip(each, made, strict=True)
    ]  # that draw: theirs are the samples, for an object has its own
    if not any(words):
        make_estimate(each[0], samples)  # more than 1 is an error
    return structures, [
        make_estimate(one, samples) if word else same
        for one, same, word in zip(each, made, words, strict=True)
    ]


def _one_each(what: str, given: Any, network: Network) -> list[Any]:
    """Return one for each layer with parameters. Raises ShapeError, KfacTypeError."""
    if isinstance(given, str):
        return [given] * len(network.names)
    if not isinstance(given, list | tuple):
        raise KfacTypeError(
            f"{what}: expected one name, or a list of {len(network.names)}, one for "
            f"each layer; found {describe(given)}"
        )
    if len(given) != len(network.names):
        raise ShapeError(
            f"{what}: expected one name, or {len(network.names)}, one for each of "
            f"{', '.join(network.names)}; found {len(given)}"
        )
    return list(given)


def _distinct(items: list[Any]) -> list[Any]:
    """Drop repetitions, keep the order."""
    return [item for i, item in enumerate(items) if item not in items[:i]]
