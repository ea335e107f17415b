"""Where the state in a file comes from: its optimizer, the options, the network.

Options are stored as they are printed, by their names here, and compared so; two
functions of one name cannot be told apart. Options that only say how to go on may
change when a training is resumed: each optimizer lists them in `may_change`.
"""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from itertools import zip_longest
from typing import Any

from kfac_ref.errors import describe
from kfac_ref.network import Network
from kfac_ref.optimizer.archive import CheckpointError
from kfac_ref.optimizer.options import Options
from kfac_ref.optimizer.statistics import choices

FORMAT, VERSION = "kfac_ref checkpoint", 4
OTHER_VERSION = (
    "; the parts of a state had other names there: end the training with the version "
    "of kfac_ref that wrote the file"
)
HEADER = {"format", "version", "optimizer", "options", "network", "generator", "state"}


def origin(optimizer: Any) -> dict[str, Any]:
    """Return the header of the file, without generator and state."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "optimizer": type(optimizer).__name__,
        "options": options(optimizer),
        "network": describe_network(optimizer.network),
    }


def options(optimizer: Any) -> dict[str, str]:
    """Return, as printed, the options that give the state its meaning."""
    free = {"network", *getattr(optimizer, "may_change", ())}
    if isinstance(getattr(optimizer, "options", None), Options):
        given = optimizer.options.flat()
    else:
        own = fields(optimizer) if is_dataclass(optimizer) else ()
        given = {field.name: getattr(optimizer, field.name) for field in own}
    found = {name: value for name, value in given.items() if name not in free}
    if "structure" in found:  # as one word or one for each layer, whoever's words
        three = (found["structure"], found["estimate"], found.pop("samples"))
        structures, estimates = choices(optimizer.network, *three)
        found |= {"structure": _one(structures), "estimate": _one(estimates)}
    return {name: _printed(value) for name, value in found.items()}


def describe_network(network: Network) -> list[str]:
    """Return a line for each block, and one for the whole network."""
    blocks = zip(network.names, network.shapes, strict=True)
    return [
        *(f"{name}, W {d} x {o}" for name, (d, o) in blocks),
        _printed(network),
    ]


def check_origin(header: Any, optimizer: Any) -> None:
    """CheckpointError unless format, version, optimizer, network and options agree."""
    for what, key, expected, advice in (
        ("format", "format", FORMAT, ""),
        ("version of the format", "version", VERSION, OTHER_VERSION),
        ("optimizer", "optimizer", type(optimizer).__name__, ""),
    ):
        if header[key] != expected:
            raise CheckpointError(
                f"{what}: expected {expected!r}, found {describe(header[key])}{advice}"
            )
    if header.keys() != HEADER:
        raise CheckpointError(f"header: expected {', '.join(sorted(HEADER))}")
    ours = describe_network(optimizer.network)
    for e, f in zip_longest(ours, header["network"], fillvalue="nothing more"):
        if e != f:
            raise CheckpointError(f"of another network: expected {e}, found {f}")
    _check_options(header["options"], options(optimizer))


def _check_options(found: Any, ours: dict[str, str]) -> None:
    """CheckpointError with every difference, if there is one."""
    if not isinstance(found, dict) or found.keys() != ours.keys():
        raise CheckpointError(
            f"options: expected {', '.join(ours)}, found {describe(found)}"
        )
    differences = [
        f"{name}: expected {value:.200}, found {found[name]!s:.200}"
        for name, value in ours.items()
        if found[name] != value
    ]
    if differences:
        raise CheckpointError(
            f"of other options: {'; '.join(differences)}; load it with those that were "
            "found. If others are meant from here on, go on with another optimizer, "
            "and with dataclasses.replace(state, ...) for what the state holds itself"
        )


def _one(items: list[Any]) -> Any:
    """Return the item if all are equal to it, else the list."""
    return items[0] if all(item == items[0] for item in items) else items


def _printed(value: Any) -> str:
    """Return the repr, without the addresses in the default ones."""
    return re.sub(r" at 0x\w+", "", repr(value))
