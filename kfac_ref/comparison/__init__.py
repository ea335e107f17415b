"""How far an approximation is from the exact matrix: numbers, and the table of them."""

from kfac_ref.comparison.comparing import compare, diagonal_blocks
from kfac_ref.comparison.distances import (
    angle,
    angle_between,
    damped_norm,
    damped_norm_ratio,
    inverse_error,
    relative_frobenius_error,
    relative_spectral_error,
    spectral_norm,
)
from kfac_ref.comparison.entries import Built, timed
from kfac_ref.comparison.table import Comparison, Row

__all__ = [
    "Built",
    "Comparison",
    "Row",
    "angle",
    "angle_between",
    "compare",
    "damped_norm",
    "damped_norm_ratio",
    "diagonal_blocks",
    "inverse_error",
    "relative_frobenius_error",
    "relative_spectral_error",
    "spectral_norm",
    "timed",
]
