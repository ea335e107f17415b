"""Loads autograd when it is used, since the rest of the package does not need it.

It also asks how much memory there is, so that nothing is shared with the rest.
"""

from __future__ import annotations

import math
import os
from typing import Any


def load_autograd() -> Any:
    try:
        import autograd
        import autograd.scipy.special
    except ImportError as error:
        raise ImportError(
            "kfac_ref.definition differentiates with autograd, which is not installed; "
            "pip install autograd"
        ) from error
    return autograd


def memory() -> float:
    """The machine's memory in bytes; infinite if the machine does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf
