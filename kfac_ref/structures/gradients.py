"""Where a structure needs D_nk, the gradients of single examples."""

from __future__ import annotations

from kfac_ref.errors import Unsupported
from kfac_ref.pairs import Pairs


def needs_gradients(pairs: Pairs, structure: str) -> None:
    """Unsupported where D_nk, the gradients of single examples, are not at hand."""
    if pairs.mixes_examples:
        raise Unsupported(
            f"{structure}: a layer of this network mixes the examples of a batch "
            "(BatchStandardize), so that no gradient belongs to one example. The exact "
            "matrix is fisher_matrix(...) through products; structure 'kronecker' "
            "treats the pairs as if they did not mix, as other libraries do; or freeze "
            "the statistics: BatchStandardize(mean=..., variance=...)"
        )
    if pairs.subsampled:
        raise Unsupported(
            f"{structure}: needs all positions of an example, for its gradient is a "
            "sum over them; with a share of the positions use 'kronecker'"
        )
