"""Question 3: how a curvature matrix is damped before it is inverted.

Exact (Tikhonov) damping, M + lambda I, needs no function of its own: it is
`M.solve(v, damping)`, for every kind of matrix. Factored Tikhonov damping keeps the
Kronecker product, so that two small Cholesky factorisations suffice:

    (A + pi gamma I) (x) (G + gamma / pi I),   gamma = sqrt(lambda)
    = A (x) G + lambda I + pi gamma I (x) G + gamma / pi A (x) I

The last two terms are its error. Martens & Grosse 2015, section 6.3.
"""

from __future__ import annotations

import math
from typing import Any

from kfac_ref.backend import get_xp
from kfac_ref.errors import Unsupported, ValueRangeError, choose
from kfac_ref.matrices import BlockDiagonal, Kronecker
from kfac_ref.matrices.definite import add_to_diagonal, check_damping


def factored_tikhonov(matrix: Any, damping: float, pi: float | str = "trace") -> Any:
    """(A + pi gamma I) (x) (G + gamma / pi I) for a Kronecker matrix A (x) G.

    A BlockDiagonal of Kronecker products is damped block by block. pi is "trace" (see
    `trace_pi`) or a positive number. Raises Unsupported for other kinds of matrices.
    """
    gamma = math.sqrt(check_damping(damping))
    if isinstance(matrix, BlockDiagonal):
        damped = [factored_tikhonov(block, damping, pi) for block in matrix.blocks]
        return BlockDiagonal(damped, matrix.name)
    if not isinstance(matrix, Kronecker):
        raise Unsupported(
            f"{getattr(matrix, 'label', 'matrix')}: factored Tikhonov damping needs a "
            f"Kronecker product, found {type(matrix).__name__}; damp it exactly, with "
            "solve(v, damping)"
        )
    pi = trace_pi(matrix) if isinstance(pi, str) and choose("pi", pi, ["trace"]) else pi
    if not 0 < float(pi) < math.inf:
        raise ValueRangeError(f"pi: expected 'trace' or a number > 0, found {pi!r}")
    pi = float(pi)
    A = add_to_diagonal(matrix.A, pi * gamma)
    G = add_to_diagonal(matrix.G, gamma / pi)
    damping_used = f"factored Tikhonov, lambda = {damping:g}, pi = {pi:.3g}"
    return matrix._with(A, G, f"{matrix.label} ({damping_used})")


def trace_pi(matrix: Kronecker) -> float:
    """pi = sqrt((tr A / d_in) / (tr G / d_out)), Martens & Grosse 2015, section 6.3.

    It minimises the trace norm of the error. Raises ValueRangeError for a trace <= 0.
    """
    mean_A, mean_G = (float(get_xp(M).trace(M)) / len(M) for M in (matrix.A, matrix.G))
    if not (mean_A > 0 and mean_G > 0):
        raise ValueRangeError(
            f"{matrix.label}: pi = sqrt((tr A / d_in) / (tr G / d_out)) needs positive "
            f"traces, found tr A / d_in = {mean_A:.3g}, tr G / d_out = {mean_G:.3g}; "
            "pass pi as a number, or damp exactly, with solve(v, damping)"
        )
    return math.sqrt(mean_A / mean_G)
