"""An instance of every class of the package, from numbers of any kind.

`CASES` has pairs (class, build): `build(n)` makes an instance, where `n(5)`, `n(0.5)`
and `n(True)` are those numbers as Python's or as one of NumPy's kinds. All of them are
exact in float16. Arrays are float32, so that a float64 that creeps in is seen.
`classes()` finds all classes there are; a test holds them against the tables here.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import kfac_ref
from kfac_ref import algorithm2, errors
from kfac_ref.backend import use
from kfac_ref.cli.arguments import Parser
from kfac_ref.comparison import Built, Comparison, Row, comparing, entries
from kfac_ref.damping import factored_tikhonov, tikhonov
from kfac_ref.datasets import DatasetError, DatasetMissing
from kfac_ref.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Joint,
    Normal,
    NormalMeanVariance,
    Poisson,
)
from kfac_ref.distributions import base as distributions_base
from kfac_ref.estimates import (
    GGN,
    Empirical,
    Estimate,
    Expectation,
    GGNRandomSigns,
    RandomSigns,
    Sampled,
)
from kfac_ref.exact.hessian import HessianProduct
from kfac_ref.exact.products import (
    CurvatureProduct,
    EmpiricalFisherProduct,
    FisherProduct,
    GGNProduct,
)
from kfac_ref.examples import contest
from kfac_ref.examples import images as labelled
from kfac_ref.examples.autoencoder import contestants
from kfac_ref.examples.autoencoder import problem as autoencoder
from kfac_ref.examples.autoencoder import race as autoencoder_race
from kfac_ref.examples.convolutional import problem as convolutional
from kfac_ref.examples.convolutional import race as convolutional_race
from kfac_ref.examples.demo import measuring, training
from kfac_ref.examples.demo import problem as demo_problem
from kfac_ref.examples.lbann import settings as lbann_settings
from kfac_ref.examples.lbann import training as lbann
from kfac_ref.files import NotWritable
from kfac_ref.gpu import cases as gpu_cases
from kfac_ref.gpu import comparing as gpu_comparing
from kfac_ref.gpu import nets, tasks, timing
from kfac_ref.gpu.device import Device
from kfac_ref.layers import (
    AvgPool2d,
    BatchStandardize,
    Conv2d,
    Dense,
    Embedding,
    Flatten,
    Identity,
    Layer,
    LayerStandardize,
    MaxPool2d,
    ReLU,
    Residual,
    ScaleShift,
    Sequential,
    Sigmoid,
    Softplus,
    Tanh,
    sparse,
)
from kfac_ref.layers.activations import Elementwise
from kfac_ref.layers.patches import Axis, Grid
from kfac_ref.layers.pooling import Pool2d
from kfac_ref.layers.standardize import Standardize
from kfac_ref.matrices import (
    BlockDiagonalMatrix,
    BlockTridiagonalInverse,
    ChainFactors,
    DenseMatrix,
    DiagonalMatrix,
    EigenKronecker,
    KroneckerDifference,
    KroneckerProduct,
    SymmetricMatrix,
)
from kfac_ref.network import Linearization, Network
from kfac_ref.optimizer import (
    KFAC,
    SGD,
    Adam,
    Average,
    CheckpointError,
    Diverged,
    HessianFree,
    History,
    MovingAverage,
    NaturalGradient,
    Outcome,
    Proposal,
    Run,
    State,
    Trace,
    TrainingDiverged,
)
from kfac_ref.optimizer.baselines import AdamState, Baseline, SGDState, Step
from kfac_ref.optimizer.encoding import Decoder
from kfac_ref.optimizer.hessian_free import HessianFreeState, HessianFreeStep
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.optimizer.natural_gradient import NaturalGradientState
from kfac_ref.optimizer.option_groups import (
    Group,
    Inversion,
    Practice,
    Statistics,
    Update,
)
from kfac_ref.optimizer.options import Due, Options
from kfac_ref.optimizer.proposal import Local
from kfac_ref.optimizer.schedules import (
    ApproachTarget,
    Bounded,
    Constant,
    Exponential,
)
from kfac_ref.optimizer.state import Place
from kfac_ref.optimizer.state_parts import Fit
from kfac_ref.optimizer.subsampling import Thinned, subsample_positions
from kfac_ref.optimizer.training import Optimizer
from kfac_ref.pairs import Given, Pairs, Propagated, Selected, given_pairs, propagate
from kfac_ref.quadratic_model import QuadraticModel
from kfac_ref.structures.block_tridiagonal import block_tridiagonal
from kfac_ref.structures.eigenvalue_corrected import Rotated, rotated
from kfac_ref.structures.kronecker import kronecker_factors
from kfac_ref.values import Value
from matrix_cases import make

FLOAT = np.float32


@dataclass(frozen=True)
class Numbers:
    """n(5), n(0.5), n(True) as numbers of some kind."""

    name: str
    whole: Any
    real: Any
    flag: Any

    def __call__(self, value):
        if isinstance(value, bool):
            return self.flag(value)
        return self.whole(value) if isinstance(value, int) else self.real(value)


PLAIN = Numbers("Python", int, float, bool)
KINDS = [
    Numbers("uint8, float16", np.uint8, np.float16, np.bool_),
    Numbers("int16, float32", np.int16, np.float32, np.bool_),
    Numbers("int64, float64", np.int64, np.float64, np.bool_),
    Numbers("uint64, longdouble", np.uint64, np.longdouble, np.bool_),
    Numbers("0-d arrays", np.asarray, np.asarray, np.asarray),
]


def generator(*seed):
    return np.random.default_rng(seed)


def array(*shape, seed=1):
    return generator(*shape, seed).normal(0.4, 1.0, shape).astype(FLOAT)


def matrix(name, n=None):
    return make(name, generator(4), lambda M: M.astype(FLOAT))[0]


def network(n):
    layers = [Dense(n(5), n(4), n(True), sparse(n(3), n(0.25), n(0.5))), Tanh()]
    return Network([*layers, Dense(n(4), n(3), n(False))], Categorical())


def images(n):
    layers = [Conv2d(n(2), n(3), n(2)), Tanh(), Flatten(), Dense(n(36), n(2))]
    return Network(layers, Normal(n(0.5)))


PLACE = nets.Place(np.asarray, np.float32)
X, Y = array(7, 5), generator(3).integers(0, 3, 7)
PIXELS, LABELS = array(5, 4, 3, 2), array(5, 2)
P = 6 * 4 + 4 * 3


def start(net):
    return net.init(generator(2), FLOAT)


def point(n):
    """The network above at its first parameters."""
    net = network(n)
    return net.linearize(start(net), X)


def bases(n):
    """U_A and U_G of every layer of that network."""
    moments = kronecker_factors(pairs(n))
    return [[np.linalg.eigh(M)[1] for M in factors] for factors in moments]


def pairs(n, estimate="sampled", **options):
    """Of the network above, with every number an option can be."""
    given = dict(y=Y, rng=generator(5), memory=n(100)) | options
    return propagate(point(n), estimate, samples=n(2), **given)


def shared(n):
    """Pairs of a network whose first layer shares its weights; a pass that is done."""
    net = images(n)
    params = start(net)
    at = net.linearize(params, PIXELS)
    at.loss(LABELS)
    return propagate(at, "sampled", rng=generator(5))


def thinned(n):
    return subsample_positions(shared(n), n(0.5), generator(7))


def given(n):
    a, g = [array(7, 1, 5), array(7, 2, 3)], [array(2, 7, 1, 3), array(2, 7, 2, 5)]
    return given_pairs(a, g, memory=n(100))


def kfac(n, kind=KFAC, **options):
    """Every option that is a number is one of this kind."""
    numbers = dict(
        samples=2, statistics_every=1, tau_1=0.5, position_share=1.0, inverse_every=2,
        inverse_early=1, gamma_every=3, gamma_factor=0.5, tau_2=0.5, damping=0.25,
        damping_in_ratio=True, l2=0.125, weight_decay=0.25, reject=True, first_step=0,
        adapt_damping=LevenbergMarquardt(0.5, 1),
    )  # fmt: skip
    made = {
        name: n(value) if isinstance(value, bool | int | float) else value
        for name, value in (numbers | options).items()
    }
    made.setdefault("damping_rule", partial(factored_tikhonov, pi=0.5))
    made["average"] = MovingAverage("debiased", n(0.5))
    return kind(network(n), **made)


def libraries(n):
    """K-FAC as in most libraries: fixed numbers."""
    fixed = dict(learning_rate=0.25, momentum=0.5, norm_constraint=0.125)
    return kfac(n, gamma_every=0, adapt_damping=None, reject=False, **fixed)


def baseline(kind, n, *numbers, **named):
    named = {name: n(value) for name, value in named.items()}
    return kind(network(n), *map(n, numbers), **named)


def steps(optimizer, count=2):
    """The state after some steps, and the trace of the last one."""
    state, trace, rng = optimizer.init(start(optimizer.network)), None, generator(6)
    for _ in range(count):
        state, trace = optimizer.step(state, X, Y, rng)
    return state, trace


def columns():
    """What a history is made of: NaN where there is no number."""
    number = np.array([1, 2])
    return [number, *[np.array([0.5, np.nan])] * 2, number, *[np.array([2.0, 1.0])] * 5]


def row(n):
    return Row("K-FAC", None, n(36), *map(n, [0.5] * 5), n(9), None, n(0.25))


def problem(n):
    settings = demo_problem.Settings(n(3), (n(4), n(2)), seed=n(1), damping=n(0.5))
    net = network(n)
    return demo_problem.Problem(settings, net, start(net), X, Y, "few", generator(8))


def settings(n):
    numbers = dict(
        damping_warmup_steps=10, update_interval_init=1, update_interval_target=3,
        update_interval_steps=5, compute_interval=2, kronecker_decay=0.5,
        use_pi=True, use_eigen=True,
    )  # fmt: skip
    made = {name: n(number) for name, number in numbers.items()}
    return lbann_settings.KfacSettings((n(0.5), n(0.25)), (n(2.0),), **made)


def example(n):
    numbers = [n(0.25), n(3), n(4)]
    return lbann_settings.Settings("mlp", "sgd", *numbers, settings(n), seed=n(2))


def pictures():
    return labelled.Images((X, Y), (X, Y))


def lbann_problem(n):
    net = network(n)
    return lbann.Problem(n(2), pictures(), net, start(net), generator(8), "few")


def axis(n):
    return Axis(n(5), n(3), n(3), n(2), n(1), n(1), n(False))


CASES = [
    (Value, lambda n: Value()),
    # layers
    (Layer, lambda n: Layer()),
    (Elementwise, lambda n: Elementwise()),
    (Tanh, lambda n: Tanh()),
    (ReLU, lambda n: ReLU()),
    (Sigmoid, lambda n: Sigmoid()),
    (Softplus, lambda n: Softplus()),
    (Identity, lambda n: Identity()),
    (Flatten, lambda n: Flatten()),
    (sparse, lambda n: sparse(n(3), n(0.25), n(0.5))),
    (Dense, lambda n: Dense(n(64), n(10))),  # 650 parameters, 138 if (65)(10) is uint8
    (Dense, lambda n: Dense(n(5), n(4), n(False), sparse(n(3)))),
    (Conv2d, lambda n: Conv2d(n(2), n(3), n(2), bias=n(True))),
    (
        Conv2d,
        lambda n: Conv2d(
            n(2), n(3), (n(3), n(2)), n(2), ((n(2), n(0)), (n(1), n(3))), [n(1), n(2)]
        ),
    ),
    (Embedding, lambda n: Embedding(n(200), n(3))),
    (Pool2d, lambda n: Pool2d(n(2))),
    (MaxPool2d, lambda n: MaxPool2d((n(3), n(2)), n(2))),
    (AvgPool2d, lambda n: AvgPool2d(n(2), [n(1), n(2)], "SAME")),
    (ScaleShift, lambda n: ScaleShift(n(5))),
    (Standardize, lambda n: Standardize(n(0.25))),
    (LayerStandardize, lambda n: LayerStandardize(n(2))),
    (BatchStandardize, lambda n: BatchStandardize(n(0.25))),
    (BatchStandardize, lambda n: BatchStandardize(n(0.25), array(5), array(5) ** 2)),
    (Sequential, lambda n: network(n).body),
    (Residual, lambda n: Residual([Dense(n(5), n(5)), Tanh()])),
    (Axis, axis),
    (Grid, lambda n: Grid(axis(n), axis(n))),
    # distributions
    (Distribution, lambda n: Distribution()),
    (distributions_base.Diagonal, lambda n: distributions_base.Diagonal()),
    (Bernoulli, lambda n: Bernoulli()),
    (Categorical, lambda n: Categorical()),
    (Normal, lambda n: Normal(n(0.5), n(False))),
    (NormalMeanVariance, lambda n: NormalMeanVariance()),
    (Poisson, lambda n: Poisson()),
    (
        Joint,
        lambda n: Joint([(Categorical(), n(3), n(0.5)), (Normal(n(2)), n(1), n(2.0))]),
    ),
    # network and estimates
    (Network, network),
    (Network, images),
    (Linearization, point),
    (Estimate, lambda n: Estimate(n(2))),
    (Expectation, lambda n: Expectation(n(1))),
    (GGN, lambda n: GGN(n(1))),
    (Empirical, lambda n: Empirical(n(1))),
    (Sampled, lambda n: Sampled(n(3))),
    (RandomSigns, lambda n: RandomSigns(n(3))),
    (GGNRandomSigns, lambda n: GGNRandomSigns(n(3))),
    # pairs and structures
    (Pairs, lambda n: Pairs(["a"], [(5, 3)], [1], 7, 2, 9, array(3), 0, False, False)),
    (Propagated, pairs),
    (Propagated, partial(pairs, estimate="ggn_random_signs")),
    (Propagated, lambda n: pairs(n).part(1, 3)),
    (Propagated, shared),
    (Selected, lambda n: pairs(n).select([n(1)])),
    (Selected, lambda n: next(shared(n).select([n(0)]).chunks())),
    (Thinned, thinned),
    (Thinned, lambda n: thinned(n).part(1, 3)),
    (Given, given),
    (Given, lambda n: next(given(n).chunks())),
    (Rotated, lambda n: rotated(pairs(PLAIN), *bases(PLAIN))),
    (ChainFactors, lambda n: block_tridiagonal(pairs(n))),
    # matrices
    (SymmetricMatrix, lambda n: SymmetricMatrix(array(3), n(3), "abstract")),
    (DenseMatrix, partial(matrix, "dense")),
    (DiagonalMatrix, partial(matrix, "diagonal")),
    (KroneckerProduct, partial(matrix, "kronecker")),
    (KroneckerProduct, lambda n: factored_tikhonov(matrix("kronecker"), n(0.5))),
    (
        EigenKronecker,
        lambda n: EigenKronecker(
            *[np.eye(d, dtype=FLOAT) for d in (2, 3)], array(2, 3) ** 2, "", n(2.0**-20)
        ),
    ),
    (EigenKronecker, lambda n: matrix("kronecker").power(n(1), n(0.5))),
    (KroneckerDifference, partial(matrix, "kronecker_difference")),
    (BlockDiagonalMatrix, partial(matrix, "block_diagonal")),
    (BlockDiagonalMatrix, lambda n: matrix("block_diagonal").power(n(-1.0), n(0.5))),
    (BlockTridiagonalInverse, partial(matrix, "block_tridiagonal")),
    (CurvatureProduct, lambda n: CurvatureProduct(point(n), n(1))),
    (FisherProduct, lambda n: FisherProduct(point(n))),
    (FisherProduct, lambda n: FisherProduct(point(n), n(1))),
    (GGNProduct, lambda n: GGNProduct(point(n), Y, n(1))),
    (EmpiricalFisherProduct, lambda n: EmpiricalFisherProduct(point(n), Y, n(1))),
    (HessianProduct, lambda n: HessianProduct(point(n), Y)),
    (
        HessianProduct,
        lambda n: HessianProduct(point(n), Y, n(1)),
    ),
    (
        QuadraticModel,
        lambda n: QuadraticModel(
            np.array([[4.0, 1.0], [1.0, 3.0]]), *[np.eye(2)] * 2, np.ones(2), n(2**-20)
        ),
    ),
    # schedules and rules
    (
        LevenbergMarquardt,
        lambda n: LevenbergMarquardt(
            n(0.5), n(3), n(0.25), n(0.75), n(0.0), n(8), "grow", n(True)
        ),
    ),
    (Constant, lambda n: Constant(n(0.5))),
    (Constant, lambda n: Constant(n(3))),
    (Exponential, lambda n: Exponential(n(0.5), n(0.25))),
    (Exponential, lambda n: Exponential.through(n(4), n(1), n(8))),
    (ApproachTarget, lambda n: ApproachTarget(n(2), n(0.5), n(100))),
    (Bounded, lambda n: Bounded(Exponential(n(0.5), n(0.25)), n(0.125), n(1))),
    # optimizers, their states and traces
    (MovingAverage, lambda n: MovingAverage("debiased", n(0.5))),
    (Average, lambda n: Average(None, n(0), n(0))),
    (Average, lambda n: Average(matrix("kronecker"), n(1), n(1.0))),
    (Baseline, lambda n: Baseline(network(n), n(0.5), l2=n(0.25))),
    (Baseline, lambda n: Baseline(network(n), Constant(n(0.5)))),
    (SGD, lambda n: baseline(SGD, n, 0.25, 0.5, True, l2=0.125)),
    (SGD, lambda n: SGD(network(n), Constant(n(0.5)), Constant(n(0.25)))),
    (Adam, lambda n: baseline(Adam, n, 0.25, 0.5, 0.75, 2.0**-10, l2=0.125)),
    (NaturalGradient, lambda n: NaturalGradient(network(n), n(1), n(0.5), limit=n(50))),
    (
        HessianFree,
        lambda n: HessianFree(
            network(n), n(1), n(0.5), LevenbergMarquardt(n(0.5)),
            iterations=n(5), tolerance=n(0.125), warm_start=n(0.75), l2=n(0.125),
        ),
    ),
    (Group, lambda n: Group()),
    (Statistics, lambda n: kfac(n).options.statistics),
    (Inversion, lambda n: kfac(n).options.inversion),
    (Update, lambda n: kfac(n).options.update),
    (Practice, lambda n: libraries(n).options.practice),
    (Due, lambda n: kfac(n).options.due(3)),
    (Options, lambda n: kfac(n).options),
    (Local, lambda n: Local(network(n), steps(kfac(n))[0], array(P), array(P), None)),
    (KFAC, kfac),
    (KFAC, libraries),
    (KFAC, partial(kfac, structure="block_tridiagonal", estimate="sampled")),
    (KFAC, partial(kfac, structure=["diagonal", "kronecker"], damping_rule=tikhonov)),
    (SGDState, lambda n: SGDState(array(P), array(P), n(3))),
    (AdamState, lambda n: AdamState(array(P), array(P), array(P) ** 2, n(3))),
    (NaturalGradientState, lambda n: NaturalGradientState(array(P), n(3))),
    (HessianFreeState, lambda n: HessianFreeState(array(P), array(P), n(0.5), n(3))),
    (
        State,
        lambda n: State(
            array(P), array(P), Average(), Average(), n(0.25), n(0.5),
            matrix("kronecker"), None, n(3),
        ),
    ),
    (State, lambda n: steps(kfac(n), 4)[0]),
    (State, lambda n: steps(kfac(n, structure="block_tridiagonal"))[0]),
    (Place, lambda n: Place(np.array([2, 0, 1]), n(2))),
    (Fit, lambda n: Fit(kfac(n), array(P))),
    (Trace, lambda n: steps(kfac(n))[1]),
    (Proposal, lambda n: steps(kfac(n))[1].proposal),
    (
        Proposal,
        lambda n: Proposal(
            n(0.5), matrix("dense"), None, array(P), n(1), None, n(0.5), n(0), array(P)
        ),
    ),
    (Outcome, lambda n: Outcome(n(0.5), n(0.25), n(2), n(False))),
    (Outcome, lambda n: Outcome(None, None, n(2), n(True))),
    (Step, lambda n: Step(n(0.5), array(P), array(P), n(0.25), n(0.5), n(2))),
    (Step, lambda n: steps(baseline(SGD, n, 0.25))[1]),
    (
        HessianFreeStep,
        lambda n: HessianFreeStep(
            n(0.5), array(P), array(P), n(1), None, n(2), n(0.5), n(False), n(7)
        ),
    ),
    (History, lambda n: History(*columns())),
    (Run, lambda n: Run(steps(kfac(n))[0], History(*columns()))),
    # comparison
    (
        entries.Entry,
        lambda n: entries.read_entries(
            {"M": (Built(matrix("dense"), n(0.5)), factored_tikhonov)}, None
        )["M"],
    ),
    (Built, lambda n: Built(matrix("dense"), n(0.5))),
    (
        comparing._Scope,
        lambda n: comparing._Scope(
            None, matrix("dense"), n(0.5), n(0.25), matrix("dense"), X, X, n(2)
        ),
    ),
    (Row, row),
    (Comparison, lambda n: Comparison(n(0.5), [row(n)])),
    # demo and races
    (demo_problem.Settings, lambda n: problem(n).settings),
    (demo_problem.Problem, problem),
    (training.Training, lambda n: training.Training([X], [0.5], [0.25], [[0.125]])),
    (measuring.Sampling, lambda n: measuring.Sampling(n(9), [1], [[0.5]], [[0.25]])),
    (
        measuring.Measurement,
        lambda n: measuring.Measurement(
            Built(matrix("dense"), n(0.5)), {}, Comparison(n(0.5), [row(n)]),
            measuring.Sampling(n(9), [1], [[0.5]], [[0.25]]),
        ),
    ),
    (autoencoder.Form, lambda n: autoencoder.Form((4, 2), n(9), n(20), n(14))),
    (
        autoencoder.Problem,
        lambda n: autoencoder.Problem("few", network(n), X, X[:2], n(0.5), n(3)),
    ),
    (
        autoencoder_race.Settings,
        lambda n: autoencoder_race.Settings(n(True), None, n(3)),
    ),
    (
        contest.Finish,
        lambda n: contest.Finish("K-FAC", "SGD", [0.5], [[9.0, 3.0]], [[2.0, 1.0]]),
    ),
    (contestants.Tuned, lambda n: contestants.Tuned((0.5, 0.25), n(125), n(100))),
    (
        contest.Contestant,
        lambda n: contest.Contestant(
            baseline(SGD, n, 0.5), n(125), n(100), "some", n(5)
        ),
    ),
    (contest.Lap, lambda n: contest.Lap([X], History(*columns()), n(0.5))),
    (contest.Course, lambda n: contest.Course([{"update": 3, "loss": 0.5}])),
    (labelled.Images, lambda n: pictures()),
    (
        convolutional_race.Settings,
        lambda n: convolutional_race.Settings("digits", n(1), n(100), Path("out")),
    ),
    (
        convolutional.Problem,
        lambda n: convolutional.Problem(n(1), network(n), [X], pictures(), "few"),
    ),
    (lbann_settings.KfacSettings, settings),
    (lbann_settings.Settings, example),
    (
        lbann_settings.Scheduled,
        lambda n: lbann_settings.make_optimizer(example(n), network(n)),
    ),
    (lbann.Problem, lbann_problem),
    # the comparison of a card with the host
    (nets.Place, lambda n: PLACE),
    (nets.Problem, lambda n: nets.problem("chain", PLACE)),
    (gpu_comparing.Case, lambda n: next(gpu_cases.network_cases())),
    (
        gpu_comparing.Outcome,
        lambda n: gpu_comparing.Outcome("structures", "full", "float64", "PASS"),
    ),
    (tasks.Net, lambda n: tasks.dense_net([5, 4, 3], 7, PLACE)),
    (tasks.Step, lambda n: tasks.Step([5, 3, 2], 7, PLACE)),
    (timing.Time, lambda n: timing.Time("step", "float64", n(0.5), n(0.25), n(9))),
]  # fmt: skip

NOT_POSITIVE = ("the matrix", 0.5, [-1.0, 2.0])
ERRORS = {
    errors.NotPositiveDefinite: lambda: errors.NotPositiveDefinite(*NOT_POSITIVE),
    Diverged: lambda: Diverged("gradient", "2: Dense(4, 3)"),
    TrainingDiverged: lambda: TrainingDiverged(
        Diverged("loss"), Run(SGDState(array(P), array(P), 3), History(*columns()))
    ),
} | {
    kind: partial(kind, f"a message of {kind.__name__}")
    for kind in (
        errors.KfacError,
        errors.ShapeError,
        errors.ValueRangeError,
        errors.NotFinite,
        errors.UnknownName,
        errors.KfacTypeError,
        errors.BackendError,
        errors.Unsupported,
        CheckpointError,
        DatasetError,
        DatasetMissing,
        errors.ExtraMissing,
        errors.TooLarge,
        NotWritable,
        demo_problem.TooLarge,
    )
}

NO_VALUES = {  # class: why it is neither copied nor compared
    use: "a switch, which is thrown when it is made",
    Parser: "argparse's, and lives as long as a command",
    Optimizer: "a protocol, of which there are no objects",
    contest.Problem: "a protocol, of which there are no objects",
    Device: "a card, which cannot be sent anywhere",
    tasks.Task: "a measurement, whose operands are at a card",
    Decoder: "reads one file, and counts what it has read",
    errors._Description: "reprlib's, of which there is one, `describe`",
    algorithm2.CrossEntropy: "the one page imports NumPy alone; it holds nothing",
    algorithm2.SquaredError: "the one page imports NumPy alone; it holds nothing",
}


def modules():
    """All modules of the package."""
    for found in pkgutil.walk_packages(kfac_ref.__path__, "kfac_ref."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def defined(module, is_kind):
    """What a module defines itself, of that kind."""
    for found in vars(module).values():
        if is_kind(found) and found.__module__ == module.__name__:
            yield found


def classes():
    return [found for m in modules() for found in defined(m, inspect.isclass)]
