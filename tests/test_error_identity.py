"""What the error of K-FAC is, and how the estimates relate."""

from __future__ import annotations

import itertools
from math import factorial

import numpy as np
import pytest

from helpers import assert_exact, host, relative_error
from kfac_ref.distributions import Categorical, squared_error
from kfac_ref.exact.dense import fisher_matrix, ggn_matrix
from kfac_ref.exact.hessian import hessian_matrix
from kfac_ref.layers import ReLU, Tanh
from kfac_ref.pairs import given_pairs, propagate
from kfac_ref.structures.best_kronecker import best_kronecker
from kfac_ref.structures.dense import block_diagonal, full
from kfac_ref.structures.eigenvalue_corrected import eigenvalue_corrected
from kfac_ref.structures.kronecker import kronecker, kronecker_factors
from networks import N, ag, chain, classes, inputs, parameters


@pytest.fixture
def problem(xp, rng):
    net = chain()
    return net, parameters(net, rng, xp), inputs(rng, xp)


def blocks_and_pairs(found):
    """(F_l, K_l, A_n, G_n) of every layer, on the host; T = 1."""
    both = zip(block_diagonal(found).blocks, kronecker(found).blocks, strict=True)
    for (F, K), (a, g) in zip(both, ag(found), strict=True):
        A_n = np.einsum("ni,nj->nij", a[:, 0], a[:, 0])
        G_n = np.einsum("kni,knj->nij", g[:, :, 0], g[:, :, 0])
        yield host(F.to_dense()), host(K.to_dense()), A_n, G_n


def test_the_error_of_kfac_is_the_covariance_of_A_n_and_G_n(problem):
    """F_l - K_l = E_n[(A_n - A) (x) (G_n - G)]: the cross-covariance, nothing else."""
    for F, K, A_n, G_n in blocks_and_pairs(
        propagate(problem[0].linearize(*problem[1:]))
    ):
        A, G = A_n.mean(axis=0), G_n.mean(axis=0)
        each = zip(A_n, G_n, strict=True)
        covariance = sum(np.kron(An - A, Gn - G) for An, Gn in each) / N
        assert np.linalg.norm(F - K - covariance) < 1e-13 * np.linalg.norm(F)
        assert np.linalg.norm(covariance) > 0.01 * np.linalg.norm(F)
        uncentred = (
            sum(np.kron(An, Gn - G) for An, Gn in zip(A_n, G_n, strict=True)) / N
        )
        assert_exact(uncentred, covariance, 1e-11)  # centring one of the two is enough


def test_the_error_is_at_most_the_product_of_the_spreads_of_A_n_and_G_n(problem):
    """||F - K|| <= sqrt(E||A_n - A||^2) sqrt(E||G_n - G||^2) (Cauchy-Schwarz)."""
    for F, K, A_n, G_n in blocks_and_pairs(
        propagate(problem[0].linearize(*problem[1:]))
    ):
        spread_A = np.linalg.norm(A_n - A_n.mean(axis=0), axis=(1, 2))
        spread_G = np.linalg.norm(G_n - G_n.mean(axis=0), axis=(1, 2))
        bound = np.sqrt((spread_A**2).mean() * (spread_G**2).mean())
        assert 0.05 * bound < np.linalg.norm(F - K) <= bound
        mean_bound = spread_A.mean() * spread_G.mean()  # not a bound in general
        assert mean_bound < bound


def cumulant(variables, weights):
    """Joint cumulant under probability weights: the sum over all set partitions."""
    total = 0.0
    for partition in partitions(list(range(len(variables)))):
        sign = (-1) ** (len(partition) - 1) * factorial(len(partition) - 1)
        moments = [
            (weights * np.prod([variables[i] for i in part], axis=0)).sum()
            for part in partition
        ]
        total += sign * np.prod(moments)
    return total


def partitions(items):
    if not items:
        yield []
        return
    first, *rest = items
    for partition in partitions(rest):
        yield [[first], *partition]
        for i, part in enumerate(partition):
            yield [*partition[:i], [first, *part], *partition[i + 1 :]]


def test_entries_of_the_error_are_sums_of_three_cumulants(problem):
    """k(a1,a2,g1,g2) + k(a1) k(a2,g1,g2) + k(a2) k(a1,g1,g2), Martens & Grosse 3.1."""
    net, params, x = problem
    assert len(list(partitions([0, 1, 2, 3]))) == 15
    found = propagate(net.linearize(params, x))
    p = host(Categorical().probabilities(net.predict(params, x))).T / N  # (C, N)
    for (F, K, *_), (a, g) in zip(blocks_and_pairs(found), ag(found), strict=True):
        gradients = g[:, :, 0] / np.sqrt(p * N)[:, :, None]  # of label k, unweighted
        error, o = F - K, g.shape[-1]
        for i, j in [(0, 1), (2, 2), (-1, 1)]:  # -1: the homogeneous coordinate
            a1, a2 = (np.broadcast_to(a[:, 0, k], p.shape) for k in (i, j))
            g1, g2 = gradients[:, :, 0], gradients[:, :, 1]
            expected = (
                cumulant([a1, a2, g1, g2], p)
                + cumulant([a1], p) * cumulant([a2, g1, g2], p)
                + cumulant([a2], p) * cumulant([a1, g1, g2], p)
            )
            d = a.shape[-1]
            entry = error[(i % d) * o, (j % d) * o + 1]
            assert abs(entry - expected) < 1e-13 * np.abs(F).max()


def test_three_cumulants_do_not_suffice_with_observed_labels(problem, rng, xp):
    """E[g] is zero for labels of the model only."""
    net, params, x = problem
    found = propagate(net.linearize(params, x), "empirical", y=classes(rng, xp))
    (F, K, *_), (a, g) = next(blocks_and_pairs(found)), ag(found)[0]
    w, o = np.full(N, 1 / N), g.shape[-1]
    a1, a2, g1, g2 = a[:, 0, 0], a[:, 0, 1], g[0, :, 0, 0], g[0, :, 0, 1]
    three = (
        cumulant([a1, a2, g1, g2], w)
        + cumulant([a1], w) * cumulant([a2, g1, g2], w)
        + cumulant([a2], w) * cumulant([a1, g1, g2], w)
    )
    assert abs((F - K)[0, o + 1] - three) > 1e-4 * np.abs(F).max()


def enumerated(net, params, x, xp, labels, weights):
    """Sum over label vectors of weight times the K-FAC factors G for these labels."""
    total = [0.0 for _ in net.shapes]
    for y, weight in zip(labels, weights, strict=True):
        found = propagate(
            net.linearize(params, x), "empirical", y=xp.asarray(np.array(y))
        )
        total = [
            s + weight * host(G)
            for s, G in zip(total, kronecker_factors(found)[1], strict=True)
        ]
    return total


def test_G_of_one_sampled_label_is_G_in_expectation(xp, rng):
    """All 3^4 label vectors, each with its probability."""
    net = chain()
    params, x = parameters(net, rng, xp), inputs(rng, xp, 4)
    p = host(Categorical().probabilities(net.predict(params, x)))
    labels = list(itertools.product(range(3), repeat=4))
    weights = [np.prod([p[n, c] for n, c in enumerate(y)]) for y in labels]
    expected = kronecker_factors(propagate(net.linearize(params, x)))[1]
    uniform = [1 / len(labels)] * len(labels)
    found = enumerated(net, params, x, xp, labels, weights)
    wrong = enumerated(net, params, x, xp, labels, uniform)
    for G, same, other in zip(expected, found, wrong, strict=True):
        assert_exact(same, G)
        assert relative_error(other, G) > 0.01


def test_enumerated_labels_give_the_expectation_and_the_ggn(problem, xp):
    """Type I, sum_c p_c grad_c grad_c^T, equals type II, J^T F_z J, and the GGN."""
    net, params, x = problem
    p = host(Categorical().probabilities(net.predict(params, x)))
    type_1 = 0.0
    for c in range(3):
        y = xp.asarray(np.full(N, c))
        (flat,) = [rows(propagate(net.linearize(params, x), "empirical", y=y))]
        type_1 = type_1 + (flat.T * p[:, c]) @ flat / N
    F = fisher_matrix(net, params, x).to_dense()
    assert_exact(type_1, F)
    assert_exact(ggn_matrix(net, params, x).to_dense(), F)
    y = xp.asarray(p.argmax(axis=1))
    observed = full(propagate(net.linearize(params, x), "empirical", y=y)).to_dense()
    assert relative_error(observed, F) > 0.1


def rows(found):
    """Gradients of the examples, (N, P), of an estimate with one vector."""
    each = [np.einsum("nti,knto->nio", a, g) for a, g in ag(found)]
    return np.concatenate([D.reshape(len(D), -1) for D in each], axis=1)


def test_the_empirical_fisher_of_a_sampled_label_is_the_sampled_fisher(problem, xp):
    net, params, x = problem
    y = Categorical().sample(net.predict(params, x), np.random.default_rng(5), 1)[0]
    empirical = full(propagate(net.linearize(params, x), "empirical", y=y)).to_dense()
    same, other = (
        full(
            propagate(net.linearize(params, x), "sampled", rng=np.random.default_rng(s))
        ).to_dense()
        for s in (5, 6)
    )
    assert_exact(empirical, same)
    assert relative_error(other, same) > 0.01


@pytest.mark.parametrize("activation, exact", [(ReLU, True), (Tanh, False)])
@pytest.mark.parametrize("distribution", [Categorical(), squared_error()], ids=repr)
def test_hessian_blocks_of_piecewise_linear_networks_are_those_of_the_ggn(
    rng, activation, exact, distribution
):
    net = chain(activation, distribution)
    params, x = parameters(net, rng, np, 2.0), inputs(rng, np)
    softmax = isinstance(distribution, Categorical)
    y = classes(rng, np) if softmax else rng.normal(size=(N, 3))
    H = hessian_matrix(net, params, x, y).to_dense()
    F = ggn_matrix(net, params, x).to_dense()
    start, gaps = 0, []
    for d, o in net.shapes:
        block = slice(start, start + d * o)
        gaps.append(relative_error(H[block, block], F[block, block]))
        start += d * o
    assert max(gaps) < 1e-12 if exact else gaps[0] > 0.05
    assert gaps[-1] < 1e-12  # the last layer is linear in its weights
    assert relative_error(H, F) > 0.05  # off the diagonal they differ


def errors(found):
    """Relative errors of K-FAC, E-KFAC and the best product, by layer."""
    exact = block_diagonal(found).blocks
    table = []
    for structure in (kronecker, eigenvalue_corrected, best_kronecker):
        blocks = zip(structure(found).blocks, exact, strict=True)
        table.append([relative_error(C.to_dense(), F.to_dense()) for C, F in blocks])
    return np.array(table)


def test_the_eigenvalue_correction_lowers_the_error_and_keeps_the_trace(problem):
    found = propagate(problem[0].linearize(*problem[1:]))
    kfac, ekfac, _ = errors(found)
    assert (ekfac < kfac).all() and (ekfac > 0.01 * kfac).all()
    corrected, exact = eigenvalue_corrected(found).blocks, block_diagonal(found).blocks
    for E, F, K in zip(corrected, exact, kronecker(found).blocks, strict=True):
        assert abs(E.trace() / F.trace() - 1) < 1e-13
        assert abs(K.trace() / F.trace() - 1) > 1e-4


def test_the_best_product_is_nearer_than_kfac(problem):
    kfac, _, best = errors(propagate(problem[0].linearize(*problem[1:])))
    assert (best < kfac).all() and (best > 0.01).all()


def test_either_of_ekfac_and_the_best_product_can_be_nearer(rng):
    net = chain(Tanh, squared_error())
    params, x = parameters(net, rng, np, 3.0), inputs(rng, np)
    _, ekfac, best = errors(propagate(net.linearize(params, x)))
    assert best[0] < ekfac[0]
    # inputs and errors along axes, dependent: diagonal in K-FAC's basis, no product
    axes_a, axes_g = [0, 1, 2, 0, 1], [0, 1, 0, 0, 1]
    a, g = np.zeros((5, 1, 3)), np.zeros((1, 5, 1, 2))
    for n, (i, j) in enumerate(zip(axes_a, axes_g, strict=True)):
        a[n, 0, i], g[0, n, 0, j] = rng.uniform(1, 2, 2)
    _, ekfac, best = errors(given_pairs([a], [g]))
    assert ekfac[0] < 1e-12 and best[0] > 0.05
