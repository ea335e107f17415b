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

from kfac_ref.backend import Array, get_xp
from kfac_ref.pairs import Pairs

PANEL = 2**21  # numbers in a panel: it is written, then read, and should stay in cache


def dense_blocks(pairs: Pairs, wanted: Sequence[int]) -> Array:
    """F restricted to the layers `wanted`, (P, P), mean over the examples."""
    xp = get_xp(pairs.like)
    sizes = [pairs.shapes[i][0] * pairs.shapes[i][1] for i in wanted]
    F = xp.zeros((sum(sizes), sum(sizes)), dtype=pairs.like.dtype)
    if max(pairs.positions[i] for i in wanted) > 1:
        _add_stacked(F, pairs, wanted)
    else:
        _add_contracted(F, pairs, wanted)
    return F


def _add_contracted(F: Array, pairs: Pairs, wanted: Sequence[int]) -> None:
    """Add, for every two layers i <= j, the contracted sum."""
    starts = _starts(pairs, wanted)
    widest = max(o for _, o in pairs.shapes)
    deepest = max(d for d, _ in pairs.shapes)
    for chunk in pairs.chunks(widest * widest + deepest * deepest):
        g_all, N = chunk.g(), pairs.examples
        a = [chunk.a[i][:, 0] for i in wanted]  # (n, d_in + 1)
        g = [g_all[i][:, :, 0] / float(N) ** 0.5 for i in wanted]  # (K, n, d_out)
        for i in range(len(wanted)):
            for j in range(i, len(wanted)):
                _add_block(
                    F, (starts[i], starts[j]), (a[i], a[j]), (g[i], g[j]), i == j
                )


def _add_block(
    F: Array,
    corner: tuple[int, int],
    a: tuple[Array, Array],
    g: tuple[Array, Array],
    diagonal: bool,
) -> None:
    """Add the block F_ij, and F_ji, its transpose, panel by panel."""
    xp = get_xp(F)
    (n, d_i), d_j = a[0].shape, a[1].shape[1]
    o_i, o_j = g[0].shape[2], g[1].shape[2]
    GG = xp.transpose(g[0], (1, 2, 0)) @ xp.transpose(g[1], (1, 0, 2))  # (n, o_i, o_j)
    GG = GG.reshape(n, o_i * o_j)
    step = max(1, PANEL // (d_j * o_i * o_j))
    for p in range(0, d_i, step):
        rows = a[0][:, p : p + step]
        AA = (rows[:, :, None] * a[1][:, None, :]).reshape(n, -1)
        M = (AA.T @ GG).reshape(-1, d_j, o_i, o_j)
        top, left = corner[0] + p * o_i, corner[1]
        height, width = M.shape[0] * o_i, d_j * o_j
        block = xp.transpose(M, (0, 2, 1, 3)).reshape(height, width)
        F[top : top + height, left : left + width] += block
        if not diagonal:
            F[left : left + width, top : top + height] += block.T


def _add_stacked(F: Array, pairs: Pairs, wanted: Sequence[int]) -> None:
    """Add S^T S, the rows of S being vec(D_nk) / sqrt(N)."""
    xp = get_xp(F)
    for chunk in pairs.chunks(2 * pairs.count * len(F)):
        g = chunk.g()
        D = [xp.swapaxes(chunk.a[i], 1, 2) @ g[i] for i in wanted]  # (K, n, d, o)
        rows = [d.reshape(-1, d.shape[2] * d.shape[3]) for d in D]
        S = xp.concatenate(rows, axis=1) / float(pairs.examples) ** 0.5
        step = max(1, PANEL // len(F))
        for p in range(0, len(F), step):
            panel = S[:, p : p + step].T @ S[:, p:]
            F[p : p + step, p:] += panel
            F[p + step :, p : p + step] += panel[:, step:].T


def _starts(pairs: Pairs, wanted: Sequence[int]) -> list[int]:
    """The first row of each layer's block."""
    starts = [0]
    for i in wanted:
        starts.append(starts[-1] + pairs.shapes[i][0] * pairs.shapes[i][1])
    return starts
