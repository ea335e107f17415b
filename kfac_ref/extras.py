"""Packages that the core does without: loaded when they are used.

What is missing is named, with the command that installs it.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from kfac_ref.errors import ExtraMissing

INSTALLED_AS = {"sklearn": "scikit-learn"}  # where package and module differ in name


def optional(module: str, purpose: str, otherwise: str = "") -> Any:
    """The module; ExtraMissing, if it cannot be imported, says how to get it.

    `purpose` begins the sentence ("the digits"), `otherwise` ends it.
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
    """ExtraMissing before the work, with one command for all that are not there."""
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
