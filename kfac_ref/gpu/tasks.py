"""The tasks that are timed, and the matrix products that each one cannot avoid.

    dense Fisher            64-60-60-10, N = 256
    Kronecker factors       784-500-300-10, N = 512, labels in expectation
    damped inverse          the same, factored Tikhonov, one vector
    Fisher-vector product   the same, without the forward pass
    step                    784-1000-500-250-30 and mirrored, N = 512, every stage

A product (m, k, n) multiplies an (m, k) by a (k, n) matrix; `factors` are the sizes
(d_in + 1, d_out) of the pairs of factors to factorise and solve with. `benchmarks/`
runs the same tasks beside the same products in plain NumPy, and compares the results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from kfac_ref.backend import Array
from kfac_ref.damping import factored_tikhonov
from kfac_ref.distributions import Bernoulli, Categorical
from kfac_ref.exact.dense import fisher_matrix
from kfac_ref.exact.products import FisherProduct
from kfac_ref.gpu.nets import SEED, Place
from kfac_ref.layers import Dense, Layer, Sigmoid, Tanh
from kfac_ref.network import Network
from kfac_ref.optimizer import KFAC, State
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.pairs import propagate
from kfac_ref.structures.kronecker import kronecker
from kfac_ref.values import Value

SMALL, SMALL_N = [64, 60, 60, 10], 256
LARGE, LARGE_N = [784, 500, 300, 10], 512
ENCODER, ENCODER_N = [784, 1000, 500, 250, 30], 512
DAMPING = 1e-2

Arrays = list[Array]
Product = tuple[int, int, int]
Sizes = Sequence[int]


@dataclass(frozen=True)
class Task:
    """`ours` returns the arrays to compare; `products` and `factors` are bare."""

    ours: Callable[[], Arrays]
    products: list[Product]
    factors: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, eq=False)
class Net(Value):
    """A tanh net with a softmax, its parameters W, a batch, and a tangent V."""

    network: Network
    W: Arrays
    x: Array
    V: Arrays

    @property
    def flat(self) -> Array:
        return self.network.flatten(self.V)


def dense_net(sizes: Sizes, N: int, place: Place) -> Net:
    """A fully connected net of these widths."""
    layers: list[Layer] = []
    for pair in pairwise(sizes):
        layers += [Dense(*pair), Tanh()]
    return random_net(layers[:-1], (N, sizes[0]), place)


def random_net(layers: list[Layer], shape: tuple[int, ...], place: Place) -> Net:
    """A net of these layers and a softmax, with random inputs of that shape."""
    rng = np.random.default_rng(SEED)
    network = Network(layers, Categorical())
    W, V = network.body.init(rng), network.body.init(rng)
    W = [Wi + 0.05 * rng.standard_normal(Wi.shape) for Wi in W]  # biases not zero
    x = rng.standard_normal(shape)
    return Net(network, place.put(W), place.put(x), place.put(V))


class Step(Value):
    """A step of K-FAC on an autoencoder, the second: it has averages and a last update.

    It runs every stage. lambda is updated at every step, so the loss after the step is
    computed, too. gamma^2 = lambda + eta takes one inversion; a search would take
    three.
    """

    def __init__(self, encoder: Sizes, N: int, place: Place):
        layers: list[Layer] = []
        for pair in pairwise(mirrored(encoder)):
            layers += [Dense(*pair), Sigmoid()]
        network = Network(layers[:-1], Bernoulli())
        rng = np.random.default_rng(SEED)
        self.kfac = KFAC(
            network, statistics_every=1, inverse_every=1, gamma_every=0,
            tau_1=1.0, tau_2=1.0, adapt_damping=LevenbergMarquardt(period=1),
        )  # fmt: skip
        self.x = place.put(rng.random((N, encoder[0])))
        start = self.kfac.init(place.put(network.body.init(rng)))
        self.state: State = self.kfac.step(start, self.x, self.x, rng)[0]

    def __call__(self) -> tuple[State, Any]:
        """The state after the step, and its trace."""
        rng = np.random.default_rng(SEED)
        return self.kfac.step(self.state, self.x, self.x, rng)


def mirrored(encoder: Sizes) -> list[int]:
    """The widths of an autoencoder: the encoder's, then back."""
    return [*encoder, *encoder[-2::-1]]


# What the tasks compute.


def our_factors(p: Net) -> Arrays:
    """A of every layer, then G of every layer: from the inputs to the structure."""
    blocks: list[Any] = kronecker(propagate(p.network.linearize(p.W, p.x))).blocks
    return [*[b.A for b in blocks], *[b.G for b in blocks]]


def our_inverse(curvature: Any, v: Array) -> Array:
    """Damp and factorise the curvature, and solve for v."""
    return factored_tikhonov(curvature, DAMPING).solve(v)


def dense_fisher(place: Place) -> Task:
    p = dense_net(SMALL, SMALL_N, place)
    P, rows = p.network.size, SMALL_N * SMALL[-1]
    return Task(lambda: [fisher_matrix(p.network, p.W, p.x).matrix], [(P, rows, P)])


def factors(place: Place) -> Task:
    p = dense_net(LARGE, LARGE_N, place)
    return Task(lambda: our_factors(p), factor_products(LARGE, LARGE_N, LARGE[-1]))


def inverse(place: Place) -> Task:
    p = dense_net(LARGE, LARGE_N, place)
    curvature = kronecker(propagate(p.network.linearize(p.W, p.x)))
    return Task(lambda: [our_inverse(curvature, p.flat)], [], p.network.shapes)


def product(place: Place) -> Task:
    p = dense_net(LARGE, LARGE_N, place)
    point = FisherProduct(p.network.linearize(p.W, p.x))
    return Task(lambda: [point @ p.flat], vector_products(LARGE, LARGE_N))


def step(place: Place) -> Task:
    ours = Step(ENCODER, ENCODER_N, place)

    def arrays() -> Arrays:
        state, trace = ours()
        return [state.theta, trace.gradient, trace.proposal.direction]

    products = step_products(mirrored(ENCODER), ENCODER_N)
    return Task(arrays, products, ours.kfac.network.shapes)


TASKS: dict[str, Callable[[Place], Task]] = {
    "dense Fisher": dense_fisher,
    "Kronecker factors": factors,
    "damped inverse": inverse,
    "Fisher-vector product": product,
    "step": step,
}


# The products in them, for layers of widths d, N examples and K propagated vectors.


def ahead(d: Sizes, N: int) -> list[Product]:
    """x W of every layer."""
    return [(N, d_in, d_out) for d_in, d_out in pairwise(d)]


def back(d: Sizes, rows: int) -> list[Product]:
    """g W^T of every layer but the first."""
    return [(rows, d_out, d_in) for d_in, d_out in pairwise(d)][1:]


def moments(d: Sizes, N: int, K: int) -> list[Product]:
    """a^T a of every layer, then g^T g."""
    A = [(d_in + 1, N, d_in + 1) for d_in in d[:-1]]
    return A + [(d_out, K * N, d_out) for d_out in d[1:]]


def gradients(d: Sizes, N: int) -> list[Product]:
    """a^T g of every layer."""
    return [(d_in + 1, N, d_out) for d_in, d_out in pairwise(d)]


def factor_products(d: Sizes, N: int, K: int) -> list[Product]:
    """Forward; back, for all vectors; A and G."""
    return ahead(d, N) + back(d, K * N) + moments(d, N, K)


def tangent_products(d: Sizes, N: int) -> list[Product]:
    """J v: x V of every layer, dx W of all but the first."""
    return ahead(d, N) + ahead(d, N)[1:]


def vector_products(d: Sizes, N: int) -> list[Product]:
    """J v, then J^T of what it gave."""
    return tangent_products(d, N) + back(d, N) + gradients(d, N)


def step_products(d: Sizes, N: int) -> list[Product]:
    """Gradient, statistics from one sampled label, model in two directions, loss."""
    gradient = ahead(d, N) + back(d, N) + gradients(d, N)
    statistics = back(d, N) + moments(d, N, 1)
    return gradient + statistics + 2 * tangent_products(d, N) + ahead(d, N)
