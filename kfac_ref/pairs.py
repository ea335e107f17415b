"""The pairs (a, g) of every block: what all curvature matrices are made of.

    F = 1/N sum_n sum_k vec(D_nk) vec(D_nk)^T        D_nk = sum_t a_nt g_nkt^T

    a   (N, T, d_in + 1)   for every block: its inputs, a 1 appended
    g   (K, N, T, d_out)   what arrives at its outputs, one example's loss, for every
                           vector k that is propagated back

`propagate` makes them from a network, `given_pairs` from the arrays of another
implementation. What is summed over the examples is summed by `Pairs.mean`, in chunks,
so that memory is bounded; a chunk is again `Pairs`, of some of the examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.calls import door
from kfac_ref.checks import (
    check_alike,
    check_batch,
    check_count,
    check_floats,
    check_generator,
    check_kind,
    check_names,
    check_shape,
)
from kfac_ref.errors import (
    KfacTypeError,
    ShapeError,
    Unsupported,
    ValueRangeError,
    describe,
    located,
    not_written,
)
from kfac_ref.estimates import Estimate, Expectation, make_estimate
from kfac_ref.limits import check_bytes, quiet_overflow
from kfac_ref.network import Linearization, Network
from kfac_ref.panels import add_products
from kfac_ref.values import Value

MEMORY = 2**28  # bytes, beyond the result, that a computation may take
FEWER = "use fewer samples"
CACHE = 2**24  # bytes of propagated vectors at a time, where a few at a time will do


@dataclass(frozen=True, eq=False)
class Pairs(Value):
    """The pairs of N examples: base of those of a network, and of given arrays."""

    names: list[str]
    shapes: list[tuple[int, int]]  # (d_in + 1, d_out) of each block
    positions: list[int]  # T of each block
    examples: int  # N
    count: int  # K
    memory: int
    like: Array  # any array of the same backend and dtype
    outputs: int  # numbers in z of one example; 0 without a network
    mixes_examples: bool  # does g of one example depend on others?
    subsampled: bool  # are positions left out?

    def __post_init__(self) -> None:
        """Trusts its numbers: `propagate` and `given_pairs` have checked them."""

    @property
    def a(self) -> list[Array]:
        """a of every block, (N, T, d_in + 1)."""
        raise not_written(self, "a")

    def g(self, first: int = 0, last: int | None = None) -> list[Array]:
        """g of every block, (K, N, T, d_out), or of the vectors first:last alone."""
        raise not_written(self, "g")

    def part(self, start: int, stop: int) -> Pairs:
        """The pairs of the examples start:stop."""
        raise not_written(self, "part")

    @quiet_overflow
    def mean(
        self, operands: Callable[[list[Array]], Iterable[tuple[Array, Array]]]
    ) -> tuple[list[Array], list[Array]]:
        """1/N sum_n X^T Y of the inputs, and 1/N sum_nk X^T Y of the errors.

        operands(x) is called with the a of all blocks, and with their g, of some
        examples (and vectors), and gives rows (X, Y), a pair for every product.
        """
        of_a: list[Array] = []
        of_g: list[Array] = []
        panel = self.memory // (4 * self.like.itemsize)
        for chunk in self.chunks():
            add_products(of_a, operands(chunk.a), panel)
            for few in chunk.few_vectors():
                add_products(of_g, operands(few), panel)
        for total in (*of_a, *of_g):
            total /= self.examples
        return of_a, of_g

    @quiet_overflow
    def mean_together(
        self,
        sums: Callable[[list[Array], list[Array]], Iterable[Array]],
        per_example: int = 0,
    ) -> list[Array]:
        """1/N sum_nk of what needs a and g: sums(a, g) gives new arrays.

        per_example: numbers of workspace that `sums` takes for each example.
        """
        totals: list[Any] = [0.0] * len(self.shapes)
        for chunk in self.chunks(per_example):
            a = chunk.a
            for few in chunk.few_vectors():
                totals = [s + t for s, t in zip(totals, sums(a, few), strict=True)]
        return [total / self.examples for total in totals]

    def chunks(self, per_example: int = 0, fixed: int = 0) -> Iterator[Pairs]:
        """The pairs of some examples after the others.

        Work on a chunk takes `fixed` numbers of workspace, and `per_example` for each
        example; those of a and g are counted here. The sum stays under `memory` bytes,
        except that a chunk has at least one example.
        """
        room = self.memory // self.like.itemsize - fixed
        fit = max(1, room // (self.numbers + per_example))
        step = self.examples if self.mixes_examples else fit
        for start in range(0, self.examples, step):
            yield self.part(start, min(start + step, self.examples))

    def few_vectors(self) -> Iterator[list[Array]]:
        """g of every block for a few vectors at a time, as many as fit into a cache.

        What is made on the way takes up to seven times as much; all stays in `memory`.
        """
        sizes = zip(self.shapes, self.positions, strict=True)
        numbers = self.examples * sum(T * o for (_, o), T in sizes)
        step = min(CACHE, self.memory // 8) // (numbers * self.like.itemsize)
        for first in range(0, self.count, max(1, step)):
            yield self.g(first, min(first + max(1, step), self.count))

    @property
    def numbers(self) -> int:
        """Numbers in a and g of one example, and in what is made of them."""
        sizes = zip(self.shapes, self.positions, strict=True)
        layers = sum(T * (2 * d + self.count * (d + 2 * o)) for (d, o), T in sizes)
        return layers + 6 * (1 + self.count) * self.outputs

    def select(self, blocks: Sequence[int]) -> Pairs:
        """The pairs of some blocks alone; the same vectors are propagated."""
        blocks = [check_count("block", i, least=0) for i in blocks]
        of = {
            name: [getattr(self, name)[i] for i in blocks]
            for name in ("names", "shapes", "positions")
        }
        return Selected(**common(self) | of, whole=self, blocks=blocks)


def common(pairs: Pairs) -> dict[str, Any]:
    """What all kinds of pairs have, for others that are made of these."""
    return {each.name: getattr(pairs, each.name) for each in fields(Pairs)}


@dataclass(frozen=True, eq=False)
class Propagated(Pairs):
    """The pairs of a network, for an estimate and what it drew."""

    at: Linearization
    estimate: Estimate
    drawn: Any

    @property
    def a(self) -> list[Array]:
        return self.at.inputs()

    def g(self, first: int = 0, last: int | None = None) -> list[Array]:
        if last is None:
            last = self.count
            sizes = zip(self.shapes, self.positions, strict=True)
            numbers = last * self.examples * sum(T * o for (_, o), T in sizes)
            what = f"{last:,} vectors for each of {self.examples} examples"
            check_bytes(what, numbers * self.like.itemsize, self.like, FEWER)
        distribution, z = self.at.network.distribution, self.at.z
        dz = self.estimate.vectors(distribution, z, self.drawn, first, last)
        g, (k, n) = self.at.errors(dz), dz.shape[:2]
        blocks = zip(g, self.names, self.shapes, self.positions, strict=True)
        for gi, name, (_, o), T in blocks:  # users write layers
            check_shape(f"g of layer {name}, (k, n, T, d_out)", gi, (k, n, T, o))
        return g

    def part(self, start: int, stop: int) -> Pairs:
        drawn = self.estimate.take(self.drawn, start, stop)
        at = self.at.part(start, stop)
        return replace(self, examples=stop - start, at=at, drawn=drawn)


@dataclass(frozen=True, eq=False)
class Given(Pairs):
    """Pairs that are arrays already."""

    inputs: list[Array]
    errors: list[Array]

    @property
    def a(self) -> list[Array]:
        return self.inputs

    def g(self, first: int = 0, last: int | None = None) -> list[Array]:
        return [gi[first:last] for gi in self.errors]

    def part(self, start: int, stop: int) -> Pairs:
        a = [ai[start:stop] for ai in self.inputs]
        g = [gi[:, start:stop] for gi in self.errors]
        return replace(self, examples=stop - start, inputs=a, errors=g)


@dataclass(frozen=True, eq=False)
class Selected(Pairs):
    """Some blocks of other pairs."""

    whole: Pairs
    blocks: list[int]

    @property
    def a(self) -> list[Array]:
        a = self.whole.a
        return [a[i] for i in self.blocks]

    def g(self, first: int = 0, last: int | None = None) -> list[Array]:
        g = self.whole.g(first, last)
        return [g[i] for i in self.blocks]

    def few_vectors(self) -> Iterator[list[Array]]:
        for g in self.whole.few_vectors():  # of all blocks: that is what takes memory
            yield [g[i] for i in self.blocks]

    def part(self, start: int, stop: int) -> Pairs:
        whole = self.whole.part(start, stop)
        return replace(self, examples=stop - start, whole=whole)


@door
def propagate(
    at: Linearization,
    estimate: str | Estimate = "expectation",
    *,
    y: Array | None = None,
    rng: np.random.Generator | None = None,
    samples: int | None = None,
    memory: int = MEMORY,
) -> Pairs:
    """The pairs (a, g) at a point, `network.linearize(params, x)`, for an estimate.

    y: observed labels, for the empirical Fisher and the GGN; rng and samples (None: 1):
    for estimates that draw; y and rng may always be given: they are checked, also where
    an estimate has no use for them; samples only where they are drawn.

    memory: bytes that a computation with the pairs may take beside its result. Not
    counted are a few arrays of the size of all outputs, where labels are drawn, and the
    factorisations of eigenvalue_corrected, best_kronecker and block_tridiagonal.
    Raises ShapeError, ValueRangeError, UnknownName.
    """
    check_kind("at", at, Linearization, "as network.linearize(params, x) gives it")
    network, chosen = at.network, make_estimate(estimate, samples)
    _check_given(chosen, network, y, rng)
    memory = check_count("memory (bytes)", memory)
    one = at.example()
    with located("the first example of x"):
        positions = _positions(one)
    drawn = y
    if y is not None or type(chosen).draw is not Estimate.draw:
        z = _outputs(at, positions, memory)
        if y is not None:
            network.check_labels(z, y)
        drawn = chosen.draw(network.distribution, z, y, rng)
        if drawn is not y:
            chosen.check(network, z, drawn)
    return Propagated(
        network.names, network.shapes, positions, len(at.x), chosen.count(one.z),
        memory, one.z, int(np.prod(one.z.shape[1:])), network.body.mixes_examples,
        False, at, chosen, drawn,
    )  # fmt: skip


def _positions(one: Linearization) -> list[int]:
    """T of each block, from `a`, whose shapes are checked: users write layers."""
    network, n, a = one.network, len(one.x), one.inputs()
    for name, ai, (d, _) in zip(network.names, a, network.shapes, strict=True):
        check_shape(f"a of layer {name}, (n, T, d_in)", ai, (n, None, d))
    return [ai.shape[1] for ai in a]


def _outputs(at: Linearization, positions: list[int], memory: int) -> Array:
    """z of all examples, (N, ..., C); of what a pass keeps, no more than `memory`."""
    sizes = zip(at.network.shapes, positions, strict=True)
    numbers = 4 * sum(T * (d + o) for (d, o), T in sizes)
    step = max(1, memory // (numbers * at.params[0].dtype.itemsize))
    if at.network.body.mixes_examples or step >= len(at.x):
        return at.z
    starts = range(0, len(at.x), step)
    parts = [at.part(start, min(start + step, len(at.x))).z for start in starts]
    return get_xp(*parts).concatenate(parts)


def _check_given(estimate: Estimate, network: Network, y: Array, rng: object) -> None:
    name = type(estimate).__name__
    if y is None and estimate.needs_labels(network.distribution):
        raise ValueRangeError(f"estimate {name}: needs the observed labels, y=...")
    if rng is not None:
        check_generator(rng)
    if network.body.mixes_examples and isinstance(estimate, Expectation):
        raise Unsupported(
            f"estimate {name}: a layer of this network mixes the "
            "examples of a batch, and the k-th columns of all examples, propagated "
            "together, would be added up before they are squared; use 'sampled', "
            "'random_signs' or 'empirical', or for the exact matrix fisher_matrix(...)"
        )
    if not network.shapes:
        raise Unsupported(f"{network!r} has no parameters, and so no curvature")


@door
def given_pairs(
    a: list[Array], g: list[Array], names: list[str] | None = None, memory: int = MEMORY
) -> Pairs:
    """Pairs from arrays: for every block a (N, T, d_in + 1) and g (K, N, T, d_out).

    For the (a, g) of another implementation; g belongs to one example's loss, with the
    weight of each vector inside. Raises ShapeError.
    """
    check_names("names", [] if names is None else names)
    for what, given in (("a", a), ("g", g)):
        if not isinstance(given, list | tuple):
            raise KfacTypeError(
                f"{what}: expected a list, one for each block; found {describe(given)}"
            )
    if len(a) != len(g) or not a:
        raise ShapeError(
            f"a and g: expected one of each per block, found {len(a)}, {len(g)}"
        )
    check_shape("a", a[0], ("N", "T", "d_in"))
    check_shape("g", g[0], ("K", "N", "T", "d_out"))
    N, K = a[0].shape[0], g[0].shape[0]
    names = names or [f"block {i}" for i in range(len(a))]
    if len(names) != len(a):
        raise ShapeError(f"names: expected {len(a)}, found {len(names)}")
    for name, ai, gi in zip(names, a, g, strict=True):
        check_shape(f"a of {name}", ai, (N, "T", "d_in"))
        check_shape(f"g of {name}", gi, (K, N, ai.shape[1], "d_out"))
        check_batch(f"a of {name}", ai)
        check_batch(f"g of {name}", gi)
    check_alike("a and g", *a, *g)
    check_floats("a and g", a[0])
    memory = check_count("memory (bytes)", memory)
    shapes = [(ai.shape[-1], gi.shape[-1]) for ai, gi in zip(a, g, strict=True)]
    positions = [ai.shape[1] for ai in a]
    of = names, shapes, positions, N, K, memory, a[0], 0, False, False
    return Given(*of, list(a), list(g))
