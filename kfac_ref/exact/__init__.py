"""The exact matrices: dense (dense.py), by products, and the Hessian."""

from kfac_ref.exact.dense import (
    empirical_fisher_matrix,
    fisher_matrix,
    ggn_matrix,
)
from kfac_ref.exact.hessian import HessianProduct, hessian_matrix
from kfac_ref.exact.products import (
    EmpiricalFisherProduct,
    FisherProduct,
    GGNProduct,
)

__all__ = [
    "EmpiricalFisherProduct",
    "FisherProduct",
    "GGNProduct",
    "HessianProduct",
    "empirical_fisher_matrix",
    "fisher_matrix",
    "ggn_matrix",
    "hessian_matrix",
]
