"""The autoencoder race: its problem, who was where when, and what is written."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from helpers import assert_exact
from kfac_ref.cli import main
from kfac_ref.distributions import Bernoulli
from kfac_ref.examples.autoencoder import problem as problems
from kfac_ref.examples.autoencoder.contestants import TUNED, Tuned, contestants
from kfac_ref.examples.autoencoder.problem import autoencoder, entropy, make_problem
from kfac_ref.examples.autoencoder.race import (
    POINTS,
    Settings,
    run,
    summarize,
    thinned,
)
from kfac_ref.examples.contest import Course, finish, run_contest
from kfac_ref.layers import Dense, Tanh
from kfac_ref.optimizer import KFAC, SGD, Adam
from test_demo import write_mnist


@pytest.fixture
def tiny(monkeypatch):
    """Forms of few images and few units; few updates."""
    form = problems.Form((7, 3), 23, images=61, side=5)
    for name in problems.FORMS:
        monkeypatch.setitem(problems.FORMS, name, form)
        few = {
            "K-FAC": Tuned((0.1, 0.01), 25, 13),
            "SGD": replace(TUNED[name]["SGD"], batch=20, updates=40),
            "Adam": replace(TUNED[name]["Adam"], batch=20, updates=40),
        }
        monkeypatch.setitem(TUNED, name, few)


# The problem


def test_the_nets_are_those_of_the_paper():
    shapes = autoencoder((784, 400, 200, 100, 50, 25, 6)).shapes
    assert [d - 1 for d, _ in shapes] == [
        784, 400, 200, 100, 50, 25, 6, 25, 50, 100, 200, 400,
    ]  # fmt: skip
    assert shapes[-1] == (401, 784)
    network = autoencoder((784, 1000, 500, 250, 30))
    weights = 2 * (784 * 1000 + 1000 * 500 + 500 * 250 + 250 * 30)
    assert network.size == weights + 2 * (1000 + 500 + 250) + 30 + 784
    assert isinstance(network.distribution, Bernoulli)


def test_the_code_and_the_output_are_linear():
    layers = autoencoder((17, 11, 5)).body.layers
    kinds = [type(layer) for layer in layers]
    assert kinds == [Dense, Tanh, Dense, Dense, Tanh, Dense]


def test_the_start_is_sparse():
    network = autoencoder((784, 400, 6))
    first, code, decoder, output = network.init(np.random.default_rng(2))
    assert ((first[:-1] != 0).sum(axis=0) == 15).all()
    assert ((decoder[:-1] != 0).sum(axis=0) == 6).all()  # there are no more
    weights = first[:-1][first[:-1] != 0]
    assert abs(weights.std() / 0.25 - 1.0) < 0.05
    assert (first[-1] == 0.5).all() and (code[-1] == 0.5).all()
    assert (decoder[-1] == 0.5).all() and (output[-1] == 0.0).all()


def test_no_loss_is_below_the_entropy_of_the_pixels(rng):
    x = rng.uniform(size=(5, 7))
    x[0, 0], x[1, 1] = 0.0, 1.0
    by_hand = 0.0
    for value in x.ravel():
        if 0.0 < value < 1.0:
            by_hand -= value * math.log(value) + (1 - value) * math.log(1 - value)
    assert_exact(np.array(entropy(x)), np.array(by_hand / 5))
    clear = rng.uniform(0.1, 0.9, size=(3, 7))
    logits = np.log(clear / (1 - clear))
    assert_exact(Bernoulli().loss(logits, clear).mean(), np.array(entropy(clear)))
    assert Bernoulli().loss(logits + 0.3, clear).mean() > entropy(clear) + 1e-3


def test_every_seed_starts_elsewhere_on_the_same_images():
    problem, again = make_problem("small"), make_problem("small")
    assert (problem.x == again.x).all() and problem.x.dtype == np.float32
    (params, _), (same, _), (other, _) = (
        replace(problem, seed=seed).start() for seed in (1, 1, 2)
    )
    assert all((W == V).all() for W, V in zip(params, same, strict=True))
    assert not (params[0] == other[0]).all()
    assert problem.floor < problem.network.loss(params, problem.x, problem.x)


# Who was where when


def course(losses, seconds_each):
    """Watched after every second update."""
    return Course(
        [
            {"update": 2 * n, "seconds": seconds_each * 2 * n, "loss": float(loss)}
            for n, loss in enumerate(losses, start=1)
        ]
    )


def test_the_finish_by_hand():
    courses = {
        "A": [course([9.0, 5.0, 2.0], 0.3), course([9.0, 8.0, 7.0], 0.3)],
        "B": [course([8.0, 7.0, 4.0, 5.0], 0.1), course([6.0, 5.0], 0.1)],
    }
    found = finish(courses, "A", "B")
    assert found.targets == [5.0, 5.0]
    assert found.updates == [[6.0, 4.0], [4.0, math.inf]]
    assert found.fewer_updates == [1.5, 0.0]
    np.testing.assert_allclose(found.seconds[0], [0.6, 1.2], rtol=1e-12)
    np.testing.assert_allclose(found.fewer_seconds, [0.5, 0.0], rtol=1e-12)
    (line,) = summarize([found])
    assert (
        "A was where B ended (loss 5.00, 5.00) after 1.5, (never) times fewer" in line
    )


def test_the_json_keeps_few_points_and_the_last():
    losses = np.linspace(9.0, 1.0, 3 * POINTS + 1)
    found = thinned(course(losses, 0.5))
    assert len(found["loss"]) <= POINTS
    assert found["loss"][-1] == 1.0 and found["update"][-1] == 2 * len(losses)
    assert found["seconds"][-1] == len(losses)


# From end to end


def test_the_contestants_have_their_tuned_settings():
    tuned = TUNED["curves"]
    found = contestants(autoencoder((7, 5, 3)), "curves")
    kfac, sgd, adam = (c.optimizer for c in found.values())
    assert isinstance(kfac, KFAC) and kfac.options.inversion.gamma_every == 0
    own = kfac.options.inversion
    assert (own.damping, own.adapt_damping.minimum) == tuned["K-FAC"].settings
    assert isinstance(sgd, SGD) and sgd.nesterov
    assert (sgd.learning_rate, sgd.momentum) == tuned["SGD"].settings
    assert isinstance(adam, Adam)
    assert (adam.learning_rate, adam.beta_1) == tuned["Adam"].settings
    for name, contestant in found.items():
        assert contestant.updates == tuned[name].updates
        assert contestant.batch == tuned[name].batch
        for number in tuned[name].settings:
            assert f"{number:g}" in contestant.words


def test_all_contestants_start_from_the_same_parameters(tiny):
    problem = make_problem("curves")
    who = contestants(problem.network, "curves")
    ends = []

    class Watched(problems.Problem):
        def look(self, lap):
            return super().look(lap) | {"first": float(lap.history.loss[0])}

    several = [Watched(**{**vars(problem), "seed": seed}) for seed in (3, 4)]
    found = run_contest(several, who, lambda *end: ends.append(end))
    assert [end[:2] for end in ends] == [(n, seed) for seed in (3, 4) for n in who]
    assert all(found[name][seed - 3] is run for name, seed, run in ends)
    for seed in (0, 1):
        first = [runs[seed]["first"][0] for runs in found.values()]
        assert first[1] == first[2]  # the same batch
        np.testing.assert_allclose(first[0], first[1], rtol=0.01)  # a larger one
    assert found["SGD"][0]["first"][0] != found["SGD"][1]["first"][0]


def test_the_race_writes_its_figure_and_its_numbers(tiny, tmp_path, capsys):
    finishes = run(Settings(seeds=2, out=tmp_path / "new"))
    text = capsys.readouterr().out
    assert "CURVES: 61 images of 5 x 5 pixels" in text
    assert "batches of 20, learning rate" in text
    assert "net 25-7-3-7-25: 434 parameters" in text
    for line in summarize(finishes):
        assert line in text
    folder = tmp_path / "new"
    names = {path.name for path in folder.iterdir()}
    assert names == {"race_autoencoder_curves.png", "race_autoencoder_curves.json"}
    found = json.loads((folder / "race_autoencoder_curves.json").read_text())
    assert found["parameters"] == 434
    assert [f["baseline"] for f in found["finishes"]] == ["SGD", "Adam"]
    for contestant in found["contestants"].values():
        assert len(contestant["seeds"]) == 2
        for seed in contestant["seeds"]:
            assert found["floor"] < seed["loss"][-1] < seed["loss"][0]
    for entry, kept in zip(found["finishes"], finishes, strict=True):
        assert entry["targets"] == [round(t, 4) for t in kept.targets]


def test_what_was_never_reached_is_null_in_the_json(tiny, tmp_path, monkeypatch):
    few = replace(TUNED["small"]["K-FAC"], updates=1)
    monkeypatch.setitem(TUNED["small"], "K-FAC", few)
    (first, _) = run(Settings(small=True, seeds=1, out=tmp_path))
    assert first.updates[0][1] == math.inf
    found = json.loads((tmp_path / "race_autoencoder_small.json").read_text())
    assert found["finishes"][0]["updates"][0][1] is None
    assert found["finishes"][0]["fewer_updates"] == [0.0]


def test_images_of_the_user(tiny, tmp_path, rng, capsys):
    write_mnist(tmp_path, rng, count=43, height=4, width=3)
    run(Settings(data=tmp_path, seeds=1, out=tmp_path / "out"))
    assert "43 images of 12 pixels" in capsys.readouterr().out
    assert (tmp_path / "out" / "race_autoencoder_images.png").exists()


def test_the_command(tiny, tmp_path, capsys):
    options = ["--small", "--seeds", "1", "--out", str(tmp_path / "out")]
    assert main(["race", "autoencoder", *options]) == 0
    assert "race_autoencoder_small.png" in capsys.readouterr().out
    for wrong, message in (
        (["--seeds", "0"], "seeds: expected a whole number >= 1, found 0"),
        (["--small", "--data", "here"], "not allowed with argument --small"),
        (["--data", str(tmp_path / "nowhere")], "there is no such folder"),
    ):
        try:
            assert main(["race", "autoencoder", "--out", str(tmp_path), *wrong]) == 2
        except SystemExit as exit:
            assert exit.code == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
