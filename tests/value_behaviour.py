"""What an instance of a class does: `behave(value, n)` gives numbers and arrays.

So a copy can be held against its original, and one that was made from NumPy's numbers
against one that was made from Python's; `n` makes the numbers that methods take.
"""

from __future__ import annotations

import re

import numpy as np

import value_cases as cases
from kfac_ref.comparison import Built, Comparison
from kfac_ref.damping import factored_tikhonov
from kfac_ref.distributions import Distribution
from kfac_ref.estimates import Estimate
from kfac_ref.examples.contest import Contestant
from kfac_ref.examples.lbann.settings import KfacSettings, Scheduled
from kfac_ref.gpu import tasks
from kfac_ref.gpu.comparing import Case
from kfac_ref.layers import Layer, sparse
from kfac_ref.layers.patches import Axis, Grid
from kfac_ref.matrices import ChainFactors, SymmetricMatrix
from kfac_ref.network import Linearization, Network
from kfac_ref.optimizer import (
    KFAC,
    SGD,
    Adam,
    Average,
    HessianFree,
    MovingAverage,
    NaturalGradient,
    Run,
    State,
)
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.optimizer.schedules import (
    ApproachTarget,
    Bounded,
    Constant,
    Exponential,
)
from kfac_ref.pairs import Pairs
from kfac_ref.quadratic_model import QuadraticModel
from kfac_ref.structures.kronecker import kronecker

array, generator = cases.array, cases.generator
IMAGES = ("Conv2d", "MaxPool2d", "AvgPool2d")


def layer(value, n):
    kind = type(value).__name__
    if kind in ("Layer", "Elementwise", "Pool2d", "Standardize"):
        return shown(value), value.shapes(), value.blocks
    params = [W.astype(cases.FLOAT) for W in value.init(generator(1))]
    x = array(*((2, 7, 9, 2) if kind in IMAGES else (7, getattr(value, "d_in", 5))))
    if kind == "Embedding":
        x = generator(1).integers(0, 200, 7)
    y, tape = value.forward(params, x)
    dy, shapes = y[None], [W.shape for W in params]
    g = value.backward(params, tape, dy, input_needed=kind != "Embedding")
    return params, y, value.inputs(tape), g, shapes, value.names()


def distribution(value, n):
    if type(value).__name__ in ("Distribution", "Diagonal"):
        return value.natural
    z = array(7, 4)
    y = value.sample(z, generator(2), n(2))
    first = [part[0] for part in y] if isinstance(y, list) else y[0]
    value.check_labels(z, first)
    products = value.root_product(z, z), value.fisher_product(z, z)
    return value.loss(z, first), value.gradient(z, first), *products


def network(value, n):
    x, y = cases.X, cases.Y
    if value.size != cases.P:
        x, y = cases.PIXELS, cases.LABELS
    params = value.init(generator(2), cases.FLOAT)
    return value.linearize(params, x).loss_and_gradient(y)


def estimate(value, n):
    if type(value) is Estimate:
        return value.samples
    z, of = array(7, 3), cases.Categorical()
    drawn = value.draw(of, z, cases.Y, generator(5))
    return value.vectors(of, z, drawn, n(0), n(1)), value.count(z)


def matrix(value, n):
    if type(value) in (SymmetricMatrix, cases.CurvatureProduct):
        return value.size, value.label
    if isinstance(value, cases.CurvatureProduct | cases.HessianProduct):
        return value @ array(value.size), value.solve(array(value.size), n(2.0))
    if type(value) is ChainFactors:
        return matrix(factored_tikhonov(value, n(0.5)), n)
    v, root = array(value.size), value.power(n(0.5), n(0.5))
    return (
        value @ v, value.solve(v, n(0.5)), value.inverse(n(0.5)) @ v, root @ v,
        value.to_dense(), value.eigenvalues(), value.trace(), value.logdet(n(0.5)),
        value.frobenius_norm(), value.storage,
    )  # fmt: skip


def optimizer(value, n):
    if not hasattr(value, "step"):
        return shown(value.network)
    state, trace = cases.steps(value)
    return state, trace, value.params(state)


def average(value, n):
    """What the rule makes of two matrices."""
    one = value.add(Average(), cases.matrix("kronecker"))
    return value.add(one, cases.matrix("kronecker"))


def pairs(value, n):
    if type(value) is Pairs:
        return value.numbers
    return value.a, value.g(), list(value.few_vectors()), kronecker(value).to_dense()


def schedule(value, n):
    return [value(n(step)) for step in (0, 2, 3, 0.5, 200)]


def marquardt(value, n):
    return [value(n(2), n(rho), n(0.5)) for rho in (0.0, 1, -1.0)], value.due(n(200))


def model(value, n):
    fixed = {n.whole(1): n(0.25)} if n.whole is not np.asarray else {1: n(0.25)}
    solved = value.solve(n(0.5)), value.solve(n(0.5), fixed=fixed)
    return value.matrix(n(0.5)), value.value([n(0.5), n(1)], n(2)), *solved


BEHAVIOURS = [
    (Layer, layer),
    (Distribution, distribution),
    (Network, network),
    (Linearization, lambda value, n: value.loss_and_gradient(cases.Y)),
    (Estimate, estimate),
    (SymmetricMatrix, matrix),
    ((KFAC, SGD, Adam, NaturalGradient, HessianFree, Scheduled), optimizer),
    (Contestant, lambda value, n: optimizer(value.optimizer, n)),
    (MovingAverage, average),
    (Pairs, pairs),
    (QuadraticModel, model),
    (
        (Constant, Exponential, ApproachTarget, Bounded),
        schedule,
    ),
    (LevenbergMarquardt, marquardt),
    (sparse, lambda value, n: value(generator(1), (n(9), n(5)), bias=n(True))),
    (Axis, lambda value, n: (value.pixels_read(np), value.readers(np))),
    (Grid, lambda value, n: value.put_back(value.extract(array(2, 5, 5, 2)))),
    (Built, lambda value, n: matrix(value.matrix, n)),
    (Comparison, lambda value, n: (str(value), value.to_dict())),
    (KfacSettings, lambda value, n: [value.refreshes(n(k)) for k in range(9)]),
    (State, lambda value, n: vars(value)),
    (Run, lambda value, n: vars(value.state)),
    (tasks.Step, lambda value, n: value()),
    (Case, lambda value, n: value.compute(cases.PLACE)),
]


def behave(value, n=cases.PLAIN):
    """What it does, where it does something; else what it is."""
    for kind, behaviour in BEHAVIOURS:
        if isinstance(value, kind):
            return behaviour(value, n)
    return shown(value)


def shown(value):
    """repr, without the places of objects in memory."""
    return re.sub(r" at 0x\w+", "", repr(value))
