"""What is positive definite, what is singular to rounding, and what is looked at."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import assert_exact, host
from kfac_ref.backend import get_xp
from kfac_ref.errors import NotPositiveDefinite, ShapeError, ValueRangeError
from kfac_ref.matrices import (
    BlockDiagonalMatrix,
    DenseMatrix,
    DiagonalMatrix,
    EigenKronecker,
    KroneckerProduct,
)
from matrix_cases import CASES, SINGULAR, make, moment, rotation

LAMBDA = 0.37


def indefinite(rng, move, kind):
    """A 3 x 3 matrix with eigenvalues -0.5, 2 and 4, and a name."""
    values, U = np.array([-0.5, 2.0, 4.0]), rotation(rng, 3)
    M, one = (U * values) @ U.T, np.ones((1, 1))
    if kind == "dense":
        return DenseMatrix(move(M), "layer 0")
    if kind == "diagonal":
        return DiagonalMatrix(move(values), "layer 0")
    if kind == "kronecker":
        return KroneckerProduct(move(one), move(M), "layer 0")
    if kind == "eigen_kronecker":
        parts = move(U), move(one), move(values[:, None])
        return EigenKronecker(*parts, "layer 0")
    return BlockDiagonalMatrix(
        [DenseMatrix(move(M), "layer 0"), DiagonalMatrix(move(values + 9))]
    )


KINDS = ["dense", "diagonal", "kronecker", "eigen_kronecker", "block_diagonal"]
FAILURES = {
    "solve": lambda M, v: M.solve(v, LAMBDA),
    "logdet": lambda M, v: M.logdet(LAMBDA),
    "inverse": lambda M, v: M.inverse(LAMBDA),
    "inverse root": lambda M, v: M.power(-0.5, LAMBDA),
    "root": lambda M, v: M.power(0.5, LAMBDA),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("failure", FAILURES)
def test_not_positive_definite_after_damping(kind, failure, xp, rng):
    """Eigenvalues -0.5, 2, 4 with lambda = 0.37: -0.13 ... 4.37, condition 33.6."""
    matrix = indefinite(rng, xp.asarray, kind)
    v = xp.asarray(rng.normal(size=matrix.size))
    message = "layer 0.* not positive .* 0.37 .* from -0.13 to 4.37 .* 33.6.* larger"
    with pytest.raises(NotPositiveDefinite, match=message) as caught:
        FAILURES[failure](matrix, v)
    error = caught.value
    found = [error.damping, error.smallest, error.largest, error.condition]
    assert_exact(np.array(found), np.array([0.37, -0.13, 4.37, 4.37 / 0.13]))
    # with lambda above 0.5 nothing is wrong
    assert_exact(host(matrix.inverse(0.51) @ (matrix.power(1, 0.51) @ v)), host(v))


@pytest.mark.parametrize("case", SINGULAR)
@pytest.mark.parametrize("seed", range(5))
def test_singular_without_damping(case, seed, xp):
    rng = np.random.default_rng(seed)
    matrix, M = make(case, rng, xp.asarray)
    v = xp.asarray(rng.normal(size=len(M)))
    for fails in (matrix.solve, lambda v: matrix.inverse(), lambda v: matrix.logdet()):
        with pytest.raises(NotPositiveDefinite, match="lambda = 0 its") as caught:
            fails(v)
        assert caught.value.damping == 0
        assert caught.value.condition > 1e14
    with pytest.raises(NotPositiveDefinite):
        matrix.power(-0.5)


def test_singular_matrices_of_any_scale_are_found(xp):
    """Features of scales from 1e-3 to 1e3: the pivots of Cholesky say nothing there."""
    passed_by_pivots = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        d = int(rng.integers(2, 8))
        X = rng.normal(size=(d - 1, d)) * 10 ** rng.uniform(-3, 3, size=d)
        M = X.T @ X
        with pytest.raises(NotPositiveDefinite):
            DenseMatrix(xp.asarray(M)).logdet()
        assert DenseMatrix(xp.asarray(M)).logdet(1e-6 * M.max()) > -np.inf
        try:
            pivots = np.diag(np.linalg.cholesky(M))
            passed_by_pivots += (pivots.min() / pivots.max()) ** 2 > 1e-14
        except np.linalg.LinAlgError:
            pass
    assert passed_by_pivots > 0


def test_ill_conditioned_is_not_singular(xp, rng):
    """Condition 1e12, well above rounding: solved, to the accuracy that it allows."""
    U = rotation(rng, 5)
    M = (U * [1e-12, 0.2, 0.5, 0.9, 1.0]) @ U.T
    M = (M + M.T) / 2
    x = DenseMatrix(xp.asarray(M)).solve(xp.asarray(M @ np.ones(5)))
    assert_exact(x, np.ones(5), 1e-3)
    v = xp.asarray(np.array([1.0, 3e-7, 3.0]))  # singular in float32: error_cases.py
    assert_exact(DenseMatrix(get_xp(v).diag(v)).solve(v), np.ones(3))


def test_rounding_is_zero_and_more_is_not(xp, rng):
    """power(1/2): eigenvalues -1e-16 and 1e-17 count as zero, -1e-6 does not."""
    U = rotation(rng, 3)
    for tiny in (-1e-16, 1e-17):
        M = (U * [tiny, 1.0, 2.0]) @ U.T
        root = DenseMatrix(xp.asarray((M + M.T) / 2)).power(0.5).to_dense()
        assert_exact(root, (U * [0.0, 1.0, np.sqrt(2)]) @ U.T, 1e-14)
    M = (U * [-1e-6, 1.0, 2.0]) @ U.T
    with pytest.raises(NotPositiveDefinite, match="from -1e-06 to 2"):
        DenseMatrix(xp.asarray((M + M.T) / 2)).power(0.5)


def test_given_eigenvalues_are_taken_at_their_word(xp):
    values = np.array([1e-20, 3.0])
    matrix = DiagonalMatrix(xp.asarray(values))
    assert_exact(matrix.solve(xp.asarray(values)), np.ones(2))
    assert host(matrix.power(0.5).to_dense())[0, 0] == 1e-10
    with pytest.raises(NotPositiveDefinite, match="from -1e-20 to 3"):
        DiagonalMatrix(xp.asarray(np.array([-1e-20, 3.0]))).power(0.5)
    with pytest.raises(NotPositiveDefinite, match="condition number inf"):
        DiagonalMatrix(xp.asarray(np.array([0.0, 3.0]))).inverse()


def test_tiny_damping_of_a_singular_product_is_rounding(xp, rng):
    """3e-15 is no damping beside the rounding error of the eigenvalues; 1e-6 is."""
    A, G = moment(rng, 5, N=2), moment(rng, 3)
    matrix = KroneckerProduct(xp.asarray(A), xp.asarray(G), "layer 0")
    v = xp.asarray(rng.normal(size=15))
    with pytest.raises(NotPositiveDefinite, match="layer 0 .* with lambda = 3e-15"):
        matrix.solve(v, 3e-15)
    x = matrix.solve(v, 1e-6)
    assert_exact(host(matrix @ x) + 1e-6 * host(x), host(v), 1e-9)  # condition 1e6


@pytest.mark.parametrize("tile", [1, 2, 256])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.5])
def test_every_entry_is_looked_at(tile, bad, xp, rng, monkeypatch):
    """Tiles of 1, 2 and all 7 rows; one entry of each pair is made bad."""
    monkeypatch.setattr("kfac_ref.matrices.definite.TILE", tile)
    good = moment(rng, 7)
    DenseMatrix(xp.asarray(good))
    for position in np.ndindex(7, 7):
        M = good.copy()
        M[position] += bad
        if bad == 0.5 and position[0] == position[1]:
            continue
        message = "by up to 0.5" if bad == 0.5 else "1 of 49 numbers are NaN"
        with pytest.raises(ValueRangeError, match=message):
            DenseMatrix(xp.asarray(M))


def test_computed_matrices_are_looked_at_on_the_diagonal(xp, rng):
    """What is semi-definite by construction is only checked to be finite."""
    A, G = moment(rng, 5), moment(rng, 3)
    move = xp.asarray
    assert_exact(DenseMatrix.semidefinite(move(A), "F").to_dense(), A)
    product = KroneckerProduct.semidefinite(move(A), move(G), "layer 0")
    assert (product.size, product.name, product.storage) == (15, "layer 0", 34)
    assert_exact(product.to_dense(), np.kron(A, G))
    for bad in (np.nan, np.inf):
        B = G.copy()
        B[1, 1] = bad
        with pytest.raises(ValueRangeError, match="F: 1 of 3 numbers are NaN or inf"):
            DenseMatrix.semidefinite(move(B), "F")
        with pytest.raises(ValueRangeError, match="layer 0: factor G: 1 of 3 numbers"):
            KroneckerProduct.semidefinite(move(A), move(B), "layer 0")
        with pytest.raises(ValueRangeError, match="layer 0: factor A: 1 of 3 numbers"):
            KroneckerProduct.semidefinite(move(B), move(A), "layer 0")


def test_asymmetry_of_rounding_is_allowed(xp, rng):
    """1e-13 of the largest entry passes, 1e-12 does not, whatever the scale."""
    for scale in (1e-9, 1.0, 1e9):
        M = moment(rng, 5)
        M[3, 1] += 1e-13 * M.max()
        DenseMatrix(xp.asarray(scale * M))
        M[3, 1] += 1e-12 * M.max()
        with pytest.raises(ValueRangeError, match="expected a symmetric matrix"):
            DenseMatrix(xp.asarray(scale * M))


@pytest.mark.parametrize("case", CASES)
def test_vectors_of_other_shapes_are_refused(case, xp, rng):
    matrix, M = make(case, rng, xp.asarray)
    P = len(M)
    expected = rf"expected shape \({P},\) or \({P}, k\), found "
    for v in (np.ones(P + 1), np.ones((P + 1, P)), np.ones((P, 2, 2)), np.ones(())):
        for product in (matrix.__matmul__, matrix.solve):
            with pytest.raises(ShapeError, match=expected + r"\("):
                product(xp.asarray(v))
    with pytest.raises(ShapeError, match=expected + "list"):
        matrix @ [1.0] * P
    with pytest.raises(TypeError):
        xp.asarray(np.ones(P)) @ matrix


@pytest.mark.parametrize("case", CASES)
def test_bad_damping_and_exponents_are_refused(case, xp, rng):
    matrix, M = make(case, rng, xp.asarray)
    v = xp.asarray(np.ones(len(M)))
    for damping in (-0.37, np.nan, np.inf, "large", None):
        message = f"damping: .* finite number >= 0.* {damping!r}"
        calls = [lambda d: matrix.solve(v, d), matrix.logdet, matrix.inverse]
        for call in calls:
            with pytest.raises(ValueRangeError, match=message):
                call(damping)
    for exponent in (2, 0, -0.25, "half"):
        message = f"-1, -1/2, 1/2 or 1.* {exponent!r}"
        with pytest.raises(ValueRangeError, match=message):
            matrix.power(exponent, LAMBDA)


def test_names_in_representations(xp, rng):
    matrix = make("kronecker", rng, xp.asarray)[0]
    assert repr(matrix) == "KroneckerProduct(15 x 15, 'the matrix')"
    assert matrix.label == "the matrix"
    assert DiagonalMatrix(xp.asarray(np.ones(3))).label == "DiagonalMatrix(3 x 3)"
