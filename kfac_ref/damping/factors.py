"""The two factors of a block, and what becomes of them where a formula has no value."""

from __future__ import annotations

import math

from kfac_ref.backend import Array, get_xp
from kfac_ref.damping.pi import find_pi
from kfac_ref.errors import Unsupported
from kfac_ref.matrices import EigenKronecker, KroneckerProduct, SymmetricMatrix
from kfac_ref.matrices.definite import add_to_diagonal


def check_factors(block: SymmetricMatrix, what: str) -> KroneckerProduct:
    """Return the block itself if it has two factors; else raise Unsupported."""
    if isinstance(block, KroneckerProduct):
        return block
    reason = ""
    if isinstance(block, EigenKronecker):
        reason = " (its eigenvalues need not be products of those of two factors)"
    raise Unsupported(
        f"{block.label}: {what} needs a Kronecker product, found "
        f"{type(block).__name__}{reason}; damp it exactly, with tikhonov(matrix, "
        "damping) or solve(v, damping), or each block by its kind, with by_kind"
    )


def balance(K: KroneckerProduct, pi: float | str) -> tuple[Array, Array, float, str]:
    """Return A, G, the number pi, and words for them.

    Of a product that is zero a pi made of norms has no value: two zeros, and 1.
    """
    if isinstance(pi, str) and is_zero(K):
        return 0 * K.A, 0 * K.G, 1.0, "of a product that is zero"
    number = find_pi(K, pi)
    return K.A, K.G, number, f"pi = {number:.3g}"


def beside_scalar(K: KroneckerProduct, damping: float) -> tuple[Array, Array]:
    """Return factors of A (x) [g] + lambda I = (A + lambda / g I) (x) [g].

    Or the same for [a] (x) G; of a product that is zero those of lambda I.
    """
    if is_zero(K):
        gamma = math.sqrt(damping)
        return add_to_diagonal(0 * K.A, gamma), add_to_diagonal(0 * K.G, gamma)
    if len(K.G) == 1:
        return add_to_diagonal(K.A, damping / float(K.G[0, 0])), K.G
    return K.A, add_to_diagonal(K.G, damping / float(K.A[0, 0]))


def is_zero(K: KroneckerProduct) -> bool:
    """Is A or G zero? A semi-definite matrix is if its trace is."""
    return any(
        float(get_xp(M).trace(M)) == 0 and not bool(get_xp(M).any(M != 0))
        for M in (K.A, K.G)
    )
