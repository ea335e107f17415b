"""Question 3: how a curvature matrix is damped before it is inverted (rules.py)."""

from kfac_ref.damping.eigendecomposition import by_eigendecomposition
from kfac_ref.damping.pi import find_pi
from kfac_ref.damping.rules import (
    RULES,
    by_kind,
    factored_tikhonov,
    make_rule,
    same_on_each_factor,
    separate,
    tikhonov,
)

__all__ = [
    "RULES",
    "by_eigendecomposition",
    "by_kind",
    "factored_tikhonov",
    "find_pi",
    "make_rule",
    "same_on_each_factor",
    "separate",
    "tikhonov",
]
