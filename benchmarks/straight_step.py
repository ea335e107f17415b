"""One step of K-FAC in plain NumPy, and its bare matrix products and Cholesky calls.

The net is a list of matrices W (d_in + 1, d_out), bias row last, with sigmoids between
them and independent Bernoulli outputs, whose labels are the inputs: an autoencoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.straight import Arrays, BareCholesky, with_one


@dataclass(frozen=True)
class Given:
    """What a step begins with."""

    W: Arrays
    x: np.ndarray  # (N, d): inputs, and labels
    velocity: Arrays  # the last update
    A: Arrays  # averages so far
    G: Arrays
    weight: float  # of the newest statistics in the averages
    u: np.ndarray  # (N, d): uniform random numbers, below p where a label is 1
    damping: float
    l2: float


class BareStep:
    """The matrix products and Cholesky calls of a step, on operands made beforehand.

    By stage, with L layers, "first" being the layer of the inputs:

    gradient    x W of every layer; g W^T of all but the first; a^T g of every layer
    statistics  g W^T of all but the first, for the sampled labels; a^T a and g^T g of
                every layer (NumPy does half of their arithmetic)
    proposal    cho_factor and cho_solve for both factors of every layer
    model       along two directions: x V of every layer, dx W of all but the first
    loss        x W of every layer, after the step

    Nothing is done elementwise: no sigmoid, no bias, no random number, no average, no
    damping, no copy. The constructor works out the whole step, and keeps its results
    beside the operands.
    """

    def __init__(self, given: Given):
        W, x, N = given.W, given.x, len(given.x)
        self.given = given
        self.a, z = forward(W, x)
        p = sigmoid(z)
        self.g = backward(W, self.a, p - x)
        drawn = (given.u < sigmoid(z.astype(np.float64))).astype(x.dtype)
        self.sampled = backward(W, self.a, p - drawn)
        named = zip(self.a, self.g, W, strict=True)
        gradient = [a.T @ g / N + given.l2 * Wi for a, g, Wi in named]
        A, G = ([r.T @ r / N for r in rows] for rows in (self.a, self.sampled))
        A, G = averaged(given.A, A, given.weight), averaged(given.G, G, given.weight)
        damping = given.damping + given.l2
        self.solve = BareCholesky(A, G, [-D for D in gradient], damping)
        self.directions = [self.solve(), given.velocity]
        tangents = [tangent(W, self.a, V) for V in self.directions]
        self.tangents = [inside for inside, _ in tangents]
        outputs = [dz for _, dz in tangents]
        c = coefficients(self.directions, outputs, p, gradient, damping)
        both = zip(W, *self.directions, strict=True)
        self.W_new = [Wi + c[0] * D + c[1] * last for Wi, D, last in both]
        self.a_new, z_new = forward(self.W_new, x)
        ends = (z, W), (z_new, self.W_new)
        self.losses = [objective(*end, x, given.l2) for end in ends]
        self.weights, self.weights_new = without_bias(W), without_bias(self.W_new)
        self.changes = [without_bias(V) for V in self.directions]
        self.inputs, self.inputs_new = inputs(self.a), inputs(self.a_new)

    @property
    def stages(self) -> dict:
        """The stages as functions without arguments."""
        return {
            "gradient": self.gradient,
            "statistics": self.statistics,
            "proposal": self.solve,
            "model": self.model,
            "loss": self.loss,
        }

    def __call__(self) -> dict[str, Arrays]:
        """The products of every stage."""
        return {name: stage() for name, stage in self.stages.items()}

    def gradient(self) -> Arrays:
        """The last L are N times the gradient, without L2."""
        ahead = products(self.inputs, self.weights)
        return [*ahead, *self._back(self.g), *gram(self.a, self.g)]

    def statistics(self) -> Arrays:
        """The last 2 L are N A and N G of the batch."""
        back = self._back(self.sampled)
        return [*back, *gram(self.a, self.a), *gram(self.sampled, self.sampled)]

    def model(self) -> Arrays:
        ahead: Arrays = []
        for V, dh in zip(self.changes, self.tangents, strict=True):
            ahead += products(self.inputs, V) + products(dh, self.weights[1:])
        return ahead

    def loss(self) -> Arrays:
        return products(self.inputs_new, self.weights_new)

    def _back(self, g: Arrays) -> Arrays:
        return [gi @ W.T for gi, W in zip(g[1:], self.weights[1:], strict=True)]


def products(left: Arrays, right: Arrays) -> Arrays:
    return [h @ W for h, W in zip(left, right, strict=True)]


def gram(left: Arrays, right: Arrays) -> Arrays:
    return [a.T @ g for a, g in zip(left, right, strict=True)]


def without_bias(W: Arrays) -> Arrays:
    return [np.ascontiguousarray(Wi[:-1]) for Wi in W]


def inputs(a: Arrays) -> Arrays:
    return [np.ascontiguousarray(ai[:, :-1]) for ai in a]


def sigmoid(s: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-s))


def forward(W: Arrays, x: np.ndarray) -> tuple[Arrays, np.ndarray]:
    """The homogeneous inputs a (N, d_in + 1) of every layer, and the logits."""
    a = [with_one(x)]
    for Wi in W[:-1]:
        a.append(with_one(sigmoid(a[-1] @ Wi)))
    return a, a[-1] @ W[-1]


def slope(a: np.ndarray) -> np.ndarray:
    return a[:, :-1] * (1 - a[:, :-1])


def backward(W: Arrays, a: Arrays, dz: np.ndarray) -> Arrays:
    """g (N, d_out) of every layer."""
    g = [dz]
    for Wi, ai in zip(W[:0:-1], a[:0:-1], strict=True):
        g.insert(0, (g[0] @ Wi[:-1].T) * slope(ai))
    return g


def tangent(W: Arrays, a: Arrays, V: Arrays) -> tuple[Arrays, np.ndarray]:
    """J V: the tangents of the inputs of all layers but the first, and of z."""
    ds, inside = a[0] @ V[0], []
    for Wi, Vi, ai in zip(W[1:], V[1:], a[1:], strict=True):
        inside.append(slope(ai) * ds)
        ds = ai @ Vi + inside[-1] @ Wi[:-1]
    return inside, ds


def averaged(old: Arrays, new: Arrays, weight: float) -> Arrays:
    pairs = zip(old, new, strict=True)
    return [(1 - weight) * M + weight * M_new for M, M_new in pairs]


def coefficients(
    directions: list[Arrays], dz: Arrays, p: np.ndarray, gradient: Arrays,
    damping: float,
) -> list[float]:  # fmt: skip
    """(alpha, mu), the minimum of the quadratic model."""
    flat = np.array([np.concatenate([D.ravel() for D in d]) for d in directions])
    root = np.array([(np.sqrt(p * (1 - p) / len(p)) * d).ravel() for d in dz])
    slopes = flat @ np.concatenate([D.ravel() for D in gradient])
    K = root @ root.T + damping * (flat @ flat.T)
    return [float(c) for c in -np.linalg.solve(K, slopes)]


def objective(z: np.ndarray, W: Arrays, x: np.ndarray, l2: float) -> float:
    """Mean cross-entropy plus eta/2 ||theta||^2."""
    cross = (np.logaddexp(z, 0) - x * z).sum() / len(x)
    return float(cross) + 0.5 * l2 * sum(float((Wi * Wi).sum()) for Wi in W)
