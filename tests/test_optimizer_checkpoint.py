"""A restored run goes on bit for bit; a file that does not fit is refused."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
from dataclasses import replace
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import host
from kfac_ref.backend import get_xp
from kfac_ref.damping import tikhonov
from kfac_ref.distributions import Categorical, squared_error
from kfac_ref.errors import (
    BackendError,
    KfacError,
    KfacTypeError,
    ShapeError,
    UnknownName,
    Unsupported,
    ValueRangeError,
)
from kfac_ref.layers import Dense, Tanh
from kfac_ref.matrices import DiagonalMatrix
from kfac_ref.network import Network
from kfac_ref.optimizer import KFAC, SGD, MovingAverage, checkpoint, train
from kfac_ref.optimizer.archive import CheckpointError, pack, unpack
from kfac_ref.optimizer.checkpoint import load_state, save_state
from kfac_ref.optimizer.encoding import KINDS
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt
from optimizer_cases import problem
from test_optimizer_baselines import BASELINES

RULE = LevenbergMarquardt(decay=0.7, period=2)
KEPT = dict(
    damping=0.5, adapt_damping=RULE, inverse_every=9, inverse_early=1, gamma_every=4
)
EXACT = dict(KEPT, damping_rule=tikhonov)
FIXED = dict(learning_rate=0.3, momentum=0.6)
OPTIONS = {
    "the paper's": {},
    "an old inverse": KEPT,
    "in its eigenbasis": EXACT,
    "best_kronecker": dict(KEPT, structure="best_kronecker"),
    "block_diagonal": dict(EXACT, structure="block_diagonal"),
    "diagonal": dict(EXACT, structure="diagonal"),
    "full": dict(EXACT, structure="full"),
    "eigenvalue_corrected": dict(
        EXACT, structure="eigenvalue_corrected", average=MovingAverage("latest"),
        statistics_every=3,
    ),
    "block_tridiagonal": dict(KEPT, structure="block_tridiagonal"),
    "three structures": dict(
        EXACT, structure=["kronecker", "diagonal", "block_diagonal"]
    ),
    "averages": dict(
        KEPT, average=MovingAverage("debiased", 0.8),
        iterates=MovingAverage("debiased", 0.7), tau_1=0.5,
    ),
    "momentum of gradients": dict(KEPT, **FIXED, momentum_of="gradient"),
}  # fmt: skip


def steps(optimizer, state, batches, rng):
    for x, y in batches:
        state, _ = optimizer.step(state, x, y, rng)
    return state


def leaves(value, path="state"):
    """Every number, string and array inside, with the way to it."""
    if isinstance(value, list | tuple | dict) or hasattr(value, "__dict__"):
        inside = value if isinstance(value, dict) else getattr(value, "__dict__", None)
        inside = dict(enumerate(value)) if inside is None else inside
        return {
            k: v for n in inside for k, v in leaves(inside[n], f"{path}.{n}").items()
        }
    return {path: value}


def assert_same(one, two):
    """Equal to the last bit, and of the same types, backends and dtypes."""
    a, b = leaves(one), leaves(two)
    assert list(a) == list(b)
    for path, value in a.items():
        found = b[path]
        assert type(value) is type(found), path
        if isinstance(value, int | float | str | None):
            assert value == found, path
        elif not isinstance(value, np.dtype):
            assert get_xp(value) is get_xp(found) and value.dtype == found.dtype, path
            if not path.endswith("._like"):  # an example: backend and dtype
                assert host(value).tobytes() == host(found).tobytes(), path


def saved(tmp_path, optimizer, params, batches, seed=3):
    """A file after some steps, with the state and the generator that are in it."""
    rng = np.random.default_rng(seed)
    state = steps(optimizer, optimizer.init(params), batches, rng)
    return save_state(tmp_path / "state.npz", optimizer, state, rng), state, rng


OPTIMIZERS = BASELINES | {
    name: lambda net, options=options: KFAC(net, **options)
    for name, options in OPTIONS.items()
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_five_steps_are_three_and_two_after_a_pause(name, tmp_path, xp, rng):
    net, params, batches = problem("softmax", xp, rng, 5, n=29)
    make = OPTIMIZERS[name]
    path, state, generator = saved(tmp_path, make(net), params, batches[:3])
    other = make(net)
    restored, regenerated = load_state(path, other, like=params[0])
    assert_same(restored, state)
    once = steps(make(net), state, batches[3:], generator)
    again = steps(other, restored, batches[3:], regenerated)
    assert_same(again, once)
    assert again.step == 5
    assert generator.bit_generator.state == regenerated.bit_generator.state
    fresh = steps(other, other.init(other.params(restored)), batches[3:], generator)
    assert (host(fresh.theta) != host(once.theta)).any()  # theta alone is not enough


def test_these_optimizers_save_every_kind_there_is(tmp_path, rng):
    found, inverses = set(), 0
    net, params, batches = problem("softmax", np, rng, 3, n=29)
    for make in OPTIMIZERS.values():
        x, y = batches[0]
        generator = np.random.default_rng(3)
        run = train(make(net), params, (x, y), 3, generator, updates=3)
        state = run.state
        path = save_state(tmp_path / "state.npz", make(net), state, generator)
        inverses += getattr(state, "inverse", None) is not None
        with np.load(path) as file:
            found |= set(re.findall(r'"kind": "(\w+)"', str(file["header"])))
    assert found == set(KINDS)
    assert inverses > 5


def test_arrays_keep_shape_dtype_order_and_every_bit(rng):
    C = rng.normal(size=(7, 5))
    odd = np.array([math.nan, -0.0, math.inf, 5e-324])
    whole = np.arange(3, dtype="u8")
    arrays = [C, C.T, C.sum(keepdims=True)[0, 0:0], C.astype("float32"), odd, whole]
    header, found = unpack(pack({"a": [1, None, 0.1]}, arrays))
    assert header == {"a": [1, None, 0.1]}
    for array, again in zip(arrays, found, strict=True):
        assert (array.shape, array.dtype) == (again.shape, again.dtype)
        assert array.tobytes() == again.tobytes()
        for order in ("c_contiguous", "f_contiguous"):
            assert getattr(array.flags, order) == getattr(again.flags, order)


def test_float32_stays(tmp_path, xp, rng):
    net, params, batches = problem("softmax", xp, rng, 2)
    single = [W.astype("float32") for W in params]
    batches = [(x.astype("float32"), y) for x, y in batches]
    path, state, _ = saved(tmp_path, KFAC(net, **KEPT), single, batches)
    restored, _ = load_state(path, KFAC(net, **KEPT), like=params[0])
    assert_same(restored, state)
    assert restored.theta.dtype == np.float32


def test_arrays_are_made_on_the_current_backend(tmp_path, rng):
    net, params, batches = problem("softmax", np, rng, 1)
    path, *_ = saved(tmp_path, KFAC(net), params, batches)
    restored, _ = load_state(path, KFAC(net))
    assert isinstance(restored.theta, np.ndarray) and restored.theta.flags.writeable
    with pytest.raises(BackendError, match="expected an array, found str"):
        load_state(path, KFAC(net), like="cupy")


@pytest.mark.parametrize("bits", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_every_generator_of_numpy_goes_on(bits, tmp_path, rng):
    net, params, _ = problem("softmax", np, rng, 0)
    generator = np.random.Generator(getattr(np.random, bits)(5))
    generator.integers(0, 9, 7, dtype=np.int32)  # half a number is left over
    path = save_state(tmp_path / "s", KFAC(net), KFAC(net).init(params), generator)
    _, restored = load_state(path, KFAC(net))
    expected = generator.integers(0, 1000, 50, dtype=np.int32)
    np.testing.assert_array_equal(
        restored.integers(0, 1000, 50, dtype=np.int32), expected
    )
    assert generator.normal() == restored.normal()


def test_an_array_that_is_twice_in_the_state_is_once_in_the_file(tmp_path, rng):
    net, params, batches = problem("softmax", np, rng, 1)
    path, state, _ = saved(tmp_path, KFAC(net), params, batches)
    assert state.iterates.value is state.theta
    restored, _ = load_state(path, KFAC(net))
    assert restored.iterates.value is restored.theta


def test_numpy_reads_the_file_and_the_same_state_gives_the_same_bytes(tmp_path, rng):
    net, params, batches = problem("softmax", np, rng, 1)
    path, state, generator = saved(tmp_path, KFAC(net), params, batches)
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(str(file["header"]))
        theta = file[f"array_{header['state']['theta']['array']}"]
    assert (header["version"], header["optimizer"]) == (4, "KFAC")
    assert header["options"]["structure"] == "'kronecker'"
    assert header["state"]["damping"] == state.damping
    np.testing.assert_array_equal(theta, state.theta)
    before = path.read_bytes()
    save_state(path, KFAC(net), state, generator)
    assert path.read_bytes() == before


# What is refused. A good file is made once; the tests change its bytes.


@pytest.fixture
def good(tmp_path, rng):
    """An optimizer, its file, and a function that loads other bytes in its place."""
    net, params, batches = problem("softmax", np, rng, 1)
    path, *_ = saved(tmp_path, KFAC(net), params, batches)

    def load(content, optimizer=None):
        path.write_bytes(content)
        return load_state(path, optimizer or KFAC(net))

    return SimpleNamespace(
        net=net, params=params, path=path, content=path.read_bytes(), load=load
    )


def refused(good, content, message, optimizer=None):
    with pytest.raises(CheckpointError, match=message) as caught:
        good.load(content, optimizer)
    assert str(caught.value).startswith(f"{good.path}: ")


def sealed(content):
    """The same with the right checksum at its end: what a forger would do."""
    return content[:-64] + hashlib.sha256(content[:-64]).hexdigest().encode()


def forged(good, compression=zipfile.ZIP_STORED, **members):
    """The file with other bytes for some of its arrays."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(good.content)) as old,
        zipfile.ZipFile(buffer, "w", compression) as new,
    ):
        for name in old.namelist():
            new.writestr(name, members.get(name[: -len(".npy")], old.read(name)))
        new.comment = bytes(64)
    return sealed(buffer.getvalue())


def npy(array, version=(1, 0)):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


def header_of(good, **changes):
    """The file with another header; None: without this entry."""
    with zipfile.ZipFile(io.BytesIO(good.content)) as file:
        header = json.loads(str(np.load(io.BytesIO(file.read("header.npy")))))
    header = {k: v for k, v in (header | changes).items() if v is not None}
    return forged(good, header=npy(np.array(json.dumps(header))))


def test_the_forger_of_these_tests_can_write_good_files(good):
    for content in (sealed(good.content), forged(good), header_of(good)):
        state, _ = good.load(content)
        assert state.step == 1


def test_truncated_files_are_refused(good):
    size = len(good.content)
    for length in (1, 3, 4, 63, 64, 65, size // 2, size - 65, size - 64, size - 1):
        message = "truncated or altered" if length > 3 else "expected an .npz file"
        refused(good, good.content[:length], message)
    refused(good, b"", "expected an .npz file of save_state, found an empty file")


def test_one_bit_anywhere(good, rng):
    size = len(good.content)
    for place in [0, size - 1, size - 64, size - 65, *rng.integers(0, size, 40)]:
        altered = bytearray(good.content)
        altered[place] ^= 1 << int(rng.integers(8))
        refused(good, bytes(altered), "truncated or altered|expected an .npz file")


def test_files_of_another_kind(good):
    refused(good, b"{}  any text", r"expected an .npz file of save_state, found b'{}  ")
    other = io.BytesIO()
    np.savez(other, a=np.arange(3.0))
    refused(good, other.getvalue(), "or not written by save_state")
    refused(good, sealed(b"PK\x03\x04" + bytes(90)), "do not fit.*BadZipFile")
    refused(good, pack({"format": "else", "version": 1, "optimizer": ""}, []),
            "format: expected 'kfac_ref checkpoint', found 'else'")  # fmt: skip
    refused(good, pack([], []), "its parts do not fit together: TypeError")


def test_another_version_or_optimizer(good):
    for version in (1, 2, 3, 5):
        said = f"version of the format: expected 4, found {version}; the parts of a"
        refused(good, header_of(good, version=version), said)
    refused(good, header_of(good, options=None), "header: expected format, generator, ")
    refused(good, header_of(good, optimizer="Adam"),
            "optimizer: expected 'KFAC', found 'Adam'")  # fmt: skip


def test_a_checkpoint_of_another_network_is_refused(good):
    squared = squared_error()
    hidden = [Dense(5, 4), Tanh(), Dense(4, 7), Tanh()]
    for layers, distribution, message in [
        ([Dense(5, 11), Tanh(), Dense(11, 3)], squared,
         r"expected .*Dense\(5, 11\), W 6 x 11, found .*Dense\(5, 4\), W 6 x 4"),
        ([*hidden, Dense(7, 3), Tanh(), Dense(3, 2)], squared,
         r"expected .*Dense\(3, 2\), W 4 x 2, found Network\("),
        (hidden, squared, r"expected Network\(.*, found .*Dense\(7, 3\), W 8 x 3"),
        ([*hidden, Dense(7, 3)], squared, r"expected .*Normal.*, found .*Categorical"),
        ([*hidden, Dense(7, 3), Tanh()], good.net.distribution, r"expected .*Tanh"),
    ]:  # fmt: skip
        other = KFAC(Network(layers, distribution))
        refused(good, good.content, f"of another network: {message}", other)


def test_a_layer_without_a_repr_is_known_again(tmp_path, rng):
    class Plain(Tanh):
        __repr__ = object.__repr__

    layers = lambda: [Dense(5, 4), Plain(), Dense(4, 3)]  # noqa: E731
    one, two = (Network(layers(), squared_error()) for _ in range(2))
    assert repr(one) != repr(two)  # the addresses
    state = KFAC(one).init(one.init(rng))
    path = save_state(tmp_path / "state.npz", KFAC(one), state, rng)
    assert_same(load_state(path, KFAC(two))[0], state)


class Bomb:
    """Unpickling it would be seen."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_pickles_are_never_opened(good):
    pickled = npy(np.array([Bomb()], dtype=object))
    refused(good, forged(good, array_0=pickled), "array_0.npy: holds pickled objects")
    refused(good, forged(good, header=pickled), "header.npy: holds pickled objects")


def test_huge_shapes_and_compression(good):
    def claiming(shape):
        stream = io.BytesIO()
        fields = {"descr": "<f8", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, fields)
        return stream.getvalue() + bytes(8)

    for shape in [(2**40,), (10**9, 10**9), (2,), (0,)]:
        refused(
            good, forged(good, array_0=claiming(shape)), "array_0.npy: claims to be"
        )
    for shape in [(-1, -1), (True,), (10**400, 0)]:
        refused(good, forged(good, array_0=claiming(shape)), "array_0.npy")
    refused(good, forged(good, zipfile.ZIP_DEFLATED), "header.npy: expected no compr")
    later = npy(np.zeros(3), (2, 0))
    refused(good, forged(good, array_0=later), r"expected npy 1.0, found \(2, 0\)")


def test_parts_that_do_not_fit_together(good):
    rest = "its parts do not fit together: "
    refused(good, header_of(good, state=None), "header: expected format, generator, ")
    refused(good, header_of(good, state={"kind": "Popen"}),
            "state: expected a kind of DenseMatrix, .*found 'Popen'")  # fmt: skip
    refused(good, header_of(good, state={"array": 99}), "state: expected the number of")
    refused(good, header_of(good, network=7), f"{rest}TypeError")
    short = npy(np.zeros(3))
    refused(good, forged(good, array_1=short, array_0=short),
            r"state.theta: expected shape \(83,\), found \(3,\)")  # fmt: skip
    unknown = {"dict": {"bit_generator": "RandomState"}}
    refused(good, header_of(good, generator=unknown), "unknown bit generator 'RandomS")


# Writing


def test_a_state_that_a_file_cannot_hold(good, rng):
    class Odd(DiagonalMatrix):
        def __repr__(self):
            return "odd"

    damped = Odd(np.ones(good.net.size))
    state = replace(KFAC(good.net).init(good.params), damped=damped)
    with pytest.raises(Unsupported, match="cannot hold odd; it knows arrays, .*Dense"):
        save_state(good.path, KFAC(good.net), state, rng)
    assert good.path.read_bytes() == good.content


def test_a_generator_that_is_not_numpys(good, rng, monkeypatch):
    state = KFAC(good.net).init(good.params)
    with pytest.raises(ValueRangeError, match="rng: expected a numpy.random.Generator"):
        save_state(good.path, KFAC(good.net), state, 0)
    monkeypatch.setattr(checkpoint, "GENERATORS", ("MT19937",))
    with pytest.raises(UnknownName, match="unknown bit generator 'PCG64'.*MT19937"):
        save_state(good.path, KFAC(good.net), state, rng)
    assert good.path.read_bytes() == good.content


def test_a_state_that_is_not_the_optimizers(good, rng):
    """Refused before it is written: afterwards the training would be lost."""
    kfac = KFAC(good.net)
    for wrong in (SGD(good.net, 0.1).init(good.params), good.params, None):
        with pytest.raises(
            KfacTypeError, match=r"expected one of KFAC, a State, found"
        ):
            save_state(good.path, kfac, wrong, rng)
    other = Network([Dense(5, 2)], Categorical())
    with pytest.raises(ShapeError, match=r"state.theta: expected shape \(83,\), found"):
        save_state(good.path, kfac, KFAC(other).init(other.init(rng)), rng)
    assert good.path.read_bytes() == good.content


def test_a_failed_write_leaves_the_old_file(good, rng, monkeypatch):
    def fails(*paths):
        raise OSError(28, "no space left")

    monkeypatch.setattr("os.replace", fails)
    state = KFAC(good.net).init(good.params)
    with pytest.raises(OSError, match="no space left"):
        save_state(good.path, KFAC(good.net), state, rng)
    assert good.path.read_bytes() == good.content
    assert [p.name for p in good.path.parent.iterdir()] == [good.path.name]


def test_arguments_in_another_order(good, rng):
    """Whichever is wrong is named; a file that is right is not blamed, nor touched."""
    kfac = KFAC(good.net)
    given = [good.path, kfac, kfac.init(good.params), rng]
    for order in permutations(given):
        if [*order] != given:
            with pytest.raises(
                KfacError, match="^(path|optimizer|state|rng): expected"
            ):
                save_state(*order)
    for wrong, message in (
        (good.net, "one with init and step, such as KFAC.*, found Network"),
        (KFAC, "one with init and step, such as KFAC.*, found <class"),
        (None, "one .*, found None"),
        (given[2], "one .*, found State"),
    ):
        with pytest.raises(KfacTypeError, match=f"^optimizer: expected {message}"):
            load_state(good.path, wrong)
        with pytest.raises(KfacTypeError, match=f"^optimizer: expected {message}"):
            save_state(good.path, wrong, *given[2:])
    with pytest.raises(KfacTypeError, match=r"^path: expected a path, found KFAC\("):
        load_state(kfac, good.path)
    bare = SimpleNamespace(init=kfac.init, step=kfac.step)
    with pytest.raises(KfacTypeError, match="^network: expected a Network"):
        load_state(good.path, bare)
    assert good.path.read_bytes() == good.content


def test_an_optimizer_of_ones_own_has_no_options_that_are_known(good, rng):
    kfac = KFAC(good.net)
    own = SimpleNamespace(init=kfac.init, step=kfac.step, network=good.net)
    state = kfac.init(good.params)
    save_state(good.path, own, state, rng)
    assert_same(load_state(good.path, own)[0], state)


def test_a_file_that_is_not_there(good):
    with pytest.raises(FileNotFoundError, match="nowhere.npz"):
        load_state(good.path.with_name("nowhere.npz"), KFAC(good.net))
