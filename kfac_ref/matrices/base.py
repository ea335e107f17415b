"""What every matrix here can do: `M @ v`, `M.solve(v, damping)`, `M.power(p)`, ...

A matrix is symmetric, positive semi-definite, P x P, and knows nothing of networks. A
vector `v` is (P,), or (P, k) for k columns, finite and of the matrix's dtype, else
ShapeError or ValueRangeError; `damping` is lambda in M + lambda I. The arrays that a
matrix is made of are not copied: do not change them. Nothing is cached, so each call
factorises anew; to use a factorisation again, keep `inverse(damping)`.

Positive definite means: the smallest eigenvalue stands out from the rounding error of
the factorisation in use, about size * eps * largest. Otherwise `solve`, `logdet` and
the negative powers raise NotPositiveDefinite, on every backend alike. `power(1/2)`
counts eigenvalues within that error of zero as zero, and raises for more negative ones.
Nothing else is clipped. Eigenvalues that are given (DiagonalMatrix, EigenKronecker)
have no such error: there, positive means > 0, and `power(1/2)` raises for any that is
< 0. What `power(1, damping)` of a Kronecker product returns remembers the error of its
values.

`M == N` is True or False: are they of one kind, from equal arrays, and called the same?

To add a kind: subclass `SymmetricMatrix`; write `_product`, `_to_dense` and `storage`;
override the rest where the structure makes it cheaper than the dense matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kfac_ref.backend import (
    Array,
    cholesky_solve,
    get_xp,
    linear_operator,
    on_rows,
)
from kfac_ref.errors import (
    KfacTypeError,
    ShapeError,
    check_count,
    describe,
    not_written,
)
from kfac_ref.limits import check_overflow, check_room
from kfac_ref.matrices.definite import check_damping, check_vector, factorize
from kfac_ref.values import Value


class SymmetricMatrix(Value):
    """Base of all kinds; what it computes, it computes from the dense matrix."""

    indefinite = False  # may it have negative eigenvalues?
    damping_inside = False  # does it stand for F + lambda I? The damping rules say so

    def __init__(self, like: Array, size: int, name: str = ""):
        self._like = like  # an array of the matrix: its backend, its dtype
        self.size = check_count("size", size)  # P
        self.name = name  # for errors, e.g. "layer 0: Dense(5, 3)"
        self.dtype = like.dtype

    def __repr__(self) -> str:
        name = f", {self.name!r}" if self.name else ""
        return f"{type(self).__name__}({self.size} x {self.size}{name})"

    @property
    def label(self) -> str:
        """The name, or where there is none the kind and the size."""
        return self.name or repr(self)

    @property
    def shape(self) -> tuple[int, int]:
        return (self.size, self.size)

    # What a kind writes.

    @property
    def storage(self) -> int:
        """How many numbers define the matrix (symmetric arrays count in full)."""
        raise not_written(self, "storage")

    def _to_dense(self) -> Array:
        """The matrix as an array (P, P)."""
        raise not_written(self, "_to_dense")

    def _product(self, rows: Array) -> Array:
        """rows M, for rows (k, P)."""
        raise not_written(self, "_product")

    # What a kind may override.

    def _solve(self, rows: Array, damping: float) -> Array:
        """rows (M + lambda I)^-1, for rows (k, P)."""
        L = factorize(self.to_dense(), damping, self.label)
        return cholesky_solve(L, rows.T).T

    def _form(self, rows: Array) -> Array:
        """rows M rows^T, for rows (m, P)."""
        return self._product(rows) @ rows.T

    def power(self, exponent: float, damping: float = 0.0) -> SymmetricMatrix:
        """(M + lambda I)^exponent as a matrix; exponent is -1, -1/2, 1/2 or 1."""
        return self._dense().power(exponent, damping)

    def trace(self) -> float:
        """Sum of the eigenvalues."""
        return self._dense().trace()

    def logdet(self, damping: float = 0.0) -> float:
        """log det(M + lambda I). Raises NotPositiveDefinite."""
        return self._dense().logdet(damping)

    def eigenvalues(self) -> Array:
        """All eigenvalues, ascending, (P,)."""
        return self._dense().eigenvalues()

    def frobenius_norm(self) -> float:
        """Square root of the sum of the squared entries."""
        return self._dense().frobenius_norm()

    # What all kinds inherit.

    def to_dense(self) -> Array:
        """The matrix as an array (P, P). Raises TooLarge, NotFinite (overflow)."""
        check_room(f"{self.label} as a dense array", self.size, self._like)
        dense = self._to_dense()
        check_overflow(f"{self.label} as a dense array", get_xp(dense).diagonal(dense))
        return dense

    def __matmul__(self, v: Array) -> Array:
        """M v, of the shape of v: (P,) or (P, k)."""
        return self._on_rows(v, self._product)

    def solve(self, v: Array, damping: float = 0.0) -> Array:
        """(M + lambda I)^-1 v, exactly. Raises NotPositiveDefinite."""
        damping = check_damping(damping)
        return self._on_rows(v, lambda rows: self._solve(rows, damping))

    def form(self, vectors: Sequence[Array]) -> Array:
        """v_i^T M v_j for every two of m vectors (P,): (m, m)."""
        if not isinstance(vectors, list | tuple) or not vectors:
            raise ShapeError(
                f"vectors: expected a list of arrays ({self.size},), found "
                f"{describe(vectors)}"
            )
        for v in vectors:
            check_vector(f"vector for {self.label}", v, self.size, self._like)
        return self._form(get_xp(*vectors).stack(vectors))

    def inverse(self, damping: float = 0.0) -> SymmetricMatrix:
        """(M + lambda I)^-1 as a matrix. Raises NotPositiveDefinite."""
        return self.power(-1, damping)

    def operator(self) -> Any:
        """The matrix as a LinearOperator of scipy (of CuPy for arrays on a device)."""
        product = self.__matmul__
        return linear_operator(
            self._like,
            self.shape,
            matvec=product,
            rmatvec=product,
            matmat=product,
            rmatmat=product,
        )

    def __array__(self, *_: Any, **__: Any) -> Any:
        """NumPy's and CuPy's functions take arrays: no object of one entry is made."""
        raise KfacTypeError(
            f"expected an array, found {describe(self)}, a matrix of this package; "
            "to_dense() makes the array; trace(), eigenvalues(), inverse() need none"
        )

    def _on_rows(self, v: Array, function: Callable[[Array], Array]) -> Array:
        """`function` of the rows v^T (k, P): M is symmetric, so (M v)^T = v^T M."""
        check_vector(f"vector for {self.label}", v, self.size, self._like)
        return on_rows(function, v)

    def _dense(self) -> SymmetricMatrix:
        from kfac_ref.matrices.dense import DenseMatrix  # a subclass of this class

        return DenseMatrix(self.to_dense(), self.label)


def check_matrix(what: str, found: Any) -> None:
    """KfacTypeError: not an array, say."""
    if not isinstance(found, SymmetricMatrix):
        raise KfacTypeError(
            f"{what}: expected a matrix of this package, as from fisher_matrix(...) or "
            "curvature(...), or kfac_ref.matrices.DenseMatrix(array) of an array; "
            f"found {describe(found)}"
        )
