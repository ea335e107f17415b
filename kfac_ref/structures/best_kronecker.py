"""The Kronecker product nearest to a layer's exact block (Van Loan & Pitsianis 1993).

With the block's entries rearranged into R of shape (d_in^2, d_out^2), ||F - X (x) Y||_F
is ||R - vec(X) vec(Y)^T||_F, so the best X and Y are the leading singular vectors of R,
times the singular value. R itself is never formed: its products come from the pairs,

    R vec(Y) = 1/N sum_nk D_nk Y D_nk^T        R^T vec(X) = 1/N sum_nk D_nk^T X D_nk,

and Lanczos iterations with restarts find the leading vector of R^T R. They begin at G.
R^T R takes semi-definite matrices to semi-definite ones; so even where several singular
values tie, and the best product is not unique, what is found is semi-definite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from kfac_ref.backend import Array, eigh, get_xp
from kfac_ref.matrices import BlockDiagonalMatrix, KroneckerProduct
from kfac_ref.pairs import Pairs
from kfac_ref.structures.gradients import needs_gradients
from kfac_ref.structures.kronecker import kronecker_factors

LANCZOS = 16  # vectors at most; then the best few are kept, and it goes on
KEPT = 4
PRODUCTS = 2000  # with R^T R, at most


def best_kronecker(pairs: Pairs) -> BlockDiagonalMatrix:
    """The Kronecker product nearest to the exact block, in Frobenius norm."""
    needs_gradients(pairs, "best_kronecker")
    A, G = kronecker_factors(pairs)
    blocks = [
        KroneckerProduct(*nearest_kronecker(pairs, i, A[i], G[i]), name=name)
        for i, name in enumerate(pairs.names)
    ]
    return BlockDiagonalMatrix(blocks)


def nearest_kronecker(
    pairs: Pairs, block: int, A: Array, G: Array
) -> tuple[Array, Array]:
    """X (d_in + 1, d_in + 1) and Y (d_out, d_out): the factors of the best product.

    A and G: those of K-FAC; G is where the iteration begins, and ||Y|| is made ||G||.
    The nearest product of a block that is zero is zero. It ends when the residual is
    100 eps of sigma^2, or after 2,000 products: the two leading singular values are
    then so close that the distance to the block is the least to as many digits.
    """
    xp = get_xp(A, G)
    scales = _scale(A), _scale(G)
    if 0.0 in scales:  # nothing comes in, or nothing arrives
        return 0 * A, 0 * G
    kept = _keep(pairs, block, scales)

    def gram(y: Array) -> Array:
        X = _from_errors(kept(), pairs.examples, y.reshape(G.shape))
        return _from_inputs(kept(), pairs.examples, X).reshape(-1)

    start = (G / scales[1] / scales[1]).reshape(-1)
    Y = _leading(gram, start).reshape(G.shape)
    Y = (Y + Y.T) / 2.0  # R maps symmetric to symmetric: this removes rounding only
    Y = Y / xp.linalg.norm(Y) * xp.sign(xp.trace(Y))
    X = _from_errors(kept(), pairs.examples, Y)  # sigma times the left singular vector
    norm = xp.linalg.norm(start)
    return X / norm * scales[0] * scales[0], Y * norm * scales[1] * scales[1]


def _scale(M: Array) -> float:
    """A power of two of the size of X where M = E[X^T X]; 0 where M is zero.

    Eighth powers of a and g are formed; in float32 they would leave its range for
    numbers of 1e-5. Dividing by a power of two rounds nothing; 1 is a good one for all
    numbers from 1e-3 to 1e3.
    """
    trace = float(get_xp(M).trace(M))
    return 2.0 ** (20 * round(math.log2(trace) / 40)) if trace > 0.0 else 0.0


def _leading(gram: Callable[[Array], Array], start: Array) -> Array:
    """The leading eigenvector of a semi-definite map, as far as `start` has a part in
    it: restarted Lanczos, orthogonal to rounding (Wu & Simon 2000)."""
    xp = get_xp(start)
    eps = float(xp.finfo(start.dtype).eps)
    Q = (start / xp.linalg.norm(start))[None]  # orthonormal rows
    W = gram(Q[0])[None]  # the map of them
    for _ in range(PRODUCTS):
        values, S = eigh(_symmetric(Q @ W.T))  # Rayleigh and Ritz, ascending
        y, theta = S[:, -1] @ Q, values[-1]
        rest = S[:, -1] @ W - theta * y
        if not float(xp.linalg.norm(rest)) > 100 * eps * float(theta):
            break
        if len(Q) == LANCZOS:
            best = S[:, -KEPT:].T
            Q, W = best @ Q, best @ W
        for _ in range(2):
            rest = rest - (Q @ rest) @ Q
        rest = rest / xp.linalg.norm(rest)
        Q = xp.concatenate([Q, rest[None]])
        W = xp.concatenate([W, gram(rest)[None]])
    return y


def _symmetric(M: Array) -> Array:
    return (M + M.T) / 2.0


def _keep(
    pairs: Pairs, block: int, scales: tuple[float, float]
) -> Callable[[], Iterator[tuple[Array, Array]]]:
    """A walk over (a, g) of the block, as often as wanted, over their scales.

    They are kept if all examples fit into memory, and otherwise computed every time.
    """
    (d, o), T = pairs.shapes[block], pairs.positions[block]

    def each() -> Iterator[tuple[Array, Array]]:
        for chunk in pairs.chunks(2 * pairs.count * T * (T + o)):
            a, g = chunk.a[block], chunk.g()[block]
            yield (
                a if scales[0] == 1.0 else a / scales[0],
                g if scales[1] == 1.0 else g / scales[1],
            )

    numbers = pairs.examples * T * (d + pairs.count * o)
    if numbers * pairs.like.itemsize > pairs.memory:
        return each
    kept = list(each())
    return lambda: iter(kept)


def _from_errors(each: Iterator, examples: int, Y: Array) -> Array:
    """R vec(Y) = 1/N sum_n a_n^T (sum_k g_nk Y g_nk^T) a_n, as a matrix."""
    total = 0.0
    for a, g in each:
        total = total + _sandwich(a, _pairwise(g, g @ Y).sum(axis=0))
    return total / examples


def _from_inputs(each: Iterator, examples: int, X: Array) -> Array:
    """R^T vec(X) = 1/N sum_nk g_nk^T (a_n X a_n^T) g_nk, as a matrix."""
    total = 0.0
    for a, g in each:
        total = total + _sandwich(g, _pairwise(a, a @ X)[None])
    return total / examples


def _pairwise(x: Array, y: Array) -> Array:
    """x y^T over the shared positions: (..., T, T), without products where T = 1."""
    if x.shape[-2] == 1:
        return (x * y).sum(axis=-1)[..., None]
    return y @ get_xp(x).swapaxes(x, -1, -2)


def _sandwich(x: Array, M: Array) -> Array:
    """sum over all leading axes of x^T M x, for x (..., T, d) and M (..., T, T)."""
    weighted = M * x if x.shape[-2] == 1 else M @ x
    return x.reshape(-1, x.shape[-1]).T @ weighted.reshape(-1, x.shape[-1])
