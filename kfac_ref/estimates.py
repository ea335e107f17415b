"""Question 1: which vectors are propagated back from the outputs of an example?

An estimate turns outputs z (N, ..., C) into vectors (K, N, ..., C) whose second moment
is the output Fisher F_z (or the GGN's H_z, or the empirical Fisher's), summed over k;
all weights are inside the vectors. So every estimate leads to the same sum,
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

from dataclasses import dataclass
from typing import Any

import numpy as np

from kfac_ref.backend import Array, asarray
from kfac_ref.distributions.base import Distribution
from kfac_ref.errors import ValueRangeError, check_count, choose, not_written
from kfac_ref.values import Value

Rng = Any  # numpy.random.Generator, or None for an estimate that draws nothing


@dataclass(frozen=True)
class Estimate(Value):
    """Base: `draw` once for all examples, `vectors` for some of them."""

    samples: int = 1
    is_random = False  # needs a random generator, and the outputs of all examples

    def __post_init__(self) -> None:
        check_count(f"{type(self).__name__} samples", self.samples)
        super().__post_init__()

    def needs_labels(self, distribution: Distribution) -> bool:
        """Does it look at the observed labels?"""
        return False

    def draw(self, distribution: Distribution, z: Array, y: Array, rng: Rng) -> Array:
        """Whatever belongs to examples besides z, with examples on axis `axis`."""
        return y

    def take(self, drawn: Array, start: int, stop: int) -> Array:
        """The part of `draw` that belongs to the examples start:stop."""
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
        """The vectors start:stop of the examples z: (k, n, ..., C)."""
        raise not_written(self, "vectors")


@dataclass(frozen=True)
class Expectation(Estimate):
    """Labels in full expectation: the columns of B, F_z = B B^T."""

    def count(self, z: Array) -> int:
        return int(np.prod(z.shape[1:]))

    def vectors(
        self, distribution: Distribution, z: Array, drawn: Array, start: int, stop: int
    ) -> Array:
        return distribution.root_product(z, distribution.columns(z, start, stop))


@dataclass(frozen=True)
class GGN(Expectation):
    """The columns of S, H_z = S S^T."""

    def needs_labels(self, distribution: Distribution) -> bool:
        return not distribution.natural

    def vectors(
        self, distribution: Distribution, z: Array, drawn: Array, start: int, stop: int
    ) -> Array:
        columns = distribution.columns(z, start, stop)
        return distribution.hessian_root_product(z, drawn, columns)


@dataclass(frozen=True)
class Sampled(Estimate):
    """Gradients for labels drawn from the model, over sqrt(samples)."""

    is_random = True

    def draw(self, distribution: Distribution, z: Array, y: Array, rng: Rng) -> Array:
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

    def needs_labels(self, distribution: Distribution) -> bool:
        return True

    def vectors(
        self, distribution: Distribution, z: Array, drawn: Array, start: int, stop: int
    ) -> Array:
        return distribution.gradient(z, drawn)[None][start:stop]


@dataclass(frozen=True)
class RandomSigns(Estimate):
    """Curvature propagation: B r over sqrt(samples), r of independent signs."""

    is_random = True

    def draw(self, distribution: Distribution, z: Array, y: Array, rng: Rng) -> Array:
        signs = 2 * rng.integers(0, 2, (self.samples, *z.shape)) - 1
        return asarray(signs.astype(z.dtype), like=z)

    def vectors(
        self, distribution: Distribution, z: Array, drawn: Array, start: int, stop: int
    ) -> Array:
        scale = float(np.sqrt(self.samples))
        return distribution.root_product(z, drawn[start:stop]) / scale


@dataclass(frozen=True)
class GGNRandomSigns(RandomSigns):
    """S r over sqrt(samples), where the outputs are natural parameters."""

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

# The words of other libraries: TensorFlow K-FAC, KFAC-JAX, curvlinops, BackPACK,
# NNGeometry, ASDL, Kronfluence. One word may stand in several of them.
ALIASES = {
    "exact": "expectation",  # TensorFlow K-FAC
    "fisher_exact": "expectation",  # KFAC-JAX, ASDL
    "FIM": "expectation",  # NNGeometry
    "gradients": "sampled",  # TensorFlow K-FAC
    "fisher_gradients": "sampled",  # KFAC-JAX
    "mc": "sampled",  # curvlinops
    "fisher_mc": "sampled",  # ASDL
    "FIM_MonteCarlo": "sampled",  # NNGeometry
    "KFAC": "sampled",  # BackPACK
    "fisher_empirical": "empirical",  # KFAC-JAX
    "fisher_emp": "empirical",  # ASDL
    "use_empirical_fisher": "empirical",  # Kronfluence
    "curvature_prop": "random_signs",  # TensorFlow K-FAC
    "fisher_curvature_prop": "random_signs",  # KFAC-JAX
    "exact_GGN": "ggn",  # TensorFlow K-FAC
    "ggn_exact": "ggn",  # KFAC-JAX
    "type-2": "ggn",  # curvlinops
    "KFLR": "ggn",  # BackPACK
    "curvature_prop_GGN": "ggn_random_signs",  # TensorFlow K-FAC
    "ggn_curvature_prop": "ggn_random_signs",  # KFAC-JAX
}


def make_estimate(name: str | Estimate, samples: int = 1) -> Estimate:
    """The estimate of that name, or of another library's word for it.

    `samples` is the number of labels or sign vectors drawn for each example. Raises
    UnknownName, with the closest known name, and ValueRangeError for samples < 1, or
    for samples > 1 where nothing is drawn.
    """
    if isinstance(name, Estimate):
        return name
    choose("estimate", name, [*ESTIMATES, *ALIASES])
    kind = ESTIMATES[ALIASES.get(name, name)]
    samples = check_count(f"samples of estimate {name!r}", samples)
    if samples > 1 and not kind.is_random:
        raise ValueRangeError(
            f"samples of estimate {name!r}: expected 1, for it draws nothing; found "
            f"{samples}"
        )
    return kind(samples)


def _is_list(labels: Array) -> bool:
    """Are these the labels of several losses, one array for each?"""
    return isinstance(labels, list | tuple)
