"""JSON and arrays in one .npz file that can be checked, and read without trust.

    header              the JSON, as text
    array_0, array_1    the arrays
    zip comment         sha256 of every byte before it: the last 64 bytes of the file

The checksum finds accidents. Somebody who forges a file can forge it, too; so nothing
is unpickled or unpacked, and no array may claim more bytes than are there.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from typing import Any

import numpy as np

from kfac_ref.errors import KfacError

DIGEST = 64  # hexadecimal digits of a sha256


class CheckpointError(KfacError, ValueError):
    """A file that is no state of this optimizer; the message names it."""


def pack(header: Any, arrays: list[np.ndarray]) -> bytes:
    """The content of the file."""
    named = {f"array_{i}": array for i, array in enumerate(arrays)}
    buffer = io.BytesIO()
    np.savez(buffer, header=np.array(json.dumps(header)), **named)  # type: ignore[arg-type]
    with zipfile.ZipFile(buffer, "a") as file:
        file.comment = bytes(DIGEST)
    content = buffer.getvalue()[:-DIGEST]
    return content + _digest(content)


def unpack(content: bytes) -> tuple[Any, list[np.ndarray]]:
    """The inverse of `pack`. Raises CheckpointError, and others for a forged file."""
    if not content.startswith(b"PK\x03\x04"):
        found = repr(content[:8]) if content else "an empty file"
        raise CheckpointError(f"expected an .npz file of save_state, found {found}")
    if _digest(content[:-DIGEST]) != content[-DIGEST:]:
        raise CheckpointError(
            "truncated or altered, or not written by save_state: its last "
            f"{DIGEST} bytes are not the sha256 of those before; go back to a copy"
        )
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = [_read(file, info) for info in file.infolist()]
    return json.loads(str(members[0])), members[1:]


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _read(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One array, its header believed only as far as its bytes reach."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise CheckpointError(f"{info.filename}: expected no compression")
    raw = file.read(info)
    stream = io.BytesIO(raw)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise CheckpointError(f"{info.filename}: expected npy 1.0, found {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    start = stream.tell()
    if dtype.hasobject:
        raise CheckpointError(f"{info.filename}: holds pickled objects")
    claimed, there = math.prod(shape) * dtype.itemsize, len(raw) - start
    if claimed != there:
        raise CheckpointError(
            f"{info.filename}: claims to be {shape} of {dtype}, {claimed} bytes; "
            f"found {there}"
        )
    flat = np.frombuffer(raw, dtype, offset=start)
    return flat.reshape(shape, order="F" if fortran else "C").copy(order="K")
