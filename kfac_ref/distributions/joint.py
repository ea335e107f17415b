"""Several weighted losses, each on its own slice of the outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.checks import check_count, check_number
from kfac_ref.distributions.base import Distribution, Labels
from kfac_ref.errors import ShapeError, ValueRangeError, describe, located


class Joint(Distribution):
    """loss = sum_i w_i (-log p_i(y_i|z_i)); the z_i are slices of the last axis of z.

    `Joint([(Categorical(), 5, 1.0), (Normal(0.5), 3, 0.1)])` lists (distribution,
    number of outputs, weight), in the order of the outputs. Labels are a list or tuple
    of arrays, one for each part. The curvature in z is block-diagonal, with blocks w_i
    F_i.

    A weight is not part of p_i, so two kinds of vectors differ. The gradient of the
    loss, w_i grad_i, has the second moment w_i^2 F_i; `sampled_gradient` for sampled
    labels, sqrt(w_i) grad_i, has the second moment w_i F_i.

    Raises ShapeError, ValueRangeError.
    """

    def __init__(self, parts: Sequence[tuple[Distribution, int, float]]):
        if not isinstance(parts, list | tuple):
            raise ShapeError(
                "parts of Joint: expected a list of (distribution, number of outputs, "
                f"weight), found {describe(parts)}"
            )
        if len(parts) == 0:
            raise ShapeError("Joint: expected at least one part, found none")
        self.parts: list[tuple[Distribution, slice, float]] = []
        self.outputs = 0
        for i, part in enumerate(parts):
            distribution, outputs, weight = _check_part(i, part)
            end = self.outputs + outputs
            self.parts.append((distribution, slice(self.outputs, end), weight))
            self.outputs = end
        self.natural = all(p.natural for p, _, _ in self.parts)

    def __repr__(self) -> str:
        parts = [f"({p!r}, {s.stop - s.start}, {w:g})" for p, s, w in self.parts]
        return f"Joint([{', '.join(parts)}])"

    def check_labels(self, z: Array, y: Labels) -> None:
        self._check_outputs(z)
        if not isinstance(y, list | tuple) or len(y) != len(self.parts):
            found = len(y) if isinstance(y, list | tuple) else type(y).__name__
            raise ShapeError(
                f"labels: expected a list of {len(self.parts)} arrays, one for each "
                f"part, found {found}"
            )
        for i, (p, s, _) in enumerate(self.parts):
            with located(f"part {i}, {p!r}"):
                p.check_labels(z[..., s], y[i])

    def nll(self, z: Array, y: Labels) -> Array:
        self._check_outputs(z)
        each = zip(self.parts, y, strict=True)
        return sum(w * p.nll(z[..., s], y_i) for (p, s, w), y_i in each)

    def gradient(self, z: Array, y: Labels) -> Array:
        return self._blocks(z, 1.0, lambda i, p, s: p.gradient(z[..., s], y[i]))

    def sampled_gradient(self, z: Array, y: Labels) -> Array:
        return self._blocks(z, 0.5, lambda i, p, s: p.sampled_gradient(z[..., s], y[i]))

    def root_product(self, z: Array, u: Array) -> Array:
        return self._blocks(
            z, 0.5, lambda i, p, s: p.root_product(z[..., s], u[..., s])
        )

    def root_transpose(self, z: Array, v: Array) -> Array:
        return self._blocks(
            z, 0.5, lambda i, p, s: p.root_transpose(z[..., s], v[..., s])
        )

    def fisher_product(self, z: Array, v: Array) -> Array:
        return self._blocks(
            z, 1.0, lambda i, p, s: p.fisher_product(z[..., s], v[..., s])
        )

    def hessian_product(self, z: Array, y: Labels, v: Array) -> Array:
        return self._blocks(
            z, 1.0, lambda i, p, s: p.hessian_product(z[..., s], _of(y, i), v[..., s])
        )

    def hessian_root_product(self, z: Array, y: Labels, u: Array) -> Array:
        return self._blocks(
            z,
            0.5,
            lambda i, p, s: p.hessian_root_product(z[..., s], _of(y, i), u[..., s]),
        )

    def hessian_root_transpose(self, z: Array, y: Labels, v: Array) -> Array:
        return self._blocks(
            z,
            0.5,
            lambda i, p, s: p.hessian_root_transpose(z[..., s], _of(y, i), v[..., s]),
        )

    def sample(self, z: Array, rng: np.random.Generator, samples: int) -> list[Array]:
        self._check_outputs(z)
        return [p.sample(z[..., s], rng, samples) for p, s, _ in self.parts]

    def _blocks(
        self, z: Array, power: float, block: Callable[[int, Distribution, slice], Array]
    ) -> Array:
        """w_i^power block_i of every part, side by side on the last axis."""
        self._check_outputs(z)
        blocks = [w**power * block(i, p, s) for i, (p, s, w) in enumerate(self.parts)]
        return get_xp(z).concatenate(blocks, axis=-1)

    def _check_outputs(self, z: Array) -> None:
        if z.shape[-1] != self.outputs:
            raise ShapeError(
                f"outputs of {self!r}: expected {self.outputs} entries on the last "
                f"axis, found shape {tuple(z.shape)}"
            )


def _of(y: Labels, i: int) -> Array | None:
    """The labels of part i, or None if there are none: natural parameters need none."""
    return None if y is None else y[i]


def _check_part(i: int, part: tuple) -> tuple[Distribution, int, float]:
    fits = isinstance(part, list | tuple) and len(part) == 3
    if not (fits and isinstance(part[0], Distribution)):
        raise ShapeError(
            f"part {i} of Joint: expected (distribution, number of outputs, weight), "
            f"with at least 1 output, found {describe(part)}"
        )
    distribution, where = part[0], f"of part {i} of Joint, {part[0]!r}"
    outputs = check_count(f"outputs {where}", part[1])
    weight = check_number(f"weight {where}", part[2])
    if not (0 < weight < math.inf):
        raise ValueRangeError(
            f"weight {where}: expected a positive finite number, found {weight}"
        )
    return distribution, outputs, weight
