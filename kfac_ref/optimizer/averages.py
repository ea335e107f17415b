"""Moving averages of curvature matrices over the steps.

After k values the average is  C_k = (1 - w_k) C_{k-1} + w_k C,  C the newest, and the
variants differ in the weight w_k and in what they begin with. With decay eps:

    latest      w_k = 1                          no memory
    plain       w_k = 1/k                        the mean of all (burn-in)
    paper       w_k = 1 - min(1 - 1/k, eps)      Martens & Grosse 2015, section 5
    debiased    w_k = (1 - eps)/(1 - eps^k)      KFAC-JAX, TensorFlow K-FAC
    first       w_1 = 1, then 1 - eps            LBANN, ChainerKFAC
    zero        w_k = 1 - eps, begun at 0        too small by 1 - eps^k: a classic bug
    identity    w_k = 1 - eps, begun at I        eps^k I is left over: another
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from kfac_ref.backend import Array, get_xp
from kfac_ref.errors import ShapeError, Unsupported, ValueRangeError, choose
from kfac_ref.matrices import BlockDiagonal, Dense, Diagonal, Kronecker, SymmetricMatrix

AVERAGES = ("latest", "plain", "paper", "debiased", "first", "zero", "identity")


def weight(variant: str, k: int, decay: float) -> float:
    """w_k of the k-th value, k = 1, 2, ... Raises UnknownName, ValueRangeError."""
    choose("average", variant, AVERAGES)
    if not 0.0 <= decay < 1.0:
        raise ValueRangeError(f"decay: expected a number in [0, 1), found {decay!r}")
    if variant == "latest" or (variant == "first" and k == 1):
        return 1.0
    if variant == "plain":
        return 1.0 / k
    if variant == "paper":
        return 1.0 - min(1.0 - 1.0 / k, decay)
    if variant == "debiased":
        return (1.0 - decay) / (1.0 - decay**k)
    return 1.0 - decay


@dataclass(frozen=True)
class MovingAverage:
    """The average so far: `value` of `count` matrices (None of none)."""

    variant: str = "paper"
    decay: float = 0.95
    count: int = 0
    value: Any = None

    def add(self, newest: SymmetricMatrix) -> MovingAverage:
        """One more matrix, of the same kind and size. Unsupported, ShapeError."""
        w = weight(self.variant, self.count + 1, self.decay)
        if self.value is not None:
            mixed = mix(self.value, newest, w)
        elif self.variant == "zero":
            mixed = mix(newest, newest, w, keep=0.0)
        elif self.variant == "identity":
            mixed = mix(_identity(newest), newest, w)
        else:
            mixed = newest
        return replace(self, count=self.count + 1, value=mixed)


def mix(old: Any, new: Any, w: float, keep: float | None = None) -> Any:
    """(1 - w) old + w new, array by array: for K-FAC the factors A and G."""
    kept = 1.0 - w if keep is None else keep
    if type(old) is not type(new) or old.size != new.size:
        raise ShapeError(f"moving average: {old!r} and {new!r} are of different kinds")
    if isinstance(old, BlockDiagonal):
        blocks = zip(old.blocks, new.blocks, strict=True)
        return BlockDiagonal([mix(a, b, w, keep) for a, b in blocks], new.name)
    if isinstance(old, Kronecker):
        A, G = kept * old.A + w * new.A, kept * old.G + w * new.G
        return Kronecker(A, G, new.name)
    if isinstance(old, Diagonal):
        return Diagonal(kept * old.values + w * new.values, new.name)
    if isinstance(old, Dense):
        return Dense(kept * old.matrix + w * new.matrix, new.name)
    raise Unsupported(
        f"moving average of {old!r}: its basis turns from step to step, so its numbers "
        "have no mean; use the average 'latest', or the structure 'kronecker'"
    )


def _identity(like: Any) -> Any:
    """The identity, as a matrix of the same kind."""
    if isinstance(like, BlockDiagonal):
        return BlockDiagonal([_identity(block) for block in like.blocks], like.name)
    if isinstance(like, Kronecker):
        return Kronecker(_eye(like.A), _eye(like.G), like.name)
    if isinstance(like, Diagonal):
        return Diagonal(get_xp(like.values).ones_like(like.values), like.name)
    return Dense(_eye(like.to_dense()), like.name)


def _eye(like: Array) -> Array:
    return get_xp(like).eye(len(like), dtype=like.dtype)
