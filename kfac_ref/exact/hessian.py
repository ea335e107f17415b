"""The Hessian of the mean loss, through autograd on the library's own forward code.

It is the one matrix here that is not of the form sum vec(D) vec(D)^T: second
derivatives of the network enter, and it may be indefinite. It serves comparison only,
on the CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.calls import door
from kfac_ref.checks import check_kind
from kfac_ref.errors import BackendError
from kfac_ref.exact.products import check_block
from kfac_ref.extras import optional
from kfac_ref.limits import check_room, quiet_overflow
from kfac_ref.matrices import DenseMatrix, SymmetricMatrix
from kfac_ref.network import Linearization, Network, check_network

HESSIAN = "use products (HessianProduct), or the block of one layer (block=...)"


class HessianProduct(SymmetricMatrix):
    """d^2 loss / d params^2 as products, or one layer's diagonal block of it.

    Raises BackendError for arrays on a device, ExtraMissing without autograd.
    """

    indefinite = True

    def __init__(self, at: Linearization, y: Array, block: int | None = None):
        check_kind("at", at, Linearization, "as network.linearize(params, x) gives it")
        network, params = at.network, at.params
        at.loss(y)  # all checks
        if get_xp(at.x, *params) is not np:
            raise BackendError("the Hessian goes through autograd: host arrays only")
        self.at, self.y, self.block = at, y, check_block(network, block)
        theta = network.flatten(params) if block is None else params[block].ravel()
        name = "Hessian" + ("" if block is None else f" of {network.names[block]}")
        super().__init__(params[0], len(theta), name)
        autograd = optional("autograd.differential_operators", "the Hessian")
        self._hvp = autograd.make_hvp(self._loss)(theta)[0]

    def __reduce__(self) -> Any:
        """Made anew: what autograd has traced cannot be pickled."""
        return type(self), (self.at, self.y, self.block)

    @property
    def storage(self) -> int:
        """How many numbers define the matrix: parameters, inputs and labels."""
        return sum(W.size for W in self.at.params) + self.at.x.size

    def _loss(self, theta: Array) -> Array:
        """The loss as a function of what the derivatives are taken by."""
        network, params, block = self.at.network, self.at.params, self.block
        if block is None:
            moved = network.unflatten(theta)
        else:
            own = theta.reshape(network.shapes[block])
            moved = [*params[:block], own, *params[block + 1 :]]
        z, _ = network.forward(moved, self.at.x)
        return network.distribution.loss(z, self.y).mean()

    def _product(self, rows: Array) -> Array:
        return np.stack([self._hvp(row) for row in rows])

    def _to_dense(self) -> Array:
        H = self._product(np.eye(self.size, dtype=self.dtype))
        return (H + H.T) / 2.0  # symmetric but for rounding


@door
@quiet_overflow
def hessian_matrix(
    network: Network, params: list[Array], x: Array, y: Array, block: int | None = None
) -> DenseMatrix:
    """d^2 loss / d params^2 as a matrix, (P, P); it may be indefinite."""
    check_network(network)
    product = HessianProduct(network.linearize(params, x), y, block)
    check_room(product.name, product.size, params[0], copies=3, instead=HESSIAN)
    return DenseMatrix(product.to_dense(), product.name)
