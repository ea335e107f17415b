"""Moving averages of curvature matrices over the steps.

After k values the average is  C_k = (1 - w_k) C_{k-1} + w_k C,  C the newest, and the
variants differ in the weight w_k and in where they begin. With decay eps:

    latest      w_k = 1                          no memory
    plain       w_k = 1/k                        the mean of all
    paper       w_k = 1 - min(1 - 1/k, eps)      Martens & Grosse 2015, section 5
    debiased    w_k = (1 - eps)/(1 - eps^k)      KFAC-JAX, TensorFlow K-FAC
    first       w_1 = 1, then 1 - eps            LBANN, ChainerKFAC
    zero        w_k = 1 - eps, begun at 0        too small by 1 - eps^k: a classic bug
    identity    w_k = 1 - eps, begun at I        eps^k I is left over: another

`debiased` is the mean of all values with weights 1, eps, eps^2, ..., newest first. A
burn-in is a plain mean, from which the variant then goes on. `latest` and `plain` have
no use for a decay but accept one, so that the variant alone may be varied.

MovingAverage is the rule, Average what it has averaged so far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kfac_ref.backend import Array, add_scaled, get_xp
from kfac_ref.errors import (
    KfacTypeError,
    ShapeError,
    Unsupported,
    ValueRangeError,
    describe,
)
from kfac_ref.matrices import (
    BlockDiagonalMatrix,
    ChainFactors,
    DenseMatrix,
    DiagonalMatrix,
    EigenKronecker,
    KroneckerProduct,
    SymmetricMatrix,
)
from kfac_ref.values import Value
from kfac_ref.words import translate

AVERAGES = ("latest", "plain", "paper", "debiased", "first", "zero", "identity")


@dataclass(frozen=True, eq=False)
class Average(Value):
    """What has been averaged so far; of nothing, the value is None."""

    value: Any = None  # a matrix, or an array
    count: int = 0  # values that went into it
    total: float = 0.0  # their weights, in units of the newest one's


@dataclass(frozen=True)
class MovingAverage(Value):
    """The rule by which a new value enters an average: `rule.add(average, newest)`.

    Raises UnknownName for a variant that is not in the list above, ValueRangeError for
    a decay outside [0, 1).
    """

    variant: str = "paper"
    decay: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        variant = translate("average", self.variant, AVERAGES)
        object.__setattr__(self, "variant", variant)
        if not 0.0 <= self.decay < 1.0:
            raise ValueRangeError(
                f"decay of the moving average: expected a number in [0, 1), found "
                f"{describe(self.decay)}"
            )

    def add(self, average: Average, newest: Any, burn_in: bool = False) -> Average:
        """The average with one more value, of the same kind and size as the others.

        A value of the burn-in enters with the weight of a plain mean. Raises
        Unsupported for matrices that have no mean, ShapeError.
        """
        variant = "plain" if burn_in else self.variant
        k = average.count + 1
        total = average.total * (self.decay if variant == "debiased" else 1.0) + 1.0
        w = _weight(variant, k, total, self.decay)
        if k == 1 and variant == "zero":
            mixed = mix(newest, newest, w, keep=0.0)
        elif k == 1 and variant == "identity":
            mixed = mix(_identity(newest), newest, w)
        elif k == 1 or variant == "latest":
            mixed = newest
        else:
            mixed = mix(average.value, newest, w)
        return Average(mixed, k, total)


def make_average(what: str, given: Any) -> MovingAverage:
    """Return a MovingAverage as it is; make one, of decay 0.95, of the name of one.

    Raises KfacTypeError, UnknownName.
    """
    if isinstance(given, str):
        return MovingAverage(translate("average", given, AVERAGES, what))
    if not isinstance(given, MovingAverage):
        raise KfacTypeError(
            f"{what}: expected a MovingAverage, such as MovingAverage('debiased', 0.95)"
            f", or its name, found {describe(given)}"
        )
    return given


def _weight(variant: str, k: int, total: float, decay: float) -> float:
    """Return w_k, the weight of the k-th value."""
    if variant in ("plain", "debiased"):
        return 1.0 / total
    if variant == "paper":
        return 1.0 - min(1.0 - 1.0 / k, decay)
    return 1.0 - decay


PARTS: dict[type, tuple[str, ...]] = {  # the arrays that make up each kind
    KroneckerProduct: ("A", "G"),
    DiagonalMatrix: ("values",),
    DenseMatrix: ("matrix",),
    ChainFactors: ("A", "G", "A_next", "G_next"),
}


def mix(old: Any, new: Any, w: float, keep: float | None = None) -> Any:
    """Return (1 - w) old + w new, array by array: for K-FAC the factors A and G."""
    if isinstance(new, list):
        return [mix(a, b, w, keep) for a, b in zip(old, new, strict=True)]
    if type(old) is not type(new) or old.size != new.size:
        raise ShapeError(f"moving average: {old!r} and {new!r} are of different kinds")
    if isinstance(new, BlockDiagonalMatrix):
        return BlockDiagonalMatrix(mix(old.blocks, new.blocks, w, keep), new.name)
    if type(new) in PARTS:
        parts = [
            mix(getattr(old, p), getattr(new, p), w, keep) for p in PARTS[type(new)]
        ]
        make = getattr(type(new), "semidefinite", type(new))  # symmetric as they were
        return make(*parts, getattr(new, "names", None) or new.name)
    if isinstance(new, SymmetricMatrix):
        if not isinstance(new, EigenKronecker):
            raise Unsupported(
                f"moving average of {old!r}: list the arrays of its kind in PARTS "
                "(averages.py), or use the average 'latest'"
            )
        raise Unsupported(
            f"moving average of {old!r}: its basis turns from step to step, so its "
            "numbers have no mean; use the average 'latest', or another structure"
        )
    return add_scaled((1.0 - w if keep is None else keep) * old, w, new)  # arrays


def _identity(like: Any) -> Any:
    """Return the identity as a matrix of the same kind."""
    if isinstance(like, BlockDiagonalMatrix):
        return BlockDiagonalMatrix(
            [_identity(block) for block in like.blocks], like.name
        )
    if isinstance(like, KroneckerProduct):
        return KroneckerProduct(_eye(like.A), _eye(like.G), like.name)
    if isinstance(like, DiagonalMatrix):
        return DiagonalMatrix(get_xp(like.values).ones_like(like.values), like.name)
    if isinstance(like, DenseMatrix):
        return DenseMatrix(_eye(like.matrix), like.name)
    if isinstance(like, ChainFactors):
        A, G = [_eye(A) for A in like.A], [_eye(G) for G in like.G]
        A_next, G_next = [0 * M for M in like.A_next], [0 * M for M in like.G_next]
        return ChainFactors(A, G, A_next, G_next, like.names)
    raise Unsupported(f"moving average 'identity' of {like!r}: use another variant")


def _eye(like: Array) -> Array:
    return get_xp(like).eye(len(like), dtype=like.dtype)
