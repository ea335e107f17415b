"""Numbers are normalised once, at the door, whatever kind they come in.

Every class (found by introspection, see test_values.py) is made from numbers of Python
and from NumPy's; what is kept, and what is done with it, must not differ in anything.
The same for every function that takes a number. Arrays are float32 throughout.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import re
from dataclasses import make_dataclass
from fractions import Fraction

import numpy as np
import pytest

import value_cases as cases
from kfac_ref import curvature, quadratic_model
from kfac_ref.checks import check_count, check_flag, check_number, check_real
from kfac_ref.comparison import compare, distances
from kfac_ref.damping import rules
from kfac_ref.damping.pi import check_pi, find_pi
from kfac_ref.datasets import read_idx, shrink
from kfac_ref.datasets.curves import curves
from kfac_ref.errors import KfacError, KfacTypeError, ValueRangeError
from kfac_ref.estimates import make_estimate
from kfac_ref.exact import dense as fisher
from kfac_ref.exact import hessian
from kfac_ref.exact.products import (
    FisherProduct,
    check_block,
    curvature_product,
)
from kfac_ref.layers import Dense, Layer
from kfac_ref.optimizer import (
    KFAC,
    SGD,
    averages,
    baselines,
    growing_batches,
    stages,
    statistics,
    train,
)
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt, gamma_candidates
from kfac_ref.optimizer.schedules import Constant
from kfac_ref.optimizer.subsampling import check_share, subsample_positions
from kfac_ref.pairs import given_pairs, propagate
from kfac_ref.structures.best_kronecker import nearest_kronecker
from kfac_ref.structures.dense import dense_blocks
from kfac_ref.values import Value, same
from value_behaviour import behave, shown
from value_cases import CASES, KINDS, PLAIN, array, defined, generator, modules

every_kind = pytest.mark.parametrize("n", KINDS, ids=lambda n: n.name)
names = [f"{i}-{kind.__name__}" for i, (kind, _) in enumerate(CASES)]
every_case = pytest.mark.parametrize("build", [b for _, b in CASES], ids=names)


@every_case
def test_what_is_kept_and_what_is_done(build):
    value = build(PLAIN)
    expected, kept = behave(value), types(value)
    for n in KINDS:
        other = build(n)
        assert shown(other) == shown(value), n.name
        assert types(other) == kept, n.name
        assert other == value, n.name
        assert_same(behave(other, n), expected, n.name)


@every_case
def test_what_is_no_number_is_refused_at_every_place(build):
    """Number after number is replaced: by a bool, by a word, a flag by a number."""
    count = Replacing(-1, None)
    build(count)
    for place, number in enumerate(count.seen):
        for wrong in (1, "yes") if isinstance(number, bool) else (True, "x", [number]):
            with pytest.raises(KfacError, match=re.escape(f"found {wrong!r}")):
                build(Replacing(place, wrong))


HUGE = (10**400, -(10**400), 10**5000, Fraction(10**400))


@every_case
@pytest.mark.parametrize("huge", HUGE, ids=["400", "-400", "5000", "fraction"])
def test_numbers_beyond_float64_are_refused_at_every_place(build, huge):
    """float() of them raises OverflowError, and arrays have no such sizes."""
    count = Replacing(-1, None)
    build(count)
    for place in range(len(count.seen)):
        with pytest.raises(KfacError, match="expected"):
            build(Replacing(place, huge))


@every_case
def test_methods_refuse_numbers_beyond_float64(build):
    """Or they have no use for them, as a rule for a change that nobody predicted."""
    value, count = build(PLAIN), Replacing(-1, None)
    if isinstance(value, cases.Distribution | cases.Estimate | cases.sparse):
        return  # they draw for `propagate` and `init`, which check
    behave(value, count)
    for place in range(len(count.seen)):
        with contextlib.suppress(KfacError):
            behave(build(PLAIN), Replacing(place, 10**400))


class Replacing:
    """Python's numbers, but for the one at a place."""

    whole, real, flag = int, float, bool

    def __init__(self, place, wrong):
        self.place, self.wrong, self.seen = place, wrong, []

    def __call__(self, number):
        self.seen.append(number)
        return self.wrong if len(self.seen) - 1 == self.place else number


def test_a_row_of_wrong_numbers():
    """What `check_...` accept and refuse, one by one."""
    for good in (3, np.int8(3), np.uint64(3), np.array(3)):
        assert check_count("n", good) == 3 and type(check_count("n", good)) is int
        assert type(check_number("x", good)) is float
        assert type(check_real("x", good)) is int
    for good in (
        0.5,
        np.float16(0.5),
        np.longdouble(0.5),
        np.array(0.5),
        Fraction(1, 2),
    ):
        assert check_number("x", good) == 0.5 == check_real("x", good)
        assert type(check_number("x", good)) is type(check_real("x", good)) is float
    for good in (True, np.True_, np.array(True)):
        assert check_flag("f", good) is True
    for bad in (True, np.True_, np.array(True), 2.0, np.array([3]), "3", None, 1j, 0):
        with pytest.raises(ValueRangeError, match="n: expected a whole number >= 1"):
            check_count("n", bad)
    for bad in (True, np.True_, np.array(True), np.array([0.5]), "3", None, 1j):
        with pytest.raises(KfacTypeError, match="x: expected a number, found"):
            check_number("x", bad)
    for bad in (1, 0, "yes", None, np.array([True]), np.int64(1)):
        with pytest.raises(KfacTypeError, match="f: expected True or False, found"):
            check_flag("f", bad)
    for huge in (10**400, -(10**400), Fraction(10**400)):
        with pytest.raises(
            ValueRangeError, match=r"range of float64, .* 1.8e\+308, fou"
        ):
            check_number("x", huge)
    with pytest.raises(ValueRangeError, match="found a whole number of 16610 bits"):
        check_real("x", 10**5000)
    assert check_count("n", 2**63 - 1) == 2**63 - 1
    with pytest.raises(ValueRangeError, match=r"a whole number up to 9.2e\+18, as siz"):
        check_count("n", 2**63)
    assert math.isnan(check_number("x", np.nan)) and check_number("x", np.inf) > 1e308


def types(part, path="", results=False):
    """The types of all parts, as nested tuples. NumPy's scalars may only be results."""
    if isinstance(part, np.ndarray | np.generic):
        assert results or part.ndim, f"{path} is {part!r}: keep Python's own number"
        return type(part), str(part.dtype), part.shape
    if isinstance(part, dict):
        return dict, *[(k, types(v, f"{path}.{k}", results)) for k, v in part.items()]
    if isinstance(part, list | tuple):
        inside = [types(v, f"{path}[{i}]", results) for i, v in enumerate(part)]
        return type(part), *inside
    if isinstance(part, slice):
        return slice, *[type(v) for v in (part.start, part.stop, part.step)]
    own = vars(part) if isinstance(part, Value) else {}
    own = {name: held for name, held in own.items() if name != "_forward"}  # made later
    return type(part), types(own, path, results) if own else ()


def assert_same(found, expected, where):
    """The same numbers and arrays, of the same types: nothing became float64."""
    assert types(found, results=True) == types(expected, results=True), where
    assert same(found, expected), where


# Functions


NET = cases.network(PLAIN)
PARAMS, X, Y = cases.start(NET), cases.X, cases.Y
IMAGES = array(3, 4, 6, 2)


def matrix(name="kronecker"):
    return cases.matrix(name)


def forward():
    return NET.linearize(PARAMS, X)


def idx(n, path):
    path.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 1, 7, 9]))
    return read_idx(path, n(2))


def model():
    directions = [array(cases.P), array(cases.P, seed=2)]
    product = FisherProduct(NET.linearize(PARAMS, X))
    return directions, array(cases.P, seed=3), product


def trained(n, **length):
    data, options = (X, Y), dict(evaluation=(X, Y), progress=False)
    optimizer, rng = SGD(NET, 0.25), generator(4)
    run = train(
        optimizer, PARAMS, data, n(3), rng, evaluate_every=n(2), **length, **options
    )
    return run.state, run.history.update, run.history.loss, run.history.evaluation


def compared(n):
    exact, others = matrix("dense"), {"other": matrix("diagonal")}
    table = compare(exact, others, [array(5, 1)], n(0.5))
    return [[v for k, v in vars(r).items() if "seconds" not in k] for r in table.rows]


FUNCTIONS = {
    compare: compared,
    distances.inverse_error: lambda n: distances.inverse_error(
        matrix(), matrix("eigen_kronecker"), n(0.5)
    ),
    distances.angle: lambda n: distances.angle(
        matrix(), matrix("eigen_kronecker"), array(15), n(0.5)
    ),
    distances.damped_norm_ratio: lambda n: distances.damped_norm_ratio(
        matrix(), matrix("eigen_kronecker"), array(15), n(0.5)
    ),
    distances.difference: lambda n: distances.difference(
        matrix(), matrix("eigen_kronecker"), n(0.5)
    ),
    distances.damped_norm: lambda n: distances.damped_norm(array(15), matrix(), n(0.5)),
    curves: lambda n: curves(n(2), generator(3), n(14), np.float32),
    check_pi: lambda n: [check_pi(pi) for pi in ("trace", n(0.5), n(2))],
    find_pi: lambda n: [find_pi(matrix(), n(pi)) for pi in (0.5, 3)],
    rules.tikhonov: lambda n: rules.tikhonov(matrix("dense"), n(0.5)),
    rules.factored_tikhonov: lambda n: rules.factored_tikhonov(
        matrix(), n(0.5), n(2), n(True)
    ),
    rules.same_on_each_factor: lambda n: rules.same_on_each_factor(matrix(), n(0.5)),
    rules.separate: lambda n: [
        rules.separate(matrix(name), n(0.5), n(2), n(0.25), n(1), n(2.0))
        for name in ("kronecker",)
    ],
    rules.by_kind: lambda n: rules.by_kind(matrix("block_diagonal"), n(0.5)),
    shrink: lambda n: shrink(IMAGES, n(2)),
    fisher.fisher_matrix: lambda n: fisher.fisher_matrix(
        NET, PARAMS, X, n(1), memory=n(200)
    ),
    fisher.ggn_matrix: lambda n: fisher.ggn_matrix(
        NET, PARAMS, X, Y, n(0), memory=n(200)
    ),
    fisher.empirical_fisher_matrix: lambda n: fisher.empirical_fisher_matrix(
        NET, PARAMS, X, Y, n(1), n(200)
    ),
    hessian.hessian_matrix: lambda n: hessian.hessian_matrix(NET, PARAMS, X, Y, n(1)),
    check_block: lambda n: check_block(NET, n(1)),
    make_estimate: lambda n: make_estimate("sampled", n(3)),
    gamma_candidates: lambda n: gamma_candidates(n(2), n(0.5), n(0.25), n(3)),
    quadratic_model.quadratic_model: lambda n: quadratic_model.quadratic_model(
        *model(), n(0.5)
    ),
    quadratic_model.reduction_ratio: lambda n: quadratic_model.reduction_ratio(
        n(2), n(0.5), n(-0.25)
    ),
    growing_batches: lambda n: growing_batches(n(2), n(100), n(50)),
    train: lambda n: [trained(n, updates=n(3)), trained(n, epochs=n(2))],
    propagate: lambda n: behave(
        propagate(
            NET.linearize(PARAMS, X), "sampled", rng=generator(2), samples=n(2),
            memory=n(200),
        )
    ),
    given_pairs: lambda n: behave(
        given_pairs([array(7, 1, 5)], [array(2, 7, 1, 3)], memory=n(200))
    ),
    curvature: lambda n: curvature(
        NET, PARAMS, X, "block_tridiagonal", "sampled",
        rng=generator(2), samples=n(2), memory=n(200),
    ),
    subsample_positions: lambda n: behave(
        subsample_positions(cases.shared(PLAIN), n(0.5), generator(1))
    ),
    curvature_product: lambda n: behave(
        curvature_product("ggn", NET.linearize(PARAMS, X), Y, n(1))
    ),
    check_share: lambda n: [check_share("share", n(share)) for share in (0.5, 1)],
    dense_blocks: lambda n: dense_blocks(cases.pairs(PLAIN), [n(1)]),
    nearest_kronecker: lambda n: nearest_kronecker(
        cases.pairs(PLAIN), n(1), *(2 * np.eye(d, dtype=np.float32) for d in (5, 3))
    ),
    statistics.statistics_stage: lambda n: statistics.statistics_stage(
        cases.images(PLAIN).linearize(cases.start(cases.images(PLAIN)), cases.PIXELS),
        cases.LABELS, generator(2), samples=n(2), position_share=n(0.5),
    ),
    statistics.choices: lambda n: statistics.choices(
        NET, "kronecker", ["sampled", "expectation"], n(2)
    ),
    stages.loss_stage: lambda n: stages.loss_stage(forward(), Y, n(0.5)),
    stages.loss_alone_stage: lambda n: stages.loss_alone_stage(forward(), Y, n(0.5)),
    stages.subset_stage: lambda n: stages.subset_stage(X, Y, n(0.5), generator(1)),
    stages.damping_stage: lambda n: stages.damping_stage(
        matrix(), n(0.5), rules.factored_tikhonov
    ),
    stages.clip_stage: lambda n: [
        stages.clip_stage(array(9), array(9), n(0.125), n(0.5), form)
        for form in stages.CLIPS
    ],
    stages.coefficient_stage: lambda n: [
        stages.coefficient_stage(
            quadratic_model.quadratic_model(*model()), n(0.5), *fixed
        )
        for fixed in ((), (n(1),), (None, n(0.5)))
    ],
    baselines.check_rate: lambda n: baselines.check_rate("rate", n(0.5)),
    baselines.value_at: lambda n: [
        baselines.value_at(n.real, 3), baselines.value_at(0.5, n(3))
    ],
}  # fmt: skip

NO_DOORS = {  # module or function: why its numbers are not looked at
    "kfac_ref.checks.check_count": "a check itself",
    "kfac_ref.panels": "a panel's size, made by the package",
    "kfac_ref.exact.products.by_products": "behind the matrices, which check",
    "kfac_ref.errors": "they are the checks",
    "kfac_ref.matrices.definite": "behind the methods of matrices, which check",
    "kfac_ref.damping.factors": "behind the rules, which check",
    "kfac_ref.backend.add_scaled": "behind averages and stages, which check",
    "kfac_ref.gpu": "sizes that are written there",
    "kfac_ref.limits": "sizes of arrays",
    "kfac_ref.optimizer.batches.batches": "behind train, which checks",
    "kfac_ref.optimizer.batches.check_batch_size": "behind train, and Settings",
    "kfac_ref.layers.base": "compares a shape",
    "kfac_ref.optimizer.schedules": "a check, and `require`",
    "kfac_ref.plotting": "draws",
    "kfac_ref.definition": "apart from the rest: autograd's numbers must pass",
    "kfac_ref.examples": "from Settings, or into constructors, which check",
    "kfac_ref.optimizer.stages.check_finite_stage": "looks at a result",
    "kfac_ref.optimizer.arguments.check_size": "is a check",
    "kfac_ref.optimizer.state_parts": "are checks",
    "kfac_ref.optimizer.proposal": "behind a step, whose options and state check",
    "kfac_ref.comparison.distances.not_zero": "looks at a result",
    "kfac_ref.optimizer.averages.mix": "behind MovingAverage, whose weights are floats",
}


def takes_numbers(function):
    """Is a parameter a number, by its annotation?"""
    found = inspect.signature(function).parameters.values()
    kinds = {"int", "float", "Number", "Sequence[int]"}
    return any(kinds & set(str(p.annotation).split(" | ")) for p in found)


def doors():
    """All functions of the package that take a number."""
    for module in modules():
        for function in defined(module, inspect.isfunction):
            if not function.__name__.startswith("_") and takes_numbers(function):
                yield function


def test_every_function_that_takes_a_number_has_a_case():
    def places(function):
        name = f"{function.__module__}.{function.__name__}."
        return {place for place in NO_DOORS if name.startswith(f"{place}.")}

    others = set(doors()) - set(FUNCTIONS) - {read_idx}
    missing = [function for function in others if not places(function)]
    assert not missing, f"add to FUNCTIONS or to NO_DOORS, with the reason: {missing}"
    assert set(FUNCTIONS) <= set(doors())
    stale = set(NO_DOORS).difference(*map(places, others))
    assert not stale, f"take out of NO_DOORS, they speak for no function: {stale}"


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_functions_take_every_kind_of_number(function):
    call = FUNCTIONS[function]
    expected = call(PLAIN)
    for n in KINDS:
        assert_same(call(n), expected, n.name)


INSIDE = {  # not doors: numbers that the package makes
    dense_blocks: "indices of blocks",
    nearest_kronecker: "the index of a block",
    baselines.value_at: "the step of a state, which is checked there",
}


@pytest.mark.parametrize(
    "function", [f for f in FUNCTIONS if f not in INSIDE], ids=lambda f: f.__name__
)
def test_functions_refuse_numbers_beyond_float64(function):
    call = FUNCTIONS[function]
    count = Replacing(-1, None)
    call(count)
    assert count.seen
    for place in range(len(count.seen)):
        for huge in HUGE:
            with pytest.raises(KfacError, match="expected"):
                call(Replacing(place, huge))


@every_kind
def test_read_idx_takes_every_kind_of_number(n, tmp_path):
    np.testing.assert_array_equal(idx(n, tmp_path / "few"), [[7], [9]])


def test_dataclasses_of_users_are_normalised_too():
    """Annotations may be words or the classes themselves."""
    fields = [("factor", float), ("often", int | None), ("other", "list[float]")]
    Scale = make_dataclass("Scale", fields, bases=(Layer,), eq=False)
    made, other = Scale(np.float32(0.5), np.int8(3), [1]), Scale(0.5, None, [1])
    assert type(made.factor) is float and type(made.often) is type(made.other[0]) is int
    assert made == Scale(0.5, 3, [1]) != other and other.often is None
    with pytest.raises(
        KfacTypeError, match="Scale factor: expected a number, found 'x'"
    ):
        Scale("x", 3, [1])


# What was wrong once


def test_sizes_of_eight_bits():
    """(64 + 1) * 10 is 650; in eight bits it is 138."""
    assert (
        cases.Network([Dense(np.uint8(64), np.uint8(10))], cases.Normal()).size == 650
    )


@pytest.mark.parametrize("decay", [0.9, np.float64(0.9), np.array(0.9)])
def test_a_decay_leaves_float32_as_it_is(decay):
    optimizer = KFAC(NET, damping=0.5, average=averages.MovingAverage("first", decay))
    state, _ = cases.steps(optimizer, 3)
    assert {state.average.value.blocks[0].A.dtype, state.theta.dtype} == {X.dtype}


def test_a_period_and_a_schedule_of_numpys_numbers():
    rule = LevenbergMarquardt(period=np.int64(5))
    assert rule == LevenbergMarquardt(period=5) and rule.due(np.uint8(254))
    rate = Constant(np.float64(0.25))
    state, _ = cases.steps(SGD(NET, rate))
    assert state == cases.steps(SGD(NET, 0.25))[0] and state.theta.dtype == np.float32


def test_as_many_outputs_as_there_are_classes():
    joint = cases.Joint([(cases.Categorical(), Y.max() + 1, 1.0)])
    assert joint.outputs == 3 and type(joint.outputs) is int


@pytest.mark.parametrize("dtype", ["int64", ">i4", "float16", complex, "no type", 3])
def test_parameters_and_images_are_floats_of_two_kinds(dtype):
    for make in (
        lambda: NET.init(generator(1), dtype),
        lambda: curves(2, generator(1), dtype=dtype),
    ):
        with pytest.raises(ValueRangeError, match="dtype: expected float64 or float32"):
            make()


@pytest.mark.parametrize("dtype", ["f4", ">f4", "<f4", np.float32, np.dtype("float32")])
def test_one_byte_order(dtype):
    """Parameters of another byte order are those of this machine, not swapped later."""
    assert {W.dtype for W in NET.init(generator(1), dtype)} == {np.dtype("=f4")}
    assert curves(2, generator(1), dtype=dtype).dtype == np.dtype("=f4")
