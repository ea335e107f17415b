"""The convolutional race: net and K-FAC against loops over pixels; its record."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

import transcription_convolutional as loops
from benchmarks import tune_convolutional as tuning
from helpers import assert_exact, host, relative_error
from kfac_ref.algorithm2 import vec
from kfac_ref.datasets import digits
from kfac_ref.examples import images as labelled
from kfac_ref.examples.contest import DIVERGED, Course, run_contest
from kfac_ref.examples.convolutional import contestants as who
from kfac_ref.examples.convolutional import problem as race
from kfac_ref.examples.convolutional import race as record
from kfac_ref.matrices import DiagonalMatrix, KroneckerProduct
from kfac_ref.plotting import save
from networks import parameters
from optimizer_cases import run, sampler

KERNEL, CLASSES, IMAGE, N = 5, 4, (7, 6), 11
STEPS = 12


@pytest.fixture
def net():
    return race.make_network(IMAGE, channels=3, kernel=KERNEL, classes=CLASSES)


def images(xp, rng, n=N):
    x = xp.asarray(rng.normal(0.3, 1.0, (n, *IMAGE, 1)))
    return x, xp.asarray(rng.integers(0, CLASSES, n))


@cache
def taken(xp):
    """Twelve steps of the race's K-FAC, and the same in loops."""
    rng = np.random.default_rng(20260101)
    net = race.make_network(IMAGE, channels=3, kernel=KERNEL, classes=CLASSES)
    params = parameters(net, rng, xp, scale=0.3)
    batches = [images(xp, rng, n) for n in range(N, N + STEPS)]
    states, traces = run(who.tensorflow_kfac(net, 0.0002), params, batches)
    expected = loops.tensorflow(
        host(params), [(host(x), host(y)) for x, y in batches], KERNEL, sampler(net),
        lr=0.0002, m=0.9, lam=0.001, decay=0.95, invert_every=10,
    )  # fmt: skip
    return states, traces, expected


@pytest.fixture
def steps(xp):
    return taken(xp)


def unblocked(matrix):
    """The arrays of the blocks, A in TensorFlow's scale: a mean over positions."""
    first, *others = matrix.blocks
    return [first.values] + [M for block in others for M in (block.A, block.G)]


def in_our_scale(blocks, positions):
    """The same of the transcription, with A a sum over the positions."""
    (F,), *others = blocks
    found = [F.reshape(-1)]
    for (A, G), T in zip(others, positions[1:], strict=True):
        found += [T * A, G]
    return found


def test_every_step_is_tensorflows(steps):
    """Statistics, average, inverses, momentum: all parts, after each of 12 steps."""
    states, traces, expected = steps
    for state, trace, theirs in zip(states, traces, expected, strict=True):
        assert_exact(trace.loss, theirs["loss"])
        assert_exact(trace.gradient, theirs["gradient"], 1e-11)
        for name, matrix in (("newest", trace.statistics), ("average", trace.average)):
            blocks = in_our_scale(theirs[name], theirs["positions"])
            for ours, block in zip(unblocked(matrix), blocks, strict=True):
                assert_exact(ours, block, 1e-11)
        assert_exact(trace.proposal.direction, theirs["direction"], 1e-10)
        assert_exact(state.theta, theirs["theta"], 1e-11)
    moved = host(states[-1].theta) - vec(expected[0]["Ws"])
    assert_exact(moved, expected[-1]["theta"] - vec(expected[0]["Ws"]), 1e-10)
    assert expected[0]["positions"] == [42, 12, 12, 1]


def test_other_damping_is_another_step(steps):
    """NORMALIZE_DAMPING_POWER = 0, lambda not divided by T, is not what is done."""
    _, traces, (first, *_) = steps
    for power, least, most in ((1, 0.0, 1e-10), (0, 0.1, 10.0)):
        found = loops.inverses(first["average"], first["positions"], 0.001, power)
        direction = -loops.preconditioned(found, first["Ws"], first["gradient"])
        error = relative_error(traces[0].proposal.direction, direction)
        assert least <= error < most


def test_the_first_block_is_diagonal_the_others_kronecker(steps):
    _, traces, _ = steps
    kinds = [DiagonalMatrix, KroneckerProduct, KroneckerProduct, KroneckerProduct]
    for trace in traces:
        for matrix in (trace.statistics, trace.average, trace.proposal.damped):
            assert [type(block) for block in matrix.blocks] == kinds


def test_inverses_in_steps_0_and_10_statistics_in_every_step(steps):
    states, traces, _ = steps
    damped = [state.damped for state in states]
    renewed = [0] + [i for i in range(1, STEPS) if damped[i] is not damped[i - 1]]
    assert renewed == [0, 10]
    inverses = [state.inverse for state in states]
    assert all(inverse is inverses[1] for inverse in inverses[1:10])
    assert inverses[1] is not None and inverses[11] is not inverses[1]
    averages = [host(trace.average.blocks[0].values) for trace in traces]
    changes = [relative_error(*pair) for pair in pairwise(averages)]
    assert min(changes) > 0.01 and all(trace.statistics for trace in traces)
    numbers = {(trace.proposal.alpha, trace.proposal.mu) for trace in traces}
    assert numbers == {(0.0002, 0.0)}  # the momentum is in what is preconditioned
    assert {trace.outcome.damping for trace in traces} == {0.001}
    assert {trace.proposal.clip for trace in traces} == {1.0}


# The problem


def test_digits_are_split_by_the_seed():
    problem, again = race.make_problem("digits", 3), race.make_problem("digits", 3)
    (x, y), (x_test, y_test) = problem.images.train, problem.images.test
    assert (x.shape, x_test.shape) == ((1438, 8, 8, 1), (359, 8, 8, 1))
    ours = np.column_stack(
        [np.concatenate([x, x_test]).reshape(1797, 64), [*y, *y_test]]
    )
    theirs = np.column_stack(digits())
    assert (ours[np.lexsort(ours.T)] == theirs[np.lexsort(theirs.T)]).all()
    assert (again.images.train[0] == x).all()
    assert (again.params[0] == problem.params[0]).all()
    other = race.make_problem("digits", 4)
    assert (other.images.test[0] != x_test).any()
    assert (other.params[0] != again.params[0]).any()
    assert problem.description == (
        "digits: 1,438 training images and 359 test images, 8 x 8 pixels"
    )
    assert problem.network.size == 5706


def test_a_part_of_many_images_is_evaluated(monkeypatch):
    monkeypatch.setattr(race, "PART", 500)
    problem = race.make_problem("digits", 0)
    assert "1,438 training images (500 evaluated) and 359 test" in problem.description
    loss = problem.measure(problem.params)["loss"]
    x, y = (array[:500] for array in problem.images.train)
    assert_exact(loss, problem.network.loss(problem.params, x, y))
    monkeypatch.setattr(race, "PART", 77)
    x, y = (array[:77] for array in problem.images.test)
    z = problem.network.predict(problem.params, x)
    accuracy = problem.measure(problem.params)["accuracy"]
    assert accuracy == (z.argmax(axis=1) == y).mean()


def test_evaluation_chunk_by_chunk(net, xp, rng, monkeypatch):
    monkeypatch.setattr(labelled, "CHUNK", 3)
    params, (x, y) = parameters(net, rng, xp), images(xp, rng)
    loss, accuracy = labelled.evaluate(net, params, (x, y))
    z, _ = loops.forward(host(params), host(x), KERNEL)
    assert_exact(loss, loops.loss(z, host(y)))
    right = sum(int(np.argmax(z[n]) == host(y)[n]) for n in range(N))
    assert 0 < right < N and accuracy == right / N


# The contestants


@pytest.fixture
def small(net, rng):
    """Images whose brightest quarter is the label."""
    x = rng.uniform(0.0, 0.3, (150, *IMAGE, 1))
    y = rng.integers(0, CLASSES, 150)
    for n, label in enumerate(y):
        i, j = divmod(int(label), 2)
        x[n, 4 * i : 4 * i + 3, 3 * j : 3 * j + 3] += 0.7
    data = labelled.Images((x[:131], y[:131]), (x[131:], y[131:]))
    return race.Problem(1, net, net.init(rng), data, "quarters")


def entry(name, problem, rate, updates):
    return who.contestant(name, problem.network, rate, updates)


def course(name, *given):
    (found,) = run_contest([given[0]], {name: entry(name, *given)})[name]
    return found


@pytest.mark.parametrize("name", who.MAKERS)
def test_everybody_learns(name, small):
    rate = {"K-FAC": 0.001, "SGD with momentum": 0.1, "Adam": 0.01}[name]
    seen = small.from_start(course(name, small, rate, 12))
    assert seen["update"].tolist() == [0, 5, 10, 12]
    assert seen["seconds"][0] == 0 and (np.diff(seen["seconds"]) > 0).all()
    begun = labelled.evaluate(small.network, small.params, small.images.train)[0]
    assert seen["loss"][0] == begun
    assert seen["loss"][-1] < 0.7 * seen["loss"][0]
    assert seen["accuracy"].shape == (4,)
    begun = labelled.evaluate(small.network, small.params, small.images.test)[1]
    assert seen["accuracy"][0] == begun


@pytest.mark.parametrize("name", who.MAKERS)
def test_who_diverges_is_named(name, small):
    """Without a warning of NumPy's on the way."""
    with pytest.raises(DIVERGED, match=f"^{name}, learning rate 1e.200: ") as error:
        course(name, small, 1e200, 40)
    assert isinstance(error.value, DIVERGED)


def test_the_rates_are_the_best_of_the_grids():
    """Each inside of its grid, of at least six."""
    tuned = json.loads(tuning.RESULTS.read_text())
    assert tuned["updates"] == record.Settings().updates
    assert record.Settings().seed not in tuned["seeds"]
    for name, rate in who.RATES.items():
        losses = {float(r): row for r, row in tuned[name]["losses"].items()}
        scores = {
            r: np.inf if None in row else np.prod(row) for r, row in losses.items()
        }
        assert tuned[name]["best"] == rate == min(scores, key=scores.get)
        assert len(losses) >= 6 and min(losses) < rate < max(losses)
        assert all(len(row) == len(tuned["seeds"]) for row in losses.values())
    assert 0.0001 in map(float, tuned["K-FAC"]["losses"])  # the guide's


def test_the_tuning_refuses_an_edge_of_the_grid(monkeypatch):
    """The best has the least geometric mean, and did not diverge with any seed."""
    monkeypatch.setattr(tuning, "make_problem", lambda _, seed: seed)

    def tune(loss):
        monkeypatch.setattr(tuning, "final_loss", lambda _, seed, r: loss(r, seed))
        return tuning.tune("Adam")

    found = tune(lambda r, seed: None if r > 0.01 and seed == 2 else seed / r)
    assert found["best"] == 0.01 and found["losses"]["0.02"] == [50.0, None, 150.0]
    losses = {0.002: [1.0, 1.0, 1.0], 0.005: [0.1, 2.0, 2.0]}  # means 1.0 and 0.74
    assert tune(lambda r, seed: losses.get(r, 3 * [9.0])[seed - 1])["best"] == 0.005
    for edge in (lambda r, seed: r, lambda r, seed: 1 / r):
        with pytest.raises(SystemExit, match=r"best rate, 0.0\d+, is at an edge"):
            tune(edge)


def test_the_tuning_takes_the_loss_at_the_end(monkeypatch, small):
    monkeypatch.setattr(tuning, "UPDATES", 3)
    trained = course("Adam", small, 0.01, 3)
    loss = tuning.final_loss("Adam", small, 0.01)
    begun = small.measure(small.params)["loss"]
    assert loss == float(f"{trained['loss'][-1]:.4g}") < begun
    assert tuning.final_loss("Adam", small, 1e200) is None


# The record


def made(losses, seconds, accuracy=0.9):
    course = []
    for i, loss in enumerate(losses):
        row = {"update": 5 * i, "seconds": 5 * i * seconds, "loss": loss}
        course.append(row | {"accuracy": accuracy})
    return Course(course)


RESULTS = {
    "K-FAC": made([2.0, 0.3, 0.05, 0.001], 0.08),
    "SGD with momentum": made([2.0, 1.0, 0.5, 0.1], 0.03),
    "Adam": made([2.0, 1.5, 0.9, 0.4], 0.04, accuracy=0.95),
}


def entries(problem):
    return {name: entry(name, problem, rate, 20) for name, rate in who.RATES.items()}


def test_the_numbers_of_a_race(small):
    found = record.numbers(record.Settings(seed=5), small, entries(small), RESULTS)
    assert json.loads(json.dumps(found)) == found
    assert found["best_baseline"] == "SGD with momentum"
    assert found["against"] == {
        "SGD with momentum": {
            "target_loss": 0.1,
            "updates": [15, 10], "ratio_of_updates": 1.5,
            "seconds": [0.45, 0.8], "ratio_of_seconds": 0.5625,
        },
        "Adam": {
            "target_loss": 0.4,
            "updates": [15, 5], "ratio_of_updates": 3,
            "seconds": [0.6, 0.4], "ratio_of_seconds": 1.5,
        },
    }  # fmt: skip
    kfac, sgd, adam = found["contestants"].values()
    assert (kfac["updates_to_target"], kfac["seconds_to_target"]) == (10, 0.8)
    assert (sgd["updates_to_target"], sgd["seconds_to_target"]) == (15, 0.45)
    assert (adam["updates_to_target"], adam["seconds_to_target"]) == (None, None)
    assert (kfac["final_training_loss"], adam["final_test_accuracy"]) == (0.001, 0.95)
    assert kfac["learning_rate"] == who.RATES["K-FAC"]
    assert kfac["history"] == {
        "update": [0, 5, 10, 15], "seconds": [0, 0.4, 0.8, 1.2],
        "loss": [2, 0.3, 0.05, 0.001], "accuracy": [0.9] * 4,
    }  # fmt: skip
    assert found["settings"] == {
        "seed": 5, "updates": 100, "batch_size": 128, "momentum": 0.9,
        "damping": 0.001, "inverse_every": 10, "statistics_every": 1,
    }  # fmt: skip
    assert found["structure"] == dict(
        zip(small.network.names, ["diagonal"] + 3 * ["kronecker"], strict=True)
    )
    assert found["summary"] == [
        "K-FAC reached the final training loss of SGD with momentum, 0.1, after 10 "
        "updates instead of 15 (ratio 1.5) and 0.80 s instead of 0.45 s (ratio 0.562).",
        "K-FAC reached the final training loss of Adam, 0.4, after 5 updates instead "
        "of 15 (ratio 3) and 0.40 s instead of 0.60 s (ratio 1.5).",
    ]


def test_a_race_that_kfac_loses(small):
    lost = {**RESULTS, "K-FAC": made([2.0, 0.5, 0.2, 0.11], 0.08)}
    found = record.numbers(record.Settings(), small, entries(small), lost)
    assert found["against"]["SGD with momentum"] == {
        "target_loss": 0.1,
        "updates": [15, None], "ratio_of_updates": None,
        "seconds": [0.45, None], "ratio_of_seconds": None,
    }  # fmt: skip
    assert found["against"]["Adam"]["ratio_of_updates"] == 1.5
    assert found["contestants"]["K-FAC"]["updates_to_target"] is None
    assert found["summary"][0] == (
        "K-FAC did not reach the final training loss of SGD with momentum, 0.1."
    )


def test_a_baseline_that_ends_above_its_start(small):
    """K-FAC was there before the first update, and so was the baseline."""
    risen = {**RESULTS, "Adam": made([2.0, 2.5, 2.25], 0.03)}
    found = record.numbers(record.Settings(), small, entries(small), risen)
    assert found["against"]["Adam"] == {
        "target_loss": 2.25,
        "updates": [0, 0], "ratio_of_updates": 1,
        "seconds": [0, 0], "ratio_of_seconds": 1,
    }  # fmt: skip
    assert found["summary"][1].startswith(
        "K-FAC reached the final training loss of Adam, 2.25, after 0 updates instead "
        "of 0 (ratio 1) and 0.00 s"
    )


def test_the_figure(tmp_path):
    figure = record.race_figure(RESULTS)
    loss, loss_2, error, error_2 = figure.axes
    assert [line.get_label() for line in loss.lines[:3]] == [
        "K-FAC: 0.001", "SGD with momentum: 0.1", "Adam: 0.4"
    ]  # fmt: skip
    assert [line.get_label() for line in error.lines] == [
        "K-FAC: 10%", "SGD with momentum: 10%", "Adam: 5%"
    ]  # fmt: skip
    assert loss.lines[3].get_ydata()[0] == 0.1 and loss.get_yscale() == "log"
    for by_update, by_second in ((loss, loss_2), (error, error_2)):
        for one, other, result in zip(
            by_update.lines, by_second.lines, RESULTS.values(), strict=False
        ):
            assert (one.get_xdata() == result["update"]).all()
            assert (other.get_xdata() == result["seconds"]).all()
            assert (one.get_ydata() == other.get_ydata()).all()
    content = save(figure, tmp_path / "race.png").read_bytes()
    assert content.startswith(b"\x89PNG")


def test_the_committed_record_is_of_these_settings():
    folder = tuning.RESULTS.parent.parent.parent / "figures"
    found = json.loads((folder / "race_convolutional.json").read_text())
    default = record.Settings()
    assert found["settings"]["seed"] == default.seed
    assert found["settings"]["updates"] == default.updates
    rates = {name: row["learning_rate"] for name, row in found["contestants"].items()}
    assert rates == who.RATES
    losses = {
        name: row["history"]["loss"] for name, row in found["contestants"].items()
    }
    assert all(row[-1] < 0.1 * row[0] for row in losses.values())
    assert (folder / "race_convolutional.png").exists()
