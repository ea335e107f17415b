"""LBANN's MNIST example: networks, its K-FAC step by step, the report, the race."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks import tune_lbann
from helpers import assert_exact, host, relative_error
from kfac_ref.datasets import DatasetMissing
from kfac_ref.distributions import Categorical
from kfac_ref.errors import ShapeError, UnknownName, Unsupported, ValueRangeError
from kfac_ref.examples import contest
from kfac_ref.examples.contest import Contestant, follow
from kfac_ref.examples.images import Images, load
from kfac_ref.examples.lbann import models as lbann_models
from kfac_ref.examples.lbann import race as lbann_race
from kfac_ref.examples.lbann.models import cnn, dense, make_network, mlp
from kfac_ref.examples.lbann.settings import KfacSettings, Settings, make_optimizer
from kfac_ref.examples.lbann.training import (
    HELD_OUT,
    Problem,
    epochs,
    line,
    make_contestant,
    make_problem,
)
from kfac_ref.layers import Conv2d, Dense, Flatten, ReLU
from kfac_ref.network import Network
from kfac_ref.optimizer import SGD, Adam, TrainingDiverged
from kfac_ref.optimizer import training as training_module


def write_images(folder, rng, count=23, held=9, side=8):
    """The four files of MNIST, random; gives what is in them."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, n in (("train", count), ("t10k", held)):
        images = rng.integers(0, 256, (n, side, side), dtype=np.uint8)
        digits = rng.integers(0, 10, n, dtype=np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", digits)):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            path = folder / f"{name}-{kind}-ubyte"
            path.write_bytes(header + array.tobytes())
        found.append((images, digits))
    return found


@pytest.fixture
def few(tmp_path, rng, monkeypatch):
    """The settings of a training of a small network on few random images."""

    def small(height, width):
        layers = [dense(height * width, 7), ReLU(), dense(7, 10)]
        return Network([Flatten(), *layers], Categorical())

    monkeypatch.setitem(lbann_models.MODELS, "cnn", small)
    write_images(tmp_path / "images", rng)
    return Settings(
        model="cnn",
        data=str(tmp_path / "images"),
        num_epochs=2,
        mini_batch_size=7,
        learning_rate=0.01,
    )


# The networks


def test_the_networks_for_mnist_have_lbanns_parameters():
    assert mlp(28, 28).shapes == [(784, 1000), (1000, 1000), (1000, 10)]
    assert mlp(28, 28).size == 1_794_000
    assert cnn(28, 28).shapes == [(25, 20), (500, 50), (800, 500), (500, 10)]
    assert cnn(28, 28).size == 430_500


def test_the_networks_for_the_digits_leave_no_pixel_over(rng):
    assert mlp(8, 8).size == 64_000 + 1_000_000 + 10_000
    assert cnn(8, 8).shapes == [(9, 20), (80, 50), (50, 500), (500, 10)]
    net, x = cnn(8, 8), rng.uniform(size=(3, 8, 8, 1))
    params = net.init(rng)
    sizes = []
    for i, layer in enumerate(net.body.layers):
        x, _ = layer.forward([params[sum(m.blocks for m in net.body.layers[:i])]], x)
        sizes.append(x.shape[1:])
    assert sizes[0] == (6, 6, 20) and sizes[2] == (3, 3, 20)
    assert sizes[3] == (2, 2, 50) and sizes[5] == (1, 1, 50)
    assert sizes[-1] == (10,)


def test_the_sizes_of_the_cnn_for_mnist(rng):
    net, x = cnn(28, 28), rng.uniform(size=(2, 28, 28, 1))
    params, sides = net.init(rng), []
    for i, layer in enumerate(net.body.layers[:6]):
        x, _ = layer.forward([params[sum(m.blocks for m in net.body.layers[:i])]], x)
        sides.append(x.shape[1])
    assert sides == [24, 24, 12, 8, 8, 4]
    assert net.predict(params, rng.uniform(size=(2, 28, 28, 1))).shape == (2, 10)


def test_initial_weights_are_he_for_convolutions_and_lecun_for_dense():
    drawn = cnn(8, 8).init(np.random.default_rng(3))
    rng = np.random.default_rng(3)
    variances = [2 / 9, 2 / (4 * 20), 1 / 50, 1 / 500]
    for W, variance in zip(drawn, variances, strict=True):
        assert_exact(W, rng.normal(0, np.sqrt(variance), W.shape))
    drawn, rng = mlp(3, 5).init(np.random.default_rng(4)), np.random.default_rng(4)
    for W, fan_in in zip(drawn, (15, 1000, 1000), strict=True):
        assert_exact(W, rng.normal(0, np.sqrt(1 / fan_in), W.shape))


def test_networks_that_are_not_there():
    with pytest.raises(UnknownName, match="unknown model 'cn': did you mean 'cnn'"):
        make_network("cn", (7, 9))
    with pytest.raises(ShapeError, match="28 x 28 or of 8 x 8 pixels, found 7 x 9"):
        make_network("cnn", (7, 9))
    assert make_network("mlp", (7, 9)).shapes[0] == (63, 1000)


# The images


def test_digits_are_divided_by_the_seed():
    images = load("digits", np.random.default_rng(7), HELD_OUT)
    (x, y), (held, labels) = images.train, images.test
    assert x.shape == (1500, 8, 8, 1) and held.shape == (297, 8, 8, 1)
    assert len(y) == 1500 and len(labels) == 297
    assert make_problem(Settings(model="cnn")).description == (
        "UCI digits: 1,500 images of 8 x 8 pixels to train with, 297 for the test"
    )
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    both = np.concatenate([x, held]).reshape(-1, 64) * 16
    rows = [tuple(row) for row in np.column_stack([both, [*y, *labels]])]
    expected = [tuple(row) for row in np.column_stack([pixels, digits])]
    assert sorted(rows) == sorted(expected)
    again = load("digits", np.random.default_rng(7), HELD_OUT)
    assert np.array_equal(again.test[0], held)
    other = load("digits", np.random.default_rng(8), HELD_OUT)
    assert not np.array_equal(other.test[0], held)


def test_images_in_the_files_of_mnist(tmp_path, rng):
    (images, digits), (held, labels) = write_images(tmp_path, rng, side=28)
    found = load(str(tmp_path), rng, HELD_OUT)
    assert found.size == (28, 28)
    assert_exact(found.train[0], images[..., None] / 255)
    assert_exact(found.test[0], held[..., None] / 255)
    assert list(found.train[1]) == list(digits)
    assert list(found.test[1]) == list(labels)
    text = make_problem(Settings(model="cnn", data=str(tmp_path))).description
    assert "23 images of 28 x 28 pixels to train with, 9 for" in text
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DatasetMissing, match="t10k-labels"):
        load(str(tmp_path), rng, HELD_OUT)


# LBANN's K-FAC, transcribed from its formulas: W is (d_out, d_in), e = g / N

MIXED = KfacSettings(
    damping_act=(0.05, 0.02),
    damping_err=(0.7, 0.3),
    damping_warmup_steps=13,
    use_pi=True,
    update_interval_init=1,
    update_interval_target=3,
    update_interval_steps=4,
    compute_interval=1,
    kronecker_decay=0.9,
)
PLAIN = KfacSettings(damping_act=(0.04,), damping_err=(0.6,))


def softmax(z):
    p = np.exp(z - z.max(axis=0))
    return p / p.sum(axis=0)


def dense_statistics(W, x, y, count=10):
    """[(gradient, A, G)] of dense layers with ReLU between; examples are columns."""
    N, inputs, a = len(x), [], x.T
    for i, M in enumerate(W):
        inputs.append(a)
        s = M @ a
        a = s if i == len(W) - 1 else np.maximum(s, 0)
    e = (softmax(a) - np.eye(len(a))[:, y]) / N
    found = []
    for M, a in zip(reversed(W), reversed(inputs), strict=True):
        found.append((e @ a.T, a @ a.T / N, N * e @ e.T))
        e = (M.T @ e) * (a > 0)
    return found[::-1]


def conv_statistics(W, x, y):
    """The same for a convolution, ReLU and a dense layer, pixel by pixel."""
    K, M = W
    N, side = len(x), x.shape[1] - 1
    A, G, dK = np.zeros((4, 4)), np.zeros((len(K), len(K))), np.zeros_like(K)
    T, out = side * side, np.zeros((N, side, side, len(K)))
    for n, i, j in np.ndindex(N, side, side):
        out[n, i, j] = K @ x[n, i : i + 2, j : j + 2, 0].ravel()
    a = np.maximum(out, 0).reshape(N, -1).T
    e = (softmax(M @ a) - np.eye(len(M))[:, y]) / N
    back = ((M.T @ e) * (a > 0)).T.reshape(out.shape)
    for n, i, j in np.ndindex(N, side, side):
        column = x[n, i : i + 2, j : j + 2, 0].ravel()
        A += np.outer(column, column) / N
        G += np.outer(back[n, i, j], back[n, i, j]) * N / T
        dK += np.outer(back[n, i, j], column)
    return [(dK, A, G), (e @ a.T, a @ a.T / N, N * e @ e.T)]


def lbann_steps(W, batches, statistics, now, rate, mu):
    """W after each step, as LBANN takes it."""
    act, err = now.damping_act[0], now.damping_err[0]
    factors = inverses = None
    velocity = [np.zeros_like(M) for M in W]
    alphas = [
        2 * np.log10(pair[0] / pair[-1]) / now.damping_warmup_steps
        for pair in (now.damping_act, now.damping_err)
    ]
    for step, (x, y) in enumerate(batches):
        found = statistics(W, x, y)
        if step % now.compute_interval == 0:
            act = (1 - alphas[0]) * act + alphas[0] * now.damping_act[-1]
            err = (1 - alphas[1]) * err + alphas[1] * now.damping_err[-1]
            u0, u1 = now.update_interval_init, now.update_interval_target
            way = min(step / now.update_interval_steps, 1)
            if inverses is None or step % int(u0 + (u1 - u0) * way) == 0:
                rho, new = now.kronecker_decay, [(A, G) for _, A, G in found]
                factors = factors or new
                factors = [
                    (rho * A + (1 - rho) * A1, rho * G + (1 - rho) * G1)
                    for (A, G), (A1, G1) in zip(factors, new, strict=True)
                ]
                inverses = [invert(A, G, act, err, now.use_pi) for A, G in factors]
        pairs = zip(found, inverses, velocity, strict=True)
        velocity = [mu * v + Gi @ D @ Ai for (D, _, _), (Ai, Gi), v in pairs]
        W = [M - rate * v for M, v in zip(W, velocity, strict=True)]
        yield W


def invert(A, G, act, err, use_pi):
    pi = np.sqrt((np.trace(A) / len(A)) / (np.trace(G) / len(G))) if use_pi else 1.0
    return (
        np.linalg.inv(A + pi * act * np.eye(len(A))),
        np.linalg.inv(G + err / pi * np.eye(len(G))),
    )


def dense_case(rng):
    sizes = (5, 7, 4, 3)
    layers = []
    for d, o in pairwise(sizes):
        layers += [Dense(d, o, bias=False), ReLU()]
    batches = [(rng.normal(0.4, 1, (n, 5)), rng.integers(0, 3, n)) for n in BATCHES]
    return Network(layers[:-1], Categorical()), batches, dense_statistics


def conv_case(rng):
    conv = Conv2d(1, 3, 2, padding="VALID", bias=False)
    layers = [conv, ReLU(), Flatten(), Dense(3 * 9, 5, bias=False)]
    batches = [
        (rng.normal(0.4, 1, (n, 4, 4, 1)), rng.integers(0, 5, n)) for n in BATCHES
    ]
    return Network(layers, Categorical()), batches, conv_statistics


BATCHES = (11, 13, 9, 8, 11, 12, 7)  # examples in each step


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize(
    "now", [PLAIN, MIXED, replace(MIXED, use_pi=False, compute_interval=2)]
)
@pytest.mark.parametrize("case", [dense_case, conv_case])
def test_steps_are_lbanns(xp, rng, case, now, optimizer):
    net, batches, statistics = case(rng)
    W = net.init(rng)
    settings = Settings(optimizer=optimizer, learning_rate=0.3, kfac=now)
    kfac = make_optimizer(settings, net)
    assert kfac.network is net
    state = kfac.init([xp.asarray(M) for M in W])
    expected = lbann_steps(
        [M.T for M in W], batches, statistics, now, 0.3, 0.9 * (optimizer != "sgd")
    )
    before = host(state.theta)
    for (x, y), after in zip(batches, expected, strict=True):
        state, _ = kfac.step(state, xp.asarray(x), xp.asarray(y), rng)
        flat = np.concatenate([M.T.ravel() for M in after])
        assert_exact(host(state.theta) - before, flat - before, tolerance=1e-11)
        assert_exact(state.theta, flat)
        before = host(state.theta)
    params = kfac.params(state)
    assert [tuple(M.shape) for M in params] == net.shapes


@pytest.mark.parametrize(
    "other",
    [
        {"damping_act": (0.05,)},
        {"damping_err": (0.7,)},
        {"damping_warmup_steps": 14},
        {"use_pi": False},
        {"update_interval_init": 2},
        {"update_interval_target": 2},
        {"update_interval_steps": 5},
        {"compute_interval": 2},
        {"kronecker_decay": 0.99},
    ],
)
def test_every_option_changes_the_steps(rng, other):
    net, batches, _ = dense_case(rng)
    params, ends = net.init(rng), []
    for now in (MIXED, replace(MIXED, **other)):
        kfac = make_optimizer(Settings(optimizer="sgd", kfac=now), net)
        state = kfac.init(params)
        for x, y in batches:
            state, _ = kfac.step(state, x, y, rng)
        ends.append(state.theta - net.flatten(params))
    assert relative_error(ends[1], ends[0]) > 1e-4


def test_eigendecompositions_give_the_same_step(xp, rng):
    net, ((x, y), *_), _ = dense_case(rng)
    params, ends = [xp.asarray(M) for M in net.init(rng)], []
    for eigen in (False, True):
        now = replace(PLAIN, use_eigen=eigen)
        kfac = make_optimizer(Settings(optimizer="sgd", kfac=now), net)
        state, trace = kfac.step(kfac.init(params), xp.asarray(x), xp.asarray(y), rng)
        kinds = {type(block).__name__ for block in trace.proposal.damped.blocks}
        assert kinds == {"EigenKronecker" if eigen else "KroneckerProduct"}
        ends.append(state.theta)
    assert_exact(ends[1], ends[0])


# Its schedules, with the numbers of its code


def damping_at(now, step):
    net = Network([Dense(3, 2)], Categorical())
    kfac = make_optimizer(Settings(optimizer="sgd", kfac=now), net)
    return kfac.at(step).options.inversion.damping_rule.keywords


def test_a_damping_of_two_numbers_moves_before_every_step():
    now = KfacSettings(
        damping_act=(2e-2, 2e-3), damping_err=(0.1, 0.001), damping_warmup_steps=500
    )
    for k, value in [(1, 0.019928), (2, 0.01985628799), (10, 0.01929282269),
                     (100, 0.01405608605), (500, 0.00442628423)]:  # fmt: skip
        assert damping_at(now, k - 1)["activations"] == pytest.approx(value, rel=1e-7)
    now = replace(now, damping_warmup_steps=100)
    for k, value in [(1, 0.0960400), (10, 0.0668184), (50, 0.0138587)]:
        assert damping_at(now, k - 1)["errors"] == pytest.approx(value, rel=1e-5)
    now = replace(now, compute_interval=3)  # counted are the steps that compute
    assert damping_at(now, 3)["errors"] == pytest.approx(0.1 * 0.96**2 + 4e-5 * 1.96)


def test_update_intervals_move_along_a_line():
    now = KfacSettings(update_interval_target=10, update_interval_steps=20)
    expected = [*range(3), *range(4, 21, 2), 30, 40, 50, 60, 70]
    assert [step for step in range(80) if now.refreshes(step)] == expected
    now = replace(now, compute_interval=4)
    expected = [step for step in expected if step % 4 == 0]
    assert [step for step in range(80) if now.refreshes(step)] == expected
    back = KfacSettings(update_interval_init=10, update_interval_steps=6)
    assert [step for step in range(10) if back.refreshes(step)] == [0, 4, 6, 7, 8, 9]


# Settings


def test_the_settings_without_options_are_lbanns():
    settings, net = Settings(), Network([Dense(3, 2)], Categorical())
    assert make_optimizer(settings, net) == Adam(net, 1e-4, beta_1=0.9, beta_2=0.99)
    assert (settings.num_epochs, settings.mini_batch_size) == (20, 100)
    assert KfacSettings().damping_act == KfacSettings().damping_err == (0.03,)
    for name, mu in (("sgd", 0.0), ("momentum", 0.9)):
        made = make_optimizer(Settings(optimizer=name), net)
        assert made == SGD(net, 1e-4, momentum=mu)


def test_settings_that_do_not_fit():
    with pytest.raises(UnknownName, match="unknown optimizer 'adan': .* 'adam'"):
        Settings(optimizer="adan")
    with pytest.raises(Unsupported, match="kfac with optimizer 'adam': .* 'momentum'"):
        Settings(kfac=KfacSettings())
    with pytest.raises(ValueRangeError, match="num_epochs: expected .* found 0"):
        Settings(num_epochs=0)
    with pytest.raises(ValueRangeError, match="mini_batch_size: expected .* found -1"):
        Settings(mini_batch_size=-1)
    with pytest.raises(ValueRangeError, match="damping_act: .*initial >= target > 0"):
        KfacSettings(damping_act=(0.03, 0.3))
    with pytest.raises(ValueRangeError, match="damping_err: .*one or two numbers"):
        KfacSettings(damping_err=(3.0, 2.0, 1.0))
    with pytest.raises(ValueRangeError, match="damping_act: .*finite"):
        KfacSettings(damping_act=(np.nan,))
    with pytest.raises(ValueRangeError, match="damping_err: .*>= 0, found -1"):
        KfacSettings(damping_err=(-1.0,))
    for name in ("update_interval_init", "update_interval_steps", "compute_interval"):
        with pytest.raises(ValueRangeError, match=f"{name}: expected .* found 0"):
            KfacSettings(**{name: 0})
    with pytest.raises(ValueRangeError, match="learning_rate: expected .* found 0.0"):
        Settings(optimizer="sgd", learning_rate=0.0)
    with pytest.raises(ValueRangeError, match="decay of the moving average"):
        KfacSettings(kronecker_decay=1.0)


# Epoch by epoch


class Clocked:
    """SGD that takes as many seconds for a step as it is told."""

    def __init__(self, network, seconds):
        self.sgd, self.network, self.now = SGD(network, 0.1), network, 0.0
        self.seconds, self.losses = iter(seconds), []
        self.init, self.params = self.sgd.init, self.sgd.params

    def step(self, state, x, y, rng):
        self.now += next(self.seconds)
        state, trace = self.sgd.step(state, x, y, rng)
        self.losses.append(trace.loss)
        return state, trace

    def perf_counter(self):
        return self.now


def small(xp, rng, make=lambda network: SGD(network, 0.1)):
    """A problem of twelve images, and a contestant for two epochs of three updates."""
    net = Network([Flatten(), Dense(6, 3)], Categorical())
    train, test = (
        (xp.asarray(rng.uniform(size=(n, 2, 3, 1))), xp.asarray(rng.integers(0, 3, n)))
        for n in (12, 7)
    )
    params = [xp.asarray(W) for W in net.init(rng)]
    problem = Problem(0, Images(train, test), net, params, rng, "few")
    return problem, Contestant(make(net), 4, 6, "some", 3)


def test_what_is_said_about_an_epoch(xp, rng, monkeypatch):
    seconds = [0.5, 2.0, 0.75, 1.0, 1.0, 4.0]
    problem, entry = small(xp, rng, lambda net: Clocked(net, seconds))
    clocked = entry.optimizer
    monkeypatch.setattr(training_module, "time", clocked)
    monkeypatch.setattr(contest, "perf_counter", clocked.perf_counter)
    stream = follow(problem, entry)
    for i in range(2):
        course, times = next(stream), seconds[3 * i : 3 * i + 3]
        epoch = course.rows[i]
        assert epoch["objective"] == pytest.approx(np.mean(clocked.losses[-3:]))
        assert epoch["run_time"] == pytest.approx(sum(times))
        assert epoch["batch_mean"] == pytest.approx(sum(times) / 3)
        assert (epoch["batch_max"], epoch["batch_min"]) == (max(times), min(times))
        spread = sum((t - sum(times) / 3) ** 2 for t in times) / 3
        assert epoch["batch_stdev"] == pytest.approx(np.sqrt(spread))
        right = epoch["test_accuracy"] * 7
        assert right == pytest.approx(round(right))
    assert next(stream, None) is None
    cells = line(course).split()
    assert cells[0] == "2"
    assert float(cells[1]) == pytest.approx(epoch["objective"], rel=1e-3)
    assert cells[3:9] == ["6.00", "s", "2000.00", "4000.00", "1000.00", "1414.21"]
    assert cells[2] == f"{epoch['accuracy']:.2%}"
    assert cells[-1] == f"{epoch['test_accuracy']:.2%}"
    assert epochs(course)[1] == {k: epoch[k] for k in list(epoch)[2:]}


def test_the_evaluation_is_of_the_parameters_after_the_epoch(xp, rng):
    problem, entry = small(xp, rng)
    (first,) = next(follow(problem, entry)).rows
    _, order = problem.start()
    W = host(problem.params[0])
    x, y = (host(part) for part in problem.images.train)
    chosen = order.permutation(12).reshape(3, 4)
    for rows in chosen:
        a = np.column_stack([x[rows].reshape(4, 6), np.ones(4)])
        p = softmax((a @ W).T).T
        W = W - 0.1 * a.T @ (p - np.eye(3)[y[rows]]) / 4
    held, labels = (host(part) for part in problem.images.test)
    a = np.column_stack([held.reshape(7, 6), np.ones(7)])
    p = softmax((a @ W).T).T
    loss = -np.log(p[range(7), labels]).mean()
    assert first["test_objective"] == pytest.approx(loss)
    assert first["test_accuracy"] == (p.argmax(axis=1) == labels).mean()


def curve(settings):
    problem = make_problem(settings)
    *_, course = follow(problem, make_contestant(settings, problem))
    names = ("objective", "accuracy", "test_objective", "test_accuracy")
    return [tuple(epoch[name] for name in names) for epoch in course.rows]


def test_all_but_the_times_follow_from_the_seed(few):
    assert curve(few) == curve(few) != curve(replace(few, seed=1))
    kfac = replace(few, optimizer="sgd", kfac=PLAIN)
    assert curve(kfac) == curve(kfac) != curve(replace(few, optimizer="sgd"))


def test_a_divergence_says_where(few):
    with pytest.raises(TrainingDiverged, match="is not finite; go on"):
        curve(replace(few, optimizer="sgd", learning_rate=1e200))


# The race


def test_the_contestants():
    base = Settings(seed=5, num_epochs=3)
    found = lbann_race.contestants(base)
    assert list(found) == [
        "Adam, as published", "K-FAC, as published", "Adam, tuned", "K-FAC, tuned"
    ]  # fmt: skip
    assert found["Adam, as published"] == base
    published = KfacSettings(damping_act=(0.01,), damping_err=(1.0,))
    assert found["K-FAC, as published"] == replace(
        base, optimizer="sgd", learning_rate=0.1, kfac=published
    )


def test_the_tuned_settings_are_the_best_of_the_grid():
    path = Path(tune_lbann.HERE) / "lbann_mlp.json"
    record = json.loads(path.read_text())
    best = tune_lbann.best(record["points"])
    assert record["best"] == best
    for name, settings in lbann_race.TUNED.items():
        assert tune_lbann.key(Settings(**settings)).items() <= best[name].items()
    edges = (tune_lbann.ADAM[0], tune_lbann.ADAM[-1])
    assert best["Adam"]["learning_rate"] not in edges


def runs_of(last, seconds):
    return [
        {
            "seed": i,
            "objective": [1.0, value],
            "seconds": [seconds / 2, seconds],
            "accuracy": 1.0,
            "test_objective": 0.25 + i / 4,
            "test_accuracy": 0.75 + i / 8,
        }
        for i, value in enumerate(last)
    ]


@pytest.fixture
def record():
    runs = {
        "Adam, as published": runs_of([0.8, 0.9], 2.0),
        "K-FAC, as published": runs_of([0.1, 0.3], 14.0),
        "Adam, tuned": runs_of([0.4, 0.6], 2.0),
        "K-FAC, tuned": runs_of([0.02, 0.05], 9.0),
    }
    found = {"ratios": lbann_race.ratios(runs), "slowdown": lbann_race.slowdown(runs)}
    return {"runs": runs} | found


def test_ratios_of_the_last_objectives(record):
    expected = {
        "both as published": [8.0, 3.0],
        "both tuned": [20.0, 12.0],
        "K-FAC as published, Adam tuned": [4.0, 2.0],
    }
    assert record["ratios"].keys() == expected.keys()
    for pair, values in expected.items():
        assert record["ratios"][pair] == pytest.approx(values)
    assert record["slowdown"] == pytest.approx(7.0)
    text = "\n".join(lbann_race.summarize(record))
    assert "both tuned: Adam's objective over K-FAC's is 20, 12\n" in text
    assert "K-FAC, tuned              0.02      0.05" in text
    row = next(line for line in text.splitlines() if line.startswith("Adam, tuned"))
    assert row.split()[-2:] == ["0.375", "81.25%"]
    assert text.endswith("an epoch of K-FAC takes 7.0 times Adam's")


def test_the_figure_shows_the_curves_and_the_numbers(record):
    figure = lbann_race.race_figure(record)
    left, right = figure.axes
    assert "5.5 times lower as published, 16 times tuned" in left.get_title()
    assert "takes 7.0 times as long" in right.get_title()
    assert left.get_yscale() == "log"
    assert len(left.lines) == len(right.lines) == 8
    assert [*left.lines[2].get_xdata()] == [1, 2]
    assert [*right.lines[2].get_xdata()] == [7.0, 14.0]
    assert [*right.lines[2].get_ydata()] == [1.0, 0.1]
    texts = [text.get_text() for text in right.get_legend().get_texts()]
    assert texts[3] == "K-FAC, tuned: 0.035" and len(texts) == 4


def test_a_race_from_end_to_end(few, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lbann_race, "SEEDS", 2)
    found = lbann_race.run(replace(few, seed=3), tmp_path / "out")
    text = capsys.readouterr().out
    written = json.loads((tmp_path / "out" / "lbann_cnn.json").read_text())
    assert written == json.loads(json.dumps(found))
    assert (tmp_path / "out" / "lbann_cnn.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path) not in json.dumps(written["settings"])
    assert found["parameters"] == 64 * 7 + 7 * 10
    for name, settings in lbann_race.contestants(few).items():
        assert [run["seed"] for run in found["runs"][name]] == [3, 4]
        expected = curve(replace(settings, seed=4))
        run = found["runs"][name][1]
        assert run["objective"] == [epoch[0] for epoch in expected]
        assert (run["test_objective"], run["test_accuracy"]) == expected[-1][2:]
        assert f"{name}, seed 4, epoch 2: objective {expected[-1][0]:.4g}, " in text
        assert 0 < run["seconds"][0] < run["seconds"][1]
    assert text.endswith(f"lbann_cnn.png and .json are in {tmp_path / 'out'}\n")


# The grid


def point(optimizer, rate, objective, test):
    kfac = {"use_pi": False} if optimizer == "sgd" else None
    found = {"optimizer": optimizer, "learning_rate": rate, "kfac": kfac}
    return found | {"objective": objective, "test_objective": test}


def test_the_best_point_has_the_lowest_objective_of_those_that_still_generalise():
    points = [
        point("adam", 1e-4, [0.3, 0.4], [0.2, 0.2]),
        point("adam", 3e-3, [0.1, 0.2], [0.1, 0.1]),
        point("adam", 1e-2, [1e-5, 0.5], [0.1, 0.1]),  # a spike
        point("adam", 1e-1, [0.05, 0.05], [0.1, 0.4]),  # lower, but the test suffers
        point("sgd", 0.1, [0.02], [0.2]),
        point("sgd", 0.3, [0.03], [0.1]),
        point("sgd", 1.0, [1e-9], [6.0]),
        point("sgd", 3.0, [None], [None]),
    ]
    best = tune_lbann.best(points)
    rates = [best[name]["learning_rate"] for name in ("Adam", "K-FAC")]
    assert rates == [3e-3, 0.1]
    assert tune_lbann.best(points[:3]).keys() == {"Adam"}


def test_a_point_of_the_grid_has_three_seeds_of_adam_and_one_of_kfac(few):
    kfac = KfacSettings(damping_act=(0.04,), damping_err=(0.6,))
    points = []
    for settings in (few, replace(few, optimizer="sgd", kfac=kfac)):
        assert len([*tune_lbann.fill(points, settings)]) == (1 if settings.kfac else 3)
        assert not [*tune_lbann.fill(points, settings)]  # not again
        found = points[-1]
        for seed, objective in enumerate(found["objective"]):
            expected = curve(replace(settings, seed=seed))[-1]
            assert objective == expected[0]
            assert found["test_objective"][seed] == expected[2]
            assert found["test_accuracy"][seed] == expected[3]
    assert len(points) == 2 and points[1]["kfac"]["damping_act"] == [0.04]
    diverging = replace(few, optimizer="sgd", learning_rate=1e200)
    assert tune_lbann.measure(diverging) == (None, None, None)


def test_the_grids_have_the_published_settings():
    points = [tune_lbann.key(settings) for settings in tune_lbann.grid("mlp")]
    for own in lbann_race.PUBLISHED.values():
        assert tune_lbann.key(Settings(model="mlp", **own)) in points
