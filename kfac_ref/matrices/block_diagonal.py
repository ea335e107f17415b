"""Matrices along the diagonal, zero elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from kfac_ref.backend import Array, get_xp
from kfac_ref.errors import ShapeError
from kfac_ref.matrices.base import SymmetricMatrix
from kfac_ref.matrices.definite import check_alike


class BlockDiagonal(SymmetricMatrix):
    """blocks[0], blocks[1], ... along the diagonal; each of any kind."""

    def __init__(self, blocks: Sequence[SymmetricMatrix], name: str = ""):
        what = name or "BlockDiagonal"
        for block in blocks:
            if not isinstance(block, SymmetricMatrix):
                raise ShapeError(
                    f"{what}: expected blocks that are matrices of kfac_ref.matrices, "
                    f"found {type(block).__name__}; make it one with Dense(...)"
                )
        if not blocks:
            raise ShapeError(f"{what}: expected at least one block, found none")
        check_alike(what, *[block._like for block in blocks])
        self.blocks = list(blocks)
        self.offsets = [0, *accumulate(block.size for block in blocks)]
        super().__init__(blocks[0]._like, self.offsets[-1], name)

    def block(self, i: int) -> SymmetricMatrix:
        """The i-th block: rows and columns offsets[i]:offsets[i + 1]."""
        return self.blocks[i]

    @property
    def storage(self) -> int:
        return sum(block.storage for block in self.blocks)

    def to_dense(self) -> Array:
        xp = get_xp(self._like)
        dense = xp.zeros(self.shape, dtype=self.dtype)
        for block, s, e in self._ranges():
            dense[s:e, s:e] = block.to_dense()
        return dense

    def _product(self, rows: Array) -> Array:
        return self._join([b._product(rows[:, s:e]) for b, s, e in self._ranges()])

    def _solve(self, rows: Array, damping: float) -> Array:
        return self._join(
            [b._solve(rows[:, s:e], damping) for b, s, e in self._ranges()]
        )

    def power(self, exponent: float, damping: float = 0.0) -> BlockDiagonal:
        powers = [block.power(exponent, damping) for block in self.blocks]
        return BlockDiagonal(powers, self.name)

    def trace(self) -> float:
        return sum(block.trace() for block in self.blocks)

    def logdet(self, damping: float = 0.0) -> float:
        return sum(block.logdet(damping) for block in self.blocks)

    def eigenvalues(self) -> Array:
        return get_xp(self._like).sort(
            self._join([b.eigenvalues() for b in self.blocks])
        )

    def frobenius_norm(self) -> float:
        return sum(block.frobenius_norm() ** 2 for block in self.blocks) ** 0.5

    def _ranges(self) -> list[tuple[SymmetricMatrix, int, int]]:
        return list(zip(self.blocks, self.offsets[:-1], self.offsets[1:], strict=True))

    def _join(self, parts: list[Array]) -> Array:
        return get_xp(*parts).concatenate(parts, axis=-1)
