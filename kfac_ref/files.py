"""Files are written beside their place and renamed: nobody ever reads half of one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from kfac_ref.errors import KfacError, KfacTypeError, ValueRangeError, describe


class NotWritable(KfacError, OSError):
    """A folder in which nothing can be written; the message names it."""


def check_path(what: str, path: Any) -> None:
    """KfacTypeError unless words or a Path; ValueRangeError for an empty one."""
    if not isinstance(path, str | os.PathLike):
        raise KfacTypeError(f"{what}: expected a path, found {describe(path)}")
    if not os.fspath(path):
        raise ValueRangeError(f"{what}: expected a path, found ''")


def write_whole(path: str | Path, content: bytes) -> Path:
    """Write `content` to `path`, all of it or nothing; makes the folder.

    Two that write to one path at once do not meet: the last one to end is read. A link
    stays a link, a device or a pipe stays what it is. Raises OSError with the path,
    KfacTypeError, ValueRangeError.
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
        if error.errno:  # without a number it has words of its own
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
    """A new name in the same folder, short: names have a limit of 255 bytes."""
    return place.with_name(f".{secrets.token_hex(8)}.part")


def make_folder(path: str | Path) -> Path:
    """The folder, made if need be, after a file was written in it. NotWritable.

    To be called before the work: afterwards its result would have no place.
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
