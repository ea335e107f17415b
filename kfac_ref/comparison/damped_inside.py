"""A matrix that comes with its damping inside.

Factored Tikhonov damping and the block-tridiagonal inverse do not add lambda I to a
matrix: they give a matrix that stands for F + lambda I as a whole. `DampedInside` is
what such a matrix says about F, the given one minus lambda I, so that it is held
against the exact F like any other: M.solve(v, lambda) is the given one's solve(v).
"""

from __future__ import annotations

from itertools import accumulate, pairwise

from kfac_ref.backend import Array
from kfac_ref.calls import door
from kfac_ref.errors import ValueRangeError, describe
from kfac_ref.matrices import BlockDiagonalMatrix, DenseMatrix, SymmetricMatrix
from kfac_ref.matrices.base import check_matrix
from kfac_ref.matrices.definite import add_to_diagonal, check_damping


class DampedInside(SymmetricMatrix):
    """M = damped - lambda I; M + lambda I is `damped`, and lambda cannot be another.

    `solve`, `power`, `inverse` and `logdet` raise ValueRangeError for other dampings.
    """

    def __init__(self, damped: SymmetricMatrix, damping: float):
        check_matrix("damped", damped)
        super().__init__(damped._like, damped.size, damped.name)
        self.damped, self.damping = damped, check_damping(damping)

    @property
    def storage(self) -> int:
        return self.damped.storage

    def _to_dense(self) -> Array:
        return add_to_diagonal(self.damped.to_dense(), -self.damping)

    def _product(self, rows: Array) -> Array:
        return self.damped._product(rows) - self.damping * rows

    def _solve(self, rows: Array, damping: float) -> Array:
        self._check(damping)
        return self.damped._solve(rows, 0.0)

    def power(self, exponent: float, damping: float = 0.0) -> SymmetricMatrix:
        self._check(damping)
        return self.damped.power(exponent)

    def logdet(self, damping: float = 0.0) -> float:
        self._check(damping)
        return self.damped.logdet()

    def eigenvalues(self) -> Array:
        return self.damped.eigenvalues() - self.damping

    def _check(self, damping: float) -> None:
        if check_damping(damping) != self.damping:
            raise ValueRangeError(
                f"{self.label}: its damping, lambda = {self.damping:g}, is inside; "
                f"expected damping={self.damping:g}, found {describe(damping)}; for "
                "another lambda build the matrix again"
            )


@door
def diagonal_blocks(matrix: SymmetricMatrix, sizes: list[int]) -> list[SymmetricMatrix]:
    """The diagonal blocks of those sizes: the matrix's own where it has them."""
    if isinstance(matrix, DampedInside):
        inside = diagonal_blocks(matrix.damped, sizes)
        return [DampedInside(block, matrix.damping) for block in inside]
    if (
        isinstance(matrix, BlockDiagonalMatrix)
        and [b.size for b in matrix.blocks] == sizes
    ):
        return matrix.blocks
    dense = matrix.to_dense()
    return [
        DenseMatrix(dense[s:e, s:e], f"rows {s} to {e - 1} of {matrix.label}")
        for s, e in pairwise(accumulate(sizes, initial=0))
    ]
