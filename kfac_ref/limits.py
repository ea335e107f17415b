"""Limits of memory and number formats: errors before, or as soon as, they are passed.

A dense matrix of 60,300 parameters takes 29 GB. If one does not fit, NumPy raises a
bare MemoryError or, if the system promises more than it has, the process is killed. So
code whose arrays are quadratic in a size calls `check_room` before it allocates, and
code whose arrays are a caller's number times a batch calls `check_bytes`. Second
moments of finite numbers can overflow their dtype; `check_overflow` says where. `norm`
is right even if squares would overflow.
"""

from __future__ import annotations

import math

import numpy as np

from kfac_ref.backend import Array, free_memory, get_xp
from kfac_ref.errors import NotFinite, TooLarge

# for functions that check their result: NotFinite says more than NumPy's warnings
quiet_overflow = np.errstate(over="ignore", invalid="ignore")

SMALL = 2**27  # bytes; less is not checked
INSTEAD = (
    "use products (`@`, `solve`, FisherProduct), the block of one layer, or a "
    "structure such as 'kronecker' or 'diagonal'"
)


def check_room(
    what: str, size: int, like: Array, copies: int = 1, instead: str = INSTEAD
) -> None:
    """Raise TooLarge unless `copies` (size, size) arrays fit where `like` is."""
    needed = copies * size * size * like.dtype.itemsize
    if needed > SMALL:
        times = f"{copies} arrays of " if copies > 1 else ""
        what = f"{what}: {times}{size:,} x {size:,} numbers in {like.dtype}"
        check_bytes(what, needed, like, instead)


def check_bytes(what: str, needed: int, like: Array, instead: str) -> None:
    """Raise TooLarge unless the `needed` bytes of `what` are free where `like` is."""
    if needed <= SMALL:
        return
    free = free_memory(like)
    if needed > free:
        raise TooLarge(
            f"{what} take {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free; "
            f"{instead}"
        )


def check_overflow(what: str, array: Array) -> None:
    """Raise NotFinite if `array`, computed from finite numbers, is not finite."""
    xp = get_xp(array)
    good = xp.isfinite(array)
    if not bool(xp.all(good)):
        limit = float(xp.finfo(array.dtype).max)
        wider = " or compute in float64" if array.dtype.itemsize < 8 else ""
        raise NotFinite(
            f"{what}: {int(xp.sum(~good))} of {array.size} numbers are NaN or "
            f"infinite: overflow in {array.dtype}, whose largest number is "
            f"{limit:.2g}, and squares overflow above {math.sqrt(limit):.2g}; scale "
            f"the inputs and the parameters{wider}"
        )


def norm(array: Array) -> float:
    """Square root of the sum of squares, even if the squares overflow or underflow."""
    xp = get_xp(array)
    size = float(xp.max(xp.abs(array)))
    if not 0 < size < math.inf:
        return size
    power = 2.0 ** math.frexp(size)[1]  # dividing by it rounds nothing
    return float(xp.linalg.norm(array / power)) * power
