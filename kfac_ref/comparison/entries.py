"""What `compare` is given: matrices, each with the rule that damps it; and checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from kfac_ref.backend import Array
from kfac_ref.checks import check_finite, check_names, check_shape
from kfac_ref.damping.rules import Rule, make_rule
from kfac_ref.errors import KfacTypeError, ShapeError, ValueRangeError, describe
from kfac_ref.matrices import SymmetricMatrix
from kfac_ref.matrices.base import check_matrix
from kfac_ref.values import Value


@dataclass(frozen=True, eq=False)
class Built(Value):
    """A matrix, and how many seconds it took to build."""

    matrix: SymmetricMatrix
    seconds: float | None = None


def timed(build: Callable[..., SymmetricMatrix], *args: Any, **options: Any) -> Built:
    """Call `build(*args, **options)`, with a clock."""
    start = perf_counter()
    return Built(build(*args, **options), perf_counter() - start)


Approximation = SymmetricMatrix | Built | tuple[SymmetricMatrix | Built, Rule | str]


@dataclass(frozen=True, eq=False)
class Entry(Value):
    """An approximation, the seconds it took to build, and what damps it."""

    matrix: SymmetricMatrix
    seconds: float | None
    rule: Rule | None  # None: exactly


def read_entries(approximations: Any, rule: Any) -> dict[str, Entry]:
    """Return the approximations as they are compared, each with its rule."""
    if not isinstance(approximations, Mapping):
        raise KfacTypeError(
            "approximations: expected a dict of names and matrices, found "
            f"{type(approximations).__name__}"
        )
    rule = None if rule is None else make_rule(rule, "rule")
    entries = {}
    for name, given in approximations.items():
        own = rule
        if isinstance(given, tuple) and len(given) == 2:
            own = make_rule(given[1], f"rule of approximation {name!r}")
            given = given[0]
        built = given if isinstance(given, Built) else Built(given)
        entries[name] = Entry(built.matrix, built.seconds, own)
    return entries


def check_arguments(exact: Any, gradient: Any, names: Any, progress: Any) -> list[str]:
    """Raise for arguments of the wrong kind; return the names of the layers."""
    check_matrix("exact", exact)
    if not isinstance(gradient, list | tuple):
        raise KfacTypeError(
            "gradient: expected a list of matrices, one for each layer, as of "
            f"network.gradient(...); found {describe(gradient)}"
        )
    if names is not None:
        check_names("names", names)
    if not callable(progress):
        raise KfacTypeError(
            "progress: expected a function of a list, such as tqdm, found "
            f"{describe(progress)}"
        )
    return names or [f"layer {i}" for i in range(len(gradient))]


def check_sizes(
    exact: SymmetricMatrix,
    entries: dict[str, Entry],
    gradient: list[Array],
    layers: list[str],
) -> None:
    """Raise for arguments of `compare` that do not fit the exact matrix."""
    if exact.damped:
        raise ValueRangeError(
            "exact is damped already, and compare would damp it again: give it undamped"
        )
    if len(set(layers)) != len(gradient):
        raise ShapeError(
            f"names: expected {len(gradient)} different ones, one for each matrix of "
            f"the gradient, found {', '.join(layers)}"
        )
    for D, layer in zip(gradient, layers, strict=True):
        check_shape(f"gradient of {layer}", D, (None, None))
        check_finite(f"gradient of {layer}", D)
    if sum(D.size for D in gradient) != exact.size:
        raise ShapeError(
            f"gradient: expected {exact.size} numbers in all, one for each row of the "
            f"exact matrix, found {' + '.join(str(D.size) for D in gradient)}"
        )
    if not entries:
        raise ShapeError("approximations: expected at least one, found none")
    for name, entry in entries.items():
        check_matrix(f"approximation {name!r}", entry.matrix)
        if entry.rule is None and entry.matrix.damped:
            raise ValueRangeError(
                f"approximation {name!r} is damped already, and compare would damp it "
                "again: give it undamped, and its rule, such as rule=factored_tikhonov "
                "(of a chain its factors), or this matrix and its rule as a pair, "
                "(matrix, lambda matrix, damping: matrix)"
            )
        if entry.matrix.size != exact.size:
            raise ShapeError(
                f"approximation {name!r}: expected a matrix of the size of the exact "
                f"one, {exact.size}, found {entry.matrix.size}"
            )
