"""What is passed is used, or refused before any work is done: what it cannot mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from damping_cases import plus, shared
from helpers import assert_exact, host
from kfac_ref import curvature, propagate
from kfac_ref.damping import (
    by_kind,
    factored_tikhonov,
    make_rule,
    same_on_each_factor,
    tikhonov,
)
from kfac_ref.distributions import Bernoulli, Categorical, Joint, Normal
from kfac_ref.errors import (
    KfacTypeError,
    ShapeError,
    UnknownName,
    Unsupported,
    ValueRangeError,
)
from kfac_ref.estimates import Empirical, Estimate, Expectation, RandomSigns, Sampled
from kfac_ref.exact.dense import empirical_fisher_matrix
from kfac_ref.matrices import (
    BlockDiagonalMatrix,
    DenseMatrix,
    DiagonalMatrix,
    EigenKronecker,
    KroneckerProduct,
)
from kfac_ref.optimizer import KFAC, SGD, Average, HessianFree, MovingAverage, train
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.optimizer.schedules import Bounded, Constant, Exponential
from matrix_cases import moment, rotation
from networks import chain, classes, inputs, parameters
from optimizer_cases import problem as optimizer_problem
from optimizer_cases import run


@pytest.fixture
def problem(xp, rng):
    net = chain()
    return net, parameters(net, rng, xp), inputs(rng, xp), classes(rng, xp)


# An estimate given as an object, and samples beside it.


def test_samples_beside_an_estimate_agree_with_it_or_are_refused(problem, rng):
    net, params, x, _ = problem
    for given in (1, 10_000):
        with pytest.raises(ValueRangeError, match=f"samples: expected 3, .* {given}$"):
            curvature(net, params, x, "full", Sampled(3), rng=rng, samples=given)
        with pytest.raises(ValueRangeError, match="samples: expected 3, as in the"):
            propagate(net.linearize(params, x), Sampled(3), rng=rng, samples=given)
        with pytest.raises(ValueRangeError, match="samples: expected 3, as in the"):
            KFAC(net, estimate=Sampled(3), samples=given)
        with pytest.raises(ValueRangeError, match="samples: expected 3, as in the"):
            KFAC(net, estimate=[Sampled(3), "empirical", "empirical"], samples=given)
    for samples in (None, 3):
        pairs = propagate(
            net.linearize(params, x), Sampled(3), rng=rng, samples=samples
        )
        assert pairs.count == 3


@pytest.mark.parametrize("kind", [Expectation, Empirical])
def test_what_draws_nothing_takes_no_samples(kind):
    with pytest.raises(ValueRangeError, match=f"{kind.__name__}: expected 1, as it dr"):
        kind(2)


# Estimates of one's own.


@dataclass(frozen=True)
class Given(Sampled):
    """Labels (samples, N) that are at hand: nothing is drawn."""

    labels: object = None

    def draw(self, distribution, z, y, rng):
        return self.labels


@dataclass(frozen=True)
class Observed(Empirical):
    """One label for each example, chosen from all outputs z."""

    shift: int = 0

    def needs_labels(self, distribution):
        return False

    def draw(self, distribution, z, y, rng):
        return z.argmax(axis=-1) + self.shift


def test_a_reproducible_estimate_needs_no_generator(problem, xp):
    net, params, x, y = problem
    found = curvature(net, params, x, "full", Given(1, y[None]))
    expected = empirical_fisher_matrix(net, params, x, y)
    assert_exact(found.to_dense(), host(expected.to_dense()))
    top = net.predict(params, x).argmax(axis=-1)
    found = curvature(net, params, x, "full", Observed())
    expected = empirical_fisher_matrix(net, params, x, top)
    assert_exact(found.to_dense(), host(expected.to_dense()))
    kfac = KFAC(net, estimate=Given(1, y[None]), damping=1.0)
    assert kfac.step(kfac.init(params), x, y, None)[0].step == 1


@pytest.mark.parametrize("name", [Sampled, RandomSigns, "sampled", "ggn_random_signs"])
def test_an_estimate_that_draws_needs_one(problem, name):
    net, params, x, _ = problem
    estimate = name if isinstance(name, str) else name()
    with pytest.raises(ValueRangeError, match="needs a generator, rng=numpy.random.d"):
        propagate(net.linearize(params, x), estimate)


def test_labels_that_were_drawn_are_checked_like_any(problem, xp):
    net, params, x, y = problem
    where = "labels that estimate {} drew: .*"
    for labels, error, message in (
        (y[None] + 3, ValueRangeError, "expected integers from 0 to 2"),
        (-1 - y[None], ValueRangeError, "expected integers from 0 to 2"),
        (1.0 * y[None], ValueRangeError, "expected integers, found float64"),
        (y[None, :5], ShapeError, r"expected shape \(11,\), found \(5,\)"),
        (y[:1], ShapeError, "first axis of examples"),
        (xp.stack([y, y]), ShapeError, "expected 1 on the first axis, .* found 2"),
        (7, ShapeError, "expected 1 on the first axis, .* found no axis"),
        (xp.sum(y), ShapeError, "expected 1 on the first axis, .* found no axis"),
    ):
        with pytest.raises(error, match=where.format("Given") + message):
            propagate(net.linearize(params, x), Given(1, labels))
    with pytest.raises(ValueRangeError, match=where.format("Observed") + "from 0 to 2"):
        propagate(net.linearize(params, x), Observed(shift=3))


def test_labels_for_several_losses_are_checked_part_by_part(xp, rng):
    joint = Joint([(Categorical(), 2, 0.7), (Bernoulli(), 1, 2.0)])
    net = chain(distribution=joint)
    params, x = parameters(net, rng, xp), inputs(rng, xp)
    good = [xp.asarray(rng.integers(0, 2, (2, 11))), xp.ones((2, 11, 1))]
    assert propagate(net.linearize(params, x), Given(2, good)).count == 2
    with pytest.raises(ValueRangeError, match="Given drew: .*part 0, Categorical"):
        propagate(net.linearize(params, x), Given(2, [good[0] + 5, good[1]]))


def test_signs_have_the_shape_of_the_outputs(problem, xp):
    class Fixed(RandomSigns):
        def draw(self, distribution, z, y, rng):
            return xp.ones((1, 11, 2))

    net, params, x, _ = problem
    with pytest.raises(ShapeError, match=r"Fixed drew: expected shape \(1, 11, 3\)"):
        propagate(net.linearize(params, x), Fixed())


def test_what_is_drawn_need_not_be_labels(problem, xp, rng):
    class Noise(Estimate):
        is_random = True

        def draw(self, distribution, z, y, rng):
            self.needs_generator(rng)
            return xp.asarray(rng.normal(size=(1, *z.shape)))

        def check(self, network, z, drawn):
            """Any number will do."""

        def vectors(self, distribution, z, drawn, start, stop):
            return drawn[start:stop]

    net, params, x, _ = problem
    assert propagate(net.linearize(params, x), Noise(), rng=rng).count == 1
    with pytest.raises(ValueRangeError, match="Noise: needs a generator"):
        propagate(net.linearize(params, x), Noise())


def test_labels_and_generator_may_always_be_given_and_are_looked_at(problem, rng):
    """A convenience: one call for all estimates; but nothing wrong passes by."""
    net, params, x, y = problem
    state = rng.bit_generator.state
    found = curvature(net, params, x, "full", "expectation", y=y, rng=rng)
    assert_exact(found.to_dense(), host(curvature(net, params, x, "full").to_dense()))
    assert rng.bit_generator.state == state
    with pytest.raises(ValueRangeError, match="labels: expected integers from 0 to 2"):
        curvature(net, params, x, y=y + 3)
    with pytest.raises(ValueRangeError, match="rng: expected a numpy.random.Generator"):
        curvature(net, params, x, rng=3)


# Arguments that no function takes.


def test_an_unknown_argument_is_that_of_the_call_and_has_a_near_one(problem):
    net, params, x, _ = problem
    with pytest.raises(KfacTypeError) as caught:
        curvature(net, params, x, sample=3)
    assert str(caught.value) == (
        "curvature: unknown argument 'sample': did you mean 'samples'? known: network, "
        "params, x, structure, estimate, y, rng, samples, memory"
    )
    with pytest.raises(KfacTypeError, match="curvature: unknown argument 'damping'"):
        curvature(net, params, x, "block_tridiagonal", damping=0.1)
    with pytest.raises(ValueRangeError, match="'separate': its numbers are its own"):
        make_rule("separate")


# Functions: a class, of which no instance was made, is none.


def test_a_class_where_a_function_is_expected(problem, rng):
    net, params, x, y = problem
    for make, message in (
        (lambda: SGD(net, Exponential), "SGD learning_rate: expected a number or a s"),
        (lambda: SGD(net, 0.1, momentum=Constant), "SGD momentum: expected a number"),
        (lambda: HessianFree(net, Exponential), "HessianFree learning_rate: expected"),
        (lambda: Bounded(Constant), "Bounded then: expected a schedule, such as"),
        (lambda: Bounded(0.5), "Bounded then: expected a schedule, .* found 0.5"),
        (lambda: Bounded(None), "Bounded then: expected a schedule, .* found None"),
        (lambda: KFAC(net, damping_rule=KroneckerProduct), "damping_rule: expected a"),
        (lambda: by_kind(curvature(net, params, x), 1.0, KroneckerProduct), "kronec"),
        (lambda: train(SGD(net, 0.1), params, (x, y), Constant, rng, updates=1),
         "batch_size: expected a number or a schedule, found <class"),
    ):  # fmt: skip
        with pytest.raises(KfacTypeError, match=message):
            make()
    assert SGD(net, Constant(0.1)).learning_rate == Constant(0.1)


def test_a_damping_rule_that_gives_no_matrix(problem, rng):
    net, params, x, y = problem
    for structure in ("kronecker", "full"):
        kfac = KFAC(net, structure=structure, damping_rule=lambda M, d: None)
        with pytest.raises(KfacTypeError, match="damping_rule: expected .*found None"):
            kfac.step(kfac.init(params), x, y, rng)


# Damping by kind.


def by_hand(rng, xp):
    """Every kind of block, and what by_kind must make of it with lambda = 0.37."""
    lam, gamma = 0.37, 0.37**0.5
    A, G, M = moment(rng, 5), 0.04 * moment(rng, 3), moment(rng, 4)
    U, V, values = rotation(rng, 3), rotation(rng, 2), rng.uniform(0, 2, (3, 2))
    diagonal = rng.uniform(0, 2, 7)
    E = np.kron(U, V)
    up = xp.asarray
    return [
        (KroneckerProduct(up(A), up(G)), shared(A, G, gamma, gamma, "trace")),
        (DiagonalMatrix(up(diagonal)), np.diag(diagonal + lam)),
        (DenseMatrix(up(M)), plus(M, lam)),
        (EigenKronecker(up(U), up(V), up(values)),
         plus((E * values.reshape(-1)) @ E.T, lam)),
    ]  # fmt: skip


def test_each_kind_of_block_by_hand(xp, rng):
    cases = by_hand(rng, xp)
    whole = by_kind(BlockDiagonalMatrix([block for block, _ in cases]), 0.37)
    for (block, expected), damped in zip(cases, whole.blocks, strict=True):
        assert_exact(damped.to_dense(), expected)
        assert_exact(by_kind(block, 0.37).to_dense(), expected)
    factors = whole.blocks[0]
    assert isinstance(factors, KroneckerProduct)  # two small factorisations are enough
    exact = host(tikhonov(cases[0][0], 0.37).to_dense())
    assert np.abs(host(factors.to_dense()) - exact).max() > 0.1


def test_the_two_rules_of_by_kind_may_be_others(xp, rng):
    (K, _), (D, _), *_ = by_hand(rng, xp)
    both = BlockDiagonalMatrix([K, D])
    found = by_kind(both, 0.37, same_on_each_factor, lambda M, d: tikhonov(M, 2 * d))
    assert_exact(found.blocks[0].A, plus(host(K.A), 0.37))
    assert_exact(found.blocks[1].values, host(D.values) + 0.74)
    with pytest.raises(KfacTypeError, match="other: expected a function of a matrix"):
        by_kind(D, 0.37, other=0.1)


@pytest.mark.parametrize(
    "structure",
    ["diagonal", "block_diagonal", "full", ["kronecker", "diagonal", "block_diagonal"],
     ["best_kronecker", "eigenvalue_corrected", "diagonal"]],
)  # fmt: skip
def test_any_structure_trains_with_the_default_rule(structure, xp, rng):
    """Each block of the direction is that of its own formula."""
    net, params, batches = optimizer_problem("softmax", xp, rng, 3)
    kfac = KFAC(net, structure=structure, damping=0.1, average="latest")
    (trace,) = run(kfac, params, batches[:1])[1]
    p, average = trace.proposal, trace.average
    lam, gamma = p.gamma**2, p.gamma
    gradient = [host(D).reshape(-1) for D in net.unflatten(trace.gradient)]
    if structure == "full":
        gradient = [np.concatenate(gradient)]
    direction, found = [], getattr(average, "blocks", [average])
    for block, grad in zip(found, gradient, strict=True):
        if isinstance(block, KroneckerProduct):
            damped = shared(host(block.A), host(block.G), gamma, gamma, "trace")
        else:
            damped = plus(host(block.to_dense()), lam)
        direction.append(-np.linalg.solve(damped, grad))
    assert_exact(p.direction, np.concatenate(direction), 1e-10)
    assert len(run(kfac, params, batches)[0]) == 3


def test_a_rule_that_is_named_is_not_replaced_by_another():
    net = chain()
    mixed = ["kronecker", "diagonal", "kronecker"]
    for rule in (factored_tikhonov, "factored_tikhonov", same_on_each_factor):
        for structure in (mixed, "diagonal", "full"):
            with pytest.raises(Unsupported, match="no two factors; expected 'by_kind'"):
                KFAC(net, structure=structure, damping_rule=rule)
        KFAC(net, structure="best_kronecker", damping_rule=rule)
    with pytest.raises(Unsupported, match="tikhonov: block_tridiagonal needs one that"):
        KFAC(net, structure="block_tridiagonal", damping_rule="tikhonov")


# Options of K-FAC and of the baselines.


@pytest.mark.parametrize(
    ("option", "value", "error", "message"),
    [
        ("average", "debiast", UnknownName, "average 'debiast': did you mean 'debia"),
        ("average", "ema", UnknownName, "does not say how it begins: 'debiased'"),
        ("average", 0.95, KfacTypeError, "average: expected a MovingAverage.*0.95"),
        ("iterates", None, KfacTypeError, "iterates: expected a MovingAverage.*None"),
        ("damping_rule", "factored", UnknownName, "mean 'factored_tikhonov'"),
        ("damping_rule", 0.03, KfacTypeError, "damping_rule: expected a function.*0.0"),
        ("damping_rule", "separate", ValueRangeError, "its numbers are its own"),
        ("adapt_damping", 0.95, KfacTypeError, r"adapt_damping: .*\(decay=0.95\), or"),
        ("adapt_damping", LevenbergMarquardt, KfacTypeError, "adapt_damping: expect"),
        ("clip", "euclid", UnknownName, "clip 'euclid': did you mean 'euclidean'"),
        ("structure", 3, KfacTypeError, "structure: expected one name, or a list"),
        ("structure", ["kronecker", "kfac"], ShapeError, "structure: expected one na"),
        ("estimate", None, KfacTypeError, "estimate: expected one name, or a list"),
        ("network", [], KfacTypeError, "network: expected a Network.*found"),
    ],
)  # fmt: skip
def test_options_are_refused_at_once(option, value, error, message):
    if isinstance(value, type):
        pytest.skip("a class has the attributes of its instances") if False else None
    with pytest.raises(error, match=message):
        KFAC(**({"network": chain()} | {option: value}))


def test_a_lambda_rule_of_ones_own():
    class Halves:
        def due(self, step):
            return True

        def __call__(self, damping, rho, predicted=None):
            return damping / 2

    rule = Halves()
    assert KFAC(chain(), adapt_damping=rule).options.inversion.adapt_damping is rule
    with pytest.raises(
        KfacTypeError, match="HessianFree adapt_damping: expected a Lev"
    ):
        HessianFree(chain(), adapt_damping=0.9)


def test_hessian_free_heeds_the_period_of_its_rule(xp, rng):
    net, params, batches = optimizer_problem("softmax", xp, rng, 4)
    every, third = (
        HessianFree(net, adapt_damping=LevenbergMarquardt(decay=0.5, period=period))
        for period in (1, 3)
    )
    moved = [state.damping for state in run(every, params, batches)[0]]
    assert moved[0] == 0.5
    waits = [state.damping for state in run(third, params, batches)[0]]
    assert waits[:2] == [1.0, 1.0] and waits[2] == waits[3] != 1.0


def test_nesterov_without_momentum_would_be_plain_descent():
    with pytest.raises(ValueRangeError, match="SGD nesterov: expected a momentum > 0"):
        SGD(chain(), 0.1, nesterov=True)
    with pytest.raises(KfacTypeError, match="SGD momentum: expected a number.*found N"):
        SGD(chain(), 0.1, momentum=None)
    with pytest.raises(KfacTypeError, match="SGD learning_rate: expected a number"):
        SGD(chain(), None)


SWITCHED_OFF = [  # options, and one that then is not looked at; options.py lists them
    (dict(gamma_every=0), dict(gamma_factor=0.3)),
    (dict(norm_constraint=None), dict(clip="euclidean")),
    (dict(learning_rate=0.1, momentum=0.9, adapt_damping=None, gamma_every=0),
     dict(tau_2=0.5)),
    (dict(learning_rate=0.1, momentum=0.9, adapt_damping=None, gamma_every=0),
     dict(matrix="empirical")),
    (dict(), dict(position_share=0.5)),
]  # fmt: skip


@pytest.mark.parametrize(("base", "option"), SWITCHED_OFF)
def test_options_of_a_stage_that_is_switched_off_may_stay(base, option, xp, rng):
    from kfac_ref.optimizer import options

    (name,) = option
    assert f"`{name}`" in options.__doc__
    net, params, batches = optimizer_problem("softmax", xp, rng, 3)
    base = dict(base, estimate="expectation", damping=0.1)
    ends = [
        run(KFAC(net, **base, **more), params, batches)[0][-1].theta
        for more in ({}, option)
    ]
    assert (host(ends[0]) == host(ends[1])).all()


@pytest.mark.parametrize("variant", ["latest", "plain"])
def test_a_decay_that_a_variant_does_not_look_at(variant, xp):
    one, two = Average(), Average()
    for value in (xp.ones(3), 2 * xp.ones(3)):
        one = MovingAverage(variant, 0.3).add(one, value)
        two = MovingAverage(variant, 0.8).add(two, value)
    assert (host(one.value) == host(two.value)).all()


def test_a_normal_estimate_object_in_a_list(xp, rng):
    """samples belong to those that draw; the others stay as they are."""
    net = chain(distribution=Normal(1.0))
    kfac = KFAC(net, estimate=["expectation", "sampled", "sampled"], samples=2)
    from kfac_ref.optimizer.statistics import choices

    own = kfac.options.statistics
    found = choices(net, own.structure, own.estimate, own.samples)[1]
    assert found == [Expectation(), Sampled(2), Sampled(2)]
