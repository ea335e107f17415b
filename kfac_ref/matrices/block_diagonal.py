"""Matrices along the diagonal, zero elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from kfac_ref.backend import Array, get_xp
from kfac_ref.checks import check_alike
from kfac_ref.errors import ShapeError, describe
from kfac_ref.matrices.base import SymmetricMatrix
from kfac_ref.matrices.definite import called


class BlockDiagonalMatrix(SymmetricMatrix):
    """blocks[0], blocks[1], ... along the diagonal; each of any kind."""

    def __init__(self, blocks: Sequence[SymmetricMatrix], name: str = ""):
        what = called(name, "BlockDiagonalMatrix")
        if not isinstance(blocks, list | tuple) or not blocks:
            raise ShapeError(
                f"{what}: expected a list of blocks, at least one block, found "
                f"{describe(blocks)}"
            )
        for block in blocks:
            if not isinstance(block, SymmetricMatrix):
                raise ShapeError(
                    f"{what}: expected blocks that are matrices of kfac_ref.matrices, "
                    f"found {type(block).__name__}; make it one with DenseMatrix(...)"
                )
        check_alike(what, *[block._like for block in blocks])
        self.blocks = list(blocks)
        self.offsets = [0, *accumulate(block.size for block in blocks)]
        self._ends = self.offsets[:-1], self.offsets[1:]  # where each begins and stops
        damped = any(block.damped for block in blocks)
        super().__init__(blocks[0]._like, self.offsets[-1], name, damped)

    def block(self, i: int) -> SymmetricMatrix:
        """Return the i-th block: rows and columns offsets[i]:offsets[i + 1]."""
        return self.blocks[i]

    @property
    def storage(self) -> int:
        return sum(block.storage for block in self.blocks)

    def _to_dense(self) -> Array:
        xp = get_xp(self._like)
        dense = xp.zeros(self.shape, dtype=self.dtype)
        for block, s, e in zip(self.blocks, *self._ends, strict=True):
            dense[s:e, s:e] = block.to_dense()
        return dense

    def _product(self, rows: Array) -> Array:
        return self._each(rows, lambda block, own: block._product(own))

    def _solve(self, rows: Array, damping: float) -> Array:
        return self._each(rows, lambda block, own: block._solve(own, damping))

    def power(
        self, exponent: float, damping: float = 0.0, name: str = ""
    ) -> BlockDiagonalMatrix:
        powers = [block.power(exponent, damping) for block in self.blocks]
        return BlockDiagonalMatrix(powers, called(name, self.name))

    def map_blocks(
        self, rule: Callable[[SymmetricMatrix], SymmetricMatrix]
    ) -> BlockDiagonalMatrix:
        blocks = [block.map_blocks(rule) for block in self.blocks]
        return BlockDiagonalMatrix(blocks, self.name)

    def trace(self) -> float:
        return sum(block.trace() for block in self.blocks)

    def logdet(self, damping: float = 0.0) -> float:
        return sum(block.logdet(damping) for block in self.blocks)

    def eigenvalues(self) -> Array:
        xp = get_xp(self._like)
        return xp.sort(xp.concatenate([b.eigenvalues() for b in self.blocks]))

    def frobenius_norm(self) -> float:
        return sum(block.frobenius_norm() ** 2 for block in self.blocks) ** 0.5

    def _each(self, rows: Array, function: Callable[..., Array]) -> Array:
        """Return function(block, its columns of rows), side by side."""
        result = get_xp(rows).empty(rows.shape, dtype=self.dtype)
        for block, s, e in zip(self.blocks, *self._ends, strict=True):
            result[:, s:e] = function(block, rows[:, s:e])
        return result
