"""A training put aside: the state of an optimizer and of its generator in one file.

The file is an .npz (archive.py), written whole or not at all. Its JSON names format,
version, optimizer and network, and holds the state: `np.load(path)["header"]` shows it.

A restored run goes on bit for bit if the optimizer has the options that it had. Those
are code, so they are not in the file; but a MovingAverage is part of the state, and
comes from the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from kfac_ref.backend import Array, asarray, get_xp, to_numpy
from kfac_ref.errors import (
    BackendError,
    KfacTypeError,
    Unsupported,
    check_generator,
    choose,
    describe,
)
from kfac_ref.files import write_whole
from kfac_ref.matrices import (
    BlockDiagonal,
    BlockTridiagonalInverse,
    Dense,
    Diagonal,
    EigenKronecker,
    Kronecker,
)
from kfac_ref.network import Network
from kfac_ref.optimizer.archive import CheckpointError, pack, unpack
from kfac_ref.optimizer.averages import MovingAverage
from kfac_ref.optimizer.baselines import AdamState, SGDState
from kfac_ref.optimizer.hessian_free import HessianFreeState
from kfac_ref.optimizer.natural_gradient import NaturalGradientState
from kfac_ref.optimizer.state import State
from kfac_ref.structures import ChainFactors

FORMAT, VERSION = "kfac_ref checkpoint", 1
GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")

MATRICES: dict[type, tuple[str, ...]] = {
    Dense: ("matrix", "name"),
    Diagonal: ("values", "name"),
    Kronecker: ("A", "G", "name"),
    EigenKronecker: ("U_A", "U_G", "values", "name"),
    BlockDiagonal: ("blocks", "name"),
    BlockTridiagonalInverse: ("A", "G", "A_next", "G_next", "names"),
}
MARKS = ("damping_inside", "rounding")  # what some matrices are given after that
RECORDS: tuple[Any, ...] = (
    ChainFactors,
    MovingAverage,
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
STATES: dict[str, Any] = {
    "KFAC": State,
    "SGD": SGDState,
    "Adam": AdamState,
    "NaturalGradient": NaturalGradientState,
    "HessianFree": HessianFreeState,
}
KINDS = {kind.__name__: kind for kind in ATTRIBUTES}


def save_state(
    path: str | Path, optimizer: Any, state: Any, rng: np.random.Generator
) -> Path:
    """Write the state and the generator; a file that was there stays until then.

    Raises KfacTypeError and ShapeError for a state that is not one of this optimizer,
    Unsupported for one that holds what is not in KINDS, UnknownName for a bit generator
    that is not NumPy's, OSError.
    """
    _check_state(optimizer, state)
    check_generator(rng)
    arrays: list[Array] = []
    bits = rng.bit_generator.state
    choose("bit generator", bits["bit_generator"], GENERATORS)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "optimizer": type(optimizer).__name__,
        "network": _describe(optimizer.network),
        "generator": _encode(bits, arrays),
        "state": _encode(state, arrays),
    }
    return write_whole(path, pack(header, [to_numpy(array) for array in arrays]))


def _check_state(optimizer: Any, state: Any) -> None:
    """A state that `load_state` will take."""
    kind = STATES.get(type(optimizer).__name__, State)
    if not isinstance(state, kind):
        raise KfacTypeError(
            f"state: expected one of {type(optimizer).__name__}, a {kind.__name__}, "
            f"found a {type(state).__name__}; of a run it is run.state"
        )
    optimizer.params(state)  # do the sizes fit?


def load_state(
    path: str | Path, optimizer: Any, like: Array | None = None
) -> tuple[Any, np.random.Generator]:
    """The state and the generator, from a file of `save_state`.

    The arrays are made on the backend of `like`, or on the current one. Raises
    CheckpointError for a file that is truncated, altered, of another network, optimizer
    or version, or something else; OSError for one that cannot be read.
    """
    path = Path(path)
    content = path.read_bytes()
    with _refusing(path):
        header, on_host = unpack(content)
        _check_origin(header, optimizer)
    arrays = [asarray(array, like=like) for array in on_host]
    with _refusing(path):
        state = _decode(header["state"], arrays)
        optimizer.params(state)  # do the sizes fit?
        bits = _decode(header["generator"], on_host)
        name = choose("bit generator", bits["bit_generator"], GENERATORS)
        rng = np.random.Generator(getattr(np.random, name)(0))
        rng.bit_generator.state = bits
    return state, rng


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside is the fault of the file."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:  # a forged file may fail anywhere
        raise CheckpointError(
            f"{path}: its parts do not fit together: {type(error).__name__}: {error}"
        ) from error


def _describe(network: Network) -> list[str]:
    """A line for each block, and one for the whole."""
    blocks = zip(network.names, network.shapes, strict=True)
    whole = re.sub(r" at 0x\w+", "", repr(network))  # of layers without a repr
    return [*(f"{name}, W {d} x {o}" for name, (d, o) in blocks), whole]


def _check_origin(header: Any, optimizer: Any) -> None:
    """CheckpointError unless of our format, of this optimizer and of its network."""
    of_file = [header["format"], header["version"], header["optimizer"]]
    expected = [FORMAT, VERSION, type(optimizer).__name__]
    for what, e, f in zip(
        ("format", "version of the format", "optimizer"), expected, of_file, strict=True
    ):
        if e != f:
            raise CheckpointError(f"{what}: expected {e!r}, found {describe(f)}")
    ours = _describe(optimizer.network)
    for e, f in zip_longest(ours, header["network"], fillvalue="nothing more"):
        if e != f:
            raise CheckpointError(f"of another network: expected {e}, found {f}")


# Plain values <-> JSON and a list of arrays.


def _encode(value: Any, arrays: list[Array]) -> Any:
    """JSON, in which an array is its number in `arrays`."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_encode(item, arrays) for item in value]
    if isinstance(value, dict):
        return {"dict": {key: _encode(item, arrays) for key, item in value.items()}}
    if type(value) in ATTRIBUTES:
        names = [*ATTRIBUTES[type(value)], *(n for n in MARKS if n in vars(value))]
        parts = {name: _encode(getattr(value, name), arrays) for name in names}
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


def _decode(node: Any, arrays: list[Array]) -> Any:
    """The inverse of `_encode`."""
    if isinstance(node, list):
        return [_decode(item, arrays) for item in node]
    if not isinstance(node, dict):
        return node
    if "array" in node:
        return arrays[node["array"]]
    if "dict" in node:
        return {key: _decode(item, arrays) for key, item in node["dict"].items()}
    kind = KINDS[node["kind"]]
    made = kind(*[_decode(node[name], arrays) for name in ATTRIBUTES[kind]])
    for name in MARKS:
        if name in node:
            setattr(made, name, node[name])
    return made
