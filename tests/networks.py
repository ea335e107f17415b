"""Small networks for the tests; all sizes differ and are pairwise coprime."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from kfac_ref.distributions import Categorical
from kfac_ref.layers import Dense, Identity, Sequential, Tanh
from kfac_ref.network import Network

SIZES = (5, 4, 7, 3)  # inputs, hidden units, outputs
N = 11


def chain(activation=Tanh, distribution=None, bias=True, sizes=SIZES):
    """Dense layers with an activation between any two."""
    layers = []
    for d, o in pairwise(sizes):
        layers += [Dense(d, o, bias=bias), activation()]
    return Network(Sequential(layers[:-1]), distribution or Categorical())


def linear(distribution, bias=True, sizes=SIZES):
    """A deep linear network."""
    return chain(Identity, distribution, bias, sizes)


def parameters(network, rng, xp, scale=1.0):
    """Random parameters, biases not zero, on the backend."""
    initial = network.body.init(rng)
    return [xp.asarray(W + 0.3 * scale * rng.normal(size=W.shape)) for W in initial]


def inputs(rng, xp, n=N, features=SIZES[0]):
    """Inputs with a mean that is not zero."""
    return xp.asarray(rng.normal(0.4, 1.0, (n, features)))


def classes(rng, xp, n=N, count=SIZES[-1]):
    return xp.asarray(rng.integers(0, count, n))


def ag(pairs):
    """The host arrays (a, g) of every block, all examples."""
    from helpers import host

    a = [[] for _ in pairs.shapes]
    g = [[] for _ in pairs.shapes]
    for chunk in pairs.chunks():
        for i, (ai, gi) in enumerate(zip(chunk.a, chunk.g(), strict=True)):
            a[i].append(host(ai))
            g[i].append(host(gi))
    return [
        (np.concatenate(ai), np.concatenate(gi, axis=1))
        for ai, gi in zip(a, g, strict=True)
    ]
