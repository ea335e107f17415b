"""Whoever resumes a training with other options is told which, if they matter."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from kfac_ref import optimizer as package
from kfac_ref.damping import tikhonov
from kfac_ref.estimates import Empirical, Sampled
from kfac_ref.optimizer import CheckpointError, MovingAverage, load_state, save_state
from kfac_ref.optimizer.origin import options
from optimizer_cases import problem, run

KINDS = {
    name: kind
    for name, kind in vars(package).items()
    if name in package.__all__ and hasattr(kind, "state_type")
}
GIVEN = {  # and the rest is as it is by default
    "KFAC": dict(damping=0.5, learning_rate=0.1, momentum=0.6),
    "SGD": dict(learning_rate=0.1, momentum=0.5),
    "Adam": dict(learning_rate=0.1),
    "NaturalGradient": dict(learning_rate=0.1, damping=0.3),
    "HessianFree": {},
}
OTHERS = {  # another value of every option
    "KFAC": dict(
        structure="diagonal", estimate="empirical", samples=2, statistics_every=2,
        tau_1=0.5, position_share=0.5, average="debiased", damping_rule="tikhonov",
        inverse_every=3, inverse_early=1, gamma_every=0, gamma_factor=0.5,
        norm_constraint=1e-3, clip="fisher_no_rate", learning_rate=0.2, momentum=0.7,
        momentum_of="gradient", matrix="ggn", tau_2=0.5, damping=0.7,
        adapt_damping=None, damping_in_ratio=False, l2=1e-3, weight_decay=0.1,
        reject=True, iterates="debiased", first_step=0,
    ),
    "SGD": dict(learning_rate=0.2, momentum=0.7, nesterov=True, l2=0.1),
    "Adam": dict(learning_rate=0.2, beta_1=0.8, beta_2=0.9, epsilon=1e-6, l2=0.1),
    "NaturalGradient": dict(
        learning_rate=0.2, damping=0.7, matrix="ggn", limit=4000, l2=0.1
    ),
    "HessianFree": dict(
        learning_rate=0.2, damping=0.7, adapt_damping=None, matrix="fisher",
        iterations=3, tolerance=0.1, warm_start=0.5, l2=0.1,
    ),
}  # fmt: skip
SHOWN = {"samples": "estimate"}  # the estimate has them
CASES = [(name, option) for name, others in OTHERS.items() for option in others]


def test_every_option_of_every_optimizer_is_in_the_list():
    assert KINDS.keys() == OTHERS.keys() == GIVEN.keys()
    for name, kind in KINDS.items():
        own = {field.name for field in fields(kind)} - {"network"}
        own = set(package.options.Options().flat()) if name == "KFAC" else own
        assert own == set(OTHERS[name]) and set(kind.may_change) < own


@pytest.fixture
def resume(tmp_path, rng):
    """Saves a state of one optimizer, and gives what another makes of the file."""
    net, params, batches = problem("softmax", np, rng, 2)

    def resumed(name, one, two):
        first, second = (
            KINDS[name](net, **GIVEN[name] | given) for given in (one, two)
        )
        states, _ = run(first, params, batches[:1])
        path = save_state(tmp_path / "state.npz", first, states[0], rng)
        state, _ = load_state(path, second)
        moved, _ = second.step(state, *batches[1], rng)
        return states[0], state, moved

    return resumed


@pytest.mark.parametrize(("name", "option"), CASES)
def test_an_option_that_differs_is_named_or_may_change(name, option, resume):
    other = {option: OTHERS[name][option]}
    if option in KINDS[name].may_change:
        saved, loaded, moved = resume(name, {}, other)
        assert saved == loaded and moved.step == 2
        assert np.isfinite(moved.theta).all()
        return
    message = f"of other options: {SHOWN.get(option, option)}: expected"
    for one, two in (({}, other), (other, {})):
        with pytest.raises(CheckpointError, match=message):
            resume(name, one, two)
    saved, loaded, _ = resume(name, other, other)
    assert saved == loaded


def test_all_differences_are_named(resume):
    with pytest.raises(CheckpointError) as caught:
        resume("KFAC", {}, dict(average="debiased", damping_rule="tikhonov", l2=0.1))
    said = str(caught.value)
    for part in (
        "average: expected MovingAverage(variant='debiased', decay=0.95), ",
        "found MovingAverage(variant='paper', decay=0.95); ",
        "; damping_rule: expected <function tikhonov>, found <function by_kind>; ",
        "; l2: expected 0.1, found 1e-05; load it with those that were found.",
        "with dataclasses.replace(state, ...)",
    ):
        assert part in said
    assert "structure" not in said and " damping: " not in said


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (dict(structure="kron"), dict(structure=["kronecker"] * 3)),
        (dict(estimate="gradients", samples=2), dict(estimate=[Sampled(2)] * 3)),
        (dict(estimate="empirical"), dict(estimate=Empirical())),
        (dict(average="paper"), dict(average=MovingAverage())),
        (dict(damping_rule="tikhonov"), dict(damping_rule=tikhonov)),
        (dict(damping=1), dict(damping=np.float32(1.0))),
        (dict(damping_rule=lambda M, d: tikhonov(M, d)),) * 2,
    ],
)
def test_the_same_in_other_words(one, two, resume):
    saved, loaded, _ = resume("KFAC", one, two)
    assert saved == loaded


def test_structures_of_single_layers_differ(resume):
    one = dict(structure=["kronecker", "diagonal", "diagonal"])
    message = "structure: expected 'kronecker', found \\['kronecker', 'diagonal', 'dia"
    with pytest.raises(CheckpointError, match=message):
        resume("KFAC", one, {})


def test_what_the_message_advises(tmp_path, rng):
    """Load with the options that were found, and go on with others."""
    net, params, batches = problem("softmax", np, rng, 2)
    old = package.KFAC(net, damping=0.5)
    new = package.KFAC(net, damping=0.7, average="debiased")
    states, _ = run(old, params, batches[:1])
    path = save_state(tmp_path / "state.npz", old, states[0], rng)
    state, _ = load_state(path, old)
    state = replace(state, damping=0.7)
    moved, _ = new.step(state, *batches[1], rng)
    assert moved.average.count == moved.step == 2
    again, _ = load_state(save_state(path, new, moved, rng), new)
    assert again == moved


def test_two_functions_of_one_name_are_not_told_apart(rng):
    """What origin.py says of them."""
    net, *_ = problem("softmax", np, rng, 0)
    one, two = (
        options(package.KFAC(net, damping_rule=rule))
        for rule in (lambda M, d: tikhonov(M, d), lambda M, d: tikhonov(M, 2 * d))
    )
    assert one == two and "lambda" in one["damping_rule"]
