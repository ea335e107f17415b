"""The Hessian of the mean loss, through autograd on the library's own forward code.

It is the one matrix here that is not of the form sum vec(D) vec(D)^T: second
derivatives of the network enter. It serves comparison only, on the CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kfac_ref.backend import Array, get_xp, linear_operator, on_rows
from kfac_ref.calls import door
from kfac_ref.errors import BackendError
from kfac_ref.exact.products import check_block
from kfac_ref.extras import optional
from kfac_ref.limits import check_room, quiet_overflow
from kfac_ref.matrices import DenseMatrix
from kfac_ref.matrices.definite import check_vector
from kfac_ref.network import Network, check_network
from kfac_ref.values import Value

HESSIAN = "use products (HessianProduct), or the block of one layer (block=...)"


class HessianProduct(Value):
    """Products with d^2 loss / d params^2, or with one layer's diagonal block.

    `product(v)` for v (P,) or (P, m); `operator()` is a LinearOperator. Raises
    BackendError for arrays on a device, ImportError with advice without autograd.
    """

    def __init__(
        self,
        network: Network,
        params: list[Array],
        x: Array,
        y: Array,
        block: int | None = None,
    ):
        check_network(network)
        network.loss(params, x, y)  # all checks
        if get_xp(x, *params) is not np:
            raise BackendError("the Hessian goes through autograd: host arrays only")
        self.network, self.params, self.x, self.y = network, params, x, y
        self.block = block = check_block(network, block)
        shapes = network.shapes if block is None else [network.shapes[block]]
        self.size = sum(d * o for d, o in shapes)
        self.dtype = params[0].dtype
        theta = network.flatten(params) if block is None else params[block].ravel()
        autograd = optional("autograd.differential_operators", "the Hessian")
        self._hvp = autograd.make_hvp(self._loss)(theta)[0]

    def __reduce__(self) -> Any:
        """Made anew: what autograd has traced cannot be pickled."""
        arguments = self.network, self.params, self.x, self.y, self.block
        return type(self), arguments

    def _loss(self, theta: Array) -> Array:
        """The loss as a function of what the derivatives are taken by."""
        network, params, block = self.network, self.params, self.block
        if block is None:
            moved = network.unflatten(theta)
        else:
            own = theta.reshape(network.shapes[block])
            moved = [*params[:block], own, *params[block + 1 :]]
        z, _ = network.forward(moved, self.x)
        return network.distribution.loss(z, self.y).mean()

    def product(self, v: Array) -> Array:
        """H v, for v (P,) or (P, m)."""
        like = np.empty(0, self.dtype)
        check_vector("vector of a Hessian product", v, self.size, like)
        return on_rows(lambda rows: np.stack([self._hvp(row) for row in rows]), v)

    def operator(self) -> Any:
        """H as a (P, P) LinearOperator."""
        like = np.empty(0, self.dtype)
        p = self.product
        shape = (self.size, self.size)
        return linear_operator(like, shape, matvec=p, rmatvec=p, matmat=p, rmatmat=p)


@door
@quiet_overflow
def hessian_matrix(
    network: Network, params: list[Array], x: Array, y: Array, block: int | None = None
) -> DenseMatrix:
    """d^2 loss / d params^2 as a matrix, (P, P); it may be indefinite."""
    product = HessianProduct(network, params, x, y, block)
    block = product.block
    name = "Hessian" + ("" if block is None else f" of {network.names[block]}")
    check_room(name, product.size, params[0], copies=3, instead=HESSIAN)
    H = product.product(np.eye(product.size, dtype=product.dtype))
    return DenseMatrix((H + H.T) / 2.0, name)  # symmetric but for rounding
