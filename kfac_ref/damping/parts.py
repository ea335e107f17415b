"""What the damping rules share: blocks, and the two factors of a Kronecker product."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kfac_ref.backend import Array, get_xp
from kfac_ref.damping.pi import find_pi
from kfac_ref.errors import ShapeError, Unsupported
from kfac_ref.matrices import (
    BlockDiagonalMatrix,
    BlockTridiagonalInverse,
    DenseMatrix,
    DiagonalMatrix,
    EigenKronecker,
    KroneckerProduct,
    SymmetricMatrix,
)
from kfac_ref.matrices.definite import add_to_diagonal


def on_blocks(matrix: Any, rule: Callable[..., Any], what: str) -> Any:
    """rule(matrix), or of each block of a BlockDiagonalMatrix."""
    if isinstance(matrix, BlockDiagonalMatrix):
        damped = [on_blocks(block, rule, what) for block in matrix.blocks]
        whole = BlockDiagonalMatrix(damped, matrix.name)
        whole.damping_inside = True
        return whole
    if not isinstance(matrix, SymmetricMatrix):
        raise Unsupported(
            f"{what}: expected a matrix of kfac_ref.matrices, found "
            f"{type(matrix).__name__}; make it one, for instance DenseMatrix(array)"
        )
    damped = rule(matrix)
    damped.damping_inside = True
    return damped


def kronecker(block: SymmetricMatrix, what: str) -> KroneckerProduct:
    """The block itself if it has two factors; else Unsupported, with the reason."""
    if isinstance(block, KroneckerProduct):
        return block
    reason = ""
    if isinstance(block, EigenKronecker):
        reason = " (its eigenvalues need not be products of those of two factors)"
    if isinstance(block, BlockTridiagonalInverse):
        reason = " (it damps its factors when it is made, in block_tridiagonal)"
    raise Unsupported(
        f"{block.label}: {what} needs a Kronecker product, found "
        f"{type(block).__name__}{reason}; damp it exactly, with tikhonov(matrix, "
        "damping) or solve(v, damping), or each block by its kind, with by_kind"
    )


def add(
    block: KroneckerProduct, to_A: float, to_G: float, words: str
) -> KroneckerProduct:
    """(A + to_A I) (x) (G + to_G I), named in `words`."""
    A, G = add_to_diagonal(block.A, to_A), add_to_diagonal(block.G, to_G)
    return block._with(A, G, f"{block.label} ({words})")


def share(
    block: KroneckerProduct, to_A: float, to_G: float, pi: float | str, words: str
) -> KroneckerProduct:
    """(A + pi to_A I) (x) (G + to_G / pi I); of a zero product the damping alone."""
    if isinstance(pi, str) and is_zero(block):
        return damping_alone(block, to_A, to_G, words)
    number = find_pi(block, pi)
    words = f"{words}, pi = {number:.3g}"
    return add(block, number * to_A, to_G / number, words)


def beside_scalar(
    block: KroneckerProduct, damping: float, words: str
) -> KroneckerProduct:
    """A (x) [g] + lambda I = (A + lambda / g I) (x) [g]; or the same for [a] (x) G."""
    if is_zero(block):
        return damping_alone(block, math.sqrt(damping), math.sqrt(damping), words)
    words = f"{words}, exact beside a scalar"
    if len(block.G) == 1:
        return add(block, damping / float(block.G[0, 0]), 0.0, words)
    return add(block, 0.0, damping / float(block.A[0, 0]), words)


def damping_alone(
    block: KroneckerProduct, to_A: float, to_G: float, words: str
) -> KroneckerProduct:
    """to_A I (x) to_G I"""
    zero = block._with(0 * block.A, 0 * block.G, block.label)
    return add(zero, to_A, to_G, f"{words}, of a product that is zero")


def is_zero(block: KroneckerProduct) -> bool:
    """Is A or G zero? A semi-definite matrix is if its trace is."""
    return any(
        float(get_xp(M).trace(M)) == 0 and not bool(get_xp(M).any(M != 0))
        for M in (block.A, block.G)
    )


def add_to_scale_shift(
    block: DenseMatrix | DiagonalMatrix, scale: float, shift: float
) -> SymmetricMatrix:
    """diag(scale, ..., shift, ...) added: parameters (2, C), read row by row."""
    if block.size % 2:
        raise ShapeError(
            f"{block.label}: expected as many scales as shifts, an even size, found "
            f"{block.size}; with block_by_block other layers have rules of their own"
        )
    added = scale_shift_diagonal(block._like, block.size // 2, scale, shift)
    name = f"{block.label} (scale + {scale:g}, shift + {shift:g})"
    if isinstance(block, DiagonalMatrix):
        return DiagonalMatrix(block.values + added, name)
    return DenseMatrix(block.matrix + get_xp(added).diag(added), name)


def scale_shift_diagonal(like: Array, C: int, scale: float, shift: float) -> Array:
    """C times `scale`, C times `shift`, of the backend and dtype of `like`."""
    xp = get_xp(like)
    parts = [xp.full(C, number, dtype=like.dtype) for number in (scale, shift)]
    return xp.concatenate(parts)
