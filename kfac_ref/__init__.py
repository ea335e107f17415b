"""kfac_ref: the reference implementation of K-FAC, to read and to test against.

Start with the page: algorithm2, all of Algorithm 2 in plain NumPy.

The first hour, from x to a step:

network                          what is trained: z, the loss, the gradient
estimates, pairs                 question 1: which vectors are propagated back?
structures.kronecker             question 2: what is kept of the sum? A and G
damping.rules                    question 3: how is it damped and inverted?
optimizer.kfac                   the step, in order
optimizer.proposal               the search for gamma, alpha and mu; rho

The afternoon, the rest of the core:

layers, distributions            what a network is made of
matrices, structures             the kinds of matrices, and the other answers
exact                            the exact matrices, dense and by products
damping, quadratic_model         pi, and the best step along given directions
optimizer                        Algorithm 2 with its options, and the baselines

Leave the wings for later:

comparison, plotting             how far an approximation is from the exact matrix
definition                       the same matrices by autograd, for any function
examples, gpu, cli               programs that use all of this
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, whose import takes its time
if TYPE_CHECKING:  # pragma: no cover
    from typing import Any

    from kfac_ref.comparison import compare
    from kfac_ref.damping import factored_tikhonov
    from kfac_ref.exact.dense import empirical_fisher_matrix, fisher_matrix, ggn_matrix
    from kfac_ref.exact.hessian import HessianProduct, hessian_matrix
    from kfac_ref.exact.products import (
        EmpiricalFisherProduct,
        FisherProduct,
        GGNProduct,
    )
    from kfac_ref.network import Network
    from kfac_ref.pairs import Pairs, given_pairs, propagate
    from kfac_ref.structures import curvature

__version__ = "0.3.0"

__all__ = [
    "EmpiricalFisherProduct",
    "FisherProduct",
    "GGNProduct",
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

HOMES = {  # where they are at home
    "compare": "comparison",
    "factored_tikhonov": "damping",
    "empirical_fisher_matrix": "exact.dense",
    "fisher_matrix": "exact.dense",
    "ggn_matrix": "exact.dense",
    "HessianProduct": "exact.hessian",
    "hessian_matrix": "exact.hessian",
    "Network": "network",
    "Pairs": "pairs",
    "given_pairs": "pairs",
    "propagate": "pairs",
    "EmpiricalFisherProduct": "exact.products",
    "FisherProduct": "exact.products",
    "GGNProduct": "exact.products",
    "curvature": "structures",
}


def __getattr__(name: str) -> Any:
    """A name of the list above, or a module, imported when it is first asked for.

    NumPy and SciPy take a second, and the command line must be there before.
    """
    from importlib import import_module

    if name in HOMES:
        return getattr(import_module(f"kfac_ref.{HOMES[name]}"), name)
    try:
        return import_module(f"kfac_ref.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"kfac_ref.{name}":
            raise
    raise AttributeError(f"module 'kfac_ref' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
