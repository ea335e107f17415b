"""How far to go along fixed directions: the quadratic model and its minimum.

    M(delta) = 1/2 delta^T (C + diag(eta) + lambda I) delta + grad^T delta

with delta = sum_i c_i d_i is a quadratic function of a few coefficients c. The paper
has two, alpha of the proposal d_1 and mu of the last update d_2, from

    [ d_1^T C' d_1   d_1^T C' d_2 ] [ alpha ]     [ grad^T d_1 ]
    [ d_2^T C' d_1   d_2^T C' d_2 ] [ mu    ] = - [ grad^T d_2 ]      C' = C + ...

Martens & Grosse 2015, sections 6.4 and 7. C is the exact curvature of the mean loss on
the batch, through products; so a direction may come from any approximation of it.

By hand: C = [[4, 1], [1, 3]], grad = (1, 2), lambda = 1/2, eta = 0, and the directions
(1, 0) and (1, 1) give the system [[9/2, 11/2], [11/2, 10]] c = -(1, 3), with the
determinant 59/4; so c = (26/59, -32/59) and M = 1/2 (26 - 3 * 32)/59 = -35/59. Along
(1, 0) alone c = -2/9 and M = -1/9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kfac_ref.backend import Array, get_xp, to_numpy
from kfac_ref.checks import (
    check_count,
    check_finite,
    check_floats,
    check_number,
    check_shape,
)
from kfac_ref.errors import (
    NotPositiveDefinite,
    ShapeError,
    ValueRangeError,
    describe,
    located,
)
from kfac_ref.matrices import SymmetricMatrix
from kfac_ref.matrices.base import check_matrix
from kfac_ref.matrices.definite import check_damping, check_vector
from kfac_ref.values import Value


@dataclass(frozen=True, eq=False)
class QuadraticModel(Value):
    """M on the span of m directions. All arrays are on the host, in float64.

    curvature, decay and metric are (m, m): d_i^T C d_j, d_i^T diag(eta) d_j, d_i^T d_j;
    slope is (m,): grad^T d_i. `rounding` is the relative error of one product.
    """

    curvature: np.ndarray
    decay: np.ndarray
    metric: np.ndarray
    slope: np.ndarray
    rounding: float = float(np.finfo(np.float64).eps)

    def matrix(self, damping: float, l2: bool = True) -> np.ndarray:
        """Return d_i^T (C + eta + lambda I) d_j, (m, m); without eta if l2=False."""
        decay = self.decay if l2 else 0.0 * self.decay
        return self.curvature + decay + check_damping(damping) * self.metric

    def value(
        self, coefficients: Sequence[float], damping: float, l2: bool = True
    ) -> float:
        """Return M(sum_i c_i d_i), the predicted change of the loss (< 0: it falls)."""
        try:
            c = np.asarray(coefficients, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):  # no numbers, or beyond float64
            c = np.empty(0)
        if c.shape != self.slope.shape or not np.isfinite(c).all():
            raise ValueRangeError(
                f"coefficients: expected {len(self.slope)} finite numbers, found "
                f"{describe(coefficients)}"
            )
        return float(0.5 * c @ self.matrix(damping, l2) @ c + self.slope @ c)

    def solve(
        self,
        damping: float,
        l2: bool = True,
        fixed: Mapping[int, float] | None = None,
    ) -> np.ndarray:
        """Return the coefficients (m,) that minimise M, except for those in `fixed`.

        A direction that is zero, or depends linearly on those before it, gets 0. Raises
        NotPositiveDefinite if M has no minimum.
        """
        K, c = self.matrix(damping, l2), np.zeros(len(self.slope))
        held = set()
        for index, value in (fixed or {}).items():
            i = check_count("fixed: index", index, least=0)
            if i >= len(c):
                raise ValueRangeError(
                    f"fixed: expected an index from 0 to {len(c) - 1}, found {i}"
                )
            c[i] = check_number(f"fixed: coefficient {i}", value)
            held.add(i)
        free = [i for i in range(len(c)) if i not in held]
        free = _independent(K, free, damping, 100 * self.rounding)
        right = -(self.slope + K @ c)[free]
        c[free] = np.linalg.solve(K[np.ix_(free, free)], right)
        return c


def quadratic_model(
    directions: Sequence[Array],
    gradient: Array,
    matrix: SymmetricMatrix,
    l2: float | Array = 0.0,
) -> QuadraticModel:
    """Return M along `directions`, each (P,), for the gradient (P,) of the mean loss.

    matrix: C, of any kind: exact, as products (FisherProduct and the like, which need
    no pass back for it), or an approximation. l2: eta, a number or one for each
    parameter (P,), 0 where a parameter is not decayed. Raises ShapeError, BackendError,
    ValueRangeError.
    """
    if not isinstance(directions, list | tuple):
        raise ShapeError(
            f"directions: expected a list of vectors, found {describe(directions)}"
        )
    with located("gradient"):
        get_xp(gradient)
        check_floats("numbers", gradient)
    with located("directions"):
        get_xp(gradient, *directions)
    for i, d in enumerate(directions):
        if d.shape != gradient.shape or d.ndim != 1:
            raise ShapeError(
                f"direction {i}: expected the shape of the gradient, "
                f"{tuple(gradient.shape)}, a vector; found {tuple(d.shape)}"
            )
        check_vector(f"direction {i}", d, len(gradient), gradient)
    if not directions:
        raise ShapeError("directions: expected at least one, found none")
    check_matrix("matrix", matrix)
    C = to_numpy(matrix.form(directions)).astype(np.float64)
    metric = _inner(directions, directions)
    if getattr(l2, "ndim", 0):
        check_shape("l2", l2, tuple(gradient.shape))
        check_finite("l2", l2)
        E = _inner(directions, [l2 * d for d in directions])
    else:
        eta = check_number("l2", l2)
        if not 0 <= eta < math.inf:
            raise ValueRangeError(f"l2: expected a finite number >= 0, found {eta}")
        E = eta * metric
    C, E, D = ((M + M.T) / 2 for M in (C, E, metric))
    rounding = float(np.finfo(gradient.dtype).eps)
    return QuadraticModel(C, E, D, _inner([gradient], directions)[0], rounding)


def _inner(left: Sequence[Array], right: Sequence[Array]) -> np.ndarray:
    """Return u^T v of every two vectors, on the host, in float64."""
    return np.array([[float(u @ v) for v in right] for u in left])


def reduction_ratio(before: float, after: float, predicted: float) -> float:
    """rho = (loss after - loss before) / M(delta). Martens & Grosse 2015, section 6.5.

    With lambda inside M, rho tends to 2, not to 1, as lambda grows: delta then becomes
    -grad / lambda, along which M is half of its linear part. Raises ValueRangeError if
    M predicts no change, for rho would be 0/0.
    """
    before, after = check_number("before", before), check_number("after", after)
    predicted = check_number("predicted", predicted)
    if predicted == 0.0:
        raise ValueRangeError("reduction_ratio: the model predicts a change of zero")
    return (after - before) / predicted


def _independent(
    K: np.ndarray, free: list[int], damping: float, tolerance: float
) -> list[int]:
    """Keep those of `free` that are not zero and do not depend on the ones before."""
    kept: list[int] = []
    for i in free:
        own = K[i, i]
        block, side = K[np.ix_(kept, kept)], K[kept, i]
        rest = own - side @ np.linalg.solve(block, side) if kept else own
        rounding = tolerance * abs(own)
        if rest < -rounding:
            values = np.linalg.eigvalsh(K[np.ix_([*kept, i], [*kept, i])])
            raise NotPositiveDefinite("the quadratic model", damping, values)
        if rest > rounding:
            kept.append(i)
    return kept
