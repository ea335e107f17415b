"""Imports optional packages when they are used: the core does without them.

Names the missing package, with the command that installs it.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from kfac_ref.errors import ExtraMissing

INSTALLED_AS = {"sklearn": "scikit-learn"}  # if package and module have different names


def optional(module: str, purpose: str, otherwise: str = "") -> Any:
    """Import and return `module`; ExtraMissing says how to install it.

    The message begins with `purpose` ("the digits") and ends with `otherwise`.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = _package(module)
        raise ExtraMissing(
            f"{purpose}: {package} is needed, and cannot be imported ({error}); "
            f"install it: pip install {package}{otherwise}"
        ) from error


def check_extras(purpose: str, *modules: str) -> None:
    """Raise ExtraMissing, with one command for all modules that are missing."""
    missing = [_package(m) for m in modules if importlib.util.find_spec(m) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ExtraMissing(
            f"{purpose}: {', '.join(missing)} {verb} needed, and not installed; "
            f"pip install {' '.join(missing)}"
        )


def _package(module: str) -> str:
    name = module.split(".")[0]
    return INSTALLED_AS.get(name, name)
