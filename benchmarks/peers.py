"""The same tasks by other libraries, if they are installed.

A peer is a function of a task's name and its problem. It returns a function without
arguments that does the task, and one that compares: it turns what ours and the peer
return into arrays that must be equal. It raises Absent if the library does not offer
the task.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from benchmarks.cases import PART, Case, Problem, large_net, small_net

Arrays = list[np.ndarray]


class Absent(Exception):
    """Raised for what is not installed or not offered; the message says which."""


COMPARED = [  # the tasks that peers do, too
    "dense Fisher",
    "Kronecker factors",
    "damped inverse",
    "Fisher-vector product",
    PART,
]
PEERS = {  # name: module, function, package on PyPI
    "curvlinops": ("torch_peers", "curvlinops", "curvlinops-for-pytorch"),
    "BackPACK": ("torch_peers", "backpack", "backpack-for-pytorch"),
    "nngeometry": ("more_torch_peers", "nngeometry", "nngeometry"),
    "ASDL": ("more_torch_peers", "asdl", "asdfghjkl"),
    "KFAC-JAX": ("jax_peer", "kfac_jax", "kfac-jax"),
}
STEPS = {  # those with a peer of the step
    "curvlinops": ("step_peers", "curvlinops", "curvlinops-for-pytorch"),
}


def find(name: str, task: str, case: Case) -> tuple:
    """The peer's function, the comparison, and its version. Raises Absent."""
    if task == PART and name not in STEPS:
        raise Absent("no step is written for it here")
    module, function, package = (STEPS if task == PART else PEERS)[name]
    try:
        found = f"{package} {version(package)}"
        framework = "jax" if module == "jax_peer" else "torch"
        found += f", {framework} {version(framework)}"
        peer = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    except (ImportError, PackageNotFoundError) as error:
        raise Absent(f"not installed ({error})") from error
    if task == PART:
        return *peer(case.ours), found
    return *peer(task, problem(task)), found


def problem(task: str) -> Problem:
    """The net and the batch of a task."""
    return small_net(False) if task == "dense Fisher" else large_net(False)


def torch_order(p: Problem) -> np.ndarray:
    """Index of each of our parameters in [vec W, b] by layer, W (d_out, d_in)."""
    order, start = [], 0
    for W in p.W:
        d, o = len(W) - 1, W.shape[1]
        places = np.arange(start, start + W.size)
        order += [places[: d * o].reshape(o, d).T.ravel(), places[d * o :]]
        start += W.size
    return np.concatenate(order)


def same_matrix(order: np.ndarray):
    """A function that compares a dense matrix in the peer's order with ours."""
    return lambda F, theirs: (
        [F.to_dense()],
        [np.asarray(theirs)[np.ix_(order, order)]],
    )


def same_vector(order: np.ndarray):
    """A function that compares a flat vector in the peer's order with ours."""
    return lambda v, theirs: ([v], [np.asarray(theirs)[order]])


def same_products(ours: Arrays, theirs: list[tuple]) -> tuple[Arrays, Arrays]:
    """Arrays that are equal if A (x) G is, by way of its partial traces.

    A and G alone are not unique. `theirs` has (A, G) of each layer; if their A has no
    bias, ours is cut, too.
    """
    L = len(theirs)
    found, expected = [], []
    for A, G, (A2, G2) in zip(ours[:L], ours[L:], theirs, strict=True):
        d = len(A2)
        found += [A[:d, :d] * np.trace(G), G * np.trace(A[:d, :d])]
        expected += [np.asarray(A2) * np.trace(G2), np.asarray(G2) * np.trace(A2)]
    return found, expected
