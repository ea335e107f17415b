"""The dense matrix from pairs: everything of the sum is kept.

Where no positions are shared, D_nk = a_n g_nk^T, and the block of layers i and j is

    F_ij = 1/N sum_n (a_i a_j^T) (x) (sum_k g_ik g_jk^T):

the sum over the K propagated vectors is done before the sum over examples, which takes
a K-th of the arithmetic of the obvious way (stack all N*K vectors, S^T S). With shared
positions the obvious way is what there is. Both work in panels of rows, so that memory
beyond the result stays under the bound of the pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, combinations_with_replacement

from kfac_ref.backend import Array, get_xp
from kfac_ref.pairs import Pairs

PANEL = 2**21  # numbers in a panel: it is written, then read, and should stay in cache


def dense_blocks(pairs: Pairs, wanted: Sequence[int]) -> Array:
    """F restricted to the layers `wanted`, (P, P), mean over the examples.

    Symmetric to the last bit. Memory beyond F stays under `pairs.memory` bytes, as long
    as one example, and one row of a panel, fit.
    """
    xp = get_xp(pairs.like)
    sizes = [pairs.shapes[i][0] * pairs.shapes[i][1] for i in wanted]
    F = xp.zeros((sum(sizes), sum(sizes)), dtype=pairs.like.dtype)
    panel = min(PANEL, pairs.memory // (2 * F.itemsize))  # at most half of the memory
    if max(pairs.positions[i] for i in wanted) > 1:
        _add_stacked(F, pairs, wanted, panel)
    else:
        _add_contracted(F, pairs, wanted, panel)
    return F


def _add_contracted(F: Array, pairs: Pairs, wanted: Sequence[int], panel: int) -> None:
    """Add, for every two layers i <= j, the contracted sum."""
    sizes = [pairs.shapes[i][0] * pairs.shapes[i][1] for i in wanted]
    starts = [0, *accumulate(sizes)]
    deepest, widest = map(max, zip(*pairs.shapes, strict=True))
    per_example = pairs.count * widest + 2 * deepest + widest * widest
    for chunk in pairs.chunks(per_example, panel):
        g_all, N = chunk.g(), pairs.examples
        a = [chunk.a[i][:, 0] for i in wanted]  # (n, d_in + 1)
        g = [g_all[i][:, :, 0] / float(N) ** 0.5 for i in wanted]  # (K, n, d_out)
        for i, j in combinations_with_replacement(range(len(wanted)), 2):
            corner = starts[i], starts[j]
            _add_block(F, corner, (a[i], a[j]), (g[i], g[j]), panel)


def _add_block(
    F: Array,
    corner: tuple[int, int],
    a: tuple[Array, Array],
    g: tuple[Array, Array],
    panel: int,
) -> None:
    """Add the block F_ij, and F_ji, its transpose, panel by panel of its rows."""
    xp, (top, left) = get_xp(F), corner
    (n, d_i), d_j = a[0].shape, a[1].shape[1]
    o_i, o_j = g[0].shape[2], g[1].shape[2]
    GG = xp.transpose(g[0], (1, 2, 0)) @ xp.transpose(g[1], (1, 0, 2))  # (n, o_i, o_j)
    GG = GG.reshape(n, o_i * o_j)
    step = max(1, panel // (d_j * (n + 2 * o_i * o_j)))
    for p in range(0, d_i, step):
        q = p if top == left else 0  # in a diagonal block, from the diagonal on
        rows, columns = a[0][:, p : p + step], a[1][:, q:]
        AA = (rows[:, :, None] * columns[:, None, :]).reshape(n, -1)
        M = (AA.T @ GG).reshape(rows.shape[1], -1, o_i, o_j)
        block = xp.transpose(M, (0, 2, 1, 3)).reshape(rows.shape[1] * o_i, -1)
        _add_mirrored(F, block, top + p * o_i, left + q * o_j)


def _add_stacked(F: Array, pairs: Pairs, wanted: Sequence[int], panel: int) -> None:
    """Add S^T S, the rows of S being vec(D_nk) / sqrt(N)."""
    xp, P = get_xp(F), len(F)
    step = max(1, panel // (2 * P))
    for chunk in pairs.chunks(2 * pairs.count * P, panel):
        g, end = chunk.g(), 0
        S = xp.empty((pairs.count, len(g[0][0]), P), dtype=F.dtype)
        for i in wanted:
            a = xp.swapaxes(chunk.a[i], 1, 2) / float(pairs.examples) ** 0.5
            D = a @ g[i]  # (K, n, d_in + 1, d_out)
            start, end = end, end + D.shape[2] * D.shape[3]
            S[:, :, start:end] = D.reshape(*D.shape[:2], -1)
        S = S.reshape(-1, P)
        for p in range(0, P, step):
            few, q = S[:, p : p + step], min(p + step, P)
            _add_mirrored(F, few.T @ few, p, p)  # BLAS: half of the arithmetic
            _add_mirrored(F, few.T @ S[:, q:], p, q)


def _add_mirrored(F: Array, panel: Array, top: int, left: int) -> None:
    """Add a panel to F, its corner at (top, left), and its mirror image.

    A panel that begins on the diagonal has a square that is its own mirror image.
    """
    h, w = panel.shape
    if top == left:
        panel[:, :h] = (panel[:, :h] + panel[:, :h].T) / 2  # but for rounding it was so
    F[top : top + h, left : left + w] += panel
    rest = h if top == left else 0
    F[left + rest : left + w, top : top + h] += panel[:, rest:].T
