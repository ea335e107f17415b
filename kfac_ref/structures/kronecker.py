"""K-FAC: a Kronecker product for every layer. Martens & Grosse 2015, section 3.1."""

from __future__ import annotations

from typing import Any

from kfac_ref.backend import Array, get_xp
from kfac_ref.limits import check_overflow, check_room, quiet_overflow
from kfac_ref.matrices import BlockDiagonalMatrix, KroneckerProduct
from kfac_ref.pairs import Pairs
from kfac_ref.structures.dense import add_stacked

WIDE = "use structure 'diagonal' for this layer, or products (CurvatureProduct)"


def kronecker(pairs: Pairs) -> BlockDiagonalMatrix:
    """K-FAC: A (x) G for every layer."""
    named = zip(*kronecker_factors(pairs), pairs.names, strict=True)
    return BlockDiagonalMatrix(
        [KroneckerProduct.semidefinite(*block) for block in named]
    )


@quiet_overflow
def kronecker_factors(pairs: Pairs) -> tuple[list[Array], list[Array]]:
    """A = 1/N sum_nt a a^T and G = 1/(N T) sum_nkt g g^T of every layer."""
    for name, (d, o) in zip(pairs.names, pairs.shapes, strict=True):
        check_room(f"{name}: factor A or G", max(d, o), pairs.like, instead=WIDE)
    panel = pairs.memory // (4 * pairs.like.itemsize)
    A: list[Any] = [None] * len(pairs.shapes)
    G: list[Any] = [None] * len(pairs.shapes)
    for chunk in pairs.chunks():
        A = [_add_moment(*each, panel) for each in zip(A, chunk.a, strict=True)]
        for few in chunk.g_by_vectors(pairs.memory):
            G = [_add_moment(*each, panel) for each in zip(G, few, strict=True)]
            few.clear()  # before the next few are made
    for name, Ai, Gi, T in zip(pairs.names, A, G, pairs.positions, strict=True):
        Ai /= pairs.examples
        Gi /= pairs.examples * T
        for letter, M in (("A", Ai), ("G", Gi)):
            check_overflow(f"{name}: factor {letter}", get_xp(M).diagonal(M))
    return A, G


def _add_moment(total: Array | None, rows: Array, panel: int) -> Array:
    """total + X^T X over all axes but the last, symmetric to the last bit.

    In place, and beside a factor of more than `panel` numbers there is no second one.
    """
    X = rows.reshape(-1, rows.shape[-1])
    if X.shape[1] ** 2 > panel:
        if total is None:
            total = get_xp(X).zeros((X.shape[1], X.shape[1]), dtype=X.dtype)
        add_stacked(total, (0, 0), X, X, panel)
        return total
    new = X.T @ X
    if total is None:
        return new
    total += new
    return total
