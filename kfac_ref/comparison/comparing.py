"""One table: every approximation against the exact matrix, layer by layer and whole.

`compare` computes the numbers of distances.py for whole matrices and for each layer's
diagonal block against the exact diagonal block, counts the numbers that each
approximation stores and the seconds that it takes, and returns a `Comparison`.

The exact matrix is damped exactly, F + lambda I. An approximation is, too, unless a
rule of kfac_ref.damping is given for it: then what the rule makes of it stands for
F + lambda I as a whole, and its errors are those of the damped matrix less lambda I.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from time import perf_counter

from kfac_ref.backend import Array, get_xp
from kfac_ref.calls import door
from kfac_ref.comparison.distances import (
    angle_between,
    damped_norm,
    difference,
    relative_frobenius_error,
    spectral_norm,
)
from kfac_ref.comparison.entries import (
    Approximation,
    Entry,
    check_arguments,
    check_sizes,
    read_entries,
    timed,
)
from kfac_ref.comparison.table import Comparison, Row
from kfac_ref.damping.rules import Rule
from kfac_ref.limits import norm
from kfac_ref.matrices import (
    BlockDiagonalMatrix,
    DenseMatrix,
    SymmetricMatrix,
)
from kfac_ref.matrices.base import check_matrix
from kfac_ref.matrices.definite import check_damping
from kfac_ref.values import Value


@door
def compare(
    exact: SymmetricMatrix,
    approximations: Mapping[str, Approximation],
    gradient: list[Array],
    damping: float,
    names: list[str] | None = None,
    progress: Callable[[list], Iterable] = iter,
    rule: Rule | str | None = None,
) -> Comparison:
    """Compute every number of every approximation, for each layer and as a whole.

    approximations: undamped matrices by their names. gradient: one matrix (d_in + 1,
    d_out) for each layer, which also says where layers begin; names: of the layers;
    progress: wraps the list that the outer loop walks, as tqdm does.

    rule: damps all approximations, a function such as `factored_tikhonov` or its name;
    None: exactly, M + lambda I. A pair `(matrix, rule)` in place of a matrix has a rule
    of its own; that of a matrix which is damped already is `lambda matrix, damping:
    matrix`. 'block_tridiagonal' needs one that keeps a Kronecker product.

    What is undefined is NaN, in the rows of that layer alone: Frobenius and spectral
    error if the exact block is zero (0 / 0 too), as in a layer where no errors arrive;
    angle and norm ratio if the gradient is zero. The error of the inverse always has a
    value. Raises ShapeError, ValueRangeError, Unsupported, and NotPositiveDefinite if
    damping is too small for the exact matrix or an approximation.
    """
    damping = check_damping(damping)
    layers = check_arguments(exact, gradient, names, progress)
    entries = read_entries(approximations, rule)
    check_sizes(exact, entries, gradient, layers)
    sizes = [D.size for D in gradient]
    scopes = [
        _scope(layer, F, grad, damping)
        for layer, F, grad in zip(
            [*layers, None],
            [*diagonal_blocks(exact, sizes, layers), exact],
            _flat(gradient),
            strict=True,
        )
    ]
    rows = []
    for name, entry in progress(list(entries.items())):
        rows += list(_rows(name, entry, scopes, damping))
    order = [*layers, None]
    return Comparison(damping, sorted(rows, key=lambda row: order.index(row.layer)))


@dataclass(frozen=True, eq=False)
class _Scope(Value):
    """The exact side, computed once: of one layer, or (None) of the whole matrix."""

    layer: str | None
    exact: SymmetricMatrix
    frobenius: float  # ||F||_F
    spectral: float  # ||F||_2
    inverse: SymmetricMatrix  # (F + lambda I)^-1
    gradient: Array
    natural: Array  # (F + lambda I)^-1 grad
    length: float  # damped norm of the latter

    @property
    def moves(self) -> bool:
        """Is the gradient not zero? Zero has no direction."""
        return bool(get_xp(self.gradient).any(self.gradient != 0))


def _scope(
    layer: str | None, F: SymmetricMatrix, gradient: Array, damping: float
) -> _Scope:
    natural = F.solve(gradient, damping)
    return _Scope(
        layer,
        F,
        F.frobenius_norm(),
        spectral_norm(F.to_dense()),
        F.inverse(damping),
        gradient,
        natural,
        damped_norm(natural, F, damping),
    )


def _rows(
    name: str, entry: Entry, scopes: list[_Scope], damping: float
) -> Iterator[Row]:
    """Compute the rows of one approximation."""
    whole, seconds = entry.matrix, entry.seconds
    left = damping  # what is still to be added
    if entry.rule is not None:
        damped = timed(entry.rule, whole, damping)
        whole, left = damped.matrix, 0.0
        check_matrix(f"approximation {name!r}, damped by its rule", whole)
        seconds = seconds and seconds + (damped.seconds or 0.0)
    blocks = diagonal_blocks(whole, [scope.exact.size for scope in scopes[:-1]])
    has_shares = sum(block.storage for block in blocks) == whole.storage
    for scope, M in zip(scopes, [*blocks, whole], strict=True):
        F = scope.exact
        start = perf_counter()
        u = M.solve(scope.gradient, left)
        float(u[0])  # a device is waited for
        solve_seconds = perf_counter() - start
        D = difference(M, F, damping - left)
        yield Row(
            approximation=name,
            layer=scope.layer,
            parameters=M.size,
            frobenius_error=_relative(norm(D), scope.frobenius),
            spectral_error=_relative(spectral_norm(D), scope.spectral),
            inverse_error=relative_frobenius_error(M.inverse(left), scope.inverse),
            angle=angle_between(u, scope.natural) if scope.moves else math.nan,
            damped_norm_ratio=_relative(damped_norm(u, F, damping), scope.length),
            storage=M.storage if M is whole or has_shares else None,
            build_seconds=seconds if M is whole else None,
            solve_seconds=solve_seconds,
        )


def _relative(error: float, size: float) -> float:
    """Return error / size; NaN, which is undefined, if the size is zero."""
    return error / size if size else math.nan


@door
def diagonal_blocks(
    matrix: SymmetricMatrix, sizes: list[int], layers: list[str] | None = None
) -> list[SymmetricMatrix]:
    """Return the diagonal blocks of those sizes: the matrix's own if it has them.

    Others are called after the layers, or only after their rows.
    """
    if (
        isinstance(matrix, BlockDiagonalMatrix)
        and [b.size for b in matrix.blocks] == sizes
    ):
        return matrix.blocks
    dense = matrix.to_dense()
    words = [f"{layer}, rows" for layer in layers or []] or ["rows"] * len(sizes)
    ends = pairwise(accumulate(sizes, initial=0))
    return [
        DenseMatrix(dense[s:e, s:e], f"{rows} {s} to {e - 1} of {matrix.label}")
        for rows, (s, e) in zip(words, ends, strict=True)
    ]


def _flat(gradient: list[Array]) -> list[Array]:
    """Return the gradient of each layer as a vector, and the whole of it."""
    vectors = [D.reshape(-1) for D in gradient]
    return [*vectors, get_xp(*vectors).concatenate(vectors)]
