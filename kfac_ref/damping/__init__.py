"""Question 3: how a curvature matrix is damped before it is inverted (rules.py)."""

from kfac_ref.damping.pi import trace_pi
from kfac_ref.damping.rules import (
    RULES,
    block_by_block,
    by_eigendecomposition,
    by_kind,
    damp,
    factored_tikhonov,
    same_on_each_factor,
    separate,
    tikhonov,
)

__all__ = [
    "RULES",
    "block_by_block",
    "by_eigendecomposition",
    "by_kind",
    "damp",
    "factored_tikhonov",
    "same_on_each_factor",
    "separate",
    "tikhonov",
    "trace_pi",
]
