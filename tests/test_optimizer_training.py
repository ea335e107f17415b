"""The training loop: which batches, what is recorded, how it stops and goes on."""

from __future__ import annotations

import io
import math
import sys
import time
from dataclasses import dataclass, field, fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from helpers import assert_exact, host
from kfac_ref.backend import get_xp
from kfac_ref.errors import ExtraMissing, KfacTypeError, ShapeError, ValueRangeError
from kfac_ref.optimizer import (
    KFAC,
    SGD,
    Adam,
    Diverged,
    HessianFree,
    History,
    NaturalGradient,
    TrainingDiverged,
    growing_batches,
    train,
)
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.optimizer.schedules import Exponential
from kfac_ref.optimizer.training import watched
from kfac_ref.plotting import APPROXIMATION, histories_figure
from networks import chain, inputs, parameters
from optimizer_cases import KINDS, labels

N = 13
RULE = LevenbergMarquardt(decay=0.7, period=2)


@dataclass
class Watcher:
    """An optimizer that only looks at its batches; its state counts them."""

    network: Any = None
    seen: list = field(default_factory=list)
    diverges_at: int = 10**9
    clock: Any = None

    def init(self, params):
        return SimpleNamespace(step=params[0])

    def params(self, state):
        return [state.step]

    def step(self, state, x, y, rng):
        if state.step + 1 == self.diverges_at:
            raise Diverged("proposal", "the second")
        if self.clock:
            self.clock.now += 2.0
        self.seen.append((x, y))
        trace = SimpleNamespace(
            loss=10.0 - state.step, damping=None, alpha=0.5, mu=None
        )
        return SimpleNamespace(step=state.step + 1), trace


@pytest.fixture
def numbered(xp):
    """x = 0, 1, ..., so that a batch says which examples are in it."""
    return xp.asarray(np.arange(float(N))), xp.asarray(100 + np.arange(N))


def real(kind, xp, rng):
    net = chain(distribution=KINDS[kind])
    data = inputs(rng, xp, N), labels(kind, rng, xp, N)
    return net, parameters(net, rng, xp), data


# Which examples


def test_an_epoch_is_a_permutation_cut_into_batches(numbered):
    watcher = Watcher()
    run = train(watcher, [0], numbered, 4, np.random.default_rng(5), epochs=3)
    orders = np.random.default_rng(5)
    assert len(watcher.seen) == 9 and run.state.step == 9
    for k in range(3):
        order = orders.permutation(N)
        batches = watcher.seen[3 * k : 3 * k + 3]
        found = np.concatenate([host(x) for x, _ in batches])
        np.testing.assert_array_equal(found, order[:12])  # the 13th is left out
        for x, y in batches:
            np.testing.assert_array_equal(host(y), 100 + host(x))
    assert get_xp(watcher.seen[0][0]) is get_xp(numbered[0])
    np.testing.assert_array_equal(run.history.epoch, 4 * np.arange(1, 10) / N)
    assert (run.history.batch == 4).all()


def test_another_seed_is_another_order_and_the_same_seed_the_same(numbered):
    found = []
    for seed in (5, 5, 6):
        watcher = Watcher()
        train(watcher, [0], numbered, N, np.random.default_rng(seed), updates=2)
        found.append([host(x).tolist() for x, _ in watcher.seen])
    assert found[0] == found[1] != found[2]
    assert all(sorted(x) == list(range(N)) for x in found[0])
    assert found[0][0] != found[0][1]


def test_several_labels_are_cut_into_batches_together(xp, numbered, rng):
    watcher, (x, y) = Watcher(), numbered
    train(watcher, [0], (x, [y, y + 1]), 5, rng, updates=1)
    batch, (one, two) = watcher.seen[0]
    chosen = host(batch)
    np.testing.assert_array_equal(host(one), 100 + chosen)
    np.testing.assert_array_equal(host(two), 101 + chosen)


def test_updates_and_epochs_are_two_measures_of_one_thing(numbered):
    left = np.random.default_rng(3), np.random.default_rng(3)
    watchers = Watcher(), Watcher()
    train(watchers[0], [0], numbered, 6, left[0], epochs=2)
    train(watchers[1], [0], numbered, 6, left[1], updates=4)
    for (x, _), (same, _) in zip(*(w.seen for w in watchers), strict=True):
        np.testing.assert_array_equal(host(x), host(same))
    assert left[0].random() == left[1].random()  # no permutation too many


def test_growing_batches_of_the_paper():
    """m_1 = 1000, m_500 = N, the same factor from each to the next."""
    sizes = [growing_batches(1000, 60000)(k) for k in range(600)]
    assert sizes[0] == 1000 and sizes[500:] == [60000] * 100
    b = 499 / math.log(60)
    expected = np.minimum(1000 * np.exp(np.arange(600) / b), 60000)
    assert_exact(np.array(sizes), expected)
    assert max(sizes[:498]) < 59600


def test_batches_grow_by_a_schedule_of_the_state(numbered, rng):
    """2, 3.7, 7, 13: rounded, and what no longer fits begins a new epoch."""
    watcher = Watcher()
    sizes = growing_batches(2, N, update=4)
    run = train(watcher, [0], numbered, sizes, rng, updates=6)
    assert run.history.batch.tolist() == [2, 4, 7, 13, 13, 13]
    first = np.concatenate([host(x) for x, _ in watcher.seen[:3]])
    assert sorted(first) == list(range(N))
    later = train(watcher, run.state, numbered, sizes, rng, updates=1)
    assert later.history.batch.tolist() == [13]
    assert later.history.update.tolist() == [7]


# What comes out


MAKES = {
    "K-FAC": lambda net: KFAC(net, damping=0.5, adapt_damping=RULE, inverse_every=3),
    "Hessian-free": lambda net: HessianFree(net, 0.8),
    "Adam": lambda net: Adam(net, Exponential(0.1, 0.9)),
    "SGD": lambda net: SGD(net, 0.05, momentum=0.7),
}


@pytest.mark.parametrize("name", MAKES)
def test_the_loop_is_the_steps_one_after_the_other(name, xp, rng):
    net, params, (x, y) = real("softmax", xp, rng)
    optimizer, generator = MAKES[name](net), np.random.default_rng(8)
    run = train(optimizer, params, (x, y), 6, generator, epochs=2)
    mine, traces = np.random.default_rng(8), []
    state = optimizer.init(params)
    for _ in range(2):
        order = xp.asarray(mine.permutation(N))
        for at in (0, 6):
            chosen = order[at : at + 6]
            state, trace = optimizer.step(state, x[chosen], y[chosen], mine)
            traces.append(trace)
    np.testing.assert_array_equal(host(run.state.theta), host(state.theta))
    assert run.history.loss.tolist() == [t.loss for t in traces]
    kfac = name == "K-FAC"
    parts = [(t.outcome, t.proposal, t.proposal) if kfac else (t, t, t) for t in traces]
    for i, column in enumerate(("damping", "alpha", "mu")):
        expected = [getattr(part[i], column) for part in parts]
        expected = [math.nan if v is None else v for v in expected]
        np.testing.assert_array_equal(getattr(run.history, column), expected)
    damped = name in ("K-FAC", "Hessian-free")
    assert np.isnan(run.history.damping).any() != damped
    assert np.isnan(run.history.mu).any() == (name in ("Hessian-free", "Adam"))
    assert np.isnan(run.history.evaluation).all()
    assert all(
        type(getattr(run.history, f.name)) is np.ndarray for f in fields(History)
    )


@pytest.mark.parametrize("every", [1, 3, 4, 99])
def test_evaluation_every_few_updates_and_after_the_last(every, xp, rng):
    net, params, data = real("squared", xp, rng)
    other = inputs(rng, xp, 7), labels("squared", rng, xp, 7)
    sgd, states = SGD(net, 0.02, l2=0.1), []

    def look(state):
        states.append(state)
        return net.loss(sgd.params(state), *other)

    options = dict(epochs=2, evaluate_every=every)
    first = train(
        sgd, params, data, 3, np.random.default_rng(1), evaluation=look, **options
    )
    again = train(
        sgd, params, data, 3, np.random.default_rng(1), evaluation=other, **options
    )
    np.testing.assert_array_equal(first.history.evaluation, again.history.evaluation)
    made = ~np.isnan(again.history.evaluation)
    expected = [k for k in range(1, 9) if k % every == 0 or k == 8]
    assert again.history.update[made].tolist() == expected == [s.step for s in states]
    last = float(net.loss(sgd.params(again.state), *other))
    assert again.history.evaluation[-1] == last


def test_seconds_are_those_of_the_steps(numbered, rng, monkeypatch):
    clock = SimpleNamespace(now=7.0)
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)

    def look(state):
        clock.now += 50.0
        return 1.0

    run = train(Watcher(clock=clock), [0], numbered, 6, rng, epochs=2, evaluation=look)
    assert run.history.seconds.tolist() == [2.0, 4.0, 6.0, 8.0]
    assert clock.now == 7.0 + 4 * 52.0


def test_divergence_keeps_the_last_good_state(numbered, rng):
    watcher = Watcher(diverges_at=3)
    with pytest.raises(TrainingDiverged, match="in update 3: training diverged: the "
                       "proposal of layer the second") as caught:  # fmt: skip
        train(watcher, [0], numbered, 6, rng, epochs=2)
    assert isinstance(caught.value, Diverged)
    assert (caught.value.stage, caught.value.layer) == ("proposal", "the second")
    assert caught.value.run.state.step == 2
    assert caught.value.run.history.loss.tolist() == [10.0, 9.0]
    with pytest.raises(TrainingDiverged) as caught:
        train(Watcher(diverges_at=1), [0], numbered, 6, rng, epochs=2)
    assert caught.value.run.history.update.tolist() == []


def test_a_real_divergence(xp, rng):
    net, params, data = real("squared", xp, rng)
    with np.errstate(all="ignore"), pytest.raises(TrainingDiverged) as caught:
        train(SGD(net, 1e5), params, data, 4, rng, updates=500)
    run = caught.value.run
    assert 0 < run.state.step == len(run.history.loss) < 500
    assert np.isfinite(host(run.state.theta)).all()
    assert np.isfinite(run.history.loss).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(), "length of the training: expected either updates or epochs, >= 1"),
        (dict(updates=3, epochs=1), "found {'updates': 3, 'epochs': 1}"),
        (dict(epochs=0), "epochs: expected a whole number >= 1, found 0"),
        (dict(updates=1.5), "updates: expected a whole number >= 1, found 1.5"),
        (dict(updates=1, batch_size=14), "batch_size of update 1: expected from 1 to "
         "13, the number of examples, found 14"),
        (dict(updates=1, batch_size=0), "batch_size of update 1: .* found 0"),
        (dict(updates=9, batch_size=Exponential(4, 2)), "size of update 3: .* 16"),
        (dict(updates=9, batch_size=lambda k: math.nan), "size of update 1: .* nan"),
        (dict(updates=1, evaluate_every=0), "evaluate_every: expected a whole number"),
    ],
)  # fmt: skip
def test_wrong_arguments(options, message, numbered, rng):
    given = {"batch_size": 4, **options}
    with pytest.raises(ValueRangeError, match=message):
        train(Watcher(), [0], numbered, rng=rng, **given)


@pytest.mark.parametrize("kind", [KFAC, SGD, Adam, NaturalGradient, HessianFree])
def test_a_class_is_no_optimizer_and_no_state(kind, numbered, rng):
    message = "^optimizer: expected one with init and step.*found <class"
    with pytest.raises(KfacTypeError, match=message):
        train(kind, [0], numbered, 4, rng, updates=1)
    with pytest.raises(
        KfacTypeError, match="^start: expected parameters.*found <class"
    ):
        train(Watcher(), kind.state_type, numbered, 4, rng, updates=1)


@pytest.mark.parametrize("value", [None, "0.5", 1j, [0.5], np.ones(1)])
def test_an_evaluation_that_gives_no_number(value, numbered, rng):
    message = "^evaluation: expected a number from the function, found "
    with pytest.raises(KfacTypeError, match=message):
        train(Watcher(), [0], numbered, 4, rng, updates=1, evaluation=lambda s: value)


def test_an_evaluation_may_give_an_array_of_one_number(xp, numbered, rng):
    value = xp.sum(xp.asarray([0.25, 0.5]))
    run = train(Watcher(), [0], numbered, 4, rng, updates=1, evaluation=lambda s: value)
    assert run.history.evaluation.tolist() == [0.75]


def test_arguments_of_a_wrong_kind(numbered, rng):
    with pytest.raises(KfacTypeError, match=r"data: expected a pair \(x, y\)"):
        train(Watcher(), [0], numbered[0], 4, rng, updates=1)
    with pytest.raises(KfacTypeError, match="batch_size: expected a number or a .*'4'"):
        train(Watcher(), [0], numbered, "4", rng, updates=1)
    with pytest.raises(ValueRangeError, match="rng: expected a numpy.random.Generator"):
        train(Watcher(), [0], numbered, 4, 0, updates=1)


def test_labels_that_do_not_fit(numbered, rng):
    x, y = numbered
    for wrong in (y[:7], [y, y[:7]]):
        with pytest.raises(ShapeError, match="as many labels as inputs, 13, found 7"):
            train(Watcher(), [0], (x, wrong), 4, rng, updates=1)


# The progress bar


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, closed(), io.StringIO()])
def test_nobody_watches_a_stream_that_is_no_terminal(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    assert not watched()
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert watched()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_where_somebody_looks(numbered, rng, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    train(Watcher(), [0], numbered, 6, rng, updates=4)
    assert "training: " in sys.stderr.getvalue() and "/4" in sys.stderr.getvalue()


def test_no_bar_and_no_tqdm_elsewhere(numbered, rng, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    train(Watcher(), [0], numbered, 6, rng, updates=1)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    train(Watcher(), [0], numbered, 6, rng, updates=1, progress=False)
    assert sys.stderr.getvalue() == ""
    with pytest.raises(ExtraMissing, match=r"tqdm, or .*progress=False"):
        train(Watcher(), [0], numbered, 6, rng, updates=1)


# The figure


def made(losses, evaluation=None):
    n = len(losses)
    blank = np.full(n, math.nan)
    return History(
        1 + np.arange(n), np.arange(n) / 3, 0.7 * np.arange(n), np.full(n, 5),
        np.array(losses), blank if evaluation is None else np.array(evaluation),
        blank, blank, blank,
    )  # fmt: skip


def test_the_figure_draws_the_histories():
    histories = {"K-FAC": made([8.0, 0.5, 0.25]), "Adam": made([8.0, 4.0, 2.0, 1.5])}
    figure = histories_figure(histories)
    assert [ax.get_xlabel() for ax in figure.axes] == ["updates", "epochs", "seconds"]
    assert [ax.get_title() for ax in figure.axes] == [
        "loss by update", "loss by epoch", "loss by second"
    ]  # fmt: skip
    for ax, column in zip(figure.axes, ("update", "epoch", "seconds"), strict=True):
        assert ax.get_yscale() == "log"
        for line, history in zip(ax.get_lines(), histories.values(), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), getattr(history, column))
            np.testing.assert_array_equal(line.get_ydata(), history.loss)
    named = [line.get_label() for line in figure.axes[0].get_lines()]
    assert named == ["K-FAC: 0.25", "Adam: 1.5"]
    assert to_hex(figure.axes[0].get_lines()[0].get_color()) == APPROXIMATION


def test_the_figure_of_evaluations_leaves_out_what_was_not_evaluated():
    history = made([3.0, 2.0, 1.0], [math.nan, -0.5, -0.75])
    figure = histories_figure({f"{i}": history for i in range(5)}, "evaluation")
    for ax in figure.axes:
        assert ax.get_yscale() == "linear"  # a negative value has no logarithm
        assert ax.get_lines()[0].get_ydata().tolist() == [-0.5, -0.75]
    assert figure.axes[0].get_lines()[0].get_xdata().tolist() == [2, 3]
    styles = [(ln.get_color(), ln.get_linestyle()) for ln in figure.axes[0].get_lines()]
    assert len(set(styles)) == 5
