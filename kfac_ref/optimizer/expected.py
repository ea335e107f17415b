"""What every part of a state must be, in one table: TABLE.

Checked before a state is saved, and after one is loaded. What passes can be stepped
from; what a step computes from it may still be too large, and is Diverged then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kfac_ref.backend import Array, to_numpy
from kfac_ref.errors import (
    KfacTypeError,
    ShapeError,
    ValueRangeError,
    check_shape,
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
from kfac_ref.matrices.definite import check_alike, check_floats, check_symmetric
from kfac_ref.network import Network
from kfac_ref.optimizer.averages import MovingAverage
from kfac_ref.optimizer.baselines import AdamState, SGDState
from kfac_ref.optimizer.hessian_free import HessianFreeState
from kfac_ref.optimizer.natural_gradient import NaturalGradientState
from kfac_ref.optimizer.state import Place, State
from kfac_ref.values import Value

STATES: dict[str, Any] = {
    "KFAC": State,
    "SGD": SGDState,
    "Adam": AdamState,
    "NaturalGradient": NaturalGradientState,
    "HessianFree": HessianFreeState,
}
LARGEST = 1e150  # of a number that is squared
MOST = 2**53  # of a number that is counted


@dataclass(frozen=True, eq=False)
class Fit(Value):
    """What the parts of one state must fit."""

    optimizer: Any
    theta: Array

    @property
    def network(self) -> Network:
        return self.optimizer.network


def check_state(optimizer: Any, state: Any) -> None:
    """Raises KfacError, naming the part, unless the state is one of this optimizer."""
    kind = STATES.get(type(optimizer).__name__, State)
    if not isinstance(state, kind):
        raise KfacTypeError(
            f"state: expected one of {type(optimizer).__name__}, a {kind.__name__}, "
            f"found a {type(state).__name__}; of a run it is run.state"
        )
    check_shape("state.theta", state.theta, ("P",))
    check_floats("state.theta", state.theta)
    _check_parts("state", state, Fit(optimizer, state.theta))


def _check_parts(where: str, record: Any, fit: Fit) -> None:
    for name, check in TABLE[type(record)].items():
        check(f"{where}.{name}", getattr(record, name), fit)


def _check_kind(where: str, value: Any, *kinds: Any) -> None:
    if type(value) not in kinds:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise KfacTypeError(f"{where}: expected {names}, found {describe(value)}")


# One function for each kind of part: (where, value, fit), which raises.


def whole(where: str, value: Any, fit: Fit) -> None:
    """0, 1, 2, ..."""
    _check_kind(where, value, int)
    if not 0 <= value <= MOST:
        raise ValueRangeError(
            f"{where}: expected from 0 to 2^53, found {describe(value)}"
        )


def size(where: str, value: Any, fit: Fit) -> None:
    """A number >= 0, whose square is finite."""
    _check_kind(where, value, float, int)
    if not 0 <= value <= LARGEST:
        raise ValueRangeError(
            f"{where}: expected from 0 to 1e150, found {describe(value)}"
        )


def vector(where: str, value: Any, fit: Fit) -> None:
    """As long as theta, and alike."""
    _array(where, value, fit, (fit.network.size,))


def squares(where: str, value: Any, fit: Fit) -> None:
    """A vector of means of squares."""
    vector(where, value, fit)
    if float(value.min()) < 0:
        raise ValueRangeError(f"{where}: expected numbers >= 0, found {value.min()}")


def place(where: str, value: Any, fit: Fit) -> None:
    """None, or the order of an epoch, and how much of it was seen."""
    if value is None:
        return
    _check_kind(where, value, Place)
    check_shape(f"{where}.order", value.order, ("N",))
    order = np.sort(to_numpy(value.order))
    if order.dtype.kind not in "iu" or (order != np.arange(len(order))).any():
        raise ValueRangeError(f"{where}.order: expected a permutation of 0, 1, ...")
    whole(f"{where}.seen", value.seen, fit)
    if value.seen > len(order):
        raise ValueRangeError(
            f"{where}.seen: expected at most {len(order)}, found {value.seen}"
        )


def iterates(where: str, value: Any, fit: Fit) -> None:
    """A moving average of theta."""
    if _average(where, value, fit):
        vector(f"{where}.value", value.value, fit)


def curvature(where: str, value: Any, fit: Fit) -> None:
    """A moving average of what the optimizer's structures give."""
    if not _average(where, value, fit):
        return
    found, where, shapes = value.value, f"{where}.value", fit.network.shapes
    structures = getattr(fit.optimizer, "structures", ["kronecker"] * len(shapes))
    if "eigenvalue_corrected" in structures and value.variant != "latest":
        raise ValueRangeError(f"{where}: 'eigenvalue_corrected' has no mean")
    if structures[0] == "block_tridiagonal":
        _chain(where, found, fit)
    elif structures[0] == "full":
        _block(where, found, DenseMatrix, (fit.network.size, 1), fit)
    else:
        _check_kind(where, found, BlockDiagonalMatrix)
        _check_length(f"{where}.blocks", found.blocks, len(shapes))
        named = zip(found.blocks, structures, shapes, strict=True)
        for i, (block, structure, shape) in enumerate(named):
            _block(f"{where}.blocks[{i}]", block, BLOCKS[structure], shape, fit)


def damped(where: str, value: Any, fit: Fit) -> None:
    """None, or a positive definite matrix."""
    inverse(where, value, fit)
    if value is not None:
        value.logdet()  # NotPositiveDefinite


def inverse(where: str, value: Any, fit: Fit) -> None:
    """None, or a matrix of the size of theta, and alike."""
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
        _check_kind(f"{where}.name", part.name, str)
        size(f"{where}.rounding", getattr(part, "rounding", 0.0), fit)


TABLE: dict[Any, dict[str, Callable[[str, Any, Fit], None]]] = {
    State: {
        "theta": vector,
        "last": vector,
        "average": curvature,
        "iterates": iterates,
        "lambda_": size,
        "gamma": size,
        "damped": damped,
        "inverse": inverse,
        "step": whole,
        "place": place,
    },
    SGDState: {"theta": vector, "velocity": vector, "step": whole, "place": place},
    AdamState: {
        "theta": vector, "m": vector, "v": squares, "step": whole, "place": place,
    },
    NaturalGradientState: {"theta": vector, "step": whole, "place": place},
    HessianFreeState: {
        "theta": vector, "direction": vector, "lambda_": size, "step": whole,
        "place": place,
    },
}  # fmt: skip
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


def _average(where: str, value: Any, fit: Fit) -> bool:
    """A moving average; of something?"""
    _check_kind(where, value, MovingAverage)
    whole(f"{where}.count", value.count, fit)
    size(f"{where}.total", value.total, fit)
    if (value.count == 0) != (value.value is None):
        raise ValueRangeError(
            f"{where}: expected a value if there is a count, found {value.count}"
        )
    return value.count > 0


def _block(where: str, block: Any, kind: type, shape: Any, fit: Fit) -> None:
    _check_kind(where, block, kind)
    for name, expected in ARRAYS[kind](*shape).items():
        _array(f"{where}.{name}", getattr(block, name), fit, expected)


def _chain(where: str, chain: Any, fit: Fit) -> None:
    _check_kind(where, chain, ChainFactors)
    if chain.names != fit.network.names:
        raise ValueRangeError(f"{where}.names: expected {fit.network.names}")
    for letter, axis in (("A", 0), ("G", 1)):
        sizes = [shape[axis] for shape in fit.network.shapes]
        for name, others in ((letter, sizes), (f"{letter}_next", sizes[1:])):
            factors = getattr(chain, name)
            _check_length(f"{where}.{name}", factors, len(others))
            for i, shape in enumerate(zip(sizes, others, strict=False)):
                _array(f"{where}.{name}[{i}]", factors[i], fit, shape)
                if name == letter:
                    check_symmetric(f"{where}.{name}[{i}]", factors[i])


def _check_length(where: str, found: Any, length: int) -> None:
    _check_kind(where, found, list)
    if len(found) != length:
        raise ShapeError(f"{where}: expected {length}, found {len(found)}")


def _array(where: str, value: Any, fit: Fit, shape: tuple[int, ...]) -> None:
    """Of this shape, finite, and of theta's dtype."""
    check_shape(where, value, shape)
    check_floats(where, value)
    check_alike(where, fit.theta, value)
