"""Every class is a value: copied, pickled, compared; and an error survives a pool.

The classes are found by introspection: one that is new must be in value_cases.py.
"""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from kfac_ref.distributions import Normal
from kfac_ref.errors import ShapeError, located
from kfac_ref.layers import Dense, Layer, Tanh
from kfac_ref.matrices import DenseMatrix
from kfac_ref.network import Network
from kfac_ref.optimizer import Diverged, load_state, save_state
from kfac_ref.values import same
from value_behaviour import behave, shown
from value_cases import CASES, ERRORS, NO_VALUES, PLAIN, classes, kfac, start, steps

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {p}": lambda value, p=p: pickle.loads(pickle.dumps(value, p))
        for p in PROTOCOLS
    },
}
names = [f"{i}-{kind.__name__}" for i, (kind, _) in enumerate(CASES)]
every_case = pytest.mark.parametrize("build", [b for _, b in CASES], ids=names)
every_error = pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)


def test_every_class_has_a_case():
    known = {kind for kind, _ in CASES} | set(ERRORS) | set(NO_VALUES)
    missing = [f"{c.__module__}.{c.__name__}" for c in classes() if c not in known]
    assert not missing, (
        f"no case for {', '.join(missing)}: add to tests/value_cases.py how one is "
        "made, to CASES (class, lambda n: ...) with n(...) around every number, an "
        "exception to ERRORS; and its class should inherit kfac_ref.values.Value"
    )
    assert set(NO_VALUES) <= set(classes())


@every_case
def test_case_is_of_its_class(build):
    kind = next(kind for kind, b in CASES if b is build)
    assert type(build(PLAIN)) is kind


@every_case
def test_copies_are_equal_and_do_the_same(build):
    value = build(PLAIN)
    done = behave(build(PLAIN))
    for how, copied in COPIES.items():
        twin = copied(value)
        assert type(twin) is type(value) and twin is not value, how
        assert (twin == value) is True and (value == twin) is True, how
        assert (twin != value) is False, how
        assert shown(twin) == shown(value), how
        if how not in ("pickle 2", "pickle 3", "pickle 4"):  # the last one will do
            assert same(behave(twin), done), how


@every_case
def test_made_again_it_is_equal(build):
    assert build(PLAIN) == build(PLAIN)


@every_case
def test_every_public_attribute_counts(build):
    """Whatever is changed, `==` says False and raises nothing."""
    value = build(PLAIN)
    for name, part in public(value).items():
        for other in others(part):
            changed = copy.copy(value)
            object.__setattr__(changed, name, other)
            assert (value == changed) is False, name
            assert (changed == value) is False, name
            assert (value != changed) is True, name


def public(value):
    return {k: v for k, v in vars(value).items() if not k.startswith("_")}


def others(part):
    """Things that are not the same as `part`."""
    yield object()
    if isinstance(part, bool):
        yield not part
    elif isinstance(part, int | float):
        yield part + 1
    elif isinstance(part, list | tuple):
        yield [*part, None]
    elif isinstance(part, np.ndarray) and part.dtype.kind == "f":
        yield part.astype(np.float16)
        yield part[None]
        moved = part.copy()
        moved.flat[0] += 1
        yield moved
        moved.flat[0] = np.nan
        yield moved


@every_case
def test_something_else_is_not_equal(build):
    value = build(PLAIN)
    for other in (None, 3, "value", object(), [value], build, Layer):
        assert (value == other) is False and (other == value) is False
        assert (value != other) is True
    for other in (np.ones(2), np.float64(3)):  # NumPy would answer entry by entry
        assert (value == other) is False
        assert (other == value) is False


@every_case
def test_hashed_by_content_or_not_at_all(build):
    value = build(PLAIN)
    try:
        found = hash(value)
    except TypeError as error:
        assert str(error) == f"unhashable type: '{type(value).__name__}'"
    else:
        assert found == hash(copy.deepcopy(value)) == hash(build(PLAIN))
        assert {value: 1}[copy.deepcopy(value)] == 1


def test_nan_is_the_same_as_nan_and_bytes_count():
    nan = np.array([1.0, np.nan])
    assert same(nan, nan.copy()) and same([float("nan")], [float("nan")])
    assert not same(nan, np.array([np.nan, 1.0]))
    assert not same(nan, nan.astype(">f8")) and not same(nan, nan.astype("f4"))
    assert not same(nan, nan.tolist()) and not same(1, 1.0) and not same(1, True)


def test_arrays_of_two_backends_are_not_equal(xp):
    host = np.eye(3)
    assert same(xp.asarray(host), xp.asarray(host))
    assert same(xp.asarray(host), host) is (xp is np)
    one, other = (DenseMatrix(xp.asarray(host)) for _ in range(2))
    assert one == other and one != DenseMatrix(xp.asarray(2 * host))


def test_layers_of_users_are_values():
    """A layer of another module needs nothing for it; a lambda is the same lambda."""

    class Scale(Layer):
        def __init__(self, factor):
            self.factor = factor
            self._seen = object()  # does not count

    assert Scale(2.0) == Scale(2.0) != Scale(3.0)
    assert Scale(np.ones(2)) == Scale(np.ones(2)) != Scale(np.ones(3))


def test_networks_are_equal_layer_by_layer():
    one, other = (Network([Dense(5, 4), Tanh()], Normal()) for _ in range(2))
    assert one == other != Network([Dense(5, 4), Tanh()], Normal(0.5))
    assert one != Network([Dense(5, 4, bias=False), Tanh()], Normal())


def test_a_state_is_equal_to_the_one_that_is_loaded(tmp_path):
    """`==` of two states is what one asks first of a restored run."""
    optimizer = kfac(PLAIN)
    state, _ = steps(optimizer, 5)
    path = save_state(
        tmp_path / "state.npz", optimizer, state, np.random.default_rng(3)
    )
    assert load_state(path, optimizer)[0] == state
    assert load_state(path, optimizer)[0] != optimizer.init(start(optimizer.network))


# Exceptions


@every_error
@pytest.mark.parametrize("how", COPIES)
def test_copies_of_errors(how, kind):
    error = ERRORS[kind]()
    twin = COPIES[how](error)
    assert type(twin) is type(error) and twin is not error
    assert (twin == error) is False and (error == error) is True
    assert same(content(twin), content(error))


def content(error):
    """What one may read off an exception."""
    builtin = {
        name: getattr(error, name, None) for name in ("msg", "errno", "strerror")
    }
    return str(error), error.args, vars(error), builtin


def test_errors_keep_notes_and_both_parts_of_an_operating_systems_error():
    for kind, arguments in [(ShapeError, ["W"]), *SYSTEM]:
        error = kind(*arguments)
        error.add_note("seen on Tuesday")
        twin = pickle.loads(pickle.dumps(error))
        assert same(content(twin), content(error))
        assert twin.__notes__ == ["seen on Tuesday"]


SYSTEM = [
    (next(k for k in ERRORS if k.__name__ == "DatasetMissing"), [2, "no file", "x.gz"])
]


def fail(kind):
    """In another process."""
    raise ERRORS[kind]()


def test_every_error_arrives_from_a_worker():
    """An exception that cannot be unpickled kills the pool, or makes it hang."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        futures = {kind: pool.submit(fail, kind) for kind in ERRORS}
        for kind, future in futures.items():
            error = future.exception(timeout=120)
            assert type(error) is kind
            assert same(content(error)[:2], content(ERRORS[kind]())[:2])
            attributes = {k: v for k, v in vars(error).items() if k[0] != "_"}
            assert same(attributes, vars(ERRORS[kind]()))


def test_located_keeps_the_kind_and_the_attributes():
    message = "^batch 3: training diverged"
    with pytest.raises(Diverged, match=message) as caught, located("batch 3"):
        raise Diverged("loss", "0: Dense(5, 4)")
    assert (caught.value.stage, caught.value.layer) == ("loss", "0: Dense(5, 4)")
