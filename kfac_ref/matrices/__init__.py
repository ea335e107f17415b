"""Structured symmetric matrices, of one interface; see base.py."""

from kfac_ref.matrices.base import SymmetricMatrix
from kfac_ref.matrices.block_diagonal import BlockDiagonal
from kfac_ref.matrices.block_tridiagonal import BlockTridiagonalInverse
from kfac_ref.matrices.dense import Dense
from kfac_ref.matrices.diagonal import Diagonal
from kfac_ref.matrices.eigen_kronecker import EigenKronecker
from kfac_ref.matrices.kronecker import Kronecker
from kfac_ref.matrices.kronecker_difference import KroneckerDifference

__all__ = [
    "BlockDiagonal",
    "BlockTridiagonalInverse",
    "Dense",
    "Diagonal",
    "EigenKronecker",
    "Kronecker",
    "KroneckerDifference",
    "SymmetricMatrix",
]
