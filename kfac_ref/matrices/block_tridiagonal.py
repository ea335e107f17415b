"""The matrix whose inverse is block-tridiagonal: K-FAC with neighbouring layers.

Martens & Grosse 2015, section 4.3. F~ has the blocks F~_ij = A_ij (x) G_ij. Let x be a
Gaussian vector whose parts x_1, ..., x_l form a chain, with F~'s covariance between
neighbours. Read from the last part to the first, the chain is

    x_l ~ N(0, Sigma_l),    x_i | x_{i+1} ~ N(Psi_i x_{i+1}, Sigma_i)

    Psi_i   = F~_{i,i+1} F~_{i+1,i+1}^-1 = Psi^A_i (x) Psi^G_i
    Sigma_i = F~_ii - Psi_i F~_{i+1,i+1} Psi_i^T  (Sigma_{i|i+1} in the paper)
    Sigma_l = F~_ll

so Xi x, with parts x_i - Psi_i x_{i+1}, has independent parts: its covariance Lambda^-1
is diag(Sigma_1, ..., Sigma_l). That of x is F^ = Xi^-1 Lambda^-1 Xi^-T, and its inverse
Xi^T Lambda Xi is block-tridiagonal. On the three bands F^ is F~, elsewhere it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from kfac_ref.backend import Array, get_xp, solve_triangular
from kfac_ref.checks import check_alike, check_floats, check_names, check_shape
from kfac_ref.errors import KfacTypeError, ShapeError, describe
from kfac_ref.matrices.base import SymmetricMatrix
from kfac_ref.matrices.definite import check_damping, check_symmetric, factorize
from kfac_ref.matrices.eigen_kronecker import kronecker_product
from kfac_ref.matrices.kronecker_difference import KroneckerDifference


class BlockTridiagonalInverse(SymmetricMatrix):
    """F^ from A[i] = A_ii, G[i] = G_ii (damped already) and the factors between layers.

    A_next[i] = E[a_i a_{i+1}^T] is (d_in_i, d_in_{i+1}), G_next[i] = E[g_i g_{i+1}^T]
    (d_out_i, d_out_{i+1}); one fewer than layers. `M @ v`, `trace`, and without damping
    `solve` and `logdet` use the structure; the rest goes through the dense matrix. All
    factorisations are made at construction. Raises ShapeError, ValueRangeError, and
    NotPositiveDefinite where the damping of the factors is too small.
    """

    def __init__(
        self,
        A: Sequence[Array],
        G: Sequence[Array],
        A_next: Sequence[Array],
        G_next: Sequence[Array],
        names: Sequence[str] = (),
    ):
        names = check_chain("BlockTridiagonalInverse", A, G, A_next, G_next, names)
        self.names, self.A, self.G = names, list(A), list(G)
        self.A_next, self.G_next = list(A_next), list(G_next)
        self.offsets = [
            0,
            *accumulate(len(a) * len(g) for a, g in zip(A, G, strict=True)),
        ]
        name = f"chain of {', '.join(names)}"
        super().__init__(A[0], self.offsets[-1], name, damped=True)
        self.Psi_A, C = _regress("A", self.A, self.A_next, names)
        self.Psi_G, D = _regress("G", self.G, self.G_next, names)
        where = [f"{i} given {j}" for i, j in pairwise(names)] + [names[-1]]
        self.Sigma = [
            KroneckerDifference(*factors)
            for factors in zip(self.A, self.G, C, D, where, strict=True)
        ]

    @property
    def storage(self) -> int:
        return sum(M.size for M in self.A + self.G + self.A_next + self.G_next)

    def _to_dense(self) -> Array:
        """Set F^_jj = F~_jj; for i < j F^_ij = Psi_i F^_{i+1,j}: Kronecker products."""
        xp = get_xp(self._like)
        dense = xp.zeros(self.shape, dtype=self.dtype)
        for j in range(len(self.A)):
            A, G = self.A[j], self.G[j]
            columns = slice(self.offsets[j], self.offsets[j + 1])
            for i in range(j, -1, -1):
                if i < j:
                    A, G = self.Psi_A[i] @ A, self.Psi_G[i] @ G
                rows = slice(self.offsets[i], self.offsets[i + 1])
                dense[rows, columns] = xp.kron(A, G)
                dense[columns, rows] = xp.kron(A, G).T
        return dense

    def inverse_to_dense(self) -> Array:
        """Return F^-1 as an array (P, P); zero outside the three bands."""
        return self._solve(get_xp(self._like).eye(self.size, dtype=self.dtype), 0.0)

    def _product(self, rows: Array) -> Array:
        """Multiply by Xi^-1 Lambda^-1 Xi^-T."""
        v = self._split(rows)
        for i in range(len(v) - 1):
            v[i + 1] = v[i + 1] + self._psi_transpose(i, v[i])
        v = [S._product(part) for S, part in zip(self.Sigma, v, strict=True)]
        for i in reversed(range(len(v) - 1)):
            v[i] = v[i] + self._psi(i, v[i + 1])
        return self._join(v)

    def _solve(self, rows: Array, damping: float) -> Array:
        """Multiply by Xi^T Lambda Xi."""
        if damping:
            return super()._solve(rows, damping)
        v = self._split(rows)
        for i in range(len(v) - 1):
            v[i] = v[i] - self._psi(i, v[i + 1])
        v = [S._solve(part, 0.0) for S, part in zip(self.Sigma, v, strict=True)]
        for i in reversed(range(len(v) - 1)):
            v[i + 1] = v[i + 1] - self._psi_transpose(i, v[i])
        return self._join(v)

    def trace(self) -> float:
        tr = get_xp(self._like).trace
        return sum(
            float(tr(A)) * float(tr(G)) for A, G in zip(self.A, self.G, strict=True)
        )

    def logdet(self, damping: float = 0.0) -> float:
        if check_damping(damping):
            return super().logdet(damping)
        return sum(S.logdet() for S in self.Sigma)  # det Xi = 1

    def _psi(self, i: int, rows: Array) -> Array:
        return kronecker_product(self.Psi_A[i], self.Psi_G[i], rows)

    def _psi_transpose(self, i: int, rows: Array) -> Array:
        return kronecker_product(self.Psi_A[i].T, self.Psi_G[i].T, rows)

    def _split(self, rows: Array) -> list[Array]:
        return [rows[:, s:e] for s, e in pairwise(self.offsets)]

    def _join(self, parts: list[Array]) -> Array:
        return get_xp(*parts).concatenate(parts, axis=-1)


def check_chain(
    kind: str,
    A: Sequence[Array],
    G: Sequence[Array],
    A_next: Sequence[Array],
    G_next: Sequence[Array],
    names: Sequence[str],
) -> list[str]:
    """Return the layers' names; raise unless the factors are those of a chain."""
    check_names(f"{kind} names", names)
    for what, given in (("A", A), ("G", G), ("A_next", A_next), ("G_next", G_next)):
        if not isinstance(given, list | tuple):
            raise KfacTypeError(
                f"{kind} {what}: expected a list, one for each layer; found "
                f"{describe(given)}"
            )
    names = list(names) or [f"layer {i}" for i in range(len(A))]
    if not len(A) == len(G) == len(A_next) + 1 == len(G_next) + 1 == len(names) > 0:
        raise ShapeError(
            f"{kind}: expected l factors A, G and names, and l - 1 factors A_next, "
            f"G_next; found {len(A)}, {len(G)}, {len(names)}, {len(A_next)}, "
            f"{len(G_next)}"
        )
    _check_factors("A", A, A_next, names)
    _check_factors("G", G, G_next, names)
    return names


def _check_factors(
    letter: str, M: Sequence[Array], M_next: Sequence[Array], names: list[str]
) -> None:
    """Raise unless symmetric on the diagonal, of the neighbours' sizes beside it."""
    for name, factor in zip(names, M, strict=True):
        check_symmetric(f"{name}: factor {letter}", factor)
    for (i, j), (M_ii, M_jj), M_ij in zip(
        pairwise(names), pairwise(M), M_next, strict=True
    ):
        check_shape(f"{i}: {letter}_next", M_ij, (len(M_ii), len(M_jj)))
        check_floats(f"{i}: {letter}_next", M_ij)
        check_alike(f"{i} and {j}: factors {letter}", M_ii, M_ij, M_jj)


def _regress(
    letter: str, M: list, M_next: list, names: list[str]
) -> tuple[list[Array], list[Array]]:
    """Return Psi_i = M_ij M_jj^-1, j = i + 1, and what it explains: Psi_i M_ji.

    Nothing explains the last layer: zero.
    """
    Psi, explained = [], []
    for name, M_jj, M_ij in zip(names[1:], M[1:], M_next, strict=True):
        L = factorize(M_jj, 0.0, f"factor {letter} of {name}")
        half = solve_triangular(L, M_ij.T)  # L^-1 M_ji
        Psi.append(solve_triangular(L, half, transpose=True).T)
        explained.append(half.T @ half)  # symmetric to the last bit, unlike Psi @ M_ji
    return Psi, [*explained, get_xp(M[-1]).zeros_like(M[-1])]
