"""kfac_ref: the reference implementation of K-FAC, to be read and to be tested against.

layers, distributions, network   what is trained
estimates, pairs                 question 1: which vectors are propagated back?
structures, matrices             question 2: what of the sum is kept?
damping                          question 3: how is it damped and inverted?
fisher, products, hessian        the exact matrices
comparison, plotting             how far an approximation is from them
definition                       the same from the definition, for any function
"""

from kfac_ref.comparison import compare
from kfac_ref.damping import factored_tikhonov
from kfac_ref.fisher import empirical_fisher_matrix, fisher_matrix, ggn_matrix
from kfac_ref.hessian import HessianProduct, hessian_matrix
from kfac_ref.network import Network
from kfac_ref.pairs import Pairs, given_pairs, propagate
from kfac_ref.products import CurvatureProduct
from kfac_ref.structures import curvature

__version__ = "0.2.0"

__all__ = [
    "CurvatureProduct",
    "HessianProduct",
    "Network",
    "Pairs",
    "compare",
    "curvature",
    "empirical_fisher_matrix",
    "factored_tikhonov",
    "fisher_matrix",
    "ggn_matrix",
    "given_pairs",
    "hessian_matrix",
    "propagate",
]
