"""What a predictive distribution p(y|z) is: the loss and its curvature in z.

The network's output `z` has shape (N, C) or (N, ..., C). The last axis holds the
parameters of one distribution; axes in between are positions, whose losses are summed.
The loss of an example is -log p(y|z), with no factor hidden in it. Vectors `v`, `u` to
be multiplied have more axes in front, usually (K, N, ..., C).

    gradient     d(-log p)/dz of one example's loss
    Fisher       F_z = E_y[gradient gradient^T] = B B^T,   B = root
    Hessian      H_z = d^2(-log p)/dz^2; equal to F_z if z are natural parameters

To add a distribution, subclass `Distribution` and write `check_labels`, `nll`,
`gradient`, `root_product`, `root_transpose` and `sample`. If z are not natural
parameters, also set `natural = False` and write `hessian_product` (and, if H_z has a
square root, `hessian_root_product` and `hessian_root_transpose`). All of them act on
the last axis, with any axes in front. If F_z is diagonal, subclass `Diagonal` and write
`root_diagonal` instead of the two root products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.errors import Unsupported, ValueRangeError, not_written
from kfac_ref.values import Value

Labels = Any  # an array, or for several losses (`Joint`) a list of arrays, one for each


class Distribution(Value):
    """Base class of all predictive distributions."""

    natural: bool = True  # are z natural parameters, so that Hessian = Fisher?

    # What a subclass writes: z is (..., C); u, v (..., C) broadcast against z.

    def check_labels(self, z: Array, y: Labels) -> None:
        """Raise ShapeError or ValueRangeError unless y can label the outputs z."""
        raise not_written(self, "check_labels")

    def nll(self, z: Array, y: Labels) -> Array:
        """-log p(y|z) at every position, of the shape of z without its last axis."""
        raise not_written(self, "nll")

    def gradient(self, z: Array, y: Labels) -> Array:
        """d(-log p(y|z))/dz, of the shape of z, after any extra leading axes of y."""
        raise not_written(self, "gradient")

    def root_product(self, z: Array, u: Array) -> Array:
        """B u, with F_z = B B^T."""
        raise not_written(self, "root_product")

    def root_transpose(self, z: Array, v: Array) -> Array:
        """B^T v."""
        raise not_written(self, "root_transpose")

    def sample(self, z: Array, rng: np.random.Generator, samples: int) -> Labels:
        """Labels drawn from p(y|z), with an axis `samples` in front of their shape.

        Random numbers come from `rng` on the host, so they are the same for every
        backend.
        """
        raise not_written(self, "sample")

    # What follows from that; override it if a formula is cheaper.

    def sampled_gradient(self, z: Array, y: Labels) -> Array:
        """Vectors whose second moment is F_z, for labels y drawn by `sample`.

        They are the gradients unless the loss has a weight w: then sqrt(w) times the
        unweighted gradient gives w F_z, while the gradient itself would give w^2 F_z.
        """
        return self.gradient(z, y)

    def fisher_product(self, z: Array, v: Array) -> Array:
        """F_z v."""
        return self.root_product(z, self.root_transpose(z, v))

    def hessian_product(self, z: Array, y: Labels, v: Array) -> Array:
        """H_z v; depends on y only if z are not natural parameters."""
        self._needs_natural("hessian_product")
        return self.fisher_product(z, v)

    def hessian_root_product(self, z: Array, y: Labels, u: Array) -> Array:
        """S u, with H_z = S S^T. Raises Unsupported if H_z has no real root."""
        self._needs_natural("hessian_root_product")
        return self.root_product(z, u)

    def hessian_root_transpose(self, z: Array, y: Labels, v: Array) -> Array:
        """S^T v. Raises Unsupported if H_z has no real root."""
        self._needs_natural("hessian_root_transpose")
        return self.root_transpose(z, v)

    def loss(self, z: Array, y: Labels) -> Array:
        """-log p(y|z) of each example, (N,), summed over positions."""
        return self.nll(z, y).reshape(z.shape[0], -1).sum(axis=1)

    def columns(self, z: Array, start: int = 0, stop: int | None = None) -> Array:
        """Unit vectors e_k of an example's outputs, (k, N, ..., C), k in start:stop.

        In all there are K = T * C, one per output; `root_product(z, columns(z))` gives
        the columns of the square root of every example's output Fisher.
        """
        xp = get_xp(z)
        size = int(np.prod(z.shape[1:]))
        stop = size if stop is None else min(stop, size)
        rows = xp.eye(stop - start, size, start, dtype=z.dtype)
        shape = (len(rows), *z.shape)
        return xp.broadcast_to(rows.reshape(len(rows), 1, *z.shape[1:]), shape)

    def fisher(self, z: Array) -> Array:
        """F_z at every position as a matrix, (..., C, C)."""
        return self._matrix(z, lambda e: self.fisher_product(z, e))

    def root(self, z: Array) -> Array:
        """B at every position as a matrix, (..., C, C); its columns are B e_k."""
        return self._matrix(z, lambda e: self.root_product(z, e))

    def hessian(self, z: Array, y: Labels) -> Array:
        """H_z at every position as a matrix, (..., C, C)."""
        return self._matrix(z, lambda e: self.hessian_product(z, y, e))

    def hessian_root(self, z: Array, y: Labels) -> Array:
        """S at every position as a matrix, (..., C, C)."""
        return self._matrix(z, lambda e: self.hessian_root_product(z, y, e))

    def _matrix(self, z: Array, product: Callable[[Array], Array]) -> Array:
        xp = get_xp(z)
        C = z.shape[-1]
        units = xp.eye(C, dtype=z.dtype).reshape(C, *[1] * (z.ndim - 1), C)
        return xp.moveaxis(product(xp.broadcast_to(units, (C, *z.shape))), 0, -1)

    def _needs_natural(self, method: str) -> None:
        if not self.natural:
            raise Unsupported(
                f"{type(self).__name__} has no {method}: its outputs are not natural "
                "parameters, so its Hessian is not its Fisher: write the method"
            )


class Diagonal(Distribution):
    """Base class for independent outputs: F_z is diagonal, and so is its root."""

    def root_diagonal(self, z: Array) -> Array:
        """The diagonal of B, of the shape of z."""
        raise not_written(self, "root_diagonal")

    def root_product(self, z: Array, u: Array) -> Array:
        return self.root_diagonal(z) * u

    def root_transpose(self, z: Array, v: Array) -> Array:
        return self.root_diagonal(z) * v

    def fisher_product(self, z: Array, v: Array) -> Array:
        return self.root_diagonal(z) ** 2 * v


def check_dtype(z: Array, y: Array, also: str = "") -> None:
    """Raise ValueRangeError unless y has z's dtype, or one of the kinds in `also`.

    Float64 labels would silently turn a float32 computation into float64.
    """
    if y.dtype.name != z.dtype.name and y.dtype.kind not in also:
        raise ValueRangeError(
            f"labels: expected {z.dtype} like the outputs"
            f"{' or integers' if also else ''}, found {y.dtype}; convert them with "
            "y.astype(...)"
        )
