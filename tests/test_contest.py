"""The engine of the races: laps, courses, who was where when."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import kfac_ref
from helpers import assert_exact, host, imports
from kfac_ref.distributions import Categorical
from kfac_ref.errors import ValueRangeError
from kfac_ref.examples import images, running
from kfac_ref.examples.contest import (
    DIVERGED,
    Contestant,
    Course,
    check_batches,
    finish,
    follow,
    ratio,
    reach,
    run_contest,
)
from kfac_ref.layers import Dense, Tanh
from kfac_ref.network import Network
from kfac_ref.optimizer import KFAC, SGD, train

N = 23


class Problem:
    """Points in the plane with one of three labels."""

    def __init__(self, xp, seed=5):
        rng = np.random.default_rng(1)
        self.seed, self.network = (
            seed,
            Network([Dense(2, 4), Tanh(), Dense(4, 3)], Categorical()),
        )
        x, y = rng.normal(size=(N, 2)), rng.integers(0, 3, N)
        self.data = xp.asarray(x), xp.asarray(y)
        self.params = [xp.asarray(W) for W in self.network.init(rng)]

    def start(self):
        return self.params, np.random.default_rng(self.seed)

    def look(self, lap):
        loss = float(self.network.loss(lap.params, *self.data))
        return {"loss": loss, "last": float(lap.history.loss[-1]), "took": lap.seconds}


@pytest.fixture
def problem(xp):
    return Problem(xp)


def sgd(problem, **options):
    optimizer = SGD(problem.network, options.pop("rate", 0.3), momentum=0.5)
    return Contestant(optimizer, 5, 13, "rate 0.3", **options)


# Laps


@pytest.mark.parametrize("make", [SGD, KFAC])
@pytest.mark.parametrize("every", [1, 3, 13])
def test_a_course_is_one_training_that_is_looked_at(problem, make, every):
    """Across the ends of epochs: 23 examples, batches of 5."""
    optimizer = make(problem.network, **({"learning_rate": 0.3} if make is SGD else {}))
    *_, course = follow(problem, Contestant(optimizer, 5, 13, "", every))
    params, rng = problem.start()
    run = train(
        optimizer, params, problem.data, 5, rng, updates=13, evaluation=problem.data,
        evaluate_every=every,
    )  # fmt: skip
    at = np.array(sorted({*range(every, 14, every), 13}))
    assert course["update"].tolist() == at.tolist()
    assert course["last"].tolist() == run.history.loss[at - 1].tolist()
    assert course["loss"].tolist() == run.history.evaluation[at - 1].tolist()


def test_the_course_grows_lap_by_lap(problem):
    *found, last = follow(problem, sgd(problem, every=5))
    assert [len(course.rows) for course in found] == [1, 2]
    assert last.rows[:2] == found[1].rows and len(last.rows) == 3
    seconds = last["seconds"]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    assert (last["took"].cumsum() >= seconds).all()  # batches are made outside of steps


def test_a_hundredth_of_all_updates_is_a_lap(problem):
    made = sgd(problem)
    assert made.lap == 1
    assert replace(made, updates=400).lap == 4 and replace(made, updates=399).lap == 3
    assert replace(made, updates=400, every=7).lap == 7


def test_everybody_begins_at_the_same_place(problem):
    who = {"one": sgd(problem), "other": sgd(problem, rate=0.2), "again": sgd(problem)}
    found = run_contest([problem], who)
    one, other, again = (courses[0] for courses in found.values())
    assert one["loss"].tolist() == again["loss"].tolist() != other["loss"].tolist()
    assert one["last"][0] == other["last"][0]


def test_passing_is_told_of_every_lap_and_arrived_of_the_last(problem):
    passed, ended = [], []
    who = {"a": sgd(problem, every=5), "b": sgd(problem, every=13)}
    found = run_contest(
        [problem], who, lambda *end: ended.append(end), lambda *lap: passed.append(lap)
    )
    assert [(name, seed, len(c.rows)) for name, seed, c in passed] == [
        ("a", 5, 1), ("a", 5, 2), ("a", 5, 3), ("b", 5, 1)
    ]  # fmt: skip
    assert [(name, course) for name, _, course in ended] == [
        ("a", found["a"][0]), ("b", found["b"][0])
    ]  # fmt: skip


def test_who_diverges_is_named_without_a_warning(problem):
    who = {"calm": sgd(problem), "wild": sgd(problem, rate=1e308)}
    with pytest.raises(DIVERGED, match="^wild, rate 0.3: in update ") as error:
        run_contest([problem], who)
    assert isinstance(error.value, DIVERGED)


def test_a_batch_larger_than_the_data_is_refused_before_anybody_trains(problem):
    who = {"fits": sgd(problem), "large": replace(sgd(problem), batch=N + 1)}
    with pytest.raises(ValueRangeError, match="from 1 to 23, the number of examples"):
        check_batches(problem, who)
    check_batches(problem, {"fits": replace(sgd(problem), batch=N)})


def test_a_bar_for_every_contestant_where_somebody_looks(problem, monkeypatch, capsys):
    monkeypatch.setattr(running, "watched", lambda: True)
    run_contest([problem], {"the name": sgd(problem, every=5)})
    assert "the name" in capsys.readouterr().err
    run_contest([problem], {"the name": sgd(problem)}, passing=lambda *lap: None)
    assert capsys.readouterr().err == ""


# Who was where when


def course(losses, seconds_each):
    """Seen after every second update."""
    rows = enumerate(losses, start=1)
    return Course(
        [{"update": 2 * n, "seconds": 2 * n * seconds_each, "loss": v} for n, v in rows]
    )


def test_reach_by_hand():
    falling = course([9.0, 5.0, 6.0, 2.0], 0.25)
    assert reach(falling, 9.5) == (2, 0.5)
    assert reach(falling, 5.0) == (4, 1.0)
    assert reach(falling, 4.0) == (8, 2.0)
    assert reach(falling, 1.0) == (math.inf, math.inf)
    assert reach(course([math.nan, 3.0], 1.0), 4.0) == (4, 4.0)


def test_ratios_of_those_who_were_there_before_the_first_update():
    """A baseline that ends above its start: both were there at 0, none was earlier."""
    start = {"update": 0, "seconds": 0.0, "loss": 3.0}
    worse, better = (Course([start, *course([last], 0.5).rows]) for last in (4.0, 2.0))
    found = finish({"A": [better], "B": [worse]}, "A", "B")
    assert found.updates == [[0.0, 0.0]] and found.fewer_updates == [1.0]
    assert found.fewer_seconds == [1.0]
    assert ratio(6.0, 4.0) == 1.5 and ratio(6.0, math.inf) == 0.0


# What the images of two races share


def test_evaluation_in_parts(problem, monkeypatch):
    whole = images.evaluate(problem.network, problem.params, problem.data)
    monkeypatch.setattr(images, "CHUNK", 7)
    assert_exact(
        np.array(images.evaluate(problem.network, problem.params, problem.data)),
        np.array(whole),
    )
    y = host(problem.data[1])
    assert_exact(whole[0], problem.network.loss(problem.params, *problem.data))
    z = host(problem.network.predict(problem.params, problem.data[0]))
    right = sum(int(np.argmax(z[n]) == y[n]) for n in range(N))
    assert 0 < right < N and whole[1] == right / N


# What knows what


def test_only_the_command_line_knows_an_example_and_no_example_knows_another():
    package = Path(kfac_ref.__file__).parent
    seen = 0
    for path in package.rglob("*.py"):
        room, *parts = path.relative_to(package).parts
        for line, module in imports(path):
            if module.startswith("kfac_ref.examples"):
                seen += 1
                where = f"{path}:{line} imports {module}"
                assert room in ("examples", "cli"), where
                name = f"{module}.".split(".")[2]
                is_folder = (package / "examples" / name).is_dir()
                assert room == "cli" or not is_folder or name == parts[0], where
    assert seen > 20
