"""autograd, which is not needed by the rest of the package, is loaded when used."""

from __future__ import annotations

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
