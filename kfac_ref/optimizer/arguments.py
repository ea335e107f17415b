"""Parameters, checked before the first step."""

from __future__ import annotations

from kfac_ref.backend import Array
from kfac_ref.network import Network


def starting_point(network: Network, params: list[Array]) -> Array:
    """The parameters as a vector (P,). Raises ShapeError, NotFinite, and the like."""
    network.check_params(params)
    return network.flatten(params)
