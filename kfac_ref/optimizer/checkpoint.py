"""Save and resume a training: the states of optimizer and generator in one file.

The file is an .npz (archive.py), written whole or not at all. Its JSON names format,
version, optimizer, options and network (origin.py), and holds the state:
`np.load(path)["header"]` shows it.

A restored run goes on bit for bit, in the middle of an epoch, too, if the optimizer has
the options that it had and `train` the same data and batch size. Those two are not in
the file. Options without which the state would mean something else are compared; those
that only say how to go on, the learning rate for instance, are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kfac_ref.backend import Array, asarray, to_numpy
from kfac_ref.calls import door
from kfac_ref.checks import check_generator
from kfac_ref.errors import KfacError, choose
from kfac_ref.files import check_path, write_whole
from kfac_ref.network import check_network
from kfac_ref.optimizer.archive import CheckpointError, pack, unpack
from kfac_ref.optimizer.arguments import check_optimizer
from kfac_ref.optimizer.encoding import Decoder, encode
from kfac_ref.optimizer.expected import check_state
from kfac_ref.optimizer.origin import check_origin, origin

GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


@door
def save_state(
    path: str | Path, optimizer: Any, state: Any, rng: np.random.Generator
) -> Path:
    """Write the state and the generator to a file; atomically replaces an existing one.

    The content is loaded before it is written, so that it can be. Raises KfacTypeError,
    ShapeError, ValueRangeError (NaN, for instance) if the state is none of this
    optimizer, Unsupported if it holds what no file can, UnknownName for a bit generator
    that is not NumPy's, CheckpointError, OSError.
    """
    check_path("path", path)
    _check_optimizer(optimizer)
    check_state(optimizer, state)
    check_generator(rng)
    arrays: list[Array] = []
    bits = rng.bit_generator.state
    choose("bit generator", bits["bit_generator"], GENERATORS)
    header = {
        **origin(optimizer),
        "generator": encode(bits, arrays),
        "state": encode(state, arrays),
    }
    content = pack(header, [to_numpy(array) for array in arrays])
    with _refusing(path, "nothing was written: "):
        _restore(content, optimizer, like=np.zeros(0))
    return write_whole(path, content)


@door
def load_state(
    path: str | Path, optimizer: Any, like: Array | None = None
) -> tuple[Any, np.random.Generator]:
    """Read the state and the generator from a file of `save_state`.

    The arrays are made on the backend of `like`, or on the current one. Raises
    CheckpointError for a file that is truncated, altered, of another network, optimizer
    or version, of other options (each is named), or something else; OSError for one
    that cannot be read. Files of versions 1 and 2 have no options to compare.
    """
    check_path("path", path)
    _check_optimizer(optimizer)
    like = asarray(np.zeros(0), like=like)
    content = Path(path).read_bytes()
    with _refusing(path), np.errstate(all="ignore"):
        return _restore(content, optimizer, like)


def _restore(
    content: bytes, optimizer: Any, like: Array
) -> tuple[Any, np.random.Generator]:
    header, on_host = unpack(content)
    check_origin(header, optimizer)
    decoder = Decoder([asarray(array, like=like) for array in on_host])
    state = decoder.decode(header["state"], "state")
    check_state(optimizer, state)
    return state, _generator(Decoder(on_host).decode(header["generator"], "generator"))


def _check_optimizer(optimizer: Any) -> None:
    """KfacTypeError: it is not the file's fault if something else was given."""
    check_optimizer(optimizer)
    check_network(getattr(optimizer, "network", None))


def _generator(bits: Any) -> np.random.Generator:
    """Make a generator with this state, which NumPy does not check by itself."""
    name = choose("bit generator", bits["bit_generator"], GENERATORS)
    rng = np.random.Generator(getattr(np.random, name)(0))
    rng.bit_generator.state = bits
    inside = bits["state"]
    if name == "MT19937":  # beside its numbers lies other memory; of zeros come zeros
        fits = 0 <= inside["pos"] <= 624 and inside["key"][1:].any()
    elif name == "Philox":
        fits = 0 <= bits["buffer_pos"] <= 4
    else:  # 0 comes again and again where inc of PCG64 is not odd
        fits = inside.get("inc", 1) % 2 == 1
    if not fits or _flat(rng.bit_generator.state) != _flat(bits):
        raise CheckpointError(f"generator: expected the state of a {name}")
    return rng


def _flat(bits: Any) -> tuple[Any, list[bytes]]:
    arrays: list[Array] = []
    return encode(bits, arrays), [array.tobytes() for array in arrays]


@contextmanager
def _refusing(path: str | Path, what: str = "") -> Iterator[None]:
    """Turn whatever goes wrong inside into a CheckpointError about the file."""
    try:
        yield
    except KfacError as error:
        raise CheckpointError(f"{path}: {what}{error}") from error
    except Exception as error:  # a forged file may fail anywhere
        raise CheckpointError(
            f"{path}: {what}its parts do not fit together: {type(error).__name__}: "
            f"{error}"
        ) from error
