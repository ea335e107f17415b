"""Every structure against the nested loops of the specification."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import specification as spec
from helpers import assert_exact, host, relative_error
from kfac_ref.damping import factored_tikhonov
from kfac_ref.distributions import Categorical
from kfac_ref.errors import (
    NotPositiveDefinite,
    UnknownName,
    Unsupported,
)
from kfac_ref.estimates import make_estimate
from kfac_ref.layers import BatchStandardize, Dense
from kfac_ref.network import Network
from kfac_ref.pairs import given_pairs, propagate
from kfac_ref.structures import STRUCTURES, make_structure
from kfac_ref.structures.kronecker import kronecker, kronecker_factors
from networks import ag, chain, classes, inputs, parameters

BLOCKWISE = {
    "block_diagonal": spec.block,
    "diagonal": lambda a, g: np.diag(np.diag(spec.block(a, g))),
    "kronecker": spec.kronecker,
    "eigenvalue_corrected": spec.eigenvalue_corrected,
    "best_kronecker": spec.best_kronecker,
}
# (T, d_in + 1, d_out) of three layers; T > 1 where weights are shared
DENSE = [(1, 5, 3), (1, 4, 2), (1, 3, 7)]
SHARED = [(4, 5, 3), (1, 3, 2), (3, 2, 5)]


def arrays(rng, sizes, N=5, K=3):
    a = [rng.normal(0.5, 1.0, (N, T, d)) for T, d, _ in sizes]
    g = [rng.normal(0.0, 1.0, (K, N, T, o)) for T, _, o in sizes]
    return a, g


def moved(xp, a, g, **options):
    return given_pairs(
        [xp.asarray(v) for v in a], [xp.asarray(v) for v in g], **options
    )


@pytest.mark.parametrize("sizes", [DENSE, SHARED], ids=["dense", "shared"])
@pytest.mark.parametrize("structure", BLOCKWISE)
def test_blocks_equal_nested_loops(xp, rng, sizes, structure):
    a, g = arrays(rng, sizes)
    matrix = make_structure(structure, moved(xp, a, g))
    for block, ai, gi in zip(matrix.blocks, a, g, strict=True):
        assert_exact(block.to_dense(), BLOCKWISE[structure](ai, gi), 2e-12)


@pytest.mark.parametrize("sizes", [DENSE, SHARED], ids=["dense", "shared"])
def test_full_equals_nested_loops(xp, rng, sizes):
    a, g = arrays(rng, sizes)
    F = make_structure("full", moved(xp, a, g)).to_dense()
    assert_exact(F, spec.full(list(zip(a, g, strict=True))))


@pytest.mark.parametrize("sizes", [DENSE, SHARED], ids=["dense", "shared"])
def test_the_memory_bound_changes_nothing(rng, sizes, monkeypatch):
    monkeypatch.setattr("kfac_ref.structures.dense.PANEL", 50)
    monkeypatch.setattr("kfac_ref.pairs.CACHE", 200)
    a, g = arrays(rng, sizes)
    ample, counts = moved(np, a, g), []
    for memory in [1, 2500, 5000, 8000, 10**7]:
        tight = moved(np, a, g, memory=memory)
        counts.append(len(list(tight.chunks())))
        for structure in ["full", *BLOCKWISE]:
            few = make_structure(structure, tight).to_dense()
            assert_exact(few, make_structure(structure, ample).to_dense(), 2e-12)
    assert counts[0] == 5 and counts[-1] == 1 and len(set(counts)) > 2


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
@settings(deadline=None, max_examples=15)
def test_structures_are_their_definitions_in_any_shape(N, T, d, o):
    rng = np.random.default_rng([N, T, d, o])
    a, g = arrays(rng, [(T, d, o)], N=N, K=2)
    for structure, loops in BLOCKWISE.items():
        found = make_structure(structure, moved(np, a, g)).to_dense()
        assert_exact(found, loops(a[0], g[0]), 1e-11)


def test_factors_are_symmetric_to_the_last_bit(xp, rng):
    a, g = arrays(rng, SHARED)
    for factors in kronecker_factors(moved(xp, a, g)):
        for M in factors:
            assert (host(M) == host(M).T).all()


def test_scale_of_the_shared_positions(xp, rng):
    """A sums over positions, G is their mean (Grosse & Martens 2016)."""
    a, g = arrays(rng, [(4, 5, 3)])
    (A,), (G,) = kronecker_factors(moved(xp, a, g))
    assert_exact(A, np.einsum("nti,ntj->ij", a[0], a[0]) / 5)
    assert_exact(G, np.einsum("knti,kntj->ij", g[0], g[0]) / (5 * 4))
    assert relative_error(G, np.einsum("knti,kntj->ij", g[0], g[0]) / 5) > 0.7


def test_a_dead_layer_has_the_zero_product(xp, rng):
    a, g = arrays(rng, [(1, 5, 3)])
    best = make_structure("best_kronecker", moved(xp, a, [0 * g[0]]))
    assert not host(best.to_dense()).any()


def test_block_tridiagonal_against_dense_algebra(xp, rng):
    """Bands of K-FAC's F~ kept, inverse without corners, damping before."""
    net = chain()
    params, x = parameters(net, rng, xp), inputs(rng, xp)
    found, lam = propagate(net.linearize(params, x)), 0.37
    F_hat = factored_tikhonov(make_structure("block_tridiagonal", found), lam)
    blocks = ag(found)
    F_tilde = kfac_with_cross_blocks(blocks)
    start = np.cumsum([0] + [d * o for d, o in found.shapes])
    for i, K in enumerate(kronecker(found).blocks):
        damped = host(factored_tikhonov(K, lam).to_dense())
        F_tilde[start[i] : start[i + 1], start[i] : start[i + 1]] = damped
    dense = host(F_hat.to_dense())
    corner = slice(start[0], start[1]), slice(start[2], start[3])
    bands = np.ones_like(dense, dtype=bool)
    bands[corner] = bands.T[corner] = False
    assert_exact(dense[bands], F_tilde[bands], 1e-11)
    assert relative_error(dense[corner], F_tilde[corner]) > 0.01
    inverse = np.linalg.inv(dense)
    assert np.linalg.norm(inverse[corner]) < 1e-11 * np.linalg.norm(inverse)


def kfac_with_cross_blocks(blocks):
    """F~_ij = E[a_i a_j^T] (x) E[g_i g_j^T], undamped, layer by layer."""
    N = len(blocks[0][0])
    rows = []
    for a, g in blocks:
        row = []
        for b, h in blocks:
            A = np.einsum("nti,ntj->ij", a, b) / N
            row.append(np.kron(A, np.einsum("knti,kntj->ij", g, h) / N))
        rows.append(row)
    return np.block(rows)


def test_errors(xp, rng):
    a, g = arrays(rng, SHARED)
    with pytest.raises(UnknownName, match="did you mean 'kronecker'"):
        make_structure("kroneker", moved(xp, a, g))
    with pytest.raises(Unsupported, match="shares its weights over positions"):
        make_structure("block_tridiagonal", moved(xp, a, g))
    net = chain()
    found = propagate(net.linearize(parameters(net, rng, xp), inputs(rng, xp)))
    with pytest.raises(NotPositiveDefinite, match=r"lambda = 0 .* larger damping"):
        factored_tikhonov(make_structure("block_tridiagonal", found), 0.0)


@pytest.mark.parametrize(
    "structure", sorted(set(STRUCTURES) - {"kronecker", "block_tridiagonal"})
)
def test_mixing_examples_is_refused_where_gradients_of_examples_are_needed(
    rng, structure
):
    net = Network([Dense(5, 4), BatchStandardize(), Dense(4, 3)], Categorical())
    params, x = parameters(net, rng, np), inputs(rng, np)
    found = propagate(net.linearize(params, x), "sampled", rng=rng)
    with pytest.raises(Unsupported, match="mixes the examples"):
        make_structure(structure, found)
    assert len(list(found.chunks())) == 1


@pytest.mark.parametrize("estimate", ["expectation", "ggn"])
def test_columns_of_mixed_examples_are_refused(xp, rng, estimate):
    """Their sum over examples is no second moment: the signs of the root enter."""
    net = Network([Dense(5, 4), BatchStandardize(), Dense(4, 3)], Categorical())
    params, x = parameters(net, rng, xp), inputs(rng, xp)
    with pytest.raises(Unsupported, match="added up before they are squared"):
        propagate(net.linearize(params, x), estimate)
    G = [
        kronecker(propagate(net.linearize(params, x), name, rng=rng, samples=4000))
        .blocks[0]
        .G
        for name in ("sampled", "random_signs")
    ]
    assert relative_error(*G) < 0.1  # two unbiased estimates of the same G


@pytest.mark.parametrize("structure", ["full", *BLOCKWISE])
@pytest.mark.parametrize(
    "estimate",
    ["expectation", "sampled", "empirical", "random_signs", "ggn", "ggn_random_signs"],
)
def test_every_estimate_goes_with_every_structure(xp, rng, estimate, structure):
    net = chain()
    params, x, y = parameters(net, rng, xp), inputs(rng, xp), classes(rng, xp)
    samples = 2 if make_estimate(estimate).is_random else 1
    found = propagate(net.linearize(params, x), estimate, y=y, rng=rng, samples=samples)
    blocks = ag(found)
    matrix = make_structure(structure, found).to_dense()
    if structure == "full":
        expected = np.einsum("pi,pj->ij", *[rows(blocks)] * 2) / len(x)
        assert_exact(matrix, expected)
    else:
        start = 0
        for a, g in blocks:
            size = a.shape[2] * g.shape[3]
            part = host(matrix)[start : start + size, start : start + size]
            assert_exact(part, BLOCKWISE[structure](a, g), 1e-11)
            start += size


def rows(blocks):
    """vec(D_nk) of all layers side by side, for T = 1."""
    each = [np.einsum("nti,knto->nkio", a, g) for a, g in blocks]
    return np.concatenate(
        [D.reshape(D.shape[0] * D.shape[1], -1) for D in each], axis=1
    )
