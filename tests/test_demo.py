"""The parts of the demo: problem, training step, approximations, summary."""

from __future__ import annotations

import struct
import sys
from dataclasses import replace

import numpy as np
import pytest

import networks
import specification
from helpers import assert_exact, host, relative_error
from kfac_ref.comparison.table import Comparison, Row
from kfac_ref.datasets import DatasetError, DatasetMissing
from kfac_ref.errors import ExtraMissing, NotPositiveDefinite, ShapeError
from kfac_ref.examples import running
from kfac_ref.examples.demo import measuring
from kfac_ref.examples.demo.problem import (
    LARGEST,
    Problem,
    Settings,
    TooLarge,
    check_size,
    make_problem,
)
from kfac_ref.examples.demo.reporting import summarize, summarize_sampling
from kfac_ref.examples.demo.training import Training, kfac_step, train
from kfac_ref.pairs import propagate

LAMBDA = 0.07


def write_mnist(folder, rng, count=23, height=8, width=8):
    """The two training files, random, in the format of MNIST."""
    images = rng.integers(0, 256, (count, height, width), dtype=np.uint8)
    labels = rng.integers(0, 10, count, dtype=np.uint8)
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        (folder / f"train-{name}-ubyte").write_bytes(header + array.tobytes())
    return images, labels


@pytest.fixture
def small(xp, rng):
    """A problem with a small net, on any backend."""
    network = networks.chain()
    x, y = networks.inputs(rng, xp), networks.classes(rng, xp)
    params = networks.parameters(network, rng, xp)
    settings = Settings(steps=3, damping=LAMBDA)
    return Problem(settings, network, params, x, y, "random numbers", rng)


@pytest.fixture
def params(small):
    return small.params


# The problem


def test_the_default_is_the_net_of_the_paper():
    problem = make_problem(Settings())
    assert problem.network.size == 3190
    assert problem.network.shapes == [(65, 20), *[(21, 20)] * 4, (21, 10)]
    assert problem.x.shape == (1797, 64)
    assert problem.description == "UCI digits: 1,797 images of 8 x 8 pixels"


def test_images_of_mnist_are_shrunk_and_the_demo_says_so(tmp_path, rng):
    images, labels = write_mnist(tmp_path, rng, count=5, height=28, width=28)
    problem = make_problem(Settings(data=str(tmp_path), hidden=(3,)))
    assert problem.x.shape == (5, 49)
    assert problem.x[2, 8] == pytest.approx(images[2, 4:8, 4:8].mean() / 255)
    assert list(problem.y) == list(labels)
    assert "first 5 of 5 images, 28 x 28 pixels, shrunk to 7 x 7" in problem.description


def test_small_images_stay_as_they_are(tmp_path, rng):
    images, _ = write_mnist(tmp_path, rng, count=5, height=7, width=5)
    problem = make_problem(Settings(data=str(tmp_path), hidden=(3,)))
    assert_exact(problem.x, images.reshape(5, 35) / 255)
    assert "shrunk" not in problem.description


def test_no_more_examples_than_the_demo_has_time_for(tmp_path, rng):
    images, _ = write_mnist(tmp_path, rng, count=2003, height=2, width=3)
    problem = make_problem(Settings(data=str(tmp_path), hidden=(3,)))
    assert len(problem.x) == len(problem.y) == 2000
    assert_exact(problem.x[-1], images[1999].ravel() / 255)
    assert "first 2,000 of 2,003 images" in problem.description


def test_errors_of_the_data(tmp_path, rng):
    with pytest.raises(DatasetMissing, match="no such folder"):
        make_problem(Settings(data=str(tmp_path / "nowhere")))
    write_mnist(tmp_path, rng, height=29, width=31)
    with pytest.raises(ShapeError, match="at most 64 pixels: factor: .* 29 and 31"):
        make_problem(Settings(data=str(tmp_path)))
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1])
    with pytest.raises(DatasetError, match="truncated"):
        make_problem(Settings(data=str(tmp_path)))


def test_nets_that_are_too_large_are_refused_with_the_number():
    message = r"64-90-9-10 has 6,769 parameters: .* 0\.4 GB, .* at most 6,000"
    with pytest.raises(TooLarge, match=message):
        check_size([64, 90, 9, 10])
    assert LARGEST == 6000
    check_size([64, 80, 9])


def test_without_tqdm_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert running.progress([3, 1], "nobody is looking") == [3, 1]
    monkeypatch.setattr(running, "watched", lambda: True)
    with pytest.raises(ExtraMissing, match=r"tqdm is needed.*pip install tqdm$"):
        running.progress([], "nothing")
    monkeypatch.undo()
    monkeypatch.setattr(running, "watched", lambda: True)
    assert [*running.progress([3, 1], "something")] == [3, 1]


# Training


def expected_step(problem, params, damping):
    """One step from the specification's loops and NumPy's dense solve."""
    network = problem.network
    grad = host(network.flatten(network.gradient(params, problem.x, problem.y)))
    pairs = networks.ag(propagate(network.linearize(params, problem.x)))
    F = specification.full(pairs)
    parts, at = [], 0
    for a, g in pairs:
        A, G = specification.factors(a, g)
        gamma = np.sqrt(damping)
        pi = np.sqrt((np.trace(A) / len(A)) / (np.trace(G) / len(G)))
        damped = np.kron(
            A + pi * gamma * np.eye(len(A)), G + gamma / pi * np.eye(len(G))
        )
        parts.append(np.linalg.solve(damped, grad[at : at + len(damped)]))
        at += len(damped)
    d = -np.concatenate(parts)
    alphas = np.linspace(-0.1, 5, 50_001)
    curve = d @ F @ d + damping * d @ d
    models = alphas * (grad @ d) + alphas**2 * curve / 2
    return d, alphas[models.argmin()]


def test_a_step_goes_along_the_damped_direction_to_the_models_minimum(small, params):
    new = kfac_step(small.network, params, small.x, small.y, LAMBDA)
    step = np.concatenate(
        [
            (host(after) - host(before)).ravel()
            for after, before in zip(new, params, strict=True)
        ]
    )
    d, alpha = expected_step(small, params, LAMBDA)
    found = step @ d / (d @ d)
    assert_exact(step, found * d, tolerance=1e-11)
    assert found == pytest.approx(alpha, abs=1e-4)  # the grid's mesh
    assert abs(found - 1) > 0.01  # not the bare step


def test_training_lowers_the_loss_and_is_watched(small):
    training = train(small)
    assert len(training.losses) == len(training.accuracies) == len(training.errors) == 4
    assert training.losses[-1] < training.losses[0]
    z = host(small.network.predict(training.params, small.x))
    right = (z.argmax(axis=1) == host(small.y)).mean()
    assert training.accuracies[-1] == pytest.approx(right)
    pairs = networks.ag(propagate(small.network.linearize(training.params, small.x)))
    for error, (a, g) in zip(training.errors[-1], pairs, strict=True):
        kfac, exact = specification.kronecker(a, g), specification.block(a, g)
        assert error == pytest.approx(relative_error(kfac, exact), rel=1e-10)


def test_without_steps_nothing_is_trained(small, params):
    training = train(replace(small, settings=Settings(steps=0)))
    assert len(training.losses) == 1
    assert training.params is params


# Measuring


def test_every_approximation_is_what_its_name_says(small, params):
    built = measuring.build(small, Training(params))
    pairs = propagate(small.network.linearize(params, small.x))
    both = networks.ag(pairs)
    F = specification.full(both)
    blocks = np.zeros_like(F)
    kfac, best = np.zeros_like(F), np.zeros_like(F)
    at = 0
    for a, g in both:
        rows = slice(at, at + a.shape[2] * g.shape[3])
        blocks[rows, rows] = F[rows, rows]
        kfac[rows, rows] = specification.kronecker(a, g)
        best[rows, rows] = specification.best_kronecker(a, g)
        at = rows.stop
    dense = {
        name: host(one.matrix.to_dense())
        for name, one in built.items()
        if name != "block-tridiagonal"
    }
    identity = np.trace(F) / len(F) * np.eye(len(F))
    assert_exact(dense["scaled identity"], identity)
    assert_exact(dense["diagonal"], np.diag(np.diag(F)))
    assert_exact(dense["block-diagonal"], blocks)
    assert_exact(dense["K-FAC"], kfac)
    assert relative_error(dense["best Kronecker"], best) < 1e-8
    damped = {
        name: rule(built[name].matrix, LAMBDA) for name, rule in measuring.RULES.items()
    }
    expected, _ = expected_step(small, params, LAMBDA)
    grad = small.network.gradient(params, small.x, small.y)
    u = damped["K-FAC, factored damping"].solve(small.network.flatten(grad))
    assert_exact(u, -expected, tolerance=1e-11)
    for name in ("K-FAC, one sampled label", "K-FAC, observed labels"):
        assert relative_error(dense[name], kfac) > 0.01
    inverse = host(damped["block-tridiagonal"].inverse().to_dense())
    first, last = (small.network.shapes[i] for i in (0, -1))
    corner = inverse[: first[0] * first[1], -last[0] * last[1] :]
    assert np.abs(corner).max() < 1e-12 * np.abs(inverse).max()
    assert all(one.seconds > 0 for one in built.values())


def test_without_damping_the_error_names_the_layer(small, params):
    problem = replace(small, settings=Settings(damping=1e-300))
    with pytest.raises(NotPositiveDefinite, match=r"Dense.*lambda = 1e-300 "):
        measuring.measure(problem, Training(params))


def test_more_labels_bring_the_sampled_fisher_nearer(small, params, monkeypatch):
    monkeypatch.setattr(measuring, "SAMPLES", [1, 101])
    monkeypatch.setattr(measuring, "FEW", 7)
    sampling = measuring.sample(small, Training(params))
    assert sampling.examples == 7 and sampling.samples == [1, 101]
    fisher, kfac = np.array(sampling.fisher), np.array(sampling.kfac)
    assert fisher.shape == kfac.shape == (2, 2)
    assert fisher[1].max() < fisher[0].min() / 2
    assert kfac[1].min() > 0.2  # what K-FAC leaves out, no label brings back


# The summary


def row(name, frobenius, angle):
    return Row(name, None, 50, frobenius, 1.0, 1.0, angle, 1.0, 123, None, 0.0)


def test_the_summary_follows_from_the_numbers():
    rows = [
        row("K-FAC", 0.5, 31.26),
        row("block-diagonal", 0.4, 20.04),
        row("other", 0.9, 70.0),
    ]
    angles, shares = summarize(Comparison(LAMBDA, rows))
    assert "points 31.3° away" in angles
    assert "closest is block-diagonal (20.0°), farthest other (70.0°)" in angles
    assert "64% is what every block-diagonal matrix drops" in shares
    assert "stores 123 numbers, the exact Fisher 2,500" in shares
    rows[2] = row("other", 0.9, 10.0)
    assert "closest is other (10.0°)" in summarize(Comparison(LAMBDA, rows))[0]
    fisher = [[0.8, 0.6], [0.2, 0.15]]  # a quarter, for nine times as many
    sampling = measuring.Sampling(7, [1, 9], fisher, [[0.9, 0.8], [0.5, 0.6]])
    text = summarize_sampling(sampling)
    slope = -np.log(4) / np.log(9)
    assert "From 1 to 9 sampled labels the error of the Fisher falls from 0.7" in text
    assert f"to 0.175, with slope {slope:.3f} (theory" in text
    assert "that of K-FAC from 0.85 to 0.55 (first 7 examples)" in text
