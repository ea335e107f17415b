"""One table: every approximation against the exact matrix, layer by layer and whole.

`compare` computes the numbers of distances.py for whole matrices and for each layer's
diagonal block against the exact diagonal block, counts the numbers that each
approximation stores and the seconds that it takes, and returns a `Comparison`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from kfac_ref.backend import Array, get_xp
from kfac_ref.calls import door
from kfac_ref.comparison.damped_inside import diagonal_blocks
from kfac_ref.comparison.distances import (
    angle_between,
    damped_norm,
    difference,
    relative_frobenius_error,
    spectral_norm,
)
from kfac_ref.comparison.table import Comparison, Row
from kfac_ref.errors import (
    KfacTypeError,
    ShapeError,
    ValueRangeError,
    check_finite,
    check_names,
    check_shape,
    describe,
)
from kfac_ref.limits import norm
from kfac_ref.matrices import SymmetricMatrix
from kfac_ref.matrices.base import check_matrix
from kfac_ref.matrices.definite import check_damping
from kfac_ref.values import Value


@dataclass(frozen=True, eq=False)
class Built(Value):
    """A matrix, and how many seconds it took to build."""

    matrix: SymmetricMatrix
    seconds: float | None = None


def timed(build: Callable[..., SymmetricMatrix], *args: Any, **options: Any) -> Built:
    """`build(*args, **options)`, with a clock."""
    start = perf_counter()
    return Built(build(*args, **options), perf_counter() - start)


@door
def compare(
    exact: SymmetricMatrix,
    approximations: Mapping[str, SymmetricMatrix | Built],
    gradient: list[Array],
    damping: float,
    names: list[str] | None = None,
    progress: Callable[[list], Iterable] = iter,
) -> Comparison:
    """Every number for every approximation, for each layer and for the whole matrix.

    gradient: one matrix (d_in + 1, d_out) for each layer, which also says where layers
    begin; names: of the layers; progress: wraps the list that the outer loop walks, as
    tqdm does. A matrix that is damped already (by a rule of kfac_ref.damping, or a
    block_tridiagonal) goes in as `DampedInside(matrix, damping)`.

    What is undefined is NaN, in the rows of that layer alone: Frobenius and spectral
    error where the exact block is zero (0 / 0 too), as in a layer where no errors
    arrive; angle and norm ratio where the gradient is zero. The error of the inverse
    always has a value. Raises ShapeError, ValueRangeError, and NotPositiveDefinite
    where damping is too small for the exact matrix or an approximation.
    """
    check_matrix("exact", exact)
    if not isinstance(gradient, list | tuple):
        raise KfacTypeError(
            "gradient: expected a list of matrices, one for each layer, as of "
            f"network.gradient(...); found {describe(gradient)}"
        )
    damping = check_damping(damping)
    if names is not None:
        check_names("names", names)
    if not callable(progress):
        raise KfacTypeError(
            "progress: expected a function of a list, such as tqdm, found "
            f"{describe(progress)}"
        )
    layers = names or [f"layer {i}" for i in range(len(gradient))]
    if not isinstance(approximations, Mapping):
        raise KfacTypeError(
            "approximations: expected a dict of names and matrices, found "
            f"{type(approximations).__name__}"
        )
    built = {
        name: given if isinstance(given, Built) else Built(given)
        for name, given in approximations.items()
    }
    _check_sizes(exact, built, gradient, layers)
    sizes = [D.size for D in gradient]
    scopes = [
        _scope(layer, F, grad, damping)
        for layer, F, grad in zip(
            [*layers, None],
            [*diagonal_blocks(exact, sizes), exact],
            _flat(gradient),
            strict=True,
        )
    ]
    rows = []
    for name, one in progress(list(built.items())):
        rows += list(_rows(name, one, scopes, damping))
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
    name: str, built: Built, scopes: list[_Scope], damping: float
) -> Iterator[Row]:
    """The rows of one approximation."""
    whole = built.matrix
    blocks = diagonal_blocks(whole, [scope.exact.size for scope in scopes[:-1]])
    has_shares = sum(block.storage for block in blocks) == whole.storage
    for scope, M in zip(scopes, [*blocks, whole], strict=True):
        F = scope.exact
        start = perf_counter()
        u = M.solve(scope.gradient, damping)
        float(u[0])  # a device is waited for
        seconds = perf_counter() - start
        D = difference(M, F)
        yield Row(
            approximation=name,
            layer=scope.layer,
            parameters=M.size,
            frobenius_error=_relative(norm(D), scope.frobenius),
            spectral_error=_relative(spectral_norm(D), scope.spectral),
            inverse_error=relative_frobenius_error(M.inverse(damping), scope.inverse),
            angle=angle_between(u, scope.natural) if scope.moves else math.nan,
            damped_norm_ratio=_relative(damped_norm(u, F, damping), scope.length),
            storage=M.storage if M is whole or has_shares else None,
            build_seconds=built.seconds if M is whole else None,
            solve_seconds=seconds,
        )


def _relative(error: float, size: float) -> float:
    """error / size; NaN, which is undefined, where the size is zero."""
    return error / size if size else math.nan


def _flat(gradient: list[Array]) -> list[Array]:
    """The gradient of each layer as a vector, and the whole of it."""
    vectors = [D.reshape(-1) for D in gradient]
    return [*vectors, get_xp(*vectors).concatenate(vectors)]


def _check_sizes(
    exact: SymmetricMatrix,
    approximations: dict[str, Built],
    gradient: list[Array],
    layers: list[str],
) -> None:
    """Clear errors for arguments of `compare` that do not fit the exact matrix."""
    if len(set(layers)) != len(gradient):
        raise ShapeError(
            f"names: expected {len(gradient)} different ones, one for each matrix of "
            f"the gradient, found {', '.join(layers)}"
        )
    for D, layer in zip(gradient, layers, strict=True):
        check_shape(f"gradient of {layer}", D, (None, None))
        check_finite(f"gradient of {layer}", D)
    if sum(D.size for D in gradient) != exact.size:
        raise ShapeError(
            f"gradient: expected {exact.size} numbers in all, one for each row of the "
            f"exact matrix, found {' + '.join(str(D.size) for D in gradient)}"
        )
    if not approximations:
        raise ShapeError("approximations: expected at least one, found none")
    for name, built in approximations.items():
        check_matrix(f"approximation {name!r}", built.matrix)
        if built.matrix.damping_inside:
            raise ValueRangeError(
                f"approximation {name!r} is damped already, and compare would damp it "
                "again: give the matrix without damping, or "
                "kfac_ref.comparison.DampedInside(matrix, damping)"
            )
        if built.matrix.size != exact.size:
            raise ShapeError(
                f"approximation {name!r}: expected a matrix of the size of the exact "
                f"one, {exact.size}, found {built.matrix.size}"
            )
