"""States <-> JSON and a list of arrays.

    null, true, 1, 0.5, "text", [...]     themselves
    {"dict": {...}}                       a dictionary
    {"array": 3}                          the array of this number
    {"kind": "KroneckerProduct", "A": ...}  made from its attributes: KINDS

Nothing else is made, and every kind checks what it is made of.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import Any

from kfac_ref.backend import Array, get_xp
from kfac_ref.errors import BackendError, Unsupported, describe
from kfac_ref.matrices import (
    BlockDiagonalMatrix,
    BlockTridiagonalInverse,
    ChainFactors,
    DenseMatrix,
    DiagonalMatrix,
    EigenKronecker,
    KroneckerProduct,
)
from kfac_ref.optimizer.archive import CheckpointError
from kfac_ref.optimizer.averages import Average
from kfac_ref.optimizer.baselines import AdamState, SGDState
from kfac_ref.optimizer.hessian_free import HessianFreeState
from kfac_ref.optimizer.natural_gradient import NaturalGradientState
from kfac_ref.optimizer.state import Place, State

MATRICES: dict[type, tuple[str, ...]] = {
    DenseMatrix: ("matrix", "name", "damped"),
    DiagonalMatrix: ("values", "name", "damped"),
    KroneckerProduct: ("A", "G", "name", "damped"),
    EigenKronecker: ("U_A", "U_G", "values", "name", "rounding", "damped"),
    BlockDiagonalMatrix: ("blocks", "name"),
    BlockTridiagonalInverse: ("A", "G", "A_next", "G_next", "names"),
    ChainFactors: ("A", "G", "A_next", "G_next", "names"),
}
RECORDS: tuple[Any, ...] = (
    Average,
    Place,
    State,
    SGDState,
    AdamState,
    NaturalGradientState,
    HessianFreeState,
)
# What may stand in a file, and the attributes from which it is made again.
ATTRIBUTES = MATRICES | {
    record: tuple(field.name for field in fields(record)) for record in RECORDS
}
KINDS = {kind.__name__: kind for kind in ATTRIBUTES}
USES = 8  # of one array in a state; a file may not make much of a little


def encode(value: Any, arrays: list[Array]) -> Any:
    """Return JSON, in which an array is its index in `arrays`. Raises Unsupported."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [encode(item, arrays) for item in value]
    if isinstance(value, dict):
        return {"dict": {key: encode(item, arrays) for key, item in value.items()}}
    if type(value) in ATTRIBUTES:
        names = ATTRIBUTES[type(value)]
        parts = {name: encode(getattr(value, name), arrays) for name in names}
        return {"kind": type(value).__name__, **parts}
    try:
        get_xp(value)
    except BackendError:
        raise Unsupported(
            f"a checkpoint cannot hold {value!r}; it knows arrays, plain Python "
            f"values, {', '.join(KINDS)}"
        ) from None
    numbers = (i for i, array in enumerate(arrays) if array is value)
    number = next(numbers, len(arrays))
    arrays += [value] if number == len(arrays) else []
    return {"array": number}


class Decoder:
    """Undoes `encode`. Raises CheckpointError, with the path to the wrong part."""

    def __init__(self, arrays: list[Array]):
        self.arrays = arrays
        self.uses: Counter[int] = Counter()

    def decode(self, node: Any, where: str) -> Any:
        if isinstance(node, list):
            return [self.decode(item, f"{where}[{i}]") for i, item in enumerate(node)]
        if not isinstance(node, dict):
            return node
        if "kind" in node:
            return self._make(node, where)
        if node.keys() == {"array"}:
            return self._array(node["array"], where)
        inside = node.get("dict")
        if node.keys() != {"dict"} or not isinstance(inside, dict):
            raise CheckpointError(f"{where}: expected a value, found {describe(node)}")
        return {
            key: self.decode(item, f"{where}.{key}") for key, item in inside.items()
        }

    def _array(self, number: Any, where: str) -> Array:
        if type(number) is not int or not 0 <= number < len(self.arrays):
            raise CheckpointError(
                f"{where}: expected the number of an array, less than "
                f"{len(self.arrays)}, found {describe(number)}"
            )
        self.uses[number] += 1
        if self.uses[number] > USES:
            raise CheckpointError(f"{where}: array {number} is used too often")
        return self.arrays[number]

    def _make(self, node: dict[str, Any], where: str) -> Any:
        name = node["kind"]
        if not isinstance(name, str) or name not in KINDS:
            raise CheckpointError(
                f"{where}: expected a kind of {', '.join(KINDS)}, found "
                f"{describe(name)}"
            )
        kind = KINDS[name]
        needed = ATTRIBUTES[kind]
        if node.keys() != {"kind", *needed}:
            raise CheckpointError(
                f"{where}: expected the parts {', '.join(needed)} of a {name}, found "
                f"{describe(', '.join(node))}"
            )
        parts = [self.decode(node[part], f"{where}.{part}") for part in needed]
        try:
            return kind(*parts)
        except Exception as error:  # a forged file may fail anywhere
            raise CheckpointError(f"{where}: not a {name}: {error}") from error
