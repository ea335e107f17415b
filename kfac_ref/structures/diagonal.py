"""The diagonal of the sum: the second moments of the gradients' entries."""

from __future__ import annotations

from collections.abc import Iterator

from kfac_ref.backend import Array, get_xp
from kfac_ref.matrices import BlockDiagonalMatrix, DiagonalMatrix
from kfac_ref.pairs import Pairs
from kfac_ref.structures.gradients import needs_gradients


def diagonal(pairs: Pairs) -> BlockDiagonalMatrix:
    """The diagonal of the matrix."""
    needs_gradients(pairs, "diagonal")
    named = zip(second_moments(pairs), pairs.names, strict=True)
    return BlockDiagonalMatrix(
        [DiagonalMatrix(m.reshape(-1), name) for m, name in named]
    )


def second_moments(pairs: Pairs) -> list[Array]:
    """1/N sum_nk D_nk^2, entry by entry, for every layer: (d_in + 1, d_out)."""
    shared = max(pairs.positions) > 1
    largest = max(d * o for d, o in pairs.shapes)
    workspace = 2 * largest * pairs.count if shared else 0
    return pairs.mean_together(_squares, workspace)


def _squares(a: list[Array], g: list[Array]) -> Iterator[Array]:
    """sum_nk D_nk^2 of every layer, D_nk = sum_t a_nt g_nkt^T."""
    for ai, gi in zip(a, g, strict=True):
        if ai.shape[1] == 1:  # (a g)^2 = a^2 g^2 needs no D
            yield (ai[:, 0] ** 2).T @ (gi[:, :, 0] ** 2).sum(axis=0)
        else:
            D = get_xp(ai).swapaxes(ai, 1, 2) @ gi  # (k, n, d_in + 1, d_out)
            yield (D * D).sum(axis=(0, 1))
