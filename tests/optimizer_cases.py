"""What the tests of the optimizer share: a network, batches, a run of some steps."""

from __future__ import annotations

import numpy as np

from helpers import host
from kfac_ref.distributions import Categorical, squared_error
from networks import SIZES, chain, classes, inputs, parameters

KINDS = {"softmax": Categorical(), "squared": squared_error()}
SEED = 6


def problem(kind, xp, rng, count, n=11):
    """A network, its parameters, and batches of n, n + 1, ... examples."""
    net = chain(distribution=KINDS[kind])
    params = parameters(net, rng, xp)
    sizes = range(n, n + count)
    batches = [(inputs(rng, xp, m), labels(kind, rng, xp, m)) for m in sizes]
    return net, params, batches


def passed(net, theta, x):
    """The forward pass of a batch at theta."""
    return net.linearize(net.unflatten(theta), x)


def labels(kind, rng, xp, n):
    if kind == "softmax":
        return classes(rng, xp, n)
    return xp.asarray(rng.normal(0.3, 1.0, (n, SIZES[-1])))


def on_host(params, batches):
    return host(params), [(host(x), host(y)) for x, y in batches]


def sampler(net, seed=SEED):
    """z -> the labels that the package draws from a generator of the same seed."""
    rng = np.random.default_rng(seed)
    return lambda z: net.distribution.sample(z, rng, 1)[0]


def run(kfac, params, batches, seed=SEED, state=None):
    """The states after each step, and the traces."""
    rng = np.random.default_rng(seed)
    state, states, traces = state or kfac.init(params), [], []
    for x, y in batches:
        state, trace = kfac.step(state, x, y, rng)
        states.append(state)
        traces.append(trace)
    return states, traces
