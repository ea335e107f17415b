"""The exact matrices as products, without forming them.

    Fisher = 1/N J^T F_z J          J: parameters -> outputs of all N examples
    GGN    = 1/N J^T H_z J
    empirical Fisher = 1/N sum_n grad_n grad_n^T

A product is one pass forward (J v), one multiplication at the outputs, and one pass
back (J^T), for many vectors at once; it is exact also where a layer mixes examples. All
three are B B^T, with a column of B (P, N K) for each example and each vector at its
outputs: K outputs, or one gradient. Pearlmutter 1994; Schraudolph 2002; Martens 2010.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kfac_ref.backend import Array, get_xp, linear_operator, on_rows
from kfac_ref.checks import check_count, check_kind
from kfac_ref.errors import Unsupported, ValueRangeError, not_written
from kfac_ref.matrices import SymmetricMatrix
from kfac_ref.matrices.definite import check_vector
from kfac_ref.network import Linearization, Network
from kfac_ref.pairs import MEMORY
from kfac_ref.words import translate


class CurvatureProduct(SymmetricMatrix):
    """Base of the three: C = 1/N J^T (matrix at the outputs) J = B B^T.

    `block` restricts it to the diagonal block of one layer, and P to its parameters.
    """

    def __init__(self, at: Linearization, block: int | None = None):
        check_kind("at", at, Linearization, "as network.linearize(params, x) gives it")
        self.at, self.block = at, check_block(at.network, block)
        size, name = at.network.size, ""
        if self.block is not None:
            d, o = at.network.shapes[self.block]
            size, name = d * o, at.network.names[self.block]
        super().__init__(at.params[0], size, name)

    @property
    def columns(self) -> int:
        """N K: the number of columns of B."""
        return int(np.prod(self.at.z.shape))

    @property
    def storage(self) -> int:
        """How many numbers define the matrix: parameters, and inputs."""
        return sum(W.size for W in self.at.params) + self.at.x.size

    def factor(self, u: Array) -> Array:
        """B u, from (N K,) to (P,), or from (N K, m) to (P, m)."""
        scale = float(len(self.at.x)) ** -0.5
        return self._each(u, self.columns, lambda U: self._pull(self._root(U) * scale))

    def factor_transpose(self, v: Array) -> Array:
        """B^T v, from (P,) to (N K,), or from (P, m) to (N K, m)."""
        scale = float(len(self.at.x)) ** -0.5
        return self._each(
            v, self.size, lambda V: self._root_transpose(self._push(V)) * scale
        )

    def factor_operator(self) -> Any:
        """B as a (P, N K) LinearOperator; its adjoint is `factor_transpose`."""
        product, adjoint = self.factor, self.factor_transpose
        return linear_operator(
            self.at.z, (self.size, self.columns), matvec=product, rmatvec=adjoint,
            matmat=product, rmatmat=adjoint,
        )  # fmt: skip

    def _each(self, v: Array, size: int, function: Callable[[Array], Array]) -> Array:
        """A function of rows (m, size), of a vector or of columns."""
        check_vector(f"vector for {self.label}", v, size, self._like)
        return on_rows(function, v)

    def _product(self, rows: Array) -> Array:
        """J^T (matrix at the outputs) J v, for every row v."""
        return self._pull(self._at_outputs(self._push(rows)) / len(self.at.x))

    def _form(self, rows: Array) -> Array:
        """(J v)^T (matrix at the outputs) J w for every two rows: no pass back.

        Martens & Grosse 2015, appendix C.
        """
        dz = self._push(rows)
        left, right = (d.reshape(len(rows), -1) for d in (dz, self._at_outputs(dz)))
        return left @ right.T / len(self.at.x)

    def _to_dense(self) -> Array:
        return by_products(self, MEMORY)

    def _push(self, V: Array) -> Array:
        """J v for rows v: (m, N, ..., C)."""
        network = self.at.network
        if self.block is None:
            return self.at.jvp(network.unflatten(V))
        xp = get_xp(V)
        dparams = [xp.zeros((len(V), *s), dtype=V.dtype) for s in network.shapes]
        dparams[self.block] = V.reshape(len(V), *network.shapes[self.block])
        return self.at.jvp(dparams)

    def _pull(self, dz: Array) -> Array:
        """J^T dz, as rows (m, P)."""
        gradients = self.at.vjp(dz)
        if self.block is not None:
            return gradients[self.block].reshape(len(dz), -1)
        return self.at.network.flatten(gradients)

    def _at_outputs(self, dz: Array) -> Array:
        """The matrix at the outputs, times dz (m, N, ..., C)."""
        raise not_written(self, "_at_outputs")

    def _root(self, U: Array) -> Array:
        """Its root times rows (m, N K): (m, N, ..., C)."""
        raise not_written(self, "_root")

    def _root_transpose(self, dz: Array) -> Array:
        """The transpose of `_root`: rows (m, N K)."""
        raise not_written(self, "_root_transpose")


class FisherProduct(CurvatureProduct):
    """F = 1/N J^T F_z J, F_z the Fisher of the outputs."""

    def _at_outputs(self, dz: Array) -> Array:
        return self.at.network.distribution.fisher_product(self.at.z, dz)

    def _root(self, U: Array) -> Array:
        dz = U.reshape(len(U), *self.at.z.shape)
        return self.at.network.distribution.root_product(self.at.z, dz)

    def _root_transpose(self, dz: Array) -> Array:
        root = self.at.network.distribution.root_transpose(self.at.z, dz)
        return root.reshape(len(dz), -1)


class GGNProduct(CurvatureProduct):
    """GGN = 1/N J^T H_z J, H_z the Hessian of -log p by the outputs.

    The labels y are needed only where the outputs are not natural parameters; there H_z
    may be indefinite, and have no root.
    """

    def __init__(
        self, at: Linearization, y: Array | None = None, block: int | None = None
    ):
        super().__init__(at, block)
        self.y = check_labels("GGN", at, y, at.network.distribution.natural)

    @property
    def indefinite(self) -> bool:  # type: ignore[override]
        return not self.at.network.distribution.natural

    def _at_outputs(self, dz: Array) -> Array:
        return self.at.network.distribution.hessian_product(self.at.z, self.y, dz)

    def _root(self, U: Array) -> Array:
        dz = U.reshape(len(U), *self.at.z.shape)
        distribution = self.at.network.distribution
        return distribution.hessian_root_product(self.at.z, self.y, dz)

    def _root_transpose(self, dz: Array) -> Array:
        distribution = self.at.network.distribution
        root = distribution.hessian_root_transpose(self.at.z, self.y, dz)
        return root.reshape(len(dz), -1)


class EmpiricalFisherProduct(CurvatureProduct):
    """1/N sum_n grad_n grad_n^T, for the observed labels y."""

    def __init__(self, at: Linearization, y: Array, block: int | None = None):
        super().__init__(at, block)
        self.y = check_labels("empirical Fisher", at, y, False)

    @property
    def columns(self) -> int:
        return len(self.at.x)

    def _at_outputs(self, dz: Array) -> Array:
        return self._root(self._root_transpose(dz))

    def _root(self, U: Array) -> Array:
        shape = (len(U), len(self.at.x), *[1] * (self.at.z.ndim - 1))
        return U.reshape(shape) * self._gradient()

    def _root_transpose(self, dz: Array) -> Array:
        product = self._gradient() * dz
        return product.reshape(len(dz), len(self.at.x), -1).sum(axis=-1)

    def _gradient(self) -> Array:
        return self.at.network.distribution.gradient(self.at.z, self.y)


PRODUCTS: dict[str, Callable[..., CurvatureProduct]] = {
    "fisher": lambda at, y, block: FisherProduct(at, block),
    "ggn": GGNProduct,
    "empirical": EmpiricalFisherProduct,
}


def curvature_product(
    name: str, at: Linearization, y: Any = None, block: int | None = None
) -> CurvatureProduct:
    """Products with the matrix of that name, or of another library's word for it.

    The Fisher has no use for labels, but they are checked. Raises UnknownName.
    """
    make = PRODUCTS[translate("matrix", name, PRODUCTS)]
    if y is not None:
        at.network.check_labels(at.z, y)
    return make(at, y, block)


def by_products(matrix: CurvatureProduct, memory: int) -> Array:
    """(P, P), some columns after the others: `memory` bytes beside it, and outputs."""
    z, P = matrix.at.z, matrix.size
    xp = get_xp(z)
    F = xp.zeros((P, P), dtype=matrix.dtype)
    step = max(1, memory // (8 * P * 4 + 16 * z.nbytes))
    for start in range(0, P, step):
        rows = xp.eye(min(step, P - start), P, start, dtype=F.dtype)
        F[start : start + step] = matrix._product(rows)
    for start in range(0, P, step):  # symmetric but for rounding
        rows, columns = F[start : start + step, start:], F[start:, start : start + step]
        rows[:] = (rows + columns.T) / 2.0
        columns[:] = rows.T
    return F


def check_labels(what: str, at: Linearization, y: Any, optional: bool) -> Any:
    """y, if they are labels for z, or None if they may be missing."""
    if y is not None:
        at.network.check_labels(at.z, y)
    elif not optional:
        raise ValueRangeError(f"{what} products: need the observed labels, y=...")
    return y


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
