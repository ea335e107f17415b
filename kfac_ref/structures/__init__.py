"""Question 2: what of the sum F = 1/N sum_n sum_k vec(D_nk) vec(D_nk)^T is kept?

Each function turns pairs (a, g) into a structured matrix:

    full                   everything                      F
    block_diagonal         one block per layer             F_ll
    diagonal               the diagonal                    [F_ll]_ii
    kronecker              A (x) G                         Martens & Grosse 2015, 3.1
    eigenvalue_corrected   its eigenbasis, F's second moments in it   George et al. 2018
    best_kronecker         argmin ||F_ll - X (x) Y||_F     Van Loan & Pitsianis 1993
    block_tridiagonal      neighbours, too: damped, its inverse has three bands    4.3

where A = 1/N sum_nt a a^T and G = 1/(N T) sum_nkt g g^T (Grosse & Martens 2016).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kfac_ref.backend import Array
from kfac_ref.calls import door
from kfac_ref.checks import check_kind
from kfac_ref.estimates import Estimate
from kfac_ref.matrices import SymmetricMatrix
from kfac_ref.network import Network, check_network
from kfac_ref.pairs import MEMORY, Pairs, propagate
from kfac_ref.structures import (
    best_kronecker,
    block_tridiagonal,
    dense,
    diagonal,
    eigenvalue_corrected,
    kronecker,
)
from kfac_ref.words import translate

STRUCTURES: dict[str, Callable[..., SymmetricMatrix]] = {
    "full": dense.full,
    "block_diagonal": dense.block_diagonal,
    "diagonal": diagonal.diagonal,
    "kronecker": kronecker.kronecker,
    "eigenvalue_corrected": eigenvalue_corrected.eigenvalue_corrected,
    "best_kronecker": best_kronecker.best_kronecker,
    "block_tridiagonal": block_tridiagonal.block_tridiagonal,
}


@door
def make_structure(name: str, pairs: Pairs) -> SymmetricMatrix:
    """The structure of that name, or of another library's word for it.

    Raises UnknownName, with the closest name.
    """
    check_kind("name", name, str, f"one of {', '.join(STRUCTURES)}; then the pairs")
    function = STRUCTURES[translate("structure", name, STRUCTURES)]
    check_kind("pairs", pairs, Pairs, "as propagate(...) gives them")
    return function(pairs)


@door
def curvature(
    network: Network,
    params: list[Array],
    x: Array,
    structure: str = "kronecker",
    estimate: str | Estimate = "expectation",
    *,
    y: Array | None = None,
    rng: np.random.Generator | None = None,
    samples: int | None = None,
    memory: int = MEMORY,
) -> SymmetricMatrix:
    """Questions 1 and 2 in one call: `make_structure(structure, propagate(...))`.

    Any estimate goes with any structure. Returns the mean over the examples of the
    batch x; for 'block_tridiagonal', its factors, which a damping rule takes.
    """
    function = STRUCTURES[translate("structure", structure, STRUCTURES)]
    check_network(network)
    at = network.linearize(params, x)
    pairs = propagate(at, estimate, y=y, rng=rng, samples=samples, memory=memory)
    return function(pairs)
