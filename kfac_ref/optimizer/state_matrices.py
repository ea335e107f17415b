"""The matrices of a state: the averaged curvature, and the damped one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kfac_ref.errors import (
    KfacTypeError,
    ShapeError,
    Unsupported,
    ValueRangeError,
    describe,
)
from kfac_ref.matrices import (
    BlockDiagonalMatrix,
    ChainFactors,
    DenseMatrix,
    DiagonalMatrix,
    EigenKronecker,
    KroneckerProduct,
    SymmetricMatrix,
)
from kfac_ref.matrices.definite import check_symmetric
from kfac_ref.optimizer.state_parts import (
    Fit,
    check_array,
    check_average,
    check_length,
    check_type,
    size,
)


def curvature(where: str, value: Any, fit: Fit) -> None:
    """An average of what the optimizer's structures make."""
    if not check_average(where, value, fit):
        return
    found, where, shapes = value.value, f"{where}.value", fit.network.shapes
    structures = getattr(fit.optimizer, "structures", ["kronecker"] * len(shapes))
    if structures[0] == "block_tridiagonal":
        _chain(where, found, fit)
    elif structures[0] == "full":
        _block(where, found, DenseMatrix, (fit.network.size, 1), fit)
    else:
        check_type(where, found, BlockDiagonalMatrix)
        check_length(f"{where}.blocks", found.blocks, len(shapes))
        named = zip(found.blocks, structures, shapes, strict=True)
        for i, (block, structure, shape) in enumerate(named):
            if structure not in BLOCKS:
                raise Unsupported(
                    f"{where}.blocks[{i}]: list structure {structure!r} in BLOCKS, and "
                    "its matrix in ARRAYS (state_matrices.py) and encoding.MATRICES"
                )
            _block(f"{where}.blocks[{i}]", block, BLOCKS[structure], shape, fit)


def damped(where: str, value: Any, fit: Fit) -> None:
    """None, or a positive definite matrix."""
    inverse(where, value, fit)
    if value is not None:
        value.logdet()  # NotPositiveDefinite


def inverse(where: str, value: Any, fit: Fit) -> None:
    """None, or a matrix that theta can be multiplied with."""
    if value is None:
        return
    if not isinstance(value, SymmetricMatrix):
        raise KfacTypeError(f"{where}: expected a matrix, found {describe(value)}")
    P, dtype = fit.network.size, fit.theta.dtype
    if (value.size, value.dtype) != (P, dtype):
        raise ShapeError(
            f"{where}: expected {P} x {P} of {dtype}, found {value.size} x "
            f"{value.size} of {value.dtype}"
        )
    for part in [value, *getattr(value, "blocks", [])]:
        check_type(f"{where}.name", part.name, str)
        size(f"{where}.rounding", getattr(part, "rounding", 0.0), fit)


BLOCKS: dict[str, type] = {  # of an average, by their structure
    "kronecker": KroneckerProduct,
    "best_kronecker": KroneckerProduct,
    "diagonal": DiagonalMatrix,
    "block_diagonal": DenseMatrix,
    "eigenvalue_corrected": EigenKronecker,
}
ARRAYS: dict[type, Callable[[int, int], dict[str, tuple[int, ...]]]] = {
    KroneckerProduct: lambda d, o: {"A": (d, d), "G": (o, o)},
    DiagonalMatrix: lambda d, o: {"values": (d * o,)},
    DenseMatrix: lambda d, o: {"matrix": (d * o, d * o)},
    EigenKronecker: lambda d, o: {"U_A": (d, d), "U_G": (o, o), "values": (d, o)},
}


def _block(where: str, block: Any, kind: type, shape: Any, fit: Fit) -> None:
    check_type(where, block, kind)
    for name, expected in ARRAYS[kind](*shape).items():
        check_array(f"{where}.{name}", getattr(block, name), fit, expected)


def _chain(where: str, chain: Any, fit: Fit) -> None:
    check_type(where, chain, ChainFactors)
    if chain.names != fit.network.names:
        raise ValueRangeError(f"{where}.names: expected {fit.network.names}")
    for letter, axis in (("A", 0), ("G", 1)):
        sizes = [shape[axis] for shape in fit.network.shapes]
        for name, others in ((letter, sizes), (f"{letter}_next", sizes[1:])):
            factors = getattr(chain, name)
            check_length(f"{where}.{name}", factors, len(others))
            for i, shape in enumerate(zip(sizes, others, strict=False)):
                check_array(f"{where}.{name}[{i}]", factors[i], fit, shape)
                if name == letter:
                    check_symmetric(f"{where}.{name}[{i}]", factors[i])
