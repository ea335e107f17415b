"""Kronecker factors from some of the positions that share weights.

A = 1/N sum_nt a a^T of a convolution is a sum over all pixels of all images, and costs
more than the products of its forward pass. An unbiased estimate takes some of them.
TensorFlow K-FAC's `sub_sample_patches` is that, for A alone, and with rows drawn from
those of all examples together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kfac_ref.backend import Array, asarray, get_xp
from kfac_ref.errors import (
    ValueRangeError,
    check_generator,
    check_kind,
    check_number,
)
from kfac_ref.pairs import Pairs, common


def check_share(what: str, share: float) -> float:
    """`share` as Python's float, in (0, 1]; ValueRangeError, KfacTypeError."""
    number = check_number(what, share)
    if not 0.0 < number <= 1.0:
        raise ValueRangeError(f"{what}: expected a share in (0, 1], found {number}")
    return number


def subsample_positions(
    pairs: Pairs, share: float, rng: np.random.Generator | None = None
) -> Pairs:
    """The pairs of round(share T) of the T positions of every layer, at least one.

    They are drawn for every example by itself, without repetition, once for all chunks.
    `a` is multiplied by sqrt(T / kept), so that A, a sum over positions, and G, a mean,
    keep their means; layers with T = 1 stay as they are. Only 'kronecker' takes such
    pairs: the others need D_nk, which is a sum over all positions.
    Raises ValueRangeError.
    """
    check_kind("pairs", pairs, Pairs, "as propagate(...) gives them")
    if rng is not None:
        check_generator(rng)
    share = check_share("share of the positions", share)
    kept = [max(1, round(share * T)) for T in pairs.positions]
    if kept == pairs.positions:
        return pairs
    check_generator(rng)
    assert rng is not None
    chosen = [
        None if k == T else np.sort(_draw(rng, pairs.examples, T)[:, :k], axis=1)
        for T, k in zip(pairs.positions, kept, strict=True)
    ]
    scales = [(T / k) ** 0.5 for T, k in zip(pairs.positions, kept, strict=True)]

    of = common(pairs) | {"positions": kept, "subsampled": True}
    thinned = Thinned(**of, whole=pairs, chosen=chosen, scales=scales)
    both = pairs.numbers + thinned.numbers  # a chunk has all of them, and those kept
    return replace(thinned, memory=pairs.memory * thinned.numbers // both)


@dataclass(frozen=True, eq=False)
class Thinned(Pairs):
    """The positions `chosen` of other pairs (None: all of them)."""

    whole: Pairs
    chosen: list[np.ndarray | None]  # (N, kept)
    scales: list[float]

    @property
    def a(self) -> list[Array]:
        a = self._taken(self.whole.a)
        return [ai if s == 1 else ai * s for ai, s in zip(a, self.scales, strict=True)]

    def g(self, first: int = 0, last: int | None = None) -> list[Array]:
        return self._taken(self.whole.g(first, last))

    def few_vectors(self) -> Iterator[list[Array]]:
        for g in self.whole.few_vectors():
            yield self._taken(g)

    def part(self, start: int, stop: int) -> Pairs:
        here = [None if t is None else t[start:stop] for t in self.chosen]
        whole = self.whole.part(start, stop)
        return replace(self, examples=stop - start, whole=whole, chosen=here)

    def select(self, blocks: Sequence[int]) -> Pairs:
        few = super().select(blocks)  # which checks them
        chosen = [self.chosen[i] for i in blocks]
        scales = [self.scales[i] for i in blocks]
        of = common(few) | {"subsampled": any(t is not None for t in chosen)}
        whole = self.whole.select(blocks)
        return Thinned(**of, whole=whole, chosen=chosen, scales=scales)

    def _taken(self, arrays: list[Array]) -> list[Array]:
        return [_take(x, t) for x, t in zip(arrays, self.chosen, strict=True)]


def _draw(rng: np.random.Generator, N: int, T: int) -> np.ndarray:
    """A random order of the positions for every example, (N, T)."""
    return rng.random((N, T)).argsort(axis=1)


def _take(rows: Array, t: np.ndarray | None) -> Array:
    """Those positions t (n, kept) of a (n, T, d) or g (k, n, T, d); all for None."""
    if t is None:
        return rows
    t = asarray(t, like=rows)
    n = get_xp(t).arange(len(t))[:, None]
    return rows[n, t] if rows.ndim == 3 else rows[:, n, t]
