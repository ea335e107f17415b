"""Products with the exact matrices, without forming them.

    F = 1/N J^T F_z J = B B^T      J: parameters -> outputs of all N examples
    GGN = 1/N J^T H_z J            B: (P, N K), one column for each example and output
    empirical Fisher = 1/N sum_n grad_n grad_n^T

A product is one pass forward (J v), one multiplication at the outputs, and one pass
back (J^T), for many vectors at once; it is exact also where a layer mixes examples.
Pearlmutter 1994; Schraudolph 2002; Martens 2010.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kfac_ref.backend import Array, get_xp, linear_operator, on_rows
from kfac_ref.errors import (
    ShapeError,
    Unsupported,
    ValueRangeError,
    check_count,
    describe,
)
from kfac_ref.matrices.definite import check_vector
from kfac_ref.network import Forward, Network, check_network
from kfac_ref.values import Value
from kfac_ref.words import translate

MATRICES = ("fisher", "ggn", "empirical")


class CurvatureProduct(Value):
    """Products with the Fisher, the GGN or the empirical Fisher, mean over examples.

    `product(v)` is C v, `factor(u)` is B u and `factor_transpose(v)` is B^T v, with
    C = B B^T; v is (P,) or (P, m), u is (N K,) or (N K, m), K = outputs of an example
    (1 for the empirical Fisher). `form([v, w, ...])` is (v^T C w) for every two. With
    `block` the matrix is that layer's diagonal block and P its number of parameters.
    `operator()` and `factor_operator()` are the same as
    scipy.sparse.linalg.LinearOperator.

    y: labels, for the empirical Fisher, and for the GGN where the outputs are not
    natural parameters; forward: the pass of params and x, where it has been made.
    Raises ShapeError, ValueRangeError, UnknownName, Unsupported.
    """

    def __init__(
        self,
        network: Network,
        params: list[Array],
        x: Array,
        y: Array | None = None,
        matrix: str = "fisher",
        block: int | None = None,
        forward: Forward | None = None,
    ):
        check_network(network)
        self.matrix = matrix = translate("matrix", matrix, MATRICES)
        forward = network.run(params, x, forward)
        self.network, self.params, self.y = network, params, y
        self.block = block = check_block(network, block)
        self.z, self.tape = forward.z, forward.tape
        natural = network.distribution.natural
        if y is not None:
            network.check_labels(self.z, y)
        elif matrix == "empirical" or (matrix == "ggn" and not natural):
            raise ValueRangeError(f"{matrix} products: need the observed labels, y=...")
        self.examples = len(x)  # N
        d, o = network.shapes[block] if block is not None else (1, network.size)
        self.size = d * o  # P
        outputs = 1 if matrix == "empirical" else int(np.prod(self.z.shape[1:]))
        self.columns = self.examples * outputs  # N K

    def product(self, v: Array) -> Array:
        """C v = 1/N J^T (curvature of the outputs) J v."""
        if self.matrix == "empirical":
            return self.factor(self.factor_transpose(v))
        N = self.examples
        return self._each(
            v, self.size, lambda V: self._pull(self._at_outputs(self._push(V)) / N)
        )

    def form(self, vectors: Sequence[Array]) -> Array:
        """v_i^T C v_j for vectors (P,): (m, m), from one pass forward for each.

        (J v_i)^T (curvature of the outputs) (J v_j) needs no pass back. Martens &
        Grosse 2015, appendix C.
        """
        if not isinstance(vectors, list | tuple) or not vectors:
            raise ShapeError(
                f"vectors: expected a list of arrays ({self.size},), found "
                f"{describe(vectors)}"
            )
        if self.matrix == "empirical":
            U = _stacked([self.factor_transpose(v) for v in vectors])
            return _inner(U, U)
        dz = _stacked([self._each(v, self.size, self._push) for v in vectors])
        return _inner(dz, self._at_outputs(dz)) / self.examples

    def factor(self, u: Array) -> Array:
        """B u, from (N K,) to (P,)."""
        scale = float(self.examples) ** -0.5
        return self._each(u, self.columns, lambda U: self._pull(self._root(U) * scale))

    def factor_transpose(self, v: Array) -> Array:
        """B^T v, from (P,) to (N K,)."""
        scale = float(self.examples) ** -0.5
        return self._each(
            v, self.size, lambda V: self._root_transpose(self._push(V)) * scale
        )

    def operator(self) -> Any:
        """C as a (P, P) LinearOperator."""
        return self._operator((self.size, self.size), self.product, self.product)

    def factor_operator(self) -> Any:
        """B as a (P, N K) LinearOperator; its adjoint is `factor_transpose`."""
        shape = (self.size, self.columns)
        return self._operator(shape, self.factor, self.factor_transpose)

    def _operator(
        self, shape: tuple[int, int], product: Callable, adjoint: Callable
    ) -> Any:
        return linear_operator(
            self.z,
            shape,
            matvec=product,
            rmatvec=adjoint,
            matmat=product,
            rmatmat=adjoint,
        )

    def _each(self, v: Array, size: int, function: Callable[[Array], Array]) -> Array:
        """Apply a function of rows (m, size) to a vector or a matrix of columns."""
        check_vector(f"vector of a {self.matrix} product", v, size, self.z)
        return on_rows(function, v)

    def _push(self, V: Array) -> Array:
        """J v for rows v: (m, N, ..., C)."""
        network = self.network
        if self.block is None:
            dparams = network.unflatten(V)
        else:
            xp = get_xp(V)
            dparams = [
                xp.zeros((len(V), *shape), dtype=V.dtype) for shape in network.shapes
            ]
            dparams[self.block] = V.reshape(len(V), *network.shapes[self.block])
        return network.push_forward(self.params, self.tape, dparams)

    def _pull(self, dz: Array) -> Array:
        """J^T dz, as rows (m, P)."""
        gradients = self.network.pull_back(self.params, self.tape, dz)
        if self.block is not None:
            return gradients[self.block].reshape(len(dz), -1)
        return self.network.flatten(gradients)

    def _at_outputs(self, dz: Array) -> Array:
        """F_z dz or H_z dz."""
        if self.matrix == "ggn":
            return self.network.distribution.hessian_product(self.z, self.y, dz)
        return self.network.distribution.fisher_product(self.z, dz)

    def _root(self, U: Array) -> Array:
        """The root of F_z or H_z (for empirical: the gradient) times rows (m, N K)."""
        distribution = self.network.distribution
        if self.matrix == "empirical":
            shape = (len(U), self.examples, *[1] * (self.z.ndim - 1))
            return U.reshape(shape) * distribution.gradient(self.z, self.y)
        dz = U.reshape(len(U), *self.z.shape)
        if self.matrix == "ggn":
            return distribution.hessian_root_product(self.z, self.y, dz)
        return distribution.root_product(self.z, dz)

    def _root_transpose(self, dz: Array) -> Array:
        """The transpose of `_root`: rows (m, N K)."""
        distribution, m = self.network.distribution, len(dz)
        if self.matrix == "empirical":
            product = distribution.gradient(self.z, self.y) * dz
            return product.reshape(m, self.examples, -1).sum(axis=-1)
        if self.matrix == "ggn":
            return distribution.hessian_root_transpose(self.z, self.y, dz).reshape(
                m, -1
            )
        return distribution.root_transpose(self.z, dz).reshape(m, -1)


def _stacked(arrays: list[Array]) -> Array:
    """m arrays of one shape as one, (m, ...)."""
    return get_xp(*arrays).stack(arrays)


def _inner(left: Array, right: Array) -> Array:
    """The inner product of every two of m arrays, (m, m)."""
    return left.reshape(len(left), -1) @ right.reshape(len(right), -1).T


def check_block(network: Network, block: int | None) -> int | None:
    """`block` if it is None or the index of a layer with parameters."""
    if not network.shapes:
        raise Unsupported(f"{network!r} has no parameters, and so no curvature")
    if block is None:
        return None
    block = check_count("block", block, least=0)
    if block >= len(network.shapes):
        raise ValueRangeError(
            f"block: expected None or an index from 0 to {len(network.shapes) - 1} "
            f"({', '.join(network.names)}), found {block}"
        )
    return block
