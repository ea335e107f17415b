"""Damped matrices, factorised by their eigenvectors instead of Cholesky factors."""

from __future__ import annotations

from kfac_ref.backend import Array, eigh, get_xp
from kfac_ref.calls import door
from kfac_ref.matrices import (
    DiagonalMatrix,
    EigenKronecker,
    KroneckerProduct,
    SymmetricMatrix,
)
from kfac_ref.matrices.base import check_matrix
from kfac_ref.matrices.definite import rounding_error, spectral_power


@door
def by_eigendecomposition(matrix: SymmetricMatrix) -> SymmetricMatrix:
    """Return the same damped matrix, factorised here, once, and without Cholesky.

    `solve` then multiplies by eigenvectors, as LBANN does with use_eigen_decomposition.
    Raises NotPositiveDefinite as `solve` does.
    """
    check_matrix("by_eigendecomposition", matrix)
    return matrix.map_blocks(_decomposed)


def _decomposed(block: SymmetricMatrix) -> SymmetricMatrix:
    if isinstance(block, DiagonalMatrix | EigenKronecker):
        return block  # in its eigenbasis already
    if isinstance(block, KroneckerProduct):
        l_A, U_A = _positive_eigh(block.A, f"factor A of {block.label}")
        l_G, U_G = _positive_eigh(block.G, f"factor G of {block.label}")
    else:
        l_A, U_A = _positive_eigh(block.to_dense(), block.label)
        l_G = get_xp(l_A).ones(1, dtype=l_A.dtype)
        U_G = l_G.reshape(1, 1)
    values = l_A[:, None] * l_G
    return EigenKronecker.orthonormal(
        U_A, U_G, values, block.label, damped=block.damped
    )


def _positive_eigh(M: Array, where: str) -> tuple[Array, Array]:
    """Return eigenvalues and eigenvectors; raise NotPositiveDefinite."""
    values, U = eigh(M)
    spectral_power(values, -1, 0.0, where, rounding_error(values, len(values)))
    return values, U
