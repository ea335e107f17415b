"""The diagonal of the sum: the second moments of the gradients' entries."""

from __future__ import annotations

from typing import Any

from kfac_ref.backend import Array, get_xp
from kfac_ref.limits import quiet_overflow
from kfac_ref.matrices import BlockDiagonalMatrix, DiagonalMatrix
from kfac_ref.pairs import Pairs
from kfac_ref.structures.gradients import needs_gradients

Bases = list[tuple[Array, Array]]


def diagonal(pairs: Pairs) -> BlockDiagonalMatrix:
    """The diagonal of the matrix."""
    needs_gradients(pairs, "diagonal")
    moments = second_moments(pairs, None)
    named = zip(moments, pairs.names, strict=True)
    return BlockDiagonalMatrix(
        [DiagonalMatrix(m.reshape(-1), name=name) for m, name in named]
    )


@quiet_overflow
def second_moments(pairs: Pairs, bases: Bases | None) -> list[Array]:
    """1/N sum_nk (U_A^T D_nk U_G)^2, by element, for every layer: (d_in + 1, d_out)."""
    total: list[Any] = [0.0] * len(pairs.shapes)
    largest = max(d * o for d, o in pairs.shapes)
    shared = max(pairs.positions) > 1
    for chunk in pairs.chunks(2 * largest * pairs.count if shared else 0):
        a = chunk.a if bases is None else _rotate(chunk.a, [U for U, _ in bases])
        for few in [chunk.g()] if shared else chunk.g_by_vectors(pairs.memory):
            g = few if bases is None else _rotate(few, [U for _, U in bases])
            total = [s + _squares(*ag) for s, *ag in zip(total, a, g, strict=True)]
    return [s / pairs.examples for s in total]


def _rotate(arrays: list[Array], bases: list[Array]) -> list[Array]:
    return [x @ U for x, U in zip(arrays, bases, strict=True)]


def _squares(a: Array, g: Array) -> Array:
    """sum_nk D_nk^2, elementwise, D_nk = sum_t a_nt g_nkt^T."""
    if a.shape[1] == 1:  # (a g)^2 = a^2 g^2 needs no D
        return (a[:, 0] ** 2).T @ (g[:, :, 0] ** 2).sum(axis=0)
    D = get_xp(a).swapaxes(a, 1, 2) @ g  # (k, n, d_in + 1, d_out)
    return (D * D).sum(axis=(0, 1))
