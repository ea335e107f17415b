"""Every distribution against the textbook log p(y|z), differentiated by autograd.

The witness is `kfac_ref.definition`, which shares no code with the distributions. Every
case is a sum of parts with weights (one part of weight 1 for a plain distribution), so
that the same tests run over joint losses.
"""

from __future__ import annotations

import math

import autograd
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.special
import scipy.stats
from hypothesis import HealthCheck, given, settings

from distribution_cases import (
    CASES,
    NATURAL,
    by_rows,
    close,
    every_case,
    every_front,
    expected_outer,
    on,
    slices,
)
from helpers import assert_exact, host, relative_error
from kfac_ref.distributions import (
    Distribution,
    Normal,
    NormalMeanVariance,
    squared_error,
)
from kfac_ref.errors import Unsupported


@every_case
@every_front
def test_nll_is_the_textbook_loss(xp, name, front):
    distribution, z, y = on(xp, name, front)
    expected = by_rows(name, front, "loss")
    assert_exact(distribution.nll(z, y), expected)
    assert_exact(distribution.loss(z, y), expected.reshape(front[0], -1).sum(axis=1))


@every_case
@every_front
def test_gradient_is_the_derivative(xp, name, front):
    distribution, z, y = on(xp, name, front)
    assert_exact(distribution.gradient(z, y), by_rows(name, front, "grad"))


@every_case
@every_front
def test_hessian_is_the_second_derivative(xp, name, front):
    distribution, z, y = on(xp, name, front)
    assert_exact(distribution.hessian(z, y), by_rows(name, front, "hess"))


@every_case
@every_front
def test_fisher_is_the_expected_outer_product(xp, name, front):
    distribution, z, _ = on(xp, name, front)
    assert_exact(distribution.fisher(z), expected_outer(name, front))


@every_case
def test_autograd_differentiates_the_nll(name):
    """The very forward code is traced; so it is a witness of the gradient, too."""
    distribution, z, y = on(np, name, (3, 2))
    total = autograd.grad(lambda z: distribution.loss(z, y).sum())
    assert_exact(distribution.gradient(z, y), total(z))


@every_case
def test_roots_multiply_to_fisher_and_hessian(xp, name):
    """B B^T = F; S S^T = H where the outputs are natural parameters."""
    distribution, z, y = on(xp, name, (3, 2))
    B = host(distribution.root(z))
    assert_exact(B @ np.swapaxes(B, -1, -2), expected_outer(name, (3, 2)))
    if distribution.natural:
        S = host(distribution.hessian_root(z, y))
        assert_exact(S @ np.swapaxes(S, -1, -2), by_rows(name, (3, 2), "hess"))


@every_case
def test_products_are_those_with_the_dense_matrices(xp, name, rng):
    """Vectors have an axis K in front of (N, T, C)."""
    distribution, z, y = on(xp, name, (3, 2))
    v = rng.normal(size=(4, *z.shape))
    matrices = {
        "fisher_product": (distribution.fisher(z), ()),
        "root_product": (distribution.root(z), ()),
        "root_transpose": (xp.swapaxes(distribution.root(z), -1, -2), ()),
        "hessian_product": (distribution.hessian(z, y), (y,)),
    }
    if distribution.natural:
        S = distribution.hessian_root(z, y)
        matrices["hessian_root_product"] = S, (y,)
        matrices["hessian_root_transpose"] = xp.swapaxes(S, -1, -2), (y,)
    for method, (M, arguments) in matrices.items():
        product = getattr(distribution, method)(z, *arguments, xp.asarray(v))
        assert_exact(product, np.einsum("ntij,kntj->knti", host(M), v))


@pytest.mark.parametrize("name", NATURAL)
def test_natural_parameters_have_hessian_equal_fisher(xp, name):
    """So no labels are needed for it; the gradients' second moment is no such thing."""
    distribution, z, _ = on(xp, name, (7,))
    assert_exact(by_rows(name, (7,), "hess"), expected_outer(name, (7,)))
    H = distribution.hessian(z, None)
    assert_exact(H, distribution.fisher(z))
    assert_exact(distribution.hessian_root(z, None), distribution.root(z))
    assert_exact(
        distribution.hessian_root_transpose(z, None, z),
        distribution.root_transpose(z, z),
    )
    g = by_rows(name, (7,), "grad")
    assert relative_error(g[:, :, None] * g[:, None], H) > 0.1


@pytest.mark.parametrize("name", ["mean_variance", "joint_of_joint"])
def test_other_parameters_have_another_hessian(xp, name):
    distribution, z, y = on(xp, name, (7,))
    H, F = distribution.hessian(z, y), distribution.fisher(z)
    assert relative_error(H, F) > 0.1
    assert np.linalg.eigvalsh(host(H)).min() < -0.01
    assert np.linalg.eigvalsh(host(F)).min() > -1e-14
    for method in ("hessian_root_product", "hessian_root_transpose"):
        with pytest.raises(Unsupported, match=r"determinant is -r\^2 e\^\{-2s\}/2 < 0"):
            getattr(distribution, method)(z, y, z)


def test_mean_variance_by_hand(xp):
    """m = 1, s = log 4, y = 4, so r = 3: F = diag(1/4, 1/2), det H = -9/32."""
    z, y = xp.asarray([[1.0, math.log(4.0)]]), xp.asarray([[4.0]])
    distribution = NormalMeanVariance()
    H = host(distribution.hessian(z, y))[0]
    assert_exact(distribution.fisher(z), np.array([[[0.25, 0.0], [0.0, 0.5]]]))
    assert_exact(H, np.array([[0.25, 0.75], [0.75, 1.125]]))
    assert abs(np.linalg.det(H) + 9 / 32) < 1e-14
    assert_exact(distribution.gradient(z, y), np.array([[-0.75, 0.5 - 1.125]]))
    close(distribution.nll(z, y), [(9 / 4 + np.log(8 * np.pi)) / 2])


@every_case
def test_expected_gradient_is_zero(xp, name):
    """sum_y p(y|z) gradient(z, y) = 0; the labels have an axis in front of z's."""
    if "joint" in name:
        pytest.skip("the expectation of a joint loss is that of its parts")
    distribution, z, _ = on(xp, name, (3, 2))
    part = CASES[name][1][0][0]
    for n, t in np.ndindex(3, 2):
        y, p = part.outcomes(host(z)[n, t])
        g = host(distribution.gradient(z[n, t][None], xp.asarray(np.stack(y)[:, None])))
        assert g.shape == (len(y), 1, z.shape[-1])
        assert np.abs(np.einsum("yni,y->ni", g, p)).max() < 1e-13
        if name == "categorical":
            assert np.abs(np.einsum("yni,y->ni", g, 0.0 * p + 0.2)).max() > 0.01


@given(
    st.sampled_from([name for name in CASES if name != "bernoulli_soft"]),
    st.tuples(*[st.integers(1, 4)] * 3),
    st.floats(0.0, 30.0),
    st.integers(0, 2**32),
)
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_laws_of_the_roots(xp, name, shape, scale, seed):
    """<B u, v> = <u, B^T v>, F v = B B^T v, v^T F v = |B^T v|^2, at any logits."""
    (N, T, K), distribution = shape, CASES[name][0]
    rng = np.random.default_rng(seed)
    C = slices(name)[-1].stop
    z = xp.asarray(scale * rng.uniform(-1, 1, (N, T, C)))
    u, v = (xp.asarray(rng.normal(size=(K, N, T, C))) for _ in range(2))
    Bu, Bv = distribution.root_product(z, u), distribution.root_transpose(z, v)
    Fv = distribution.fisher_product(z, v)
    norm = np.linalg.norm
    u, v, Bu, Bv, Fv = (host(a) for a in (u, v, Bu, Bv, Fv))
    size = norm(Bu) * norm(v) + norm(u) * norm(Bv)
    assert abs((Bu * v).sum() - (u * Bv).sum()) <= 1e-13 * size
    size = np.abs(host(distribution.fisher(z))).max() * norm(v)
    BBv = host(distribution.root_product(z, xp.asarray(Bv)))
    assert norm(Fv - BBv) <= 1e-13 * size
    assert abs((v * Fv).sum() - (Bv * Bv).sum()) <= 1e-13 * size * norm(v)


# Normalisation, and the convention of the squared error


@pytest.mark.parametrize("name", ["categorical", "bernoulli", "poisson"])
def test_probabilities_of_all_labels_sum_to_one(xp, name):
    """So log y! and every other constant is in the loss."""
    distribution, z, _ = on(xp, name, (7,))
    outcomes, _ = CASES[name][1][0][0].outcomes(host(z)[0])
    nll = distribution.nll(z[:1], xp.asarray(np.stack(outcomes)[:, None]))
    assert abs(np.exp(-host(nll)).sum() - 1.0) < 1e-13


@pytest.mark.parametrize(
    "distribution, z, integral",
    [
        (Normal(0.7), [0.4], 1.0),
        (NormalMeanVariance(), [0.4, -0.9], 1.0),
        (Normal(0.7, normalized=False), [0.4], math.sqrt(2 * math.pi * 0.7)),
    ],
)
def test_density_integrates_to_one_where_normalized(distribution, z, integral):
    def density(y):
        return float(np.exp(-distribution.nll(np.array([z]), np.array([[y]]))[0]))

    assert (
        abs(scipy.integrate.quad(density, -15, 15, epsabs=1e-12)[0] - integral) < 1e-9
    )


def test_squared_error_is_without_a_half(xp):
    z, y = xp.asarray([[1.0, 2.0, 4.0]]), xp.asarray([[3.0, -1.0, 4.5]])
    whole, half = squared_error(), Normal(1.0, normalized=False)
    assert repr(whole) == "Normal(variance=0.5, normalized=False)"
    close(whole.loss(z, y), [4 + 9 + 0.25])
    close(whole.gradient(z, y), [[-4.0, 6.0, -1.0]])
    close(whole.fisher(z), [2.0 * np.eye(3)])
    close(half.loss(z, y), [6.625])
    close(half.fisher(z), [np.eye(3)])
    constant = host(Normal(0.5).loss(z, y)) - host(whole.loss(z, y))
    close(constant, [1.5 * np.log(np.pi)])


# Sampling


def test_the_fisher_of_a_distribution_of_ones_own(xp):
    """Where only the root is written: F_z v = B B^T v, by hand."""
    B = xp.asarray([[2.0, 0.5], [0.0, 3.0]])

    class Own(Distribution):
        def root_product(self, z, u):
            return u @ B.T

        def root_transpose(self, z, v):
            return v @ B

    z, v = xp.zeros((3, 2)), xp.asarray([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]])
    expected = np.array([[4.25, 1.5], [1.5, 9.0], [7.0, -6.0]])
    assert_exact(Own().fisher_product(z, v), expected)
