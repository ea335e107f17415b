"""Writes files beside their place and renames them, so nobody reads half of one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from kfac_ref.errors import KfacError, KfacTypeError, ValueRangeError, describe


class NotWritable(KfacError, OSError):
    """Raised if a folder cannot be written to; the message names it."""


def check_path(what: str, path: Any) -> None:
    """Raise KfacTypeError unless `path` is a path, ValueRangeError if it is ''."""
    if not isinstance(path, str | os.PathLike):
        raise KfacTypeError(f"{what}: expected a path, found {describe(path)}")
    if not os.fspath(path):
        raise ValueRangeError(f"{what}: expected a path, found ''")


def write_whole(path: str | Path, content: bytes) -> Path:
    """Atomically write `content` to `path`, replacing an existing file; return `path`.

    Makes the folder. If two write to one path at once, the last to finish wins. A link
    stays a link; a device or a pipe is written to directly. Raises OSError with the
    path, KfacTypeError, ValueRangeError.
    """
    check_path("path", path)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        place = Path(os.path.realpath(path))
        if place.exists() and not place.is_file():
            place.write_bytes(content)
        else:
            _replace(place, content)
    except OSError as error:
        if error.errno:  # without an errno, the message says it all
            error.filename = str(path)
        raise
    return path


def _replace(place: Path, content: bytes) -> None:
    beside = _beside(place)
    try:
        with beside.open("xb") as file:
            file.write(content)
        os.replace(beside, place)
    finally:
        beside.unlink(missing_ok=True)  # still there only if something failed


def _beside(place: Path) -> Path:
    """A new name in the same folder; short, since names are limited to 255 bytes."""
    return place.with_name(f".{secrets.token_hex(8)}.part")


def make_folder(path: str | Path) -> Path:
    """Make the folder if need be, test that it can be written to, and return it.

    Call it before the work, so that the result will have a place. Raises NotWritable,
    KfacTypeError, ValueRangeError.
    """
    check_path("folder", path)
    trial = _beside(Path(path) / "file")
    try:
        trial.parent.mkdir(parents=True, exist_ok=True)
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise NotWritable(
            f"{path}: expected a folder to write in: {error.strerror}"
        ) from error
    return trial.parent
