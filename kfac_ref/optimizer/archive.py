"""JSON and arrays in one .npz file that can be checked, and read without trust.

    header              the JSON, as text
    array_0, array_1    the arrays
    zip comment         sha256 of every byte before it: the last 64 bytes of the file

The checksum catches accidents. Whoever forges a file can forge the checksum too, so
nothing is unpickled or decompressed, every member has bytes of its own, and no array
may claim more than those. Reading takes a few times the memory of the file.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from itertools import pairwise
from typing import Any

import numpy as np

from kfac_ref.errors import KfacError, describe

DIGEST = 64  # hexadecimal digits of a sha256
NUMBERS = ("<f4", "<f8", "<i8", "<u4", "<u8")  # the last two in states of generators


class CheckpointError(KfacError, ValueError):
    """A file that holds no state of this optimizer; the message says which and why."""


def pack(header: Any, arrays: list[np.ndarray]) -> bytes:
    """Return the content of the file."""
    named = {f"array_{i}": array for i, array in enumerate(arrays)}
    buffer = io.BytesIO()
    np.savez(buffer, header=np.array(json.dumps(header)), **named)  # type: ignore[arg-type]
    with zipfile.ZipFile(buffer, "a") as file:
        file.comment = bytes(DIGEST)
    content = buffer.getvalue()[:-DIGEST]
    return content + _digest(content)


def unpack(content: bytes) -> tuple[Any, list[np.ndarray]]:
    """Undo `pack`. Raises CheckpointError; a forged file may raise others as well."""
    if not content.startswith(b"PK\x03\x04"):
        found = repr(content[:8]) if content else "an empty file"
        raise CheckpointError(f"expected an .npz file of save_state, found {found}")
    if _digest(content[:-DIGEST]) != content[-DIGEST:]:
        raise CheckpointError(
            "truncated or altered, or not written by save_state: its last "
            f"{DIGEST} bytes are not the sha256 of those before; go back to a copy"
        )
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        _check_members(file)
        header, *arrays = [_read(file, info) for info in file.infolist()]
    if header.dtype.kind != "U" or header.shape:
        raise CheckpointError(
            f"header.npy: expected one text, found {header.shape} of {header.dtype}"
        )
    for i, array in enumerate(arrays):
        if array.dtype.str not in NUMBERS:
            raise CheckpointError(
                f"array_{i}.npy: expected one of {', '.join(NUMBERS)}, found "
                f"{array.dtype.str}"
            )
    return json.loads(str(header)), arrays


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _check_members(file: zipfile.ZipFile) -> None:
    """Check that members are named as by `pack`, uncompressed and do not overlap."""
    members = file.infolist()
    names = ["header.npy", *(f"array_{i}.npy" for i in range(len(members) - 1))]
    for name, info in zip(names, members, strict=True):
        if info.filename != name:
            raise CheckpointError(f"expected {name}, found {describe(info.filename)}")
        if info.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(f"{name}: expected no compression")
        if info.compress_size != info.file_size:
            raise CheckpointError(
                f"{name}: expected {info.compress_size} bytes, which are stored, found "
                f"{info.file_size} claimed"
            )
    starts = [*(info.header_offset for info in members), file.start_dir]
    for info, (start, end) in zip(members, pairwise(starts), strict=True):
        if start + info.file_size > end:
            raise CheckpointError(f"{info.filename}: overlaps what follows it")


def _read(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Read one array. Raises CheckpointError."""
    try:
        return _array(file.read(info))
    except Exception as error:  # a forged file may fail anywhere
        raise CheckpointError(f"{info.filename}: {error}") from error


def _array(raw: bytes) -> np.ndarray:
    """Read a .npy file, and believe its header only as far as its bytes go."""
    stream = io.BytesIO(raw)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise CheckpointError(f"expected npy 1.0, found {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    start = stream.tell()
    if dtype.hasobject:
        raise CheckpointError("holds pickled objects")
    claimed, there = math.prod(shape) * dtype.itemsize, len(raw) - start
    if claimed != there or any(type(n) is not int or n < 0 for n in shape):
        raise CheckpointError(
            f"claims to be {shape!r:.80} of {dtype}, {claimed:.4g} bytes; found {there}"
        )
    flat = np.frombuffer(raw, dtype, offset=start)
    return flat.reshape(shape, order="F" if fortran else "C").copy(order="K")
