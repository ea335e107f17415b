"""The names that the calls of error_cases.py use, and the reading of that table."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from types import SimpleNamespace
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

MODULES = """errors backend layers layers.arguments distributions distributions.base
matrices structures damping comparison pairs estimates network exact exact.products
quadratic_model optimizer optimizer.subsampling""".split()


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
    for name in MODULES:
        known |= vars(import_module(f"kfac_ref.{name}"))
    known |= vars(arrays(xp)) | vars(layers(xp)) | vars(networks(xp))
    own = dict(
        Far=Far, Flat=Flat, Halves=Halves, OneLabel=OneLabel, TWO=TWO, np=np, xp=xp
    )
    return known | own


def arrays(xp):
    rng = np.random.default_rng(20150601)

    def a(value, dtype=None):
        return xp.asarray(np.asarray(value, dtype))

    def with_nan(array):
        return xp.asarray(np.where(np.arange(array.size) == 3, np.nan, 0.5)).reshape(
            array.shape
        )

    def model(directions, matrix=((4.0, 1.0), (1.0, 3.0))):
        moved = [a(d) for d in directions]
        return quadratic_model(moved, a([1.0, 2.0]), DenseMatrix(a(matrix)))

    U = rotation(rng, 3)
    return SimpleNamespace(
        a=a,
        with_nan=with_nan,
        model=model,
        rng=rng,
        ones=lambda *shape: a(np.ones(shape)),
        zeros=lambda *shape_dtype: a(np.zeros(*shape_dtype)),
        full=lambda value: a(np.full((7, 4), value)),
        diag=lambda values: a(np.diag(values)),
        there=lambda *shape: strict.xp.asarray(np.ones(shape)),
        A=a(moment(rng, 5)),
        G=a(moment(rng, 3)),
        K=KroneckerProduct(a(moment(rng, 5)), a(moment(rng, 3)), "layer 0"),
        F=DenseMatrix(a(moment(rng, 5))),
        v=a(rng.normal(size=(1, 5))),
        eigen=make("eigen_kronecker", rng, a)[0],
        tridiagonal=make("block_tridiagonal", rng, a)[0],
        low=a(moment(rng, 3), "float32"),
        singular=a(moment(rng, 3, N=2)),
        U_A=a(rotation(rng, 5)),
        U_G=a(U),
        values=a(rng.uniform(size=(5, 3))),
        z=a(np.zeros((7, 4))),
        c=a(np.zeros(7, int)),
        r=a(np.zeros((7, 3))),
        a5=a(rng.normal(size=(5, 1, 3))),
        g=a(rng.normal(size=(2, 5, 1, 7))),
        KNOWN=("exact", "sampled", "empirical"),
        ODD=[[1.0, np.nan], [-np.inf, 2.0], [np.inf, 3.0], [4.0, 5.0]],
    )


def layers(xp):
    def init(layer):
        return [xp.asarray(W) for W in layer.init(np.random.default_rng(3))]

    def embedded(layer):
        return layer.forward(init(layer), xp.asarray(np.array([0, 4])))[1]

    def ones(*shape):
        return xp.asarray(np.ones(shape))

    return SimpleNamespace(
        alone=lambda layer, x: layer.forward(init(layer), x),
        fed=lambda layer, *shape: Sequential([ReLU(), layer]).forward(
            init(layer), ones(*shape)
        ),
        back_through=lambda e: e.vjp(init(e), embedded(e), ones(1, 2, 3)),
        along=lambda e: e.jvp(init(e), embedded(e), [ones(1, 5, 3)], ones(1, 2)),
        labels=lambda distribution, y: distribution.check_labels(
            xp.asarray(np.zeros((7, 4))), y
        ),
        two_losses=lambda y: Network(Dense(4, 8), TWO).loss(
            [ones(5, 8)], ones(7, 4), y
        ),
    )


def networks(xp):
    rng, net = np.random.default_rng(7), chain()
    params, x, y = (
        f(rng, xp) for f in (lambda *a: parameters(net, *a), inputs, classes)
    )
    host_params, host_x = parameters(net, rng, np), inputs(rng, np)
    two_outputs = Network([Dense(5, 4)], NormalMeanVariance())
    shared, deep = Network(Dense(5, 3), Categorical()), xp.asarray(np.ones((7, 2, 5)))
    ones, at = [xp.asarray(np.ones((6, 3)))], net.linearize(params, x)

    def elsewhere():
        own = networks(strict.xp)
        return own.at, own.y

    return SimpleNamespace(
        net=net,
        params=params,
        W=params[0],
        rest=params[1:],
        x=x,
        y=y,
        at=at,
        found=propagate(at),
        host_params=host_params,
        host_x=host_x,
        host_y=classes(rng, np),
        host_at=net.linearize(host_params, host_x),
        elsewhere=elsewhere,
        shared=shared,
        deep=deep,
        deep_pairs=propagate(shared.linearize(ones, deep), "sampled", rng=rng),
        mixing=Network([BatchStandardize(), Dense(5, 3)], Categorical()),
        bare=Network([Tanh()], Categorical()),
        two_outputs=two_outputs,
        wide=parameters(two_outputs, rng, xp),
    )
