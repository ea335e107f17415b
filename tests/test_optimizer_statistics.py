"""Statistics of a step: an estimate for each layer, and one forward pass for all."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import assert_exact, host
from kfac_ref.distributions import Categorical
from kfac_ref.errors import ShapeError, UnknownName, Unsupported, ValueRangeError
from kfac_ref.estimates import Expectation, Sampled
from kfac_ref.layers import Conv2d, Dense, Flatten, Tanh
from kfac_ref.network import Network
from kfac_ref.optimizer import KFAC
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from kfac_ref.optimizer.statistics import statistics_stage
from networks import classes, parameters
from optimizer_cases import SEED, passed, problem, run

NAMES = [
    ["sampled", "empirical", "sampled"],
    ["expectation", "sampled", "empirical"],
    ["mc", Expectation(), Sampled()],  # another library's word, and instances
]


def statistics(given, structure, estimate, samples=1):
    net, params, ((x, y), *_) = given
    forward = passed(net, net.flatten(params), x)
    rng = np.random.default_rng(SEED)
    return statistics_stage(forward, y, rng, structure, estimate, samples)


@pytest.mark.parametrize("estimates", NAMES, ids=str)
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(
    "structure", ["kronecker", ["diagonal", "kronecker", "block_diagonal"]], ids=str
)
def test_each_block_is_that_of_its_own_estimate(structure, estimates, samples, xp, rng):
    """The same generator gives the same labels as a run with that estimate alone."""
    given = problem("softmax", xp, rng, 1)
    mixed = statistics(given, structure, estimates, samples)
    for i, one in enumerate(estimates):
        draws = one in ("sampled", "mc")  # an instance has its own number of samples
        alone = statistics(given, structure, one, samples if draws else 1).block(i)
        if one == Sampled() and samples > 1:
            continue  # the generator has gone on: "mc" drew three labels before
        assert_exact(mixed.block(i).to_dense(), alone.to_dense())
        assert mixed.block(i).name == alone.name
    other = statistics(given, structure, "expectation")
    different = [
        np.abs(host(m.to_dense()) - host(o.to_dense())).max() > 1e-3
        for m, o in zip(mixed.blocks, other.blocks, strict=True)
    ]
    exact = [one in ("expectation", Expectation()) for one in estimates]
    assert different == [not same for same in exact]


def test_layers_of_one_estimate_share_one_draw(xp, rng, monkeypatch):
    """One draw of labels for two layers, and one pass back for each kind of block."""
    net, *_ = given = problem("softmax", xp, rng, 1)
    counts = {"sample": 0, "backward": 0}

    def counting(owner, name):
        function = getattr(owner, name)

        def counted(*arguments, **named):
            counts[name] += 1
            return function(*arguments, **named)

        monkeypatch.setattr(owner, name, counted)

    counting(net.distribution, "sample")
    counting(net.body, "backward")
    statistics(given, "kronecker", ["sampled", "empirical", "sampled"])
    assert counts == {"sample": 1, "backward": 2}
    statistics(given, ["diagonal", "diagonal", "kronecker"], "sampled")
    assert counts == {"sample": 2, "backward": 4}


def test_estimates_in_a_step(xp, rng):
    """Option `estimate` as a list; a conv layer and a dense one."""
    layers = [Conv2d(2, 3, (2, 3), padding="VALID"), Tanh(), Flatten(), Dense(18, 4)]
    net = Network(layers, Categorical())
    params = parameters(net, rng, xp)
    batch = xp.asarray(rng.normal(size=(7, 3, 5, 2))), classes(rng, xp, 7, 4)
    options = dict(structure="kronecker", gamma_every=0)
    _, (mixed,) = run(
        KFAC(net, **options, estimate=("sampled", "expectation")), params, [batch]
    )
    for i, one in enumerate(("sampled", "expectation")):
        _, (alone,) = run(KFAC(net, **options, estimate=one), params, [batch])
        for letter in "AG":
            found = getattr(mixed.statistics.block(i), letter)
            assert_exact(found, getattr(alone.statistics.block(i), letter))


@pytest.mark.parametrize("taus", [(1.0, 1.0), (0.5, 0.3), (0.5, 1.0)])
def test_one_forward_pass_for_each_parameters_and_batch(taus, xp, rng, monkeypatch):
    """Before the step, after it, and on a share of the batch where there is one."""
    net, params, ((x, y),) = problem("softmax", xp, rng, 1)
    kfac = KFAC(
        net, tau_1=taus[0], tau_2=taus[1], adapt_damping=LevenbergMarquardt(period=1)
    )
    forward, seen = net.body.forward, []

    def counted(params, x):
        seen.append(len(x))
        return forward(params, x)

    monkeypatch.setattr(net.body, "forward", counted)
    kfac.step(kfac.init(params), x, y, rng)
    expected = [11, 11, *[round(11 * tau) for tau in taus if tau < 1]]
    assert sorted(seen) == sorted(expected)
    assert seen[0] == seen[-1] == 11


def test_errors(xp, rng):
    net, *_ = given = problem("softmax", xp, rng, 1)
    every = r"3, one for each of 0: Dense\(5, 4\), .*; found 2"
    for make in (
        lambda e: statistics(given, "kronecker", e),
        lambda e: KFAC(net, estimate=e),
    ):
        with pytest.raises(
            ShapeError, match=f"estimate: expected one name, or {every}"
        ):
            make(["sampled", "empirical"])
        with pytest.raises(UnknownName, match="estimate 'sampeld': did you mean 'samp"):
            make(["sampled", "sampeld", "empirical"])
    for structure in ("full", "block_tridiagonal"):
        with pytest.raises(Unsupported, match=f"'{structure}' .* expected one estim"):
            KFAC(net, structure=structure, estimate=["sampled"] * 3)
    with pytest.raises(ShapeError, match=f"structure: expected one name, or {every}"):
        KFAC(net, structure=["kronecker"] * 2)
    with pytest.raises(ValueRangeError, match="'empirical': expected 1, as it draws"):
        KFAC(net, estimate=["empirical", "expectation", "empirical"], samples=2)
