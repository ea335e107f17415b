"""What every matrix here can do: `M @ v`, `M.solve(v, damping)`, `M.power(p)`, ...

A matrix is symmetric, positive semi-definite, P x P, and knows nothing of networks. A
vector `v` is (P,), or (P, k) for k columns, finite and of the matrix's dtype, else
ShapeError or ValueRangeError; `damping` is lambda in M + lambda I. The arrays that a
matrix is made of are not copied: do not change them. No matrix changes after it is
made. Nothing is cached, so each call factorises anew; to use a factorisation again,
keep `inverse(damping)`.

A constructor checks its arrays in full. The classmethods (`DenseMatrix.semidefinite`,
...) trust what is known by the way the arrays were computed, and say what that is.

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
override the rest where the structure makes it cheaper than the dense matrix. The
default `power` returns a DenseMatrix, so that class is in this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kfac_ref.backend import (
    Array,
    cholesky_solve,
    eigvalsh,
    get_xp,
    linear_operator,
    on_rows,
)
from kfac_ref.checks import check_count, check_flag
from kfac_ref.errors import KfacTypeError, ShapeError, describe, not_written
from kfac_ref.limits import check_overflow, check_room, norm
from kfac_ref.matrices.definite import (
    called,
    check_damping,
    check_exponent,
    check_symmetric,
    check_vector,
    factorize,
    log_determinant,
    power,
)
from kfac_ref.values import Value


class SymmetricMatrix(Value):
    """Base of all kinds. Default implementations densify."""

    indefinite = False  # may it have negative eigenvalues?

    def __init__(self, like: Array, size: int, name: str = "", damped: bool = False):
        self.damped = check_flag("damped", damped)  # does it stand for F + lambda I?
        self._like = like  # an array of the matrix: its backend, its dtype
        self.size = check_count("size", size)  # P
        self.name = name  # for errors, e.g. "layer 0: Dense(5, 3)"
        self.label = name or f"{type(self).__name__}({self.size} x {self.size})"
        self.dtype = like.dtype

    def __repr__(self) -> str:
        name = f", {self.name!r}" if self.name else ""
        return f"{type(self).__name__}({self.size} x {self.size}{name})"

    @property
    def shape(self) -> tuple[int, int]:
        return (self.size, self.size)

    # What a kind writes.

    @property
    def storage(self) -> int:
        """How many numbers define the matrix (symmetric arrays count in full)."""
        raise not_written(self, "storage")

    def _to_dense(self) -> Array:
        """Return the matrix as an array (P, P)."""
        raise not_written(self, "_to_dense")

    def _product(self, rows: Array) -> Array:
        """Return rows M, for rows (k, P)."""
        raise not_written(self, "_product")

    # What a kind may override.

    def _solve(self, rows: Array, damping: float) -> Array:
        """Return rows (M + lambda I)^-1, for rows (k, P)."""
        L = factorize(self.to_dense(), damping, self.label)
        return cholesky_solve(L, rows.T).T

    def _form(self, rows: Array) -> Array:
        """Return rows M rows^T, for rows (m, P)."""
        return self._product(rows) @ rows.T

    def power(
        self, exponent: float, damping: float = 0.0, name: str = ""
    ) -> SymmetricMatrix:
        """Return (M + lambda I)^exponent as a matrix; exponent is -1, -1/2, 1/2 or 1.

        It is called `name`, or, if that is empty, as this one.
        """
        dense = DenseMatrix(self.to_dense(), self.label, self.damped)
        return dense.power(exponent, damping, name)

    def still_damped(self, exponent: float, damping: float) -> bool:
        """Does the power 1 stand for F + lambda I? No other power does."""
        return exponent == 1 and (self.damped or damping > 0)

    def map_blocks(
        self, rule: Callable[[SymmetricMatrix], SymmetricMatrix]
    ) -> SymmetricMatrix:
        """Apply `rule` to every diagonal block; this matrix is its own only block."""
        return rule(self)

    def trace(self) -> float:
        """Return the sum of the eigenvalues."""
        dense = self.to_dense()
        return float(get_xp(dense).trace(dense))

    def logdet(self, damping: float = 0.0) -> float:
        """Return log det(M + lambda I). Raises NotPositiveDefinite."""
        damping = check_damping(damping)
        return log_determinant(factorize(self.to_dense(), damping, self.label))

    def eigenvalues(self) -> Array:
        """Return all eigenvalues, ascending, (P,)."""
        return eigvalsh(self.to_dense())

    def frobenius_norm(self) -> float:
        """Return the square root of the sum of the squared entries."""
        return norm(self.to_dense())

    # What all kinds inherit.

    def to_dense(self) -> Array:
        """Return the matrix as an array (P, P). Raises TooLarge, NotFinite."""
        check_room(f"{self.label} as a dense array", self.size, self._like)
        dense = self._to_dense()
        check_overflow(f"{self.label} as a dense array", get_xp(dense).diagonal(dense))
        return dense

    def __matmul__(self, v: Array) -> Array:
        """Return M v, of the shape of v: (P,) or (P, k)."""
        check_vector(f"vector for {self.label}", v, self.size, self._like)
        return on_rows(self._product, v)  # M is symmetric: (M v)^T = v^T M

    def solve(self, v: Array, damping: float = 0.0) -> Array:
        """Return (M + lambda I)^-1 v, exactly. Raises NotPositiveDefinite."""
        damping = check_damping(damping)
        check_vector(f"vector for {self.label}", v, self.size, self._like)
        return on_rows(lambda rows: self._solve(rows, damping), v)

    def form(self, vectors: Sequence[Array]) -> Array:
        """Return v_i^T M v_j for every two of m vectors (P,): (m, m)."""
        if not isinstance(vectors, list | tuple) or not vectors:
            raise ShapeError(
                f"vectors: expected a list of arrays ({self.size},), found "
                f"{describe(vectors)}"
            )
        for v in vectors:
            check_vector(f"vector for {self.label}", v, self.size, self._like)
        return self._form(get_xp(*vectors).stack(vectors))

    def inverse(self, damping: float = 0.0) -> SymmetricMatrix:
        """Return (M + lambda I)^-1 as a matrix. Raises NotPositiveDefinite."""
        return self.power(-1, damping)

    def operator(self) -> Any:
        """Wrap the matrix as a LinearOperator of SciPy, or of CuPy on a device."""
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


class DenseMatrix(SymmetricMatrix):
    """`matrix` (P, P), symmetric. Raises ShapeError, ValueRangeError if it is not."""

    def __init__(self, matrix: Array, name: str = "", damped: bool = False):
        check_symmetric(called(name, "DenseMatrix"), matrix)
        self._set(matrix, name, damped)

    @classmethod
    def semidefinite(
        cls, matrix: Array, name: str = "", damped: bool = False
    ) -> DenseMatrix:
        """Trust a matrix known to be symmetric and semi-definite, as computed.

        Only its diagonal is checked: M_ij^2 <= M_ii M_jj, so if that is finite, all is.
        """
        check_overflow(called(name, "DenseMatrix"), get_xp(matrix).diagonal(matrix))
        made = cls.__new__(cls)
        made._set(matrix, name, damped)
        return made

    def _set(self, matrix: Array, name: str, damped: bool) -> None:
        SymmetricMatrix.__init__(self, matrix, len(matrix), name, damped)
        self.matrix = matrix

    @property
    def storage(self) -> int:
        return self.size**2

    def to_dense(self) -> Array:
        return self.matrix  # it exists: there is nothing to check

    def _product(self, rows: Array) -> Array:
        return rows @ self.matrix

    def power(
        self, exponent: float, damping: float = 0.0, name: str = ""
    ) -> DenseMatrix:
        exponent, damping = check_exponent(exponent), check_damping(damping)
        result = power(self.matrix, exponent, damping, self.label)
        damped = self.still_damped(exponent, damping)
        return DenseMatrix.semidefinite(result, called(name, self.name), damped)


def check_matrix(what: str, found: Any) -> None:
    """Raise KfacTypeError unless `found` is a matrix of this package."""
    if not isinstance(found, SymmetricMatrix):
        raise KfacTypeError(
            f"{what}: expected a matrix of this package, as from fisher_matrix(...) or "
            "curvature(...), or kfac_ref.matrices.DenseMatrix(array) of an array; "
            f"found {describe(found)}"
        )
