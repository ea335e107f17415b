"""What memory and number formats can hold: said before, or as soon as, it is too much.

A dense matrix of 60,300 parameters takes 29 GB, and one that does not fit is either a
bare MemoryError or, where the system promises more than it has, the end of the process.
So everything that is quadratic in a size asks `check_room` before it allocates, and
what is a number of the caller's times a batch asks `check_bytes`. Second
moments of finite numbers can leave the range of their dtype; `check_overflow` says
where. `norm` is right for numbers whose squares would leave it.
"""

from __future__ import annotations

import math

import numpy as np

from kfac_ref.backend import Array, free_memory, get_xp
from kfac_ref.errors import NotFinite, TooLarge

# for functions whose result is looked at: NotFinite says more than NumPy's warnings
quiet_overflow = np.errstate(over="ignore", invalid="ignore")

SMALL = 2**27  # bytes; for less nobody needs to look
INSTEAD = (
    "use products (`@`, `solve`, FisherProduct), the block of one layer, or a "
    "structure such as 'kronecker' or 'diagonal'"
)


def check_room(
    what: str, size: int, like: Array, copies: int = 1, instead: str = INSTEAD
) -> None:
    """TooLarge unless so many (size, size) arrays of `like`'s dtype fit where it is."""
    needed = copies * size * size * like.dtype.itemsize
    if needed > SMALL:
        times = f"{copies} arrays of " if copies > 1 else ""
        what = f"{what}: {times}{size:,} x {size:,} numbers in {like.dtype}"
        check_bytes(what, needed, like, instead)


def check_bytes(what: str, needed: int, like: Array, instead: str) -> None:
    """TooLarge unless so many bytes are free where `like` is: `what` takes them."""
    if needed <= SMALL:
        return
    free = free_memory(like)
    if needed > free:
        raise TooLarge(
            f"{what} take {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free; "
            f"{instead}"
        )


def check_overflow(what: str, array: Array) -> None:
    """NotFinite if what was computed of finite numbers is NaN or infinite."""
    xp = get_xp(array)
    good = xp.isfinite(array)
    if not bool(xp.all(good)):
        limit = float(xp.finfo(array.dtype).max)
        wider = " or compute in float64" if array.dtype.itemsize < 8 else ""
        raise NotFinite(
            f"{what}: {int(xp.sum(~good))} of {array.size} numbers are NaN or "
            f"infinite: overflow in {array.dtype}, which ends at {limit:.2g} and has "
            f"the squares of numbers up to {math.sqrt(limit):.2g}; scale the inputs "
            f"and the parameters{wider}"
        )


def norm(array: Array) -> float:
    """The square root of the sum of the squares, in range wherever it is itself."""
    xp = get_xp(array)
    size = float(xp.max(xp.abs(array)))
    if not 0 < size < math.inf:
        return size
    power = 2.0 ** math.frexp(size)[1]  # dividing by it rounds nothing
    return float(xp.linalg.norm(array / power)) * power
