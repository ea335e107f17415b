"""The names that the calls of error_cases.py use, and the reading of that table."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from typing import NamedTuple

import numpy as np

import strict
from distribution_cases import TWO
from error_cases import FAMILIES, ROOMS, TWO_BACKENDS
from kfac_ref import errors
from kfac_ref.distributions import Categorical, Normal, NormalMeanVariance
from kfac_ref.estimates import Sampled
from kfac_ref.layers import BatchStandardize, Dense, Layer, ReLU, Sequential, Tanh
from kfac_ref.matrices import DenseMatrix, KroneckerProduct
from kfac_ref.network import Network
from kfac_ref.pairs import propagate
from kfac_ref.quadratic_model import quadratic_model
from matrix_cases import make, moment, rotation
from networks import chain, classes, inputs, parameters

MODULES = """errors checks backend layers layers.arguments distributions
distributions.base matrices structures damping comparison pairs
estimates network exact exact.products quadratic_model optimizer
optimizer.subsampling""".split()


class Case(NamedTuple):
    call: str
    error: type[Exception]
    facts: list[str]

    def __str__(self):
        return self.call


def read(table):
    """The cases of a table, in its order."""
    for line in re.sub(r"\n +", " ", table).split("\n"):
        if line:
            call, _, told = line.partition("->")
            error, _, facts = told.strip().partition(": ")
            each = facts.strip("| ").split(" | ")
            yield Case(call.strip(), getattr(errors, error), each)


def family(table, places):
    """Every call in every place."""
    for place, called in places.items():
        for call, error, facts in read(table):
            each = " | ".join(facts).format(called).split(" | ")
            yield Case(place.format(call), error, each)


CASES = [case for table in ROOMS.values() for case in read(table)]
CASES += [case for table, places in FAMILIES for case in family(table, places)]
ACROSS = list(read(TWO_BACKENDS))


def missing(message, facts):
    """The first of the facts that is not in the message, after those before it."""
    at = 0
    for fact in facts:
        whole = rf"(?<![\w-])(?<!\d\.){re.escape(fact)}(?!\w|\.\d)"
        found = re.compile(whole).search(message, at)
        if found is None:
            return fact
        at = found.end()
    return None


class Far:
    """An array whose numbers are far away: whoever asks for them is found out."""

    shape, dtype, ndim = (5, 3), np.dtype("float32"), 2

    def __repr__(self):
        raise RuntimeError("asked the device for its numbers")

    __str__ = __float__ = __bool__ = __array__ = __repr__


class Halves(Normal):
    """Its outputs are no natural parameters, and its Hessian is not written."""

    natural = False


class OneLabel(Sampled):
    """Forgets that an axis of samples comes first."""

    def draw(self, distribution, z, y, rng):
        return super().draw(distribution, z, y, rng)[0]


class Flat(Layer):
    """A layer whose a, or whose g, has forgotten the axis of positions."""

    blocks = 1

    def __init__(self, wrong):
        self.dense, self.wrong = Dense(5, 3, bias=False), wrong

    def __repr__(self):
        return f"Flat({self.wrong!r})"

    def shapes(self):
        return self.dense.shapes()

    def forward(self, params, x):
        return self.dense.forward(params, x)

    def read_a(self, tape):
        a = self.dense.read_a(tape)
        return a[:, 0] if self.wrong == "a" else a

    def read_g(self, tape, dy):
        g = self.dense.read_g(tape, dy)
        return g[:, :, 0] if self.wrong == "g" else g


@cache
def names(xp):
    """All that a call may use, with arrays of a backend."""
    known = {}
    for module in MODULES:
        known |= vars(import_module(f"kfac_ref.{module}"))
    return known | globals() | arrays(xp) | layers(xp) | networks(xp)


def arrays(xp):
    def a(value, dtype=None):
        return xp.asarray(np.asarray(value, dtype))

    def ones(*shape):
        return a(np.ones(shape))

    def there(*shape):
        return strict.xp.asarray(np.ones(shape))

    def zeros(*shape_and_dtype):
        return a(np.zeros(*shape_and_dtype))

    def with_nan(array):
        bad = np.ones(array.shape)
        bad.flat[3] = np.nan
        return a(bad)

    def model(directions, matrix=((4.0, 1.0), (1.0, 3.0))):
        matrix, gradient = DenseMatrix(a(matrix)), a([1.0, 2.0])
        return quadratic_model([a(d) for d in directions], gradient, matrix)

    rng = np.random.default_rng(20150601)
    A, G = a(moment(rng, 5)), a(moment(rng, 3))
    singular, low = a(moment(rng, 3, N=2)), a(moment(rng, 3), "float32")
    U_A, U_G = a(rotation(rng, 5)), a(rotation(rng, 3))
    values, v = a(rng.uniform(size=(5, 3))), a(rng.normal(size=(1, 5)))
    F, K = DenseMatrix(A), KroneckerProduct(A, G, "layer 0")
    eigen, _ = make("eigen_kronecker", rng, a)
    tridiagonal, _ = make("block_tridiagonal", rng, a)
    z, c, r = zeros((7, 4)), zeros(7, int), zeros((7, 3))
    a5, g = a(rng.normal(size=(5, 1, 3))), a(rng.normal(size=(2, 5, 1, 7)))
    KNOWN = ("exact", "sampled", "empirical")
    ODD = [[1.0, np.nan], [-np.inf, 2.0], [np.inf, 3.0], [4.0, 5.0]]
    return locals()


def layers(xp):
    def ones(*shape):
        return xp.asarray(np.ones(shape))

    def alone(layer, x):
        params = layer.init(np.random.default_rng(3))
        return layer.forward([xp.asarray(W) for W in params], x)

    def fed(layer, *shape):
        return alone(Sequential([ReLU(), layer]), ones(*shape))

    def back_through(embedding):
        _, tape = alone(embedding, xp.asarray(np.array([0, 4])))
        return embedding.vjp([ones(5, 3)], tape, ones(1, 2, 3))

    def along(embedding):
        _, tape = alone(embedding, xp.asarray(np.array([0, 4])))
        return embedding.jvp([ones(5, 3)], tape, [ones(1, 5, 3)], ones(1, 2))

    def labels(distribution, y):
        return distribution.check_labels(0 * ones(7, 4), y)

    def full(value):
        return xp.asarray(np.full((7, 4), value))

    def two_losses(y):
        return Network(Dense(4, 8), TWO).loss([ones(5, 8)], ones(7, 4), y)

    return locals()


def networks(xp):
    def elsewhere():
        of_device = networks(strict.xp)
        return of_device["at"], of_device["y"]

    rng, net = np.random.default_rng(7), chain()
    host_params, host_x = parameters(net, rng, np), inputs(rng, np)
    host_at, host_y = net.linearize(host_params, host_x), classes(rng, np)
    params = W, *rest = [xp.asarray(W) for W in host_params]
    x, y = xp.asarray(host_x), xp.asarray(host_y)
    at = net.linearize(params, x)
    found = propagate(at)
    two_outputs = Network([Dense(5, 4)], NormalMeanVariance())
    wide, narrow = ([xp.asarray(np.ones((6, size)))] for size in (4, 3))
    shared, deep = Network(Dense(5, 3), Categorical()), xp.asarray(np.ones((7, 2, 5)))
    deep_pairs = propagate(shared.linearize(narrow, deep), "sampled", rng=rng)
    mixing = Network([BatchStandardize(), Dense(5, 3)], Categorical())
    bare = Network([Tanh()], Categorical())
    return locals()
