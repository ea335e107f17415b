"""E-KFAC: K-FAC's eigenbasis, the exact second moments in it. George et al. 2018."""

from __future__ import annotations

from kfac_ref.backend import eigh
from kfac_ref.matrices import BlockDiagonalMatrix, EigenKronecker
from kfac_ref.matrices.definite import rounding_error
from kfac_ref.pairs import Pairs
from kfac_ref.structures.diagonal import second_moments
from kfac_ref.structures.gradients import needs_gradients
from kfac_ref.structures.kronecker import kronecker_factors


def eigenvalue_corrected(pairs: Pairs) -> BlockDiagonalMatrix:
    """E-KFAC: K-FAC's eigenbasis U_A (x) U_G with F's own second moments in it."""
    needs_gradients(pairs, "eigenvalue_corrected")
    A, G = kronecker_factors(pairs)
    bases = [(eigh(Ai)[1], eigh(Gi)[1]) for Ai, Gi in zip(A, G, strict=True)]
    named = zip(bases, second_moments(pairs, bases), pairs.names, strict=True)
    return BlockDiagonalMatrix(
        [
            EigenKronecker(
                *basis, values, name, rounding_error(values, sum(values.shape))
            )
            for basis, values, name in named
        ]
    )
