"""The tasks: ours, the baseline, and the bound on the ratio of their times.

Each case holds two functions without arguments, and says how to compare what they
return: `ours` must equal `baseline` before anything is timed. `tiny=True` makes a small
version of the case, for the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from benchmarks import straight
from benchmarks.step import ToProposal, autoencoder
from benchmarks.step import compare as compare_steps
from benchmarks.step import stages as stages_of
from kfac_ref import FisherProduct, fisher_matrix
from kfac_ref.gpu.nets import Place
from kfac_ref.gpu.tasks import (
    DAMPING,
    ENCODER,
    ENCODER_N,
    LARGE,
    LARGE_N,
    SMALL,
    SMALL_N,
    dense_net,
    our_factors,
    our_inverse,
    random_net,
)
from kfac_ref.gpu.tasks import Net as Problem
from kfac_ref.layers import AvgPool2d, Conv2d, Dense, Flatten, Tanh
from kfac_ref.pairs import propagate
from kfac_ref.structures.kronecker import kronecker

HOST = Place(np.asarray, np.float64)
PART = "step, to the proposal"
Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Case:
    """`compare` turns what the two functions return into arrays that must be equal.

    They must be so to a relative `tolerance`. `stages` has parts of both, by name.
    """

    ours: Callable[[], Any]
    baseline: Callable[[], Any]
    bound: float
    compare: Callable[[Any, Any], tuple[Arrays, Arrays]]
    tolerance: float = 1e-12
    stages: dict[str, tuple[Callable, Callable]] = field(default_factory=dict)


def dense_problem(sizes: Sequence[int], N: int) -> Problem:
    """A fully connected net of these widths."""
    return dense_net(sizes, N, HOST)


def conv_problem(
    size: int, channels: list[int], classes: int, N: int, head: bool
) -> Problem:
    """Two 3 x 3 convolutions without padding on square images, then the classes.

    The classes come from a dense layer (head), or from a third convolution and a mean.
    """
    c0, c1, c2 = channels
    layers = [Conv2d(c0, c1, 3, padding="VALID"), Tanh()]
    layers += [Conv2d(c1, c2, 3, padding="VALID"), Tanh()]
    if head:
        layers += [Flatten(), Dense((size - 4) ** 2 * c2, classes)]
    else:
        layers += [
            Conv2d(c2, classes, 3, padding="VALID"),
            AvgPool2d(size - 6),
            Flatten(),
        ]
    return random_net(layers, (N, size, size, c0), HOST)


def small_net(tiny: bool) -> Problem:
    return dense_problem([5, 4, 3], 7) if tiny else dense_problem(SMALL, SMALL_N)


def large_net(tiny: bool) -> Problem:
    return dense_problem([11, 7, 5, 3], 13) if tiny else dense_problem(LARGE, LARGE_N)


def conv_net(tiny: bool, head: bool) -> Problem:
    if tiny:
        return conv_problem(8, [2, 3, 5], 4, 3, head)
    return conv_problem(8, [1, 8, 16] if head else [1, 12, 20], 10, 256, head)


def dense_fisher(tiny: bool = False) -> Case:
    """Dense exact Fisher / stack all N C gradients, one S.T @ S."""
    p = small_net(tiny)
    ours = partial(fisher_matrix, p.network, p.W, p.x)
    obvious = partial(straight.obvious_fisher, p.W, p.x)
    return Case(ours, obvious, 0.4, lambda F, S: ([F.to_dense()], [S]))


def shared_fisher(tiny: bool = False, head: bool = False) -> Case:
    """The same for a net of convolutions: every layer shares its weights."""
    p = conv_net(tiny, head)
    ours = partial(fisher_matrix, p.network, p.W, p.x)
    obvious = partial(straight.obvious_conv_fisher, p.W, p.x, head)
    return Case(ours, obvious, 1.2, lambda F, S: ([F.to_dense()], [S]))


def mixed_fisher(tiny: bool = False) -> Case:
    """The same for convolutions with a dense layer at the end."""
    return shared_fisher(tiny, head=True)


def factors(tiny: bool = False) -> Case:
    """Kronecker factors, labels in expectation / their bare matrix products."""
    p = large_net(tiny)
    L, N = len(p.W), len(p.x)
    ours = partial(our_factors, p)
    bare = straight.BareFactors(p.W, p.x)
    return Case(ours, bare, 1.2, lambda AG, M: (AG, [m / N for m in M[-2 * L :]]))


def inverse(tiny: bool = False) -> Case:
    """Factored Tikhonov damping, then one solve / bare Cholesky calls."""
    p = large_net(tiny)
    curvature = kronecker(propagate(p.network.linearize(p.W, p.x)))
    A, G = [b.A for b in curvature.blocks], [b.G for b in curvature.blocks]
    bare = straight.BareCholesky(A, G, p.V, DAMPING)
    ours = partial(our_inverse, curvature, p.flat)
    return Case(ours, bare, 1.2, lambda v, M: (p.network.unflatten(v), M))


def product(tiny: bool = False, with_forward: bool = False) -> Case:
    """One Fisher-vector product at a known point / its bare matrix products."""
    p = large_net(tiny)
    L, N, v = len(p.W), len(p.x), p.flat
    point = FisherProduct(p.network.linearize(p.W, p.x))
    ours = partial(our_product, p, v) if with_forward else partial(point.__matmul__, v)
    bare = straight.BareProduct(p.W, p.x, p.V, with_forward)
    return Case(
        ours, bare, 1.2, lambda v, M: (p.network.unflatten(v), [m / N for m in M[-L:]])
    )


def our_product(p: Problem, v: np.ndarray) -> np.ndarray:
    return FisherProduct(p.network.linearize(p.W, p.x)) @ v


def product_with_forward(tiny: bool = False) -> Case:
    """The same with the forward pass in both."""
    return product(tiny, with_forward=True)


def autoencoder_size(tiny: bool) -> tuple[Sequence[int], int]:
    return ([11, 7, 5, 3], 13) if tiny else (ENCODER, ENCODER_N)


def step(tiny: bool = False, dtype: type = np.float64) -> Case:
    """A step of K-FAC, every stage / its bare matrix products and Cholesky calls."""
    ours, bare = autoencoder(*autoencoder_size(tiny), dtype)
    both = bare.stages
    stages = {name: (stage, both[name]) for name, stage in stages_of(ours).items()}
    tolerance = 1e-12 if dtype is np.float64 else 1e-4
    return Case(ours, bare, 1.2, partial(compare_steps, ours, bare), tolerance, stages)


def step_to_proposal(tiny: bool = False) -> Case:
    """The part of a step that other libraries have, too."""
    part = ToProposal(autoencoder(*autoencoder_size(tiny), np.float64)[0])
    return Case(part, part.baseline, 1.2, part.compare)


def step_32(tiny: bool = False) -> Case:
    """The same in float32."""
    return step(tiny, np.float32)


CASES: dict[str, Callable[[bool], Case]] = {
    "dense Fisher": dense_fisher,
    "dense Fisher, convolutions": shared_fisher,
    "dense Fisher, convolutions and dense": mixed_fisher,
    "Kronecker factors": factors,
    "damped inverse": inverse,
    "Fisher-vector product": product,
    "Fisher-vector product, with forward": product_with_forward,
    "step": step,
    "step, float32": step_32,
    PART: step_to_proposal,
}
