"""Damping that is too small: where, by how much, and what is enough."""

from __future__ import annotations

import numpy as np
import pytest

from damping_cases import LAMBDA, factors, plus
from helpers import assert_exact, host
from kfac_ref.damping import (
    by_eigendecomposition,
    factored_tikhonov,
    same_on_each_factor,
    separate,
    tikhonov,
)
from kfac_ref.errors import (
    NotPositiveDefinite,
)
from kfac_ref.matrices import (
    DenseMatrix,
    DiagonalMatrix,
    KroneckerProduct,
)
from matrix_cases import kron_by_loops


def failing(xp, rng):
    """Singular matrices of every kind, damped too little by every rule."""
    A, G = (xp.asarray(M) for M in factors(rng, N=2))
    K = KroneckerProduct(A, G, "layer 0")
    return {
        "exact": tikhonov(K, 1e-40),
        "exact, dense": tikhonov(DenseMatrix(A, "layer 0"), 1e-40),
        "factored": factored_tikhonov(K, 1e-40, 0.6),
        "each factor": same_on_each_factor(K, 1e-40),
        "separate": separate(K, 1e-40, 0.37),
        "separate, errors": separate(K, 0.37, 1e-40),
        "scale and shift": separate(
            DiagonalMatrix(xp.asarray(np.array([0.0, 2.0])), "layer 0"),
            0.37,
            0.37,
            scale=0,
            shift=0.37,
        ),
    }


@pytest.mark.parametrize(
    "name, where",
    [
        ("exact", "layer 0 (Tikhonov, lambda = 1e-40)"),
        ("exact, dense", "layer 0 (Tikhonov, lambda = 1e-40)"),
        ("factored", "factor A of layer 0 (factored Tikhonov, lambda = 1e-40, pi ="),
        ("each factor", "factor A of layer 0 (lambda = 1e-40 on each factor)"),
        ("separate", "factor A of layer 0 (activations + 1e-40, errors + 0.37, pi ="),
        ("separate, errors", "factor G of layer 0 (activations + 0.37, errors + 1e-40"),
        ("scale and shift", "layer 0 (scale + 0, shift + 0.37)"),
    ],
)
def test_too_little_damping_is_named(name, where, xp, rng):
    """The layer, lambda, the smallest eigenvalue: for each rule, on every backend."""
    weak = failing(xp, rng)[name]
    v = xp.asarray(rng.normal(size=weak.size))
    for attempt in (weak.inverse, lambda: weak.solve(v), weak.logdet):
        with pytest.raises(NotPositiveDefinite) as caught:
            attempt()
        message = str(caught.value)
        assert message.startswith(where)
        assert f"run from {caught.value.smallest:.3g} to" in message
        assert abs(caught.value.smallest) < 1e-15 * caught.value.largest
    if name not in ("exact", "scale and shift"):  # in their eigenbasis already
        with pytest.raises(NotPositiveDefinite) as caught:
            by_eigendecomposition(weak)
        assert str(caught.value).startswith(where)


def test_a_lambda_within_the_rounding_error_is_too_little(xp, rng):
    """All eigenvalues come out positive, those that are zero by chance; solve knows."""
    A, G = (xp.asarray(M) for M in factors(rng, N=2))
    weak = tikhonov(KroneckerProduct(A, G, "layer 0"), 1e-16)
    assert 0 < float(weak.eigenvalues()[0]) < 1e-15
    for attempt in (weak.inverse, weak.logdet, lambda: tikhonov(weak, 0).inverse()):
        with pytest.raises(NotPositiveDefinite, match="lambda = 1e-16"):
            attempt()


def test_an_inverse_can_be_inverted(xp, rng):
    """Its eigenvalues, 1e-8 and less here, have another rounding error."""
    A, G = (1e5 * M for M in factors(rng))
    damped = tikhonov(KroneckerProduct(xp.asarray(A), xp.asarray(G)), LAMBDA)
    back = damped.inverse().inverse()
    assert_exact(back.to_dense(), plus(kron_by_loops(A, G), LAMBDA))


def test_enough_damping_after_too_little(xp, rng):
    A, G = (xp.asarray(M) for M in factors(rng, N=2))
    v = rng.normal(size=15)
    damped = tikhonov(KroneckerProduct(A, G), 1e-6)
    expected = np.linalg.solve(plus(kron_by_loops(host(A), host(G)), 1e-6), v)
    assert_exact(damped.solve(xp.asarray(v)), expected, 1e-9)  # condition 1e6
