"""Neighbouring layers coupled as a chain. Martens & Grosse 2015, section 4.3."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from kfac_ref.backend import Array
from kfac_ref.errors import Unsupported
from kfac_ref.matrices import ChainFactors
from kfac_ref.pairs import Pairs
from kfac_ref.structures.kronecker import kronecker_factors


def block_tridiagonal(pairs: Pairs) -> ChainFactors:
    """Return A_ij and G_ij of every layer and of every two neighbours, undamped.

    `factored_tikhonov(chain, damping)` makes the matrix of them: its inverse is block-
    tridiagonal, and it agrees with the damped K-FAC on the three bands. Raises
    Unsupported if positions are shared.
    """
    if max(pairs.positions) > 1 or pairs.subsampled:
        raise Unsupported(
            "block_tridiagonal: the section 4.3 of the paper couples the layers of a "
            "fully connected chain; a layer here shares its weights over positions"
        )
    A, G = kronecker_factors(pairs)
    A_next, G_next = pairs.mean(cross_moments)
    return ChainFactors.semidefinite(A, G, A_next, G_next, pairs.names)


def cross_moments(arrays: list[Array]) -> Iterator[tuple[Array, Array]]:
    """X_i and X_{i+1} for every two neighbouring layers."""
    yield from pairwise(x.reshape(-1, x.shape[-1]) for x in arrays)
