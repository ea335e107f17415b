"""MNIST, or any set in its format, from local IDX files.

An IDX file, possibly gzipped, holds: two zero bytes; one byte for the type of the
numbers (8: unsigned bytes); one byte for the number of dimensions; each dimension as a
big-endian 32-bit integer; the numbers. Files come from anywhere, so everything in them
is checked.
"""

from __future__ import annotations

import gzip
import math
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np

from kfac_ref.backend import Array, asarray
from kfac_ref.checks import check_count, check_float_type, check_shape
from kfac_ref.errors import KfacError, ShapeError, choose
from kfac_ref.files import check_path

LARGEST = 2**28  # bytes: no file may claim to hold more (MNIST holds 2**25.5)
SPLITS = {"train": "train", "test": "t10k"}  # our names, and those of the files
TYPES = {8: "uint8", 9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}


class DatasetError(KfacError, ValueError):
    """A data file with wrong content; the message names the file."""


class DatasetMissing(KfacError, FileNotFoundError):
    """Data files that do not exist; the message lists the names that were tried."""


def mnist(
    folder: str | Path, split: str = "train", flat: bool = True, dtype: Any = np.float64
) -> tuple[Array, Array]:
    """Load a set in MNIST's format: x (N, 784), or (N, 28, 28, 1) if not flat; y (N,).

    Raises DatasetMissing, and DatasetError for files with wrong content.
    """
    check_path("folder", folder)
    float_type = check_float_type("dtype", dtype)
    prefix = SPLITS[choose("split", split, SPLITS)]
    image_file, label_file = _find(
        Path(folder), f"{prefix}-images?idx3-ubyte", f"{prefix}-labels?idx1-ubyte"
    )
    images, labels = read_idx(image_file, 3), read_idx(label_file, 1)
    if len(images) != len(labels):
        raise DatasetError(
            f"{image_file} and {label_file}: expected as many labels as images, "
            f"found {len(images)} images and {len(labels)} labels"
        )
    if labels.max() > 9:
        raise DatasetError(
            f"{label_file}: expected labels from 0 to 9, found {labels.max()} "
            f"(label number {labels.argmax()} counted from 0)"
        )
    x = images.astype(float_type)
    x /= 255  # in place: the images of MNIST take 0.4 GB in float64
    x = x.reshape(len(x), -1) if flat else x[..., None]
    return asarray(x), asarray(labels.astype(np.int64))


def shrink(images: Array, factor: int) -> Array:
    """Average squares of factor x factor pixels: (N, H, W, C) -> (N, H/f, W/f, C).

    Raises ShapeError unless factor divides H and W.
    """
    check_shape("images", images, ("N", "H", "W", "C"))
    N, H, W, C = images.shape
    factor = check_count("factor", factor)
    if H % factor or W % factor:
        raise ShapeError(
            f"factor: expected a divisor of both sides, {H} and {W}, found {factor}"
        )
    squares = images.reshape(N, H // factor, factor, W // factor, factor, C)
    return squares.mean(axis=(2, 4))


def read_idx(path: str | Path, dimensions: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes with this many dimensions into a NumPy array.

    Reads at most LARGEST bytes, and at most one more than the header claims.
    """
    check_path("path", path)
    path, dimensions = Path(path), check_count("dimensions", dimensions)
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            shape = _read_header(path, file, dimensions)
            return _read_bytes(path, file, math.prod(shape)).reshape(shape)
    except (EOFError, OSError, zlib.error) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error


def _read_header(path: Path, file: BufferedIOBase, dimensions: int) -> list[int]:
    """Check the header, and return the shape that it claims."""
    expected = f"0000 08{dimensions:02x}"
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES:
        raise DatasetError(
            f"{path}: expected an IDX file, which starts with the bytes {expected}, "
            f"found {magic.hex(' ', 2) or 'an empty file'}"
        )
    if magic[2] != 8:
        raise DatasetError(
            f"{path}: expected numbers of type 8 (uint8), "
            f"found {magic[2]} ({TYPES[magic[2]]})"
        )
    if magic[3] != dimensions:
        raise DatasetError(
            f"{path}: expected {dimensions} dimension(s), found {magic[3]}"
        )
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise DatasetError(
            f"{path}: truncated: expected a header of {4 + 4 * dimensions} bytes, "
            f"found {4 + len(header)}"
        )
    shape = [int(size) for size in np.frombuffer(header, dtype=">u4")]
    if not 0 < math.prod(shape) <= LARGEST:
        raise DatasetError(
            f"{path}: expected a header that claims from 1 to {LARGEST} bytes, "
            f"found {' x '.join(map(str, shape))} = {math.prod(shape)}"
        )
    return shape


def _read_bytes(path: Path, file: BufferedIOBase, claimed: int) -> np.ndarray:
    """Read what follows the header; one byte more makes gzip check its checksum."""
    content = file.read(claimed + 1)
    if len(content) != claimed:
        truncated = len(content) < claimed
        raise DatasetError(
            f"{path}: {'truncated' if truncated else 'too long'}: expected {claimed} "
            f"bytes after the header, as it claims, "
            f"found {len(content) if truncated else 'more'}"
        )
    return np.frombuffer(content, dtype=np.uint8)


def _find(folder: Path, *patterns: str) -> list[Path]:
    """Find one file for each pattern; its ? is - or ., and .gz may follow."""
    found, missing = [], []
    for pattern in patterns:
        plain = [pattern.replace("?", mark) for mark in "-."]
        names = [name + ending for ending in ("", ".gz") for name in plain]
        there = [folder / name for name in names if (folder / name).is_file()]
        found += there[:1]
        missing += [] if there else [" or ".join(names)]
    if missing:
        where = "" if folder.is_dir() else " (there is no such folder)"
        raise DatasetMissing(
            f"in {str(folder)!r}{where} expected {'; and '.join(missing)}; found none; "
            "put the files of MNIST there, gzipped or not"
        )
    return found
