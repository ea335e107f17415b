"""Forged states, their checksum correct: refused at the door, or good for a step.

`python tests/test_hostile_states.py 100000` tries so many mutants.
"""

from __future__ import annotations

import copy
import io
import math
import struct
import sys
import tracemalloc
import zipfile
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest

import value_cases
from kfac_ref.damping import by_kind, tikhonov
from kfac_ref.distributions import Categorical
from kfac_ref.errors import NotPositiveDefinite, Unsupported, ValueRangeError
from kfac_ref.layers import Dense, Tanh
from kfac_ref.network import Network
from kfac_ref.optimizer import (
    KFAC,
    SGD,
    Adam,
    CheckpointError,
    Diverged,
    HessianFree,
    MovingAverage,
    NaturalGradient,
    load_state,
    origin,
    save_state,
    train,
)
from kfac_ref.optimizer.archive import pack, unpack
from kfac_ref.optimizer.encoding import RECORDS, USES
from kfac_ref.optimizer.expected import CHECKS, check_state
from kfac_ref.structures import STRUCTURES
from test_optimizer_checkpoint import npy, sealed

KEPT = dict(damping=0.5, inverse_every=9, inverse_early=1, gamma_every=4)
MAKES = {
    "K-FAC": lambda net: KFAC(net, **KEPT),
    "exact": lambda net: KFAC(net, **KEPT, damping_rule=tikhonov),
    "chain": lambda net: KFAC(net, **KEPT, structure="block_tridiagonal"),
    "full": lambda net: KFAC(net, **KEPT, structure="full", damping_rule=tikhonov),
    "blocks": lambda net: KFAC(
        net,
        **KEPT,
        structure=["block_diagonal", "diagonal", "best_kronecker"],
        damping_rule=tikhonov,
        iterates=MovingAverage("debiased", 0.7),
    ),
    "corrected": lambda net: KFAC(
        net,
        **KEPT,
        structure="eigenvalue_corrected",
        damping_rule=tikhonov,
        average=MovingAverage("latest"),
    ),
    "SGD": lambda net: SGD(net, 0.1, momentum=0.5),
    "Adam": lambda net: Adam(net, 0.1),
    "natural": lambda net: NaturalGradient(net, damping=0.1),
    "Hessian-free": lambda net: HessianFree(net, iterations=3),
}
GENERATORS = ["PCG64", "MT19937", "Philox", "SFC64", "PCG64DXSM"]


def goods(folder, names=tuple(MAKES)):
    """Of each optimizer: itself, a good file of two steps, and the batch."""
    rng = np.random.default_rng(5)
    net = Network(
        [Dense(3, 2), Tanh(), Dense(2, 4), Tanh(), Dense(4, 2)], Categorical()
    )
    params, x, y = net.init(rng), rng.normal(size=(7, 3)), rng.integers(0, 2, 7)
    for i, name in enumerate(names):
        optimizer = MAKES[name](net)
        bits = getattr(np.random, GENERATORS[i % len(GENERATORS)])(3)
        generator = np.random.Generator(bits)
        run = train(optimizer, params, (x, y), 3, generator, updates=2)
        path = save_state(folder / f"{i}.npz", optimizer, run.state, generator)
        yield name, optimizer, path, path.read_bytes(), (x, y)


# The mutants


def nodes(value, path=()):
    """The way to every part of a JSON value."""
    yield path
    inside = list(enumerate(value)) if isinstance(value, list) else []
    for key, item in value.items() if isinstance(value, dict) else inside:
        yield from nodes(item, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def values(rng, header, arrays):
    """Something else, of any type; often a part of the same file."""
    number = int(rng.integers(-3, len(arrays) + 3))
    plain = [
        None, True, False, 0, 1, -1, 2**63, 10**30, -0.5, 0.25, 1e200, -1e-9,
        math.nan, math.inf, "x", "", "paper", "latest", [], {}, {"dict": {}},
        {"array": True},
        {"array": None}, {"array": "0"}, {"array": 1.0}, {"kind": "State"},
        {"kind": []}, deep(40),
    ]  # fmt: skip
    if rng.random() < 0.3:
        return {"array": number}
    if rng.random() < 0.4:
        paths = list(nodes(header))
        return copy.deepcopy(at(header, paths[rng.integers(len(paths))]))
    return plain[rng.integers(len(plain))]


def of_json(content, header, arrays, rng):
    """A node is another value, is gone, or has another key beside it."""
    header = copy.deepcopy(header)
    paths = list(nodes(header))[1:]
    path = paths[rng.integers(len(paths))]
    parent, key = at(header, path[:-1]), path[-1]
    way = rng.random()
    if way < 0.1:
        del parent[key]
    elif way < 0.15 and isinstance(parent, dict):
        parent["more"] = values(rng, header, arrays)
    else:
        parent[key] = values(rng, header, arrays)
    return pack(header, arrays)


def of_arrays(content, header, arrays, rng):
    """An array has other numbers, another dtype, or another shape."""
    arrays = [*arrays]
    i = int(rng.integers(len(arrays)))
    array = arrays[i]
    flat = array.reshape(-1).copy()
    if rng.random() < 0.5:
        some = [math.nan, math.inf, 0.0, -1.0, 1e200, -1e-8, 3.0]
        with np.errstate(all="ignore"):
            flat[rng.integers(len(flat))] = np.array(some)[rng.integers(7)].astype(
                flat.dtype
            )
        arrays[i] = flat.reshape(array.shape)
    else:
        with np.errstate(all="ignore"):
            others = [
                array.astype(kind) for kind in "f4 >f8 f2 c16 i8 u8 ? U5 V8".split()
            ]
        others += [array[None], flat, flat[:-1], array.T, -array, 0 * array, flat[:0]]
        arrays[i] = others[rng.integers(len(others))]
    return pack(header, arrays)


def of_bytes(content, header, arrays, rng):
    """A few bytes are others, and the checksum is that of the new ones."""
    altered = np.frombuffer(content, np.uint8).copy()
    for _ in range(rng.integers(1, 4)):
        altered[rng.integers(len(altered) - 64)] = rng.integers(256)
    return sealed(altered.tobytes())


MUTATIONS = (of_json, of_arrays, of_bytes)


def outcome(optimizer, path, content, batch):
    """What becomes of a file; anything but these three is an exception."""
    path.write_bytes(content)
    try:
        state, rng = load_state(path, optimizer)
    except CheckpointError as error:
        assert str(error).startswith(f"{path}: ")
        return "refused"
    with np.errstate(all="ignore"):
        try:
            x = batch[0].astype(state.theta.dtype)
            moved, trace = optimizer.step(state, x, batch[1], rng)
        except (Diverged, NotPositiveDefinite):  # numbers that fit and are too large
            return "diverged"
    assert np.isfinite(moved.theta).all() and math.isfinite(trace.loss)
    rng.normal(size=700), rng.integers(9, size=5, dtype=np.int32)
    return "stepped"


def fuzz(count, seed, folder):
    """What becomes of so many mutants."""
    rng, found = np.random.default_rng(seed), Counter()
    files = [(*each, *unpack(each[3])) for each in goods(folder)]
    for k in range(count):
        _, optimizer, path, content, batch, header, arrays = files[k % len(files)]
        mutate = MUTATIONS[rng.integers(len(MUTATIONS))]
        mutant = mutate(content, header, arrays, rng)
        try:
            found[mutate.__name__, outcome(optimizer, path, mutant, batch)] += 1
        except Exception as error:
            error.add_note(f"mutant {k} of seed {seed}: {mutate.__name__}")
            raise
    return found


def test_mutants_are_refused_or_can_be_stepped_from(tmp_path):
    found = fuzz(2500, 1, tmp_path)
    for mutate in MUTATIONS:
        assert found[mutate.__name__, "refused"] > 300
        assert found[mutate.__name__, "stepped"] > 5
    assert sum(n for (_, end), n in found.items() if end == "diverged") < 100


# One by one, with what the message says


def kinds():
    """(part, another value, message): JSON that is not of its part."""
    inside = ("state", "average", "value")
    block = (*inside, "blocks", 0)
    return [
        (("state", "step"), "x", "State step: expected a whole number >= 0, found 'x'"),
        (("state", "step"), True, "State step: .* found True"),
        (("state", "step"), -1, "State step: .* found -1"),
        (("state", "step"), 2**60, "state.step: expected from 0"),
        (("state", "step"), 10**30, "state: .*step: expected a whole number up to"),
        (("state", "damping"), -0.5, "state.damping: expected from 0 to 1e150"),
        (("state", "damping"), math.nan, "state.damping: .* found nan"),
        (
            ("state", "gamma"),
            10**400,
            "state: not a State: .*gamma: .*range of float64",
        ),
        (("state", "gamma"), None, "State gamma: expected a number, found None"),
        (("state", "theta"), "x", "state.theta: expected an array"),
        (("state", "theta"), {"array": -1}, "state.theta: expected the number of an"),
        (("state", "theta"), {"array": True}, "state.theta: .* found True"),
        (("state", "theta"), {"array": 99}, "state.theta: .* less than"),
        (("state", "theta"), {"more": 1}, "state.theta: expected a value"),
        (("state", "inverse"), "x", "state.inverse: expected a matrix, found 'x'"),
        (("state", "average"), None, "state.average: expected Average"),
        (
            ("state", "average", "count"),
            -3,
            "state.average: not a Average: Average count",
        ),
        (("state", "average", "count"), 0, "state.average: expected a value if"),
        (("state", "average", "total"), "x", "state.average: not a Average: .*total"),
        (("state", "average", "more"), 1, "state.average: expected the parts value"),
        (("state", "average", "rounding"), 1, "state.average: expected the parts"),
        (inside, {"array": 0}, "state.average.value: expected BlockDiagonalMatrix"),
        ((*inside, "blocks"), [], "state.average.value: not a BlockDiagonalMatrix"),
        ((*inside, "blocks"), [{"kind": "Popen"}], r"blocks\[0\]: expected a kind of"),
        (
            (*block, "A"),
            {"array": 0},
            r"blocks\[0\]: not a KroneckerProduct: .*factor A",
        ),
        (("state", "damped", "name"), 3, "state.damped: .*name: expected words"),
        (("state", "place", "seen"), 8, "state.place.seen: expected at most 7, found"),
        (("state", "place", "order"), {"array": 0}, "place.order: expected a permut"),
        (("state", "iterates", "value"), None, "state.iterates: expected a value if"),
        (("state", "kind"), "SGDState", "state: expected the parts theta, velocity"),
        (("generator", "dict", "uinteger"), -1, "its parts do not fit together"),
        (("generator", "dict", "state", "dict", "inc"), 2, "generator: expected the"),
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("states")
    return {name: rest for name, *rest in goods(folder)}


def changed(content, part, value):
    header, arrays = unpack(content)
    at(header, part[:-1])[part[-1]] = value
    return pack(header, arrays)


def says(file, content, message):
    optimizer, path, *_ = file
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_state(path, optimizer)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(("part", "value", "message"), kinds())
def test_a_part_of_another_kind(files, part, value, message):
    says(files["K-FAC"], changed(files["K-FAC"][2], part, value), message)


def test_the_average_of_another_structure(files, tmp_path):
    """K-FAC's own file, and an optimizer of the same net with other structures."""
    net = files["K-FAC"][0].network
    options = dict(KEPT, damping_rule=by_kind, average=MovingAverage("latest"))
    for structure, message in (
        ("diagonal", r"blocks\[0\]: expected DiagonalMatrix, found KroneckerProduct"),
        (
            "full",
            "state.average.value: expected DenseMatrix, found BlockDiagonalMatrix",
        ),
        ("block_tridiagonal", "state.average.value: expected ChainFactors"),
        (
            "eigenvalue_corrected",
            r"blocks\[0\]: expected EigenKronecker, found KroneckerProduct",
        ),
    ):
        other = KFAC(net, **options, structure=structure)
        content = changed(files["K-FAC"][2], ("options",), origin.options(other))
        says((other, files["K-FAC"][1]), content, message)
    header, arrays = unpack(files["K-FAC"][2])
    header["state"]["average"]["value"]["blocks"].pop()
    says(files["K-FAC"], pack(header, arrays), "blocks: expected 3, found 2")
    chain = files["chain"]
    names = ("state", "average", "value", "names", 0)
    says(chain, changed(chain[2], names, "x"), "value.names: expected")
    header, arrays = unpack(chain[2])
    header["state"]["average"]["value"]["A_next"].append({"array": 0})
    says(chain, pack(header, arrays), "A_next, G_next; found 3, 3, 3, 3, 2")


def test_numbers_that_are_none(files):
    header, arrays = unpack(files["K-FAC"][2])
    number = header["state"]["damped"]["blocks"][0]["A"]["array"]
    for i, part in ((0, "state.theta"), (number, r"state.damped.blocks\[0\]")):
        bad = arrays[i].copy()
        bad[0] = math.nan
        mutant = [*arrays[:i], bad, *arrays[i + 1 :]]
        says(files["K-FAC"], pack(header, mutant), f"{part}.* NaN or infinite")
    negative = [*arrays[:number], -arrays[number], *arrays[number + 1 :]]
    says(files["K-FAC"], pack(header, negative), "not positive definite")
    adam = files["Adam"]
    header, arrays = unpack(adam[2])
    v = header["state"]["v"]["array"]
    mutant = [*arrays[:v], arrays[v] - 1, *arrays[v + 1 :]]
    says(adam, pack(header, mutant), "state.v: expected numbers >= 0, found -")


@pytest.mark.parametrize("dtype", [">f8", "f2", "c16", "V8", "U3", "?"])
def test_strange_dtypes_are_refused(files, dtype):
    header, arrays = unpack(files["SGD"][2])
    strange = np.zeros(arrays[0].shape, dtype)
    says(files["SGD"], pack(header, [strange, *arrays[1:]]), r"array_0.npy: expected")
    single = [arrays[0], arrays[1].astype("f4"), *arrays[2:]]
    says(files["SGD"], pack(header, single), "state.velocity: expected arrays of one")


def test_headers_that_are_no_text_or_too_deep(files):
    sizes = f"{10 * '['}{{}}{10 * ']'}"
    for text, message in (
        (np.zeros(3), r"header.npy: expected one text, found \(3,\)"),
        (np.array(["{}"]), "header.npy: expected one text"),
        (np.array("no JSON"), "JSONDecodeError"),
        (np.array(100_000 * "["), "RecursionError"),
        (np.array("9" * 5000), "ValueError"),
        (np.array(sizes), "TypeError"),
    ):
        with zipfile.ZipFile(io.BytesIO(files["SGD"][2])) as old:
            members = {name: old.read(name) for name in old.namelist()}
        says(files["SGD"], zipped(members | {"header.npy": npy(text)}), message)


def zipped(members, names=None):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
        new.comment = bytes(64)
    return sealed(buffer.getvalue())


def test_members_of_other_names(files):
    with zipfile.ZipFile(io.BytesIO(files["SGD"][2])) as old:
        members = {name: old.read(name) for name in old.namelist()}
    swapped = {"array_0.npy": members["array_0.npy"]} | members
    says(files["SGD"], zipped(swapped), "expected header.npy, found 'array_0.npy'")
    more = members | {"array_00.npy": members["array_0.npy"]}
    says(files["SGD"], zipped(more), r"expected array_\d.npy, found 'array_00.npy'")


def pointing(members, count):
    """A zip whose directory has many entries for the bytes of its last member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
        last = new.filelist[-1]
        for i in range(count):
            twin = copy.copy(last)
            twin.filename = f"array_{len(members) - 1 + i}.npy"
            new.filelist.append(twin)
        new._didModify = True
        new.comment = bytes(64)
    return sealed(buffer.getvalue())


def test_many_entries_for_one_member_cost_nothing(files):
    """4 MB of file that would have been 4 GB of arrays."""
    members = {"header.npy": npy(np.array("{}")), "array_0.npy": npy(np.zeros(2**19))}
    content = pointing(members, 1000)
    assert len(content) < 5e6
    tracemalloc.start()
    says(files["SGD"], content, "array_0.npy: overlaps what follows it")
    assert tracemalloc.get_traced_memory()[1] < 5 * len(content)
    tracemalloc.stop()


def test_a_size_that_is_not_the_stored_one(files):
    content = bytearray(files["SGD"][2])
    entry = content.index(b"PK\x01\x02")
    struct.pack_into("<I", content, entry + 24, 2**31)  # file_size in the directory
    says(files["SGD"], sealed(bytes(content)), "header.npy: expected .* claimed")


def test_one_array_in_many_places(files):
    header, arrays = unpack(files["chain"][2])
    header["state"]["theta"] = [{"array": 0}] * (USES + 1)
    says(files["chain"], pack(header, arrays), "array 0 is used too often")


def test_generators_beside_themselves(files):
    for name, part in (("exact", ("state", "dict", "pos")), ("chain", ("buffer_pos",))):
        for value in (-1, 10**9):
            way = ("generator", "dict", *part)
            says(files[name], changed(files[name][2], way, value), "generator: expec")
    header, arrays = unpack(files["exact"][2])
    [i] = [i for i, array in enumerate(arrays) if array.dtype == np.uint32]
    arrays[i] = 0 * arrays[i]  # from zeros come zeros, for which samplers wait forever
    says(files["exact"], pack(header, arrays), "generator: expected the state of a MT")


def test_the_table_has_every_field_of_every_state():
    """So that a new field cannot forget."""
    states = [record for record in RECORDS if record.__name__.endswith("State")]
    assert set(CHECKS) == {field.name for state in states for field in fields(state)}


# Saving


def test_what_is_saved_is_checked_first(tmp_path):
    """The file of before stays."""
    for name, optimizer, path, content, _ in goods(tmp_path):
        state, rng = load_state(path, optimizer)
        for bad, message in (
            (replace(state, theta=math.nan * state.theta), "state.theta: .* are NaN"),
            (replace(state, step=2**60), "state.step: expected from 0"),
        ):
            with pytest.raises(ValueRangeError, match=message):
                save_state(path, optimizer, bad, rng)
        assert path.read_bytes() == content, name


def test_what_is_saved_is_loaded_before(tmp_path, monkeypatch):
    [(_, optimizer, path, content, _)] = goods(tmp_path, ["K-FAC"])
    state, rng = load_state(path, optimizer)
    A = state.damped.blocks[0].A
    A[0, 1] += 1.0  # no longer symmetric, which only its constructor looks at
    with pytest.raises(CheckpointError, match=r"nothing was written: state.damped.blo"):
        save_state(path, optimizer, state, rng)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        (("options",), None, "options: expected structure, .*, found None"),
        (("options",), "x", "options: expected structure, .*, found 'x'"),
        (("options",), {}, "options: expected structure, .*, found {}"),
        (("options", "more"), "x", "options: expected structure, .*, found {"),
        (("options", "l2"), 1, "of other options: l2: expected 1e-05, found 1;"),
        (("options", "l2"), deep(40), r"of other options: l2: .*, found \[\["),
        (("options", "l2"), "x" * 10**6, "l2: expected 1e-05, found x{200};"),
    ],
)
def test_options_of_another_kind(files, part, value, message):
    says(files["K-FAC"], changed(files["K-FAC"][2], part, value), message)


if __name__ == "__main__":
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as name:
        print(fuzz(int(sys.argv[1]), int(sys.argv[2]), Path(name)))


def test_a_structure_of_a_new_kind_says_where_it_is_listed(monkeypatch):
    net = value_cases.network(value_cases.PLAIN)
    monkeypatch.setitem(STRUCTURES, "mine", STRUCTURES["kronecker"])
    kfac, rng = KFAC(net, structure="mine"), np.random.default_rng(0)
    state = kfac.init(value_cases.start(net))
    moved, _ = kfac.step(state, value_cases.X, value_cases.Y, rng)
    with pytest.raises(Unsupported, match="list structure 'mine' in BLOCKS"):
        check_state(kfac, moved)
