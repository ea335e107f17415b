"""autograd, which is not needed by the rest of the package, is loaded when used.

And how much memory there is, for the same reason: nothing is shared with the rest.
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
    """Bytes that the machine has; infinite where it does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf
