"""Question 1: which vectors are propagated back from the outputs of an example?

An estimate turns outputs z (N, ..., C) into vectors (K, N, ..., C) whose second moment,
summed over k, is the output Fisher F_z (or the GGN's H_z, or the empirical Fisher's).
Any weights are inside the vectors, so every estimate leads to the same sum,
F = 1/N sum_n sum_k vec(D_nk) vec(D_nk)^T.

    expectation       every column of a square root of F_z         exact, K = outputs
    sampled           gradients for labels drawn from the model    unbiased, K = samples
    empirical         the gradient for the observed label          another matrix, K = 1
    random_signs      B r, random signs r (curvature propagation)  unbiased, K = samples
    ggn               every column of a square root of H_z         exact GGN
    ggn_random_signs  S r                                          unbiased for the GGN

Sources: Martens & Grosse 2015, section 5 (sampled); Martens, Sutskever & Swersky 2012
(signs); Kunstner, Hennig & Balles 2019 (why empirical is another matrix).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from kfac_ref.backend import Array, asarray
from kfac_ref.checks import check_count, check_shape
from kfac_ref.distributions.base import Distribution
from kfac_ref.errors import ShapeError, ValueRangeError, located, not_written
from kfac_ref.limits import check_bytes
from kfac_ref.network import Network
from kfac_ref.values import Value
from kfac_ref.words import translate

Rng = Any  # numpy.random.Generator, or None for an estimate that draws nothing


@dataclass(frozen=True)
class Estimate(Value):
    """Base class: call `draw` once for all examples, `vectors` for some of them."""

    samples: int = 1
    is_random = False  # does it draw `samples` times for every example?

    def __post_init__(self) -> None:
        check_count(f"{type(self).__name__} samples", self.samples)
        super().__post_init__()

    def needs_labels(self, distribution: Distribution) -> bool:
        """Whether it uses the observed labels."""
        return False

    def draw(self, distribution: Distribution, z: Array, y: Array, rng: Rng) -> Array:
        """Sampled labels or signs, or the observed labels y.

        What is sampled has an axis `samples` in front of the examples. `rng` is None if
        none was given; an estimate that draws from it calls `needs_generator` first.
        """
        return y

    def check(self, network: Network, z: Array, drawn: Array) -> None:
        """Check drawn labels as any labels are checked.

        Override it in an estimate of your own that draws something other than labels.
        """
        with located(f"labels that estimate {type(self).__name__} drew"):
            for labels in self._sets(drawn) if self.is_random else [drawn]:
                network.check_labels(z, labels)

    def _sets(self, drawn: Array) -> Iterator[Array]:
        """Yield the labels of each sample. Raises ShapeError."""
        parts = drawn if _is_list(drawn) else [drawn]
        for part in parts:
            shape = getattr(part, "shape", ())
            found = shape[0] if shape else "no axis"
            if found != self.samples:
                raise ShapeError(
                    f"expected {self.samples} on the first axis, one for each sample, "
                    f"found {found}"
                )
        for i in range(self.samples):
            labels = [part[i] for part in parts]
            yield labels if _is_list(drawn) else labels[0]

    def needs_generator(self, rng: Rng) -> None:
        """Raise ValueRangeError if rng is None."""
        if rng is None:
            raise ValueRangeError(
                f"estimate {type(self).__name__}: needs a generator, "
                "rng=numpy.random.default_rng(...)"
            )

    def _check_room(self, z: Array, each: int) -> None:
        """Raise TooLarge unless the samples, of at least `each` bytes, fit the host."""
        what = (
            f"{self.samples:,} samples of estimate {type(self).__name__} for each of "
            f"{len(z):,} examples, at the least,"
        )
        check_bytes(what, self.samples * each, np.empty(0), "use fewer samples")

    def take(self, drawn: Array, start: int, stop: int) -> Array:
        """The part of `drawn` for the examples start:stop."""
        if isinstance(drawn, list | tuple):
            return [self.take(part, start, stop) for part in drawn]
        if drawn is None:
            return None
        return drawn[:, start:stop] if self.is_random else drawn[start:stop]

    def count(self, z: Array) -> int:
        """K, the number of vectors for each example."""
        return self.samples  # 1 unless it draws

    def vectors(
        self, distribution: Distribution, z: Array, drawn: Array, start: int, stop: int
    ) -> Array:
        """The vectors start:stop for each example in z, (k, n, ..., C)."""
        raise not_written(self, "vectors")


@dataclass(frozen=True)
class Expectation(Estimate):
    """Full expectation over the labels: the columns of B, where F_z = B B^T."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples > 1:
            raise _draws_nothing(type(self).__name__, self.samples)

    def count(self, z: Array) -> int:
        return int(np.prod(z.shape[1:]))

    def vectors(
        self, distribution: Distribution, z: Array, drawn: Array, start: int, stop: int
    ) -> Array:
        return distribution.root_product(z, distribution.columns(z, start, stop))


@dataclass(frozen=True)
class GGN(Expectation):
    """The columns of S, where H_z = S S^T."""

    def needs_labels(self, distribution: Distribution) -> bool:
        return not distribution.natural

    def vectors(
        self, distribution: Distribution, z: Array, drawn: Array, start: int, stop: int
    ) -> Array:
        columns = distribution.columns(z, start, stop)
        return distribution.hessian_root_product(z, drawn, columns)


@dataclass(frozen=True)
class Sampled(Estimate):
    """Gradients for labels drawn from the model, divided by sqrt(samples)."""

    is_random = True

    def draw(self, distribution: Distribution, z: Array, y: Array, rng: Rng) -> Array:
        self.needs_generator(rng)
        # a random number for each label, and at least a byte for each output
        self._check_room(z, z.size + 8 * math.prod(z.shape[:-1]))
        return distribution.sample(z, rng, self.samples)

    def vectors(
        self, distribution: Distribution, z: Array, drawn: Array, start: int, stop: int
    ) -> Array:
        labels = (
            [p[start:stop] for p in drawn] if _is_list(drawn) else drawn[start:stop]
        )
        return distribution.sampled_gradient(z, labels) / float(np.sqrt(self.samples))


@dataclass(frozen=True)
class Empirical(Estimate):
    """The gradient for the observed label."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples > 1:
            raise _draws_nothing(type(self).__name__, self.samples)

    def needs_labels(self, distribution: Distribution) -> bool:
        return True

    def vectors(
        self, distribution: Distribution, z: Array, drawn: Array, start: int, stop: int
    ) -> Array:
        return distribution.gradient(z, drawn)[None][start:stop]


@dataclass(frozen=True)
class RandomSigns(Estimate):
    """Curvature propagation: B r / sqrt(samples), with independent random signs r."""

    is_random = True

    def draw(self, distribution: Distribution, z: Array, y: Array, rng: Rng) -> Array:
        self.needs_generator(rng)
        self._check_room(z, (8 + z.itemsize) * z.size)  # integers, then floats
        signs = 2 * rng.integers(0, 2, (self.samples, *z.shape)) - 1
        return asarray(signs.astype(z.dtype), like=z)

    def check(self, network: Network, z: Array, drawn: Array) -> None:
        """Raise ShapeError unless every sample has the shape of z."""
        what = f"signs that estimate {type(self).__name__} drew"
        check_shape(what, drawn, (self.samples, *z.shape))

    def vectors(
        self, distribution: Distribution, z: Array, drawn: Array, start: int, stop: int
    ) -> Array:
        scale = float(np.sqrt(self.samples))
        return distribution.root_product(z, drawn[start:stop]) / scale


@dataclass(frozen=True)
class GGNRandomSigns(RandomSigns):
    """S r / sqrt(samples), for outputs that are natural parameters."""

    def vectors(
        self, distribution: Distribution, z: Array, drawn: Array, start: int, stop: int
    ) -> Array:
        scale = float(np.sqrt(self.samples))
        return distribution.hessian_root_product(z, None, drawn[start:stop]) / scale


ESTIMATES: dict[str, type[Estimate]] = {
    "expectation": Expectation,
    "sampled": Sampled,
    "empirical": Empirical,
    "random_signs": RandomSigns,
    "ggn": GGN,
    "ggn_random_signs": GGNRandomSigns,
}


def make_estimate(name: str | Estimate, samples: int | None = None) -> Estimate:
    """The estimate of that name, which may be another library's word.

    `samples` is the number of labels or sign vectors drawn for each example. None means
    1, or the number of an estimate given as an object. Raises UnknownName with the
    closest known name; ValueRangeError if samples < 1, if samples > 1 but nothing is
    drawn, or if an object's number is another.
    """
    if samples is not None:
        samples = check_count(f"samples of estimate {name!r}", samples)
    if isinstance(name, Estimate):
        if samples not in (None, name.samples):
            raise ValueRangeError(
                f"samples: expected {name.samples}, as in the estimate {name!r}, or "
                f"no samples beside it; found {samples}"
            )
        return name
    kind: Any = ESTIMATES[translate("estimate", name, ESTIMATES)]
    if samples and samples > 1 and not kind.is_random:
        raise _draws_nothing(repr(name), samples)
    return _made(kind, samples or 1)


@cache  # safe: they are frozen
def _made(kind: Any, samples: int) -> Estimate:
    return kind(samples)


def _draws_nothing(name: str, samples: int) -> ValueRangeError:
    return ValueRangeError(
        f"samples of estimate {name}: expected 1, as it draws nothing; found {samples}"
    )


def _is_list(labels: Array) -> bool:
    """Whether these are the labels of several losses, one array for each."""
    return isinstance(labels, list | tuple)
