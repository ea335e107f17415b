"""pi: how damping is shared out between the two factors of A (x) G.

Factored damping adds to A (x) G + lambda I, lambda = gamma^2, the residual

    R = pi gamma I (x) G + gamma / pi A (x) I

In any norm ||R|| <= gamma (pi ||I (x) G|| + ||A (x) I|| / pi), which is least for

    pi = sqrt(||A (x) I|| / ||I (x) G||)            Martens & Grosse 2015, section 6.3

    trace         pi^2 = (tr A / d_in) / (tr G / d_out)               the paper's choice
    frobenius     pi^2 = (||A||_F / sqrt(d_in)) / (||G||_F / sqrt(d_out))
    operator      pi^2 = (largest eigenvalue of A) / (that of G)
    off           pi = 1

For semi-definite factors each of the three makes its own norm of R itself least, and
no other norm. With them (c A) (x) (G / c) is damped as A (x) G is; with "off" not.
So "off" depends on conventions: where A is a mean over T positions, and the block is
T times a product (TensorFlow K-FAC, which then damps with lambda / T), pi = 1 there is
pi = sqrt(T) here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from kfac_ref.backend import Array, eigvalsh, get_xp
from kfac_ref.calls import door
from kfac_ref.checks import check_kind, check_number
from kfac_ref.errors import ValueRangeError, describe
from kfac_ref.limits import norm
from kfac_ref.matrices import KroneckerProduct
from kfac_ref.words import translate


def mean_eigenvalue(M: Array) -> float:
    """Return tr M / d."""
    return float(get_xp(M).trace(M)) / len(M)


def root_mean_square_eigenvalue(M: Array) -> float:
    """Return ||M||_F / sqrt(d)."""
    return norm(M) / math.sqrt(len(M))


def largest_eigenvalue(M: Array) -> float:
    """Return the largest eigenvalue; costs about as much as an inverse."""
    return float(eigvalsh(M)[-1])


SIZES: dict[str, Callable[[Array], float]] = {
    "trace": mean_eigenvalue,
    "frobenius": root_mean_square_eigenvalue,
    "operator": largest_eigenvalue,
}


def check_pi(pi: float | str) -> float | str:
    """Return a name ("off" is 1), or a number > 0; UnknownName, ValueRangeError."""
    if isinstance(pi, str):
        name = translate("pi", pi, [*SIZES, "off"])
        return 1.0 if name == "off" else name
    number = check_number("pi", pi)
    if not 0 < number < math.inf:
        raise ValueRangeError(
            "pi: expected 'trace', 'frobenius', 'operator', 'off' or a number > 0, "
            f"found {describe(pi)}"
        )
    return number


@door
def find_pi(matrix: KroneckerProduct, pi: float | str = "trace") -> float:
    """Return pi for A (x) G as a number.

    Raises ValueRangeError if a factor has no size: if it is zero (pi would be 0 or
    infinite), or not semi-definite.
    """
    check_kind("matrix", matrix, KroneckerProduct, "with two factors")
    pi = check_pi(pi)
    if not isinstance(pi, str):
        return pi
    size_A, size_G = SIZES[pi](matrix.A), SIZES[pi](matrix.G)
    if not (size_A > 0 and size_G > 0):
        raise ValueRangeError(
            f"{matrix.label}: pi = {pi!r} needs factors of positive size, found "
            f"{size_A:.3g} for A and {size_G:.3g} for G ({pi}, by dimension); "
            "pass pi as a number, or damp exactly, with solve(v, damping)"
        )
    return math.sqrt(size_A / size_G)
