"""Structured symmetric matrices, of one interface; see base.py."""

from kfac_ref.matrices.base import DenseMatrix, SymmetricMatrix
from kfac_ref.matrices.block_diagonal import BlockDiagonalMatrix
from kfac_ref.matrices.block_tridiagonal import BlockTridiagonalInverse
from kfac_ref.matrices.chain import ChainFactors
from kfac_ref.matrices.diagonal import DiagonalMatrix
from kfac_ref.matrices.eigen_kronecker import EigenKronecker
from kfac_ref.matrices.kronecker import KroneckerProduct
from kfac_ref.matrices.kronecker_difference import KroneckerDifference

__all__ = [
    "BlockDiagonalMatrix",
    "BlockTridiagonalInverse",
    "ChainFactors",
    "DenseMatrix",
    "DiagonalMatrix",
    "EigenKronecker",
    "KroneckerDifference",
    "KroneckerProduct",
    "SymmetricMatrix",
]
