"""The exact Fisher, its approximations, and the numbers that tell them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kfac_ref.backend import get_xp
from kfac_ref.comparison import Built, Comparison, compare, timed
from kfac_ref.comparison.distances import relative_frobenius_error
from kfac_ref.damping import factored_tikhonov
from kfac_ref.examples.demo.problem import Problem
from kfac_ref.examples.demo.training import Training
from kfac_ref.examples.running import progress
from kfac_ref.matrices import BlockDiagonalMatrix, DiagonalMatrix, SymmetricMatrix
from kfac_ref.pairs import Pairs, propagate
from kfac_ref.structures import curvature
from kfac_ref.structures.best_kronecker import best_kronecker
from kfac_ref.structures.block_tridiagonal import block_tridiagonal
from kfac_ref.structures.dense import block_diagonal, full
from kfac_ref.structures.diagonal import diagonal
from kfac_ref.structures.eigenvalue_corrected import eigenvalue_corrected
from kfac_ref.structures.kronecker import kronecker
from kfac_ref.values import Value

SAMPLES = [1, 2, 4, 8, 16, 32, 64, 128]  # labels sampled for each example
RULES = {  # of the approximations that are not damped exactly
    "K-FAC, factored damping": factored_tikhonov,
    "block-tridiagonal": factored_tikhonov,
}
DRAWS, FEW = 2, 500  # how often; for how many examples (all would take minutes)


@dataclass(frozen=True, eq=False)
class Sampling(Value):
    """Errors against the exact Fisher of `examples` examples, a row for each number."""

    examples: int
    samples: list[int]
    fisher: list[list[float]]  # of the whole Fisher from sampled labels
    kfac: list[list[float]]  # of K-FAC from the same labels


@dataclass(frozen=True, eq=False)
class Measurement(Value):
    """Everything the report needs."""

    exact: Built
    approximations: dict[str, Built]
    comparison: Comparison
    sampling: Sampling


def measure(problem: Problem, training: Training) -> Measurement:
    """Compute the exact Fisher and its approximations where training ended; compare."""
    network, params, x = problem.network, training.params, problem.x
    exact = timed(curvature, network, params, x, structure="full")
    approximations = build(problem, training)
    comparison = compare(
        exact.matrix,
        approximations
        | {name: (approximations[name], rule) for name, rule in RULES.items()},
        network.gradient(params, x, problem.y),
        problem.settings.damping,
        network.names,
        lambda items: progress(items, "comparing"),
    )
    sampling = sample(problem, training)
    return Measurement(exact, approximations, comparison, sampling)


def sample(problem: Problem, training: Training) -> Sampling:
    """Measure the errors made by sampling labels instead of taking all of them."""
    network, params, x = problem.network, training.params, problem.x[:FEW]
    exact = curvature(network, params, x, structure="full")
    errors = []
    for samples in progress([M for M in SAMPLES for _ in range(DRAWS)], "sampling"):
        pairs = propagate(
            network.linearize(params, x), "sampled", rng=problem.rng, samples=samples
        )
        errors += [relative_frobenius_error(M, exact) for M in _both(pairs)]
    table = np.reshape(errors, (len(SAMPLES), DRAWS, 2))
    fisher, kfac = (table[:, :, i].tolist() for i in range(2))
    return Sampling(len(x), SAMPLES, fisher, kfac)


def _both(pairs: Pairs) -> tuple[SymmetricMatrix, SymmetricMatrix]:
    return full(pairs), kronecker(pairs)


def build(problem: Problem, training: Training) -> dict[str, Built]:
    """Build every approximation, by name, and time each."""
    network, params, x = problem.network, training.params, problem.x
    labels: dict[str, Any] = {"estimate": "expectation"}
    one = {"estimate": "sampled", "rng": problem.rng}
    observed = {"estimate": "empirical", "y": problem.y}
    recipes = {
        "scaled identity": (scaled_identity, labels),
        "diagonal": (diagonal, labels),
        "K-FAC": (kronecker, labels),
        "K-FAC, factored damping": (kronecker, labels),
        "K-FAC, one sampled label": (kronecker, one),
        "K-FAC, observed labels": (kronecker, observed),
        "eigenvalue-corrected": (eigenvalue_corrected, labels),
        "best Kronecker": (best_kronecker, labels),
        "block-tridiagonal": (block_tridiagonal, labels),
        "block-diagonal": (block_diagonal, labels),
    }

    def make(structure: Any, given: dict[str, Any]) -> SymmetricMatrix:
        return structure(propagate(network.linearize(params, x), **given))

    return {
        name: timed(make, *recipe)
        for name, recipe in progress(recipes.items(), "building", len(recipes))
    }


def scaled_identity(pairs: Pairs) -> BlockDiagonalMatrix:
    """tr F / P times the identity: what plain gradient descent assumes."""
    blocks = diagonal(pairs).blocks
    size = sum(block.size for block in blocks)
    scale = sum(block.trace() for block in blocks) / size
    xp = get_xp(pairs.like)
    return BlockDiagonalMatrix(
        [DiagonalMatrix(xp.full(b.size, scale, dtype=b.dtype), b.name) for b in blocks]
    )
