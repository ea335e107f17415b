"""What a first user tries by mistake, and what he is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from error_calls import Flat
from helpers import assert_exact, host
from kfac_ref import (
    FisherProduct,
    compare,
    curvature,
    factored_tikhonov,
)
from kfac_ref.damping import (
    by_eigendecomposition,
    by_kind,
    same_on_each_factor,
    separate,
    tikhonov,
)
from kfac_ref.distributions import Categorical
from kfac_ref.errors import (
    NotPositiveDefinite,
    Unsupported,
    ValueRangeError,
)
from kfac_ref.exact.dense import fisher_matrix
from kfac_ref.layers import Dense, Embedding, Residual, Sequential
from kfac_ref.network import Network
from networks import chain, classes, inputs, parameters


@pytest.fixture
def problem(xp, rng):
    net = chain()
    return net, parameters(net, rng, xp), inputs(rng, xp), classes(rng, xp)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16", "float32"])
def test_inputs_of_another_type_are_refused(problem, xp, dtype):
    """Integers overflow when they are squared; nothing is cast silently."""
    net, params, x, y = problem
    other = xp.asarray(np.abs(host(x)).astype(dtype))
    for function in (
        lambda: net.loss(params, other, y),
        lambda: fisher_matrix(net, params, other),
        lambda: curvature(net, params, other),
        lambda: FisherProduct(net.linearize(params, other)),
    ):
        with pytest.raises(ValueRangeError, match=rf"found .*{dtype}.*; use x.astype"):
            function()


def test_only_lookups_take_integers(xp, rng):
    net = Network([Embedding(7, 4), Dense(4, 3)], Categorical())
    params, x = parameters(net, rng, xp), xp.asarray(rng.integers(0, 7, (5, 2)))
    assert net.predict(params, x).shape == (5, 2, 3)
    assert Residual([Embedding(7, 4)]).takes_integers
    assert not Sequential([]).takes_integers


def test_a_layer_of_ones_own_with_pairs_of_the_right_rank(xp, rng):
    params, x = [xp.asarray(rng.normal(size=(5, 3)))], inputs(rng, xp)
    own, plain = Flat(""), Dense(5, 3, bias=False)
    found, expected = (
        curvature(Network([layer], Categorical()), params, x).to_dense()
        for layer in (own, plain)
    )
    assert_exact(found, expected)


def test_a_singular_matrix_is_not_solved_by_eigenvalue_corrected(problem):
    net, params, x, _ = problem
    E = curvature(net, params, x, "eigenvalue_corrected")
    v = E @ net.flatten(params)
    with pytest.raises(NotPositiveDefinite, match="lambda = 0 its eigenvalues"):
        E.solve(v)
    assert_exact(E @ E.solve(v, 0.03) + 0.03 * E.solve(v, 0.03), v, 1e-10)


def test_compare_does_not_damp_twice(problem):
    net, params, x, y = problem
    F, K = fisher_matrix(net, params, x), curvature(net, params, x)
    gradient, lam = net.gradient(params, x, y), 0.03
    chain = curvature(net, params, x, "block_tridiagonal")
    for damped in (
        factored_tikhonov(chain, lam), factored_tikhonov(K, lam), tikhonov(K, lam),
        same_on_each_factor(K, lam), separate(K, lam, 2 * lam), by_kind(K, lam),
        tikhonov(curvature(net, params, x, "diagonal"), lam), tikhonov(F, lam),
        by_eigendecomposition(factored_tikhonov(K, lam)),
    ):  # fmt: skip
        with pytest.raises(ValueRangeError, match="'t' is damped already.*rule=fact"):
            compare(F, {"t": damped}, gradient, lam)
    with pytest.raises(ValueRangeError, match="exact is damped already"):
        compare(tikhonov(F, lam), {"t": K}, gradient, lam)
    assert tikhonov(F, lam).damped and not F.damped and not F.inverse(lam).damped
    with pytest.raises(Unsupported, match="chain of .* compare takes them with rule="):
        compare(F, {"t": chain}, gradient, lam)
    for matrix in (K, chain):
        damped = factored_tikhonov(matrix, lam)
        row = compare(F, {"t": matrix}, gradient, lam, rule=factored_tikhonov).row("t")
        for given in (
            (matrix, "factored_tikhonov"), (damped, lambda damped, _: damped)
        ):  # fmt: skip
            again = compare(F, {"t": given}, gradient, lam).row("t")
            assert replace(again, solve_seconds=0.0) == replace(row, solve_seconds=0.0)
        u = host(damped.solve(net.flatten(gradient)))
        v = host(F.solve(net.flatten(gradient), lam))
        cosine = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
        assert abs(row.angle - np.degrees(np.arccos(cosine))) < 1e-6


def test_compare_takes_a_matrix_that_is_zero(problem):
    net, params, x, y = problem
    gradient = net.gradient(params, x, y)
    zero = [0.0 * W for W in params]
    nothing = fisher_matrix(net, zero, x)
    for row in compare(nothing, {"f": nothing}, gradient, 0.1).rows:
        dead = row.layer in ("layer 0", "layer 1")
        assert (row.frobenius_error == 0) is (row.spectral_error == 0) is not dead
