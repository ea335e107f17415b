"""Kronecker factors from some of the positions that share weights.

A = 1/N sum_nt a a^T of a convolution sums over all pixels of all images, which costs
more than the products of the forward pass. Some of the pixels give an unbiased
estimate. TensorFlow K-FAC's `sub_sample_patches` does this for A alone, and draws its
rows from all examples together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kfac_ref.backend import Array, asarray, get_xp
from kfac_ref.checks import check_generator, check_kind, check_share
from kfac_ref.pairs import Pairs, common


def subsample_positions(
    pairs: Pairs, share: float, rng: np.random.Generator | None = None
) -> Pairs:
    """Keep the pairs at round(share T) of each layer's T positions, at least one.

    Positions are drawn anew for each example, without repetition, once for all chunks.
    `a` is multiplied by sqrt(T / kept), so that the expectations of A, a sum over
    positions, and of G, a mean, stay the same; so do layers with T = 1. Only
    'kronecker' accepts such pairs: other structures need D_nk, a sum over all
    positions.
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
    """Other pairs at the positions `chosen` (None: at all of them)."""

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
    """Draw a random order of the positions for each example, (N, T)."""
    return rng.random((N, T)).argsort(axis=1)


def _take(rows: Array, t: np.ndarray | None) -> Array:
    """Take the positions t (n, kept) of a (n, T, d) or g (k, n, T, d); None: all."""
    if t is None:
        return rows
    t = asarray(t, like=rows)
    n = get_xp(t).arange(len(t))[:, None]
    return rows[n, t] if rows.ndim == 3 else rows[:, n, t]
