"""The pairs (a, g) of every block: what all curvature matrices are made of.

    F = 1/N sum_n sum_k vec(D_nk) vec(D_nk)^T        D_nk = sum_t a_nt g_nkt^T

`Pairs` walks over the examples in chunks, so that memory is bounded; a `Chunk` holds
`a` of its examples and propagates vectors back when it is asked for `g`, all at once or
a few at a time. `propagate` makes them from a network, `given_pairs` from the arrays of
another implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.calls import door
from kfac_ref.errors import (
    KfacTypeError,
    ShapeError,
    Unsupported,
    ValueRangeError,
    check_batch,
    check_count,
    check_generator,
    check_names,
    check_shape,
    describe,
    located,
)
from kfac_ref.estimates import Estimate, Expectation, make_estimate
from kfac_ref.limits import check_bytes
from kfac_ref.matrices.definite import check_alike, check_floats
from kfac_ref.network import Forward, Network, check_network
from kfac_ref.values import Value

MEMORY = 2**28  # bytes, beyond the result, that a computation may take
CACHE = 2**24  # bytes of propagated vectors at a time, where a few at a time will do

Backward = Callable[[int, int], list[Array]]  # vectors first:last -> g of every block
Make = Callable[[int, int], "Chunk"]  # of the examples start:stop


@dataclass(frozen=True, eq=False)
class Chunk(Value):
    """Some examples: `a` of every block (n, T, d_in + 1), and `g` (K, n, T, d_out)."""

    a: list[Array]
    count: int  # K
    size: int  # bytes of the g of every block for one vector
    backward: Backward

    def g(self) -> list[Array]:
        """g of every block, all K vectors. Raises TooLarge."""
        what = f"{self.count:,} vectors for each of {len(self.a[0])} examples"
        check_bytes(what, self.count * self.size, self.a[0], "use fewer samples")
        return self.backward(0, self.count)

    def g_by_vectors(self, memory: int = MEMORY) -> Iterator[list[Array]]:
        """g of every block for a few vectors at a time, as many as fit into a cache.

        What is made on the way takes up to seven times as much; all stays in `memory`.
        """
        step = max(1, min(CACHE, memory // 8) // self.size)
        for start in range(0, self.count, step):
            yield self.backward(start, min(start + step, self.count))


@dataclass(frozen=True, eq=False)
class Pairs(Value):
    """The pairs of N examples. `positions` is T of each block, `count` is K."""

    names: list[str]
    shapes: list[tuple[int, int]]
    positions: list[int]
    examples: int  # N
    count: int  # K
    like: Array  # any array of the same backend and dtype
    mixes_examples: bool
    memory: int
    make: Make
    left_out: Sequence[int] = ()  # positions of each block (subsampling.py)
    outputs: int = 0  # numbers in z of one example, if there is a network

    @property
    def subsampled(self) -> bool:
        """Are positions left out?"""
        return any(self.left_out)

    @property
    def numbers(self) -> int:
        """Numbers in a and g of one example, and in what is made of them."""
        sizes = zip(self.shapes, self.positions, strict=True)
        layers = sum(T * (2 * d + self.count * (d + 2 * o)) for (d, o), T in sizes)
        return layers + 6 * (1 + self.count) * self.outputs

    def chunks(self, per_example: int = 0, fixed: int = 0) -> Iterator[Chunk]:
        """Chunks of examples; work on them takes `fixed` numbers of workspace, and
        `per_example` for each example.

        The numbers of a and g themselves are counted here; the sum stays under
        `memory` bytes, except that a chunk has at least one example.
        """
        room = self.memory // self.like.itemsize - fixed
        fit = room // (self.numbers + per_example)
        step = self.examples if self.mixes_examples else max(1, fit)
        for start in range(0, self.examples, step):
            yield self.make(start, min(start + step, self.examples))

    def select(self, blocks: Sequence[int]) -> Pairs:
        """The pairs of some blocks alone; the same vectors are propagated."""
        blocks = [check_count("block", i, least=0) for i in blocks]
        return replace(
            self,
            names=[self.names[i] for i in blocks],
            shapes=[self.shapes[i] for i in blocks],
            positions=[self.positions[i] for i in blocks],
            make=partial(_selected_chunk, self.make, blocks),
            left_out=[self.left_out[i] for i in blocks] if self.left_out else (),
        )


# What makes chunks is a function with its arguments, no closure: pairs can be pickled.


def _selected_chunk(make: Make, blocks: list[int], start: int, stop: int) -> Chunk:
    """Some blocks of a chunk."""
    whole = make(start, stop)
    backward = partial(_selected_g, whole.backward, blocks)
    return replace(whole, a=[whole.a[i] for i in blocks], backward=backward)


def _selected_g(
    backward: Backward, blocks: list[int], first: int, last: int
) -> list[Array]:
    g = backward(first, last)
    return [g[i] for i in blocks]


@door
def propagate(
    network: Network,
    params: list[Array],
    x: Array,
    estimate: str | Estimate = "expectation",
    *,
    y: Array | None = None,
    rng: np.random.Generator | None = None,
    samples: int | None = None,
    memory: int = MEMORY,
    forward: Forward | None = None,
) -> Pairs:
    """The pairs (a, g) of a network on the batch x, for an estimate.

    y: observed labels, for the empirical Fisher and the GGN; rng and samples (None: 1):
    for estimates that draw; memory: bytes that a computation with the pairs may take
    beyond its result, beyond a few arrays of the size of all outputs where labels are
    drawn, and beyond the factorisations of eigenvalue_corrected, best_kronecker and
    block_tridiagonal; forward: the pass of params and x, where it has been made. y and
    rng may always be given: they are checked, also where an estimate has no use for
    them; samples only where they are drawn.
    Raises ShapeError, ValueRangeError, UnknownName.
    """
    check_network(network)
    chosen = make_estimate(estimate, samples)
    if forward is None:
        network.check(params, x)
    else:
        network.run(params, x, forward)
    _check_given(chosen, network, y, rng)
    memory = check_count("memory (bytes)", memory)
    with located("the first example of x"):
        first = forward or _pass(network, params, x[:1])
    positions = _positions(first)
    z = first.z
    draws = type(chosen).draw is not Estimate.draw
    if forward is None and (draws or y is not None):
        z = _outputs(network, params, x, positions, memory)
    if y is not None:
        network.check_labels(z, y)
    drawn = chosen.draw(network.distribution, z, y, rng)
    if drawn is not y:
        chosen.check(network, z, drawn)
    of = forward if forward is not None else (network, params, x)
    return Pairs(
        network.names,
        network.shapes,
        positions,
        len(x),
        chosen.count(z),
        z,
        network.body.mixes_examples,
        memory,
        partial(_propagated_chunk, of, chosen, drawn, positions),
        outputs=int(np.prod(z.shape[1:])),
    )


def _outputs(
    network: Network, params: list[Array], x: Array, positions: list[int], memory: int
) -> Array:
    """z of all examples, (N, ..., C); of what a pass keeps, no more than `memory`."""
    sizes = zip(network.shapes, positions, strict=True)
    numbers = 4 * params[0].dtype.itemsize * sum(T * (d + o) for (d, o), T in sizes)
    step = len(x) if network.body.mixes_examples else max(1, memory // numbers)
    starts = range(0, len(x), step)
    parts = [network.forward(params, x[s : s + step])[0] for s in starts]
    return parts[0] if len(parts) == 1 else get_xp(*parts).concatenate(parts)


def _pass(network: Network, params: list[Array], x: Array) -> Forward:
    """The forward pass, of arguments that are checked already."""
    return Forward(network, params, x, *network.forward(params, x))


def _propagated_chunk(
    of: Forward | tuple[Network, list[Array], Array],
    estimate: Estimate,
    drawn: Array,
    positions: list[int],
    start: int,
    stop: int,
) -> Chunk:
    """Some examples, with what was drawn for them; `of` a pass that is done, or not."""
    if isinstance(of, Forward) and stop - start == len(of.x):
        forward = of
    else:
        given = (of.network, of.params, of.x) if isinstance(of, Forward) else of
        network, params, x = given
        forward = _pass(network, params, x[start:stop])
    network, z, mine = forward.network, forward.z, estimate.take(drawn, start, stop)
    outputs = zip(network.shapes, positions, strict=True)
    size = len(z) * z.itemsize * sum(T * o for (_, o), T in outputs)
    backward = partial(_propagated_g, forward, estimate, mine, positions)
    return Chunk(network.body.inputs(forward.tape), estimate.count(z), size, backward)


def _propagated_g(
    forward: Forward,
    estimate: Estimate,
    drawn: Array,
    positions: list[int],
    first: int,
    last: int,
) -> list[Array]:
    """g of every block, for the vectors first:last."""
    network, z = forward.network, forward.z
    dz = estimate.vectors(network.distribution, z, drawn, first, last)
    g = network.body.backward(forward.params, forward.tape, dz, input_needed=False)[1]
    k, n = dz.shape[:2]
    blocks = zip(g, network.names, network.shapes, positions, strict=True)
    for gi, name, (_, o), T in blocks:
        check_shape(f"g of layer {name}, (k, n, T, d_out)", gi, (k, n, T, o))
    return g


def _positions(forward: Forward) -> list[int]:
    """T of each block, from `a` of some examples, whose shapes are checked."""
    network, n = forward.network, len(forward.x)
    a = network.body.inputs(forward.tape)
    for name, ai, (d, _) in zip(network.names, a, network.shapes, strict=True):
        check_shape(f"a of layer {name}, (n, T, d_in)", ai, (n, None, d))
    return [ai.shape[1] for ai in a]


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
    make = partial(_given_chunk, a, g)
    return Pairs(names, shapes, positions, N, K, a[0], False, memory, make)


def _given_chunk(a: list[Array], g: list[Array], start: int, stop: int) -> Chunk:
    mine = [ai[start:stop] for ai in a]
    size = (stop - start) * sum(gi[0, 0].nbytes for gi in g)
    return Chunk(mine, len(g[0]), size, partial(_given_g, g, start, stop))


def _given_g(
    g: list[Array], start: int, stop: int, first: int, last: int
) -> list[Array]:
    return [gi[first:last, start:stop] for gi in g]
