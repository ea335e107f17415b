"""Some of the positions: unbiased, exact for all of them, refused where all count."""

from __future__ import annotations

import numpy as np
import pytest

import specification
from helpers import assert_exact, host, relative_error
from kfac_ref.damping import factored_tikhonov, tikhonov
from kfac_ref.distributions import Categorical
from kfac_ref.errors import Unsupported, ValueRangeError
from kfac_ref.layers import Conv2d, Dense, Flatten, Tanh
from kfac_ref.matrices import BlockDiagonalMatrix
from kfac_ref.network import Network
from kfac_ref.optimizer import KFAC
from kfac_ref.optimizer.subsampling import subsample_positions
from kfac_ref.pairs import given_pairs, propagate
from kfac_ref.structures import make_structure
from kfac_ref.structures.kronecker import kronecker, kronecker_factors
from networks import ag, chain, classes, inputs, parameters
from optimizer_cases import run

K, N, T, D_IN, D_OUT = 2, 7, 5, 4, 3


def arrays(rng):
    return rng.normal(0.5, 1.0, (N, T, D_IN)), rng.normal(size=(K, N, T, D_OUT))


def conv_problem(xp, rng):
    layers = [Conv2d(2, 3, (2, 3), padding="VALID"), Tanh(), Flatten(), Dense(18, 4)]
    net = Network(layers, Categorical())
    x = xp.asarray(rng.normal(size=(7, 3, 5, 2)))
    return net, parameters(net, rng, xp), x, classes(rng, xp, 7, 4)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_factors_are_those_of_the_positions_kept(share, xp, rng):
    """By nested loops: T/kept times the sum of a a^T, and the mean of g g^T."""
    a, g = arrays(rng)
    pairs = given_pairs([xp.asarray(a)], [xp.asarray(g)])
    few = subsample_positions(pairs, share, np.random.default_rng(3))
    kept = max(1, round(share * T))
    assert few.positions == [kept] and few.subsampled and not pairs.subsampled
    ((a_few, g_few),) = ag(few)
    for n in range(N):  # every row is one of the example's own, and none comes twice
        found = [
            np.flatnonzero(
                (np.abs(a_few[n, t] - a[n] * (T / kept) ** 0.5) < 1e-12).all(1)
            )
            for t in range(kept)
        ]
        chosen = [int(t) for (t,) in found]
        assert sorted(set(chosen)) == chosen
        assert_exact(g_few[:, n], g[:, n, chosen])
    A, G = specification.factors(a_few, g_few)
    for found, expected in zip(kronecker_factors(few), (A, G), strict=True):
        assert_exact(found[0], expected)


def test_the_mean_of_many_draws(rng):
    """Its error falls as 1 / sqrt(draws): slope -1/2 over three decades."""
    a, g = arrays(rng)
    pairs = given_pairs([a], [g])
    exact = [host(M[0]) for M in kronecker_factors(pairs)]
    totals, errors, counts = [0.0, 0.0], [], [4, 40, 400, 4000]
    for draw in range(1, counts[-1] + 1):
        found = kronecker_factors(subsample_positions(pairs, 0.4, rng))
        totals = [s + M[0] for s, M in zip(totals, found, strict=True)]
        if draw in counts:
            errors.append(
                [
                    relative_error(s / draw, e)
                    for s, e in zip(totals, exact, strict=True)
                ]
            )
    slopes = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert (np.abs(slopes + 0.5) < 0.15).all()
    assert min(errors[0]) > 0.02 and max(errors[-1]) < 0.02


def test_chunks_see_the_same_positions(xp, rng):
    net, params, x, _ = conv_problem(xp, rng)
    found = []
    for memory in (2**28, 2**13):
        pairs = propagate(net.linearize(params, x), memory=memory)
        few = subsample_positions(pairs, 0.5, np.random.default_rng(3))
        found.append((len(list(few.chunks())), kronecker(few).to_dense()))
    assert found[0][0] == 1 < found[1][0]
    assert_exact(found[1][1], found[0][1])


def test_all_positions_and_single_positions_stay_as_they_are(xp, rng):
    net, params, x, _ = conv_problem(xp, rng)
    pairs = propagate(net.linearize(params, x))
    assert subsample_positions(pairs, 1.0, rng) is pairs
    few = subsample_positions(pairs, 0.5, rng)
    assert few.positions == [3, 1] and pairs.positions == [6, 1]
    conv, dense = kronecker(few).blocks
    for letter in "AG":
        whole = kronecker(pairs)
        assert_exact(getattr(dense, letter), getattr(whole.blocks[1], letter))
        error = relative_error(getattr(conv, letter), getattr(whole.blocks[0], letter))
        assert error > 0.01
    flat = propagate(chain().linearize(parameters(chain(), rng, xp), inputs(rng, xp)))
    assert subsample_positions(flat, 0.5) is flat


@pytest.mark.parametrize(
    "structure",
    ["full", "block_diagonal", "diagonal", "eigenvalue_corrected", "best_kronecker"],
)
def test_gradients_need_all_positions(structure, xp, rng):
    net, params, x, _ = conv_problem(xp, rng)
    few = subsample_positions(propagate(net.linearize(params, x)), 0.5, rng)
    with pytest.raises(Unsupported, match=f"{structure}: needs all positions .* 'kron"):
        make_structure(structure, few)
    if structure != "full":
        make_structure(structure, few.select([1]))  # the dense layer has T = 1


def test_a_chain_of_one_position_left_is_no_chain(xp, rng):
    net, params, x, _ = conv_problem(xp, rng)
    few = subsample_positions(propagate(net.linearize(params, x)), 0.1, rng)
    assert few.positions == [1, 1]
    with pytest.raises(Unsupported, match="shares its weights over positions"):
        make_structure("block_tridiagonal", few)


def test_in_a_step(xp, rng):
    """The option: the labels are drawn first, then the positions."""
    net, params, x, y = conv_problem(xp, rng)
    options = dict(structure=["kronecker", "diagonal"], damping_rule=damped)
    _, (trace,) = run(KFAC(net, **options, position_share=0.5), params, [(x, y)])
    again = np.random.default_rng(6)  # optimizer_cases.SEED
    pairs = propagate(net.linearize(params, x), "sampled", rng=again)
    expected = kronecker(subsample_positions(pairs, 0.5, again)).block(0)
    assert_exact(trace.statistics.block(0).to_dense(), expected.to_dense())
    _, (whole,) = run(KFAC(net, **options), params, [(x, y)])
    found = trace.statistics.block(0).A
    assert relative_error(found, whole.statistics.block(0).A) > 0.01


def damped(matrix, damping):
    first, second = matrix.blocks
    return BlockDiagonalMatrix(
        [factored_tikhonov(first, damping), tikhonov(second, damping)]
    )


def test_errors(xp, rng):
    net, params, x, _ = conv_problem(xp, rng)
    pairs = propagate(net.linearize(params, x))
    for share in (0.0, 1.1, float("nan")):
        with pytest.raises(ValueRangeError, match=r"positions: .* in \(0, 1\], found"):
            subsample_positions(pairs, share, rng)
        with pytest.raises(ValueRangeError, match="position_share: expected a share"):
            KFAC(net, position_share=share)
    with pytest.raises(ValueRangeError, match="rng: expected a numpy"):
        subsample_positions(pairs, 0.5)
