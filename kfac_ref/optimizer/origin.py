"""What a file says about where its state comes from: optimizer, options, network.

Options are stored and compared as they are printed, by the name they have here: of two
functions with the same name none is the other's. Those that only say how to go on may
be others when a training is resumed: `may_change`, beside each optimizer's options.
"""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from itertools import zip_longest
from typing import Any

from kfac_ref.errors import describe
from kfac_ref.network import Network
from kfac_ref.optimizer.archive import CheckpointError
from kfac_ref.optimizer.statistics import choices

FORMAT, VERSION = "kfac_ref checkpoint", 3
OLD = (1, 2)  # 1 had no place in an epoch, both no options
HEADER = {"format", "version", "optimizer", "options", "network", "generator", "state"}


def origin(optimizer: Any) -> dict[str, Any]:
    """The header of the file, but for generator and state."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "optimizer": type(optimizer).__name__,
        "options": options(optimizer),
        "network": describe_network(optimizer.network),
    }


def options(optimizer: Any) -> dict[str, str]:
    """The options without which the state would mean something else, as printed."""
    free = {"network", *getattr(optimizer, "may_change", ())}
    own = fields(optimizer) if is_dataclass(optimizer) else ()
    found = {f.name: getattr(optimizer, f.name) for f in own if f.name not in free}
    if "structure" in found:  # as one word or one for each layer, whoever's words
        given = (found["structure"], found["estimate"], found.pop("samples"))
        structures, estimates = choices(optimizer.network, *given)
        found |= {"structure": _one(structures), "estimate": _one(estimates)}
    return {name: _printed(value) for name, value in found.items()}


def describe_network(network: Network) -> list[str]:
    """A line for each block, and one for the whole."""
    blocks = zip(network.names, network.shapes, strict=True)
    return [
        *(f"{name}, W {d} x {o}" for name, (d, o) in blocks),
        _printed(network),
    ]


def check_origin(header: Any, optimizer: Any) -> None:
    """CheckpointError unless of our format, of this optimizer and of its network."""
    for what, key, known in (
        ("format", "format", [FORMAT]),
        ("version of the format", "version", [VERSION, *OLD]),
        ("optimizer", "optimizer", [type(optimizer).__name__]),
    ):
        if header[key] not in known:
            raise CheckpointError(
                f"{what}: expected {known[0]!r}, found {describe(header[key])}"
            )
    old = header["version"] in OLD
    if header.keys() != HEADER - ({"options"} if old else set()):
        raise CheckpointError(f"header: expected {', '.join(sorted(HEADER))}")
    ours = describe_network(optimizer.network)
    for e, f in zip_longest(ours, header["network"], fillvalue="nothing more"):
        if e != f:
            raise CheckpointError(f"of another network: expected {e}, found {f}")
    if not old:
        _check_options(header["options"], options(optimizer))


def _check_options(found: Any, ours: dict[str, str]) -> None:
    """CheckpointError, with every difference."""
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
    """The item that all are, or the list."""
    return items[0] if all(item == items[0] for item in items) else items


def _printed(value: Any) -> str:
    """repr, without the addresses of what has none of its own."""
    return re.sub(r" at 0x\w+", "", repr(value))
