"""The Kronecker product nearest to a layer's exact block (Van Loan & Pitsianis 1993).

With the block's entries rearranged into R of shape (d_in^2, d_out^2), ||F - X (x) Y||_F
is ||R - vec(X) vec(Y)^T||_F, so the best X and Y are the leading singular vectors of R,
times the singular value. R itself is never formed: its products come from the pairs,

    R vec(Y) = 1/N sum_nk D_nk Y D_nk^T        R^T vec(X) = 1/N sum_nk D_nk^T X D_nk,

and Lanczos iterations (ARPACK, through SciPy) find the leading vector of R^T R.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from kfac_ref.backend import Array, asarray, get_xp, to_numpy
from kfac_ref.pairs import Pairs


def nearest_kronecker(pairs: Pairs, block: int, G: Array) -> tuple[Array, Array]:
    """X (d_in + 1, d_in + 1) and Y (d_out, d_out): the factors of the best product.

    G: where the iteration begins, any positive semi-definite (d_out, d_out); ||Y|| is
    made ||G||. Raises scipy.sparse.linalg.ArpackNoConvergence where the two leading
    singular values are too close.
    """
    xp = get_xp(G)
    if float(xp.linalg.norm(G)) == 0.0:  # nothing arrives: the block is zero
        d = pairs.shapes[block][0]
        return xp.zeros((d, d), dtype=G.dtype), G
    kept = _keep(pairs, block)
    size = G.shape[0]

    def gram(y: np.ndarray) -> np.ndarray:
        Y = asarray(y.reshape(size, size).astype(G.dtype), like=G)
        return to_numpy(
            _from_inputs(kept, pairs, block, _from_errors(kept, pairs, block, Y))
        ).ravel()

    start = to_numpy(G).ravel()
    if size > 1:
        operator = LinearOperator((size**2, size**2), matvec=gram, dtype=start.dtype)
        start = eigsh(operator, k=1, v0=start)[1][:, 0]
    Y = asarray(start.reshape(size, size).astype(G.dtype), like=G)
    Y = (Y + Y.T) / 2.0  # R maps symmetric to symmetric: this removes rounding only
    Y = Y / xp.linalg.norm(Y) * xp.sign(xp.trace(Y))
    X = _from_errors(kept, pairs, block, Y)  # sigma times the left singular vector
    norm = xp.linalg.norm(G)
    return X / norm, Y * norm


def _keep(pairs: Pairs, block: int) -> list[tuple[Array, Array]] | None:
    """(a, g) of the block, if all examples fit into memory; otherwise None."""
    (d, o), T = pairs.shapes[block], pairs.positions[block]
    numbers = pairs.examples * T * (d + pairs.count * o)
    if numbers * pairs.like.itemsize > pairs.memory:
        return None
    return list(_each(None, pairs, block))


def _each(
    kept: list[tuple[Array, Array]] | None, pairs: Pairs, block: int
) -> Iterator[tuple[Array, Array]]:
    """(a, g) of the block, chunk after chunk; recomputed unless they are kept."""
    if kept is not None:
        yield from kept
    else:
        T = pairs.positions[block]
        for chunk in pairs.chunks(2 * pairs.count * T * (T + pairs.shapes[block][1])):
            yield chunk.a[block], chunk.g()[block]


def _from_errors(kept: list | None, pairs: Pairs, block: int, Y: Array) -> Array:
    """R vec(Y) = 1/N sum_n a_n^T (sum_k g_nk Y g_nk^T) a_n, as a matrix."""
    total = 0.0
    for a, g in _each(kept, pairs, block):
        total = total + _sandwich(a, _pairwise(g, g @ Y).sum(axis=0))
    return total / pairs.examples


def _from_inputs(kept: list | None, pairs: Pairs, block: int, X: Array) -> Array:
    """R^T vec(X) = 1/N sum_nk g_nk^T (a_n X a_n^T) g_nk, as a matrix."""
    total = 0.0
    for a, g in _each(kept, pairs, block):
        total = total + _sandwich(g, _pairwise(a, a @ X)[None])
    return total / pairs.examples


def _pairwise(x: Array, y: Array) -> Array:
    """x y^T over the shared positions: (..., T, T), without products where T = 1."""
    if x.shape[-2] == 1:
        return (x * y).sum(axis=-1)[..., None]
    return y @ get_xp(x).swapaxes(x, -1, -2)


def _sandwich(x: Array, M: Array) -> Array:
    """sum over all leading axes of x^T M x, for x (..., T, d) and M (..., T, T)."""
    weighted = M * x if x.shape[-2] == 1 else M @ x
    return x.reshape(-1, x.shape[-1]).T @ weighted.reshape(-1, x.shape[-1])
