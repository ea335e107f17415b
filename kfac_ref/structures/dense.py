"""The dense matrix from pairs: everything of the sum is kept.

The block of layers i and j is 1/N sum_n sum_k vec(D_nik) vec(D_njk)^T. The obvious way
stacks all N*K vectors as rows of S, and multiplies S_i^T S_j. Where neither of the two
layers shares its weights over positions, D_nk = a_n g_nk^T, and the block is

    F_ij = 1/N sum_n (a_i a_j^T) (x) (sum_k g_ik g_jk^T):

the sum over the K propagated vectors is done before the sum over examples, which takes
a K-th of the arithmetic. Both ways work in panels of rows, so that memory beyond the
result stays under the bound of the pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, combinations_with_replacement, pairwise

from kfac_ref.backend import Array, get_xp
from kfac_ref.limits import check_overflow, check_room, quiet_overflow
from kfac_ref.matrices import BlockDiagonalMatrix, DenseMatrix
from kfac_ref.pairs import Pairs
from kfac_ref.panels import add_mirrored, add_stacked
from kfac_ref.structures.gradients import needs_gradients

PANEL = 2**21  # numbers in a panel: it is written, then read, and should stay in cache


def full(pairs: Pairs) -> DenseMatrix:
    """The whole matrix, (P, P), mean over examples."""
    needs_gradients(pairs, "full")
    F = dense_blocks(pairs, range(len(pairs.shapes)))
    return DenseMatrix.semidefinite(F, name="whole matrix")


def block_diagonal(pairs: Pairs) -> BlockDiagonalMatrix:
    """The exact block of every layer."""
    needs_gradients(pairs, "block_diagonal")
    named = enumerate(pairs.names)
    return BlockDiagonalMatrix(
        [
            DenseMatrix.semidefinite(dense_blocks(pairs, [i]), name=name)
            for i, name in named
        ]
    )


@quiet_overflow
def dense_blocks(pairs: Pairs, wanted: Sequence[int]) -> Array:
    """F restricted to the layers `wanted`, (P, P), mean over the examples.

    Symmetric to the last bit. Memory beyond F stays under `pairs.memory` bytes, as long
    as one example, and one row of a panel, fit. Raises TooLarge, NotFinite (overflow).
    """
    shapes = [pairs.shapes[i] for i in wanted]
    shared = [pairs.positions[i] > 1 for i in wanted]
    starts = [0, *accumulate(d * o for d, o in shapes)]
    names = [pairs.names[i] for i in wanted]
    check_room(f"{'; '.join(names)}: dense matrix", starts[-1], pairs.like)
    F = get_xp(pairs.like).zeros((starts[-1], starts[-1]), dtype=pairs.like.dtype)
    panel = min(PANEL, pairs.memory // (2 * F.itemsize))  # at most half of the memory
    deepest, widest = map(max, zip(*pairs.shapes, strict=True))
    single = pairs.count * widest + 2 * deepest + widest * widest
    stacked = pairs.count * len(F) if any(shared) else 0
    for chunk in pairs.chunks(single + stacked, panel):
        all_a, all_g, scale = chunk.a, chunk.g(), float(pairs.examples) ** -0.5
        a, g = [all_a[i] * scale for i in wanted], [all_g[i] for i in wanted]
        S = [_stack(*ag) for ag in zip(a, g, strict=True)] if any(shared) else []
        for i, j in combinations_with_replacement(range(len(wanted)), 2):
            corner = starts[i], starts[j]
            if shared[i] or shared[j]:
                add_stacked(F, corner, S[i], S[j], panel)
            else:
                _add_contracted(F, corner, (a[i], a[j]), (g[i], g[j]), panel)
    for name, (start, stop) in zip(names, pairwise(starts), strict=True):
        squares = get_xp(F).diagonal(F[start:stop, start:stop])
        check_overflow(f"{name}: squared gradients", squares)
    return F


def _add_contracted(
    F: Array,
    corner: tuple[int, int],
    a: tuple[Array, Array],
    g: tuple[Array, Array],
    panel: int,
) -> None:
    """Add a block, and its mirror image, by the contracted sum; a is over sqrt(N)."""
    xp, (top, left) = get_xp(F), corner
    (n, _, d_i), d_j = a[0].shape, a[1].shape[2]
    o_i, o_j = g[0].shape[3], g[1].shape[3]
    rows, columns = (xp.transpose(x[:, :, 0], (1, 2, 0)) for x in g)  # (n, d_out, K)
    GG = (rows @ xp.swapaxes(columns, 1, 2)).reshape(n, o_i * o_j)
    step = max(1, panel // (d_j * (n + 2 * o_i * o_j)))
    for p in range(0, d_i, step):
        q = p if top == left else 0  # in a diagonal block, from the diagonal on
        few, others = a[0][:, 0, p : p + step], a[1][:, 0, q:]
        AA = (few[:, :, None] * others[:, None, :]).reshape(n, -1)
        M = (AA.T @ GG).reshape(few.shape[1], -1, o_i, o_j)
        block = xp.transpose(M, (0, 2, 1, 3)).reshape(few.shape[1] * o_i, -1)
        add_mirrored(F, block, top + p * o_i, left + q * o_j)


def _stack(a: Array, g: Array) -> Array:
    """S of one layer, (K*n, (d_in + 1) * d_out): its rows are vec(D_nk)."""
    D = get_xp(a).swapaxes(a, 1, 2) @ g  # (K, n, d_in + 1, d_out)
    return D.reshape(D.shape[0] * D.shape[1], -1)
