"""K-FAC: a Kronecker product for every layer. Martens & Grosse 2015, section 3.1.

A = 1/N sum_nt a a^T        G = 1/(N T) sum_nkt g g^T
"""

from __future__ import annotations

from collections.abc import Iterator

from kfac_ref.backend import Array, get_xp
from kfac_ref.limits import check_overflow, check_room, quiet_overflow
from kfac_ref.matrices import BlockDiagonalMatrix, KroneckerProduct
from kfac_ref.pairs import Pairs

WIDE = "use structure 'diagonal' for this layer, or products (FisherProduct)"


def kronecker(pairs: Pairs) -> BlockDiagonalMatrix:
    """A (x) G for every layer."""
    named = zip(*kronecker_factors(pairs), pairs.names, strict=True)
    return BlockDiagonalMatrix([KroneckerProduct.semidefinite(*each) for each in named])


@quiet_overflow
def kronecker_factors(pairs: Pairs) -> tuple[list[Array], list[Array]]:
    """A (d_in + 1, d_in + 1), summed over positions, and G (d_out, d_out), their mean.

    Raises TooLarge, NotFinite (overflow).
    """
    for name, (d, o) in zip(pairs.names, pairs.shapes, strict=True):
        check_room(f"{name}: factor A or G", max(d, o), pairs.like, instead=WIDE)
    A, G = pairs.mean(moments)
    G = [Gi if T == 1 else Gi / T for Gi, T in zip(G, pairs.positions, strict=True)]
    for name, *factors in zip(pairs.names, A, G, strict=True):
        for letter, M in zip("AG", factors, strict=True):
            check_overflow(f"{name}: factor {letter}", get_xp(M).diagonal(M))
    return A, G


def moments(arrays: list[Array]) -> Iterator[tuple[Array, Array]]:
    """X and X for the a, or the g, of every layer: A and G are means of X^T X."""
    for x in arrays:
        X = x.reshape(-1, x.shape[-1])  # a row for each example, position and vector
        yield X, X
