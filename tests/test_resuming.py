"""A training that is put aside goes on bit for bit, wherever it was stopped."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import kfac_ref
from helpers import host
from kfac_ref.errors import ShapeError
from kfac_ref.optimizer import (
    KFAC,
    SGD,
    Adam,
    HessianFree,
    MovingAverage,
    NaturalGradient,
    TrainingDiverged,
    growing_batches,
    load_state,
    save_state,
    train,
)
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.optimizer.schedules import Exponential
from test_optimizer_training import N, Watcher, real

MAKES = {
    "K-FAC": lambda net: KFAC(
        net, damping=0.5, adapt_damping=LevenbergMarquardt(decay=0.7, period=2),
        inverse_every=3, iterates=MovingAverage("debiased", 0.7), tau_1=0.5,
    ),
    "natural gradient": lambda net: NaturalGradient(net, 0.1, damping=0.3),
    "Hessian-free": lambda net: HessianFree(net, 0.8),
    "Adam": lambda net: Adam(net, Exponential(0.1, 0.9)),
    "SGD": lambda net: SGD(net, 0.05, momentum=0.7),
}  # fmt: skip
SIZES = {  # of the batches of N = 13 examples
    "one left over": 4,
    "none left over": 13,
    "growing": growing_batches(2, N, update=6),
    "shrinking": Exponential(6, 0.8),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MAKES)
def test_put_aside_after_every_update(name, size, tmp_path, xp, rng):
    """Seven updates in one run, or saved and loaded between: the same to the bit."""
    net, params, data = real("softmax", xp, rng)
    optimizer, generator = MAKES[name](net), np.random.default_rng(8)
    once = train(optimizer, params, data, SIZES[size], generator, updates=7)
    state, again, losses = params, np.random.default_rng(8), []
    for part in (1, 1, 2, 3):
        run = train(MAKES[name](net), state, data, SIZES[size], again, updates=part)
        path = save_state(tmp_path / "state.npz", optimizer, run.state, again)
        state, again = load_state(path, MAKES[name](net), like=params[0])
        losses += run.history.loss.tolist()
    assert losses == once.history.loss.tolist()
    assert host(state.theta).tobytes() == host(once.state.theta).tobytes()
    assert again.bit_generator.state == generator.bit_generator.state
    assert state.step == 7 and state.place.seen == once.state.place.seen


def test_without_the_place_it_would_be_another_run(xp, rng):
    net, params, data = real("softmax", xp, rng)
    sgd, found = SGD(net, 0.05), []
    for kept in (True, False):
        generator = np.random.default_rng(8)
        state = train(sgd, params, data, 4, generator, updates=2).state
        state = state if kept else replace(state, place=None)
        found.append(train(sgd, state, data, 4, generator, updates=2).state.theta)
    assert (host(found[0]) != host(found[1])).any()


def test_an_epoch_that_was_begun_is_ended_first():
    """It counts as one, and after whole epochs there is no place to be kept."""
    numbers = np.arange(float(N))
    once, twice = Watcher(), Watcher()
    one, two = np.random.default_rng(5), np.random.default_rng(5)
    state = train(once, [0], (numbers, numbers), 4, one, epochs=3).state
    assert state.step == 9 and state.place is None
    state = train(twice, [0], (numbers, numbers), 4, two, updates=2).state
    state = train(twice, state, (numbers, numbers), 4, two, epochs=1).state
    assert state.step == 3 and state.place is None
    state = train(twice, state, (numbers, numbers), 4, two, updates=3).state
    state = train(twice, state, (numbers, numbers), 4, two, epochs=1).state
    assert state.step == 9  # the 13th example alone was no epoch
    for (x, _), (same, _) in zip(once.seen, twice.seen, strict=True):
        np.testing.assert_array_equal(x, same)


def test_a_state_saved_by_the_evaluation_goes_on_too(tmp_path, rng):
    net, params, data = real("softmax", np, rng)
    adam, generator = Adam(net, 0.1), np.random.default_rng(8)

    def look(state):
        if state.step == 5:
            save_state(tmp_path / "state.npz", adam, state, generator)
        return 0.0

    once = train(adam, params, data, 4, generator, updates=9, evaluation=look)
    state, again = load_state(tmp_path / "state.npz", adam)
    rest = train(adam, state, data, 4, again, updates=4)
    assert rest.state.theta.tobytes() == once.state.theta.tobytes()


def test_a_divergence_keeps_the_place(rng):
    numbers = np.arange(float(N))
    with pytest.raises(TrainingDiverged) as caught:
        train(Watcher(diverges_at=3), [0], (numbers, numbers), 4, rng, epochs=1)
    assert caught.value.run.state.place.seen == 8


def test_other_data_inside_of_an_epoch_are_refused(rng):
    net, params, (x, y) = real("softmax", np, rng)
    sgd = SGD(net, 0.05)
    state = train(sgd, params, (x, y), 4, rng, updates=2).state
    message = r"an epoch of 13 examples, found 12; .*replace\(state, place=None\)"
    with pytest.raises(ShapeError, match=message):
        train(sgd, state, (x[:-1], y[:-1]), 4, rng, updates=1)
    fresh = replace(state, place=None)
    assert train(sgd, fresh, (x[:-1], y[:-1]), 4, rng, updates=1).state.step == 3
    moved, _ = sgd.step(state, x, y, rng)
    assert moved.place is None  # a step by hand leaves the epoch


PROGRAM = """
import sys
import numpy as np
from kfac_ref import Network
from kfac_ref.distributions import Categorical
from kfac_ref.layers import Dense, Tanh
from kfac_ref.optimizer import KFAC, load_state, save_state, train

path, new, updates = sys.argv[1], sys.argv[2] == "new", int(sys.argv[3])
net = Network([Dense(5, 4), Tanh(), Dense(4, 3)], Categorical())
data = np.random.default_rng(1)
x, y = data.normal(size=(13, 5)), data.integers(0, 3, 13)
kfac = KFAC(net, damping=0.5, inverse_every=3)
rng = np.random.default_rng(8)
state, rng = (net.init(rng), rng) if new else load_state(path, kfac)
run = train(kfac, state, (x, y), 4, rng, updates=updates)
save_state(path, kfac, run.state, rng)
"""


def test_a_run_goes_on_in_another_process(tmp_path):
    def run(name, begin, updates):
        arguments = [str(tmp_path / name), begin, str(updates)]
        subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            check=True,
            cwd=Path(kfac_ref.__file__).parent.parent,
        )
        return (tmp_path / name).read_bytes()

    once = run("once", "new", 7)
    assert run("again", "new", 5) != once
    assert run("again", "old", 2) == once
