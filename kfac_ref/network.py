"""A network: layers, and the distribution whose parameters they compute.

Parameters, gradients and updates are lists of matrices, one per block; `flatten` puts
them one after the other into the vector in which the curvature matrices are written,
each matrix row by row: vec(a g^T) = kron(a, g).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from kfac_ref.backend import Array, asarray, get_xp
from kfac_ref.checks import (
    check_batch,
    check_finite,
    check_float_type,
    check_generator,
    check_kind,
    check_shape,
)
from kfac_ref.distributions.base import Distribution
from kfac_ref.errors import (
    FLOATS,
    BackendError,
    KfacTypeError,
    ShapeError,
    ValueRangeError,
    describe,
    located,
)
from kfac_ref.layers.base import Layer, Tape
from kfac_ref.layers.containers import Sequential
from kfac_ref.limits import check_bytes
from kfac_ref.values import Value


class Network(Value):
    """`Network([Dense(64, 20), Tanh(), Dense(20, 10)], Categorical())`."""

    def __init__(self, layers: list[Layer] | Layer, distribution: Distribution):
        if not isinstance(layers, Layer | list | tuple):
            raise KfacTypeError(
                "layers: expected a list of them, such as [Dense(8, 5), Tanh()], found "
                f"{describe(layers)}"
            )
        self.body = layers if isinstance(layers, Layer) else Sequential(layers)
        if not isinstance(distribution, Distribution):
            raise KfacTypeError(
                "distribution: expected an instance, such as Categorical(), found "
                f"{describe(distribution)}"
            )
        self.distribution = distribution
        self.shapes = self.body.shapes()  # (d_in + 1, d_out) of each block
        self.names = self.body.names()
        self.size = sum(d * o for d, o in self.shapes)  # number of parameters

    def __repr__(self) -> str:
        return f"Network({self.body!r}, {self.distribution!r})"

    def init(self, rng: np.random.Generator, dtype: type = np.float64) -> list[Array]:
        """Initial parameters, float64 or float32, on the current backend. TooLarge."""
        check_generator(rng)
        float_type = check_float_type("dtype", dtype)
        what = f"{self.size:,} parameters, drawn in float64,"
        check_bytes(what, 8 * self.size, np.empty(0), "use smaller layers")
        return [asarray(W.astype(float_type)) for W in self.body.init(rng)]

    def forward(self, params: list[Array], x: Array) -> tuple[Array, Tape]:
        """Outputs z (N, ..., C) of the batch x (N, ...), and the tape."""
        return self.body.forward(params, x)

    def predict(self, params: list[Array], x: Array) -> Array:
        """Outputs z alone, after the arguments are checked."""
        self.check(params, x)
        return self.forward(params, x)[0]

    def linearize(self, params: list[Array], x: Array) -> Linearization:
        """The network at these parameters, for the batch x: z, and its derivative.

        Checks the arguments. The forward pass is made when it is first asked for.
        """
        self.check(params, x)
        return Linearization(self, params, x)

    def loss(self, params: list[Array], x: Array, y: Array) -> Array:
        """Mean over the examples of -log p(y|z): a 0-d array."""
        return self.linearize(params, x).loss(y)

    def gradient(self, params: list[Array], x: Array, y: Array) -> list[Array]:
        """Gradient of `loss`: matrices of the shapes of the parameters."""
        return self.linearize(params, x).loss_and_gradient(y)[1]

    def flatten(self, matrices: list[Array]) -> Array:
        """Matrices (..., d_in+1, d_out) as vectors (..., P), block after block."""
        self._check_blocks("matrices", matrices)
        with located("matrices"):
            xp = get_xp(*matrices)
        leading = tuple(matrices[0].shape[:-2])
        for name, M, shape in zip(self.names, matrices, self.shapes, strict=True):
            check_shape(f"matrices: layer {name}", M, (*leading, *shape))
        _check_floats("matrices", matrices)
        rows = [M.reshape(*M.shape[:-2], -1) for M in matrices]
        return xp.concatenate(rows, axis=-1)

    def unflatten(self, vector: Array) -> list[Array]:
        """The inverse of `flatten`: from (..., P) to matrices (..., d_in+1, d_out)."""
        with located("parameter vector"):
            get_xp(vector)
        if vector.ndim == 0 or vector.shape[-1] != self.size:
            raise ShapeError(
                f"parameter vector: expected {self.size} entries on the last axis, "
                f"found shape {tuple(vector.shape)}"
            )
        _check_floats("parameter vector", [vector])
        ends = np.cumsum([0] + [d * o for d, o in self.shapes])
        return [
            vector[..., int(s) : int(e)].reshape(*vector.shape[:-1], *shape)
            for s, e, shape in zip(ends[:-1], ends[1:], self.shapes, strict=True)
        ]

    def check(self, params: list[Array], x: Array) -> None:
        """Clear errors for parameters or inputs that do not fit.

        All are float64, or all float32; only an Embedding takes integers.
        """
        self.check_params(params)
        check_batch("x", x)
        get_xp(x, *params)
        if not self.body.takes_integers:
            _check_floats("params and x", [*params, x])

    def check_params(self, params: list[Array]) -> None:
        """Clear errors for parameters that do not fit; all float64, or all float32."""
        self._check_blocks("params", params)
        for name, W, shape in zip(self.names, params, self.shapes, strict=True):
            with located(f"params of layer {name}"):
                check_shape("W", W, shape)
                check_finite("W", W)
        _check_floats("params", params)

    def _check_blocks(self, what: str, matrices: list[Array]) -> None:
        """ShapeError unless a list with a matrix for each layer that has parameters."""
        several = isinstance(matrices, list | tuple)
        if not several or len(matrices) != len(self.shapes):
            raise ShapeError(
                f"{what}: expected a list of {len(self.shapes)} matrices, one for each "
                f"of {', '.join(self.names)}; found "
                + (str(len(matrices)) if several else describe(matrices))
            )

    def check_labels(self, z: Array, y: Array) -> None:
        """Clear errors for labels that do not fit the outputs z."""
        several = isinstance(y, list | tuple)
        if several and y and not any(getattr(part, "ndim", 0) for part in y):
            raise BackendError(
                f"labels: expected an array, found a {type(y).__name__} of "
                f"{type(y[0]).__name__}; make it one with numpy.asarray (of several "
                "losses each has its own array)"
            )
        for part in y if several else [y]:
            with located("labels"):
                get_xp(z, part)
            check_batch("labels", part)
        with located(repr(self.distribution)):
            self.distribution.check_labels(z, y)


class Linearization(Value):
    """A network at a point: `at = network.linearize(params, x)`.

    Near the point the outputs are z + J (change of the parameters); J is never formed.

        z            the outputs, (N, ..., C)
        inputs()     a of every block, (N, T, d_in + 1)
        errors(dz)   g of every block, (K, N, T, d_out), for K vectors at the outputs
        jvp(V)       J V, forward
        vjp(dz)      J^T dz, back

    The arrays are not copied, and the pass is made when it is first asked for: do not
    change them.
    """

    def __init__(self, network: Network, params: list[Array], x: Array):
        """Trusts its arguments; `network.linearize` checks them."""
        self.network, self.params, self.x = network, params, x

    def __repr__(self) -> str:
        return f"Linearization({self.network!r}, {len(self.x)} examples)"

    @cached_property
    def _forward(self) -> tuple[Array, Tape]:
        return self.network.body.forward(self.params, self.x)

    @property
    def z(self) -> Array:
        """The outputs, (N, ..., C)."""
        return self._forward[0]

    def inputs(self) -> list[Array]:
        """a of every block, (N, T, d_in + 1)."""
        return self.network.body.inputs(self._forward[1])

    def errors(self, dz: Array) -> list[Array]:
        """g of every block, (K, N, T, d_out), for vectors dz (K, N, ..., C)."""
        tape = self._forward[1]
        return self.network.body.backward(self.params, tape, dz, input_needed=False)[1]

    def jvp(self, V: list[Array]) -> Array:
        """J V, (K, N, ..., C), for matrices V, (K, d_in + 1, d_out)."""
        return self.network.body.jvp(self.params, self._forward[1], V, None)

    def vjp(self, dz: Array) -> list[Array]:
        """J^T dz, summed over examples: from (K, N, ..., C) to (K, d_in + 1, d_out)."""
        return [
            a.reshape(-1, a.shape[-1]).T @ g.reshape(len(g), -1, g.shape[-1])
            for a, g in zip(self.inputs(), self.errors(dz), strict=True)
        ]

    def loss(self, y: Array) -> Array:
        """Mean over the examples of -log p(y|z): a 0-d array."""
        self.network.check_labels(self.z, y)
        return self.network.distribution.loss(self.z, y).mean()

    def loss_and_gradient(self, y: Array) -> tuple[Array, list[Array]]:
        """`loss`, and its gradient as matrices of the shapes of the parameters."""
        loss = self.loss(y)
        dz = self.network.distribution.gradient(self.z, y)[None] / len(self.x)
        return loss, [D[0] for D in self.vjp(dz)]

    def example(self) -> Linearization:
        """One example; or all of them, if their pass has been made."""
        return self if "_forward" in vars(self) else self.part(0, 1)

    def part(self, start: int, stop: int) -> Linearization:
        """The same parameters on the examples start:stop."""
        if stop - start == len(self.x):
            return self
        return Linearization(self.network, self.params, self.x[start:stop])

    def on(self, x: Array) -> Linearization:
        """The same parameters on another batch, its pass made; on this one, this."""
        if x is self.x:
            return self
        other = self.network.linearize(self.params, x)
        _ = other.z  # now, once for all who will look at it
        return other


def check_network(network: Any) -> None:
    """KfacTypeError: not the parameters, not a layer."""
    advice = "such as Network([Dense(8, 3)], Categorical())"
    check_kind("network", network, Network, advice)


def _check_floats(what: str, arrays: list[Array]) -> None:
    """ValueRangeError unless all are float64, or all float32."""
    found = sorted({array.dtype.name for array in arrays})
    if arrays and (len(found) != 1 or found[0] not in FLOATS):
        raise ValueRangeError(
            f"{what}: expected all float64 or all float32, found "
            f"{' and '.join(found)}; use x.astype(params[0].dtype)"
        )
