"""A few steps of K-FAC on the whole batch: the shortest optimizer that works."""

from __future__ import annotations

from dataclasses import dataclass, field

from kfac_ref.backend import Array, get_xp
from kfac_ref.comparison.distances import relative_frobenius_error
from kfac_ref.damping import factored_tikhonov
from kfac_ref.exact.products import FisherProduct
from kfac_ref.examples.demo.problem import Problem
from kfac_ref.examples.running import progress
from kfac_ref.network import Network
from kfac_ref.pairs import Pairs, propagate
from kfac_ref.structures.dense import block_diagonal
from kfac_ref.structures.kronecker import kronecker
from kfac_ref.values import Value


@dataclass(eq=False)
class Training(Value):
    """Where training ended, and what was measured before each step and at the end."""

    params: list[Array]
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    errors: list[list[float]] = field(default_factory=list)  # of K-FAC, for each layer


def train(problem: Problem) -> Training:
    """Take `steps` steps from the initial parameters, and measure before each."""
    network, x, y = problem.network, problem.x, problem.y
    training = Training(problem.params)
    for step in progress(range(problem.settings.steps + 1), "training"):
        if step:
            training.params = kfac_step(
                network, training.params, x, y, problem.settings.damping
            )
        z = network.predict(training.params, x)
        training.losses.append(float(network.distribution.loss(z, y).mean()))
        right = get_xp(z).argmax(z, axis=1) == y
        training.accuracies.append(float(right.mean()))
        training.errors.append(
            layer_errors(propagate(network.linearize(training.params, x)))
        )
    return training


def kfac_step(
    network: Network, params: list[Array], x: Array, y: Array, damping: float
) -> list[Array]:
    """params + alpha d, with d = -(K-FAC, factored Tikhonov)^-1 grad.

    alpha minimises the quadratic model grad^T (alpha d) + alpha^2 d^T (F + lambda I) d
    / 2 with the exact F. Martens & Grosse 2015, sections 6.3 and 6.4, without momentum.
    """
    grad = network.flatten(network.gradient(params, x, y))
    F_kfac = kronecker(propagate(network.linearize(params, x)))
    d = -factored_tikhonov(F_kfac, damping).solve(grad)
    F = FisherProduct(network.linearize(params, x))
    alpha = -float(grad @ d) / float(d @ (F @ d + damping * d))
    return [W + alpha * D for W, D in zip(params, network.unflatten(d), strict=True)]


def layer_errors(pairs: Pairs) -> list[float]:
    """The relative Frobenius error of A (x) G against each layer's exact block."""
    blocks = zip(kronecker(pairs).blocks, block_diagonal(pairs).blocks, strict=True)
    return [relative_frobenius_error(M, F) for M, F in blocks]
