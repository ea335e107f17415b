"""Kronecker factors from some of the positions that share weights.

A = 1/N sum_nt a a^T of a convolution is a sum over all pixels of all images, and costs
more than the products of its forward pass. An unbiased estimate takes some of them.
TensorFlow K-FAC's `sub_sample_patches` is that, for A alone, and with rows drawn from
those of all examples together.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from kfac_ref.backend import Array, asarray, get_xp
from kfac_ref.errors import (
    ValueRangeError,
    check_generator,
    check_kind,
    check_number,
)
from kfac_ref.pairs import Backward, Chunk, Pairs


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

    make = partial(_thinned_chunk, pairs, kept, chosen, scales)
    left_out = [T - k for T, k in zip(pairs.positions, kept, strict=True)]
    thinned = replace(pairs, positions=kept, make=make, left_out=left_out)
    both = pairs.numbers + thinned.numbers  # a chunk has all of them, and those kept
    return replace(thinned, memory=pairs.memory * thinned.numbers // both)


def _thinned_chunk(
    pairs: Pairs,
    kept: list[int],
    chosen: list[np.ndarray | None],
    scales: list[float],
    start: int,
    stop: int,
) -> Chunk:
    """The positions `chosen` of a chunk."""
    whole = pairs.make(start, stop)
    here = [
        None if t is None else asarray(t[start:stop], like=pairs.like) for t in chosen
    ]
    a = [_take(ai, t) for ai, t in zip(whole.a, here, strict=True)]
    a = [ai if s == 1 else ai * s for ai, s in zip(a, scales, strict=True)]
    size = whole.size * sum(kept) // sum(pairs.positions)
    return Chunk(a, whole.count, size, partial(_thinned_g, whole.backward, here))


def _thinned_g(
    backward: Backward, here: list[Array | None], first: int, last: int
) -> list[Array]:
    return [_take(gi, t) for gi, t in zip(backward(first, last), here, strict=True)]


def _draw(rng: np.random.Generator, N: int, T: int) -> np.ndarray:
    """A random order of the positions for every example, (N, T)."""
    return rng.random((N, T)).argsort(axis=1)


def _take(rows: Array, t: Array | None) -> Array:
    """Those positions t (n, kept) of a (n, T, d) or g (k, n, T, d); all for None."""
    if t is None:
        return rows
    n = get_xp(t).arange(len(t))[:, None]
    return rows[n, t] if rows.ndim == 3 else rows[:, n, t]
