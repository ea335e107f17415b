"""Every message says where, what was expected, what was found, what to do."""

from __future__ import annotations

import ast
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from traceback import extract_tb

import numpy as np
import pytest

import kfac_ref
from error_calls import ACROSS, CASES, Far, missing, names
from kfac_ref import checks, errors
from kfac_ref.distributions import Normal
from kfac_ref.layers import Dense
from kfac_ref.matrices import DenseMatrix
from kfac_ref.network import Network
from kfac_ref.optimizer.state import Place
from kfac_ref.pairs import propagate

ROOT = Path(kfac_ref.__file__).parent
ROOMS = """layers/*.py distributions/*.py matrices/*.py structures/*.py exact/*.py
damping/*.py comparison/*.py checks.py network.py pairs.py estimates.py
quadratic_model.py
""".split()


# numpy.matrix is refused, and warns when it is made
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


def refuses(case, xp):
    """Hold the case; the places in the code that the error came through."""
    with pytest.raises(case.error) as caught:
        result = eval(case.call, names(xp))
        raise result if isinstance(result, Exception) else AssertionError(result)
    assert type(caught.value) is case.error
    message = str(caught.value)
    assert missing(message, case.facts) is None, message
    assert len(message) < 400 and "\n" not in message
    return {(frame.filename, frame.lineno) for frame in extract_tb(caught.tb)}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_refused(case, xp):
    refuses(case, xp)


@pytest.mark.parametrize("case", ACROSS, ids=str)
def test_arrays_of_two_backends(case):
    refuses(case, np)


def test_every_refusal_of_these_rooms_has_a_case():
    """A new `raise` there wants a line in the table."""
    reached = {place for case in [*CASES, *ACROSS] for place in refuses(case, np)}
    checked = 0
    for path in (path for room in ROOMS for path in sorted(ROOT.glob(room))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and "not_written" not in ast.unparse(node):
                lines = range(node.lineno, node.end_lineno + 1)
                where = f"{path.relative_to(ROOT)}, line {node.lineno}"
                assert reached & {(str(path), line) for line in lines}, where
                checked += 1
    assert checked > 80


def test_what_a_subclass_must_write_is_named():
    """The method, and the class whose module says how: of every one that there is."""
    found = [
        (path, kind.name, method)
        for path in sorted(ROOT.rglob("*.py"))
        for kind in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(kind, ast.ClassDef)
        for method in kind.body
        if "raise not_written(" in ast.unparse(method)
    ]
    for path, kind, method in found:
        module = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        own = type("Own", (getattr(import_module(module), kind),), {})
        with pytest.raises(NotImplementedError) as caught:
            missed = getattr(object.__new__(own), method.name)  # raises if a property
            missed(*[None] * (len(method.args.args) - 1))
        facts = ["Own", f"'{method.name}'", "write it", kind]
        assert missing(str(caught.value), facts) is None, str(caught.value)
    assert len(found) > 20


def test_a_fact_is_a_whole_word_or_number_and_they_have_an_order():
    message = "d_in: expected a whole number >= 10, found -1.5"
    assert missing(message, ["d_in", ">= 10", "-1.5"]) is None
    for wrong in (
        ["d_"],
        [">= 1"],
        ["1.5"],
        ["-1"],
        ["5"],
        ["found", "10"],
        [">=", ">="],
    ):
        assert missing(message, wrong) == wrong[-1]


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.ShapeError, ValueError),
        (errors.ValueRangeError, ValueError),
        (errors.UnknownName, ValueError),
        (errors.BackendError, TypeError),
        (errors.Unsupported, TypeError),
        (errors.NotPositiveDefinite, ArithmeticError),
    ],
)
def test_errors_are_of_the_package_and_of_the_builtin_that_fits(error, builtin):
    assert issubclass(error, errors.KfacError) and issubclass(error, builtin)


def test_the_condition_number_is_that_of_absolute_values():
    error = errors.NotPositiveDefinite("A", 1e-3, iter([-60.0, -0.5, 0.25, 3.0]))
    assert (error.damping, error.smallest, error.largest) == (1e-3, -60.0, 3.0)
    assert error.condition == 240.0
    singular = errors.NotPositiveDefinite("A", 0.0, [0.0, 0.0, 3.0])
    assert singular.condition == float("inf")


# What passes


def test_what_the_doors_let_in(xp):
    for known in ("exact", "sampled", "empirical"):
        every = iter(["exact", "sampled", "empirical"])
        assert errors.choose("estimate", known, every) == known
    for shape in ((7, 5), (7, None), ("N", 5), ("N", "d_in")):
        checks.check_shape("x", xp.zeros((7, 5)), shape)
    checks.check_shape("loss", xp.sum(xp.ones(3)), ())
    checks.check_batch("x", xp.asarray([[0.5, -2.0, 0.0]]))
    checks.check_batch("y", xp.asarray([3, 1]))
    for dtype in ("bool", "int64", "uint8", "float32", "float64"):
        checks.check_finite("x", xp.asarray([0, 1, 1], dtype=dtype))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.filterwarnings("error")
def test_numbers_whose_squares_overflow_are_finite(xp, dtype):
    largest = float(np.finfo(dtype).max)
    for numbers, finite in (
        ([[1.0, -2.0], [3.0, 4.0]], True),
        ([[1.0, -largest], [largest, 4.0]], True),  # the sum of the squares is infinite
        ([[1.0, np.nan], [3.0, 4.0]], False),
        ([[1.0, np.inf], [-np.inf, 4.0]], False),
        ([[1.0, largest], [-np.inf, 4.0]], False),
    ):
        array = xp.asarray(np.array(numbers, dtype))
        assert checks.all_finite(array) is finite
        assert checks.all_finite(array.T) is finite


# located


@pytest.mark.parametrize("error", [errors.ShapeError, errors.ValueRangeError])
def test_located_puts_the_place_in_front(error):
    with (
        pytest.raises(error) as caught,
        errors.located("network"),
        errors.located("layer 3"),
    ):
        raise error("W: expected shape (6, 3), found (3, 6)")
    assert type(caught.value) is error
    expected = "network: layer 3: W: expected shape (6, 3), found (3, 6)"
    assert str(caught.value) == expected
    assert caught.value.__suppress_context__  # one message, not two


@pytest.mark.parametrize("error", [errors.Unsupported, ValueError, KeyError])
def test_located_leaves_other_errors_alone(error):
    raised = error("as it was")
    with pytest.raises(error) as caught, errors.located("layer 3"):
        raise raised
    assert caught.value is raised and caught.value.args == ("as it was",)


def test_located_without_an_error_does_nothing():
    with errors.located("layer 3"):
        passed = True
    assert passed


# What was found is said by type, shape and dtype: the numbers may be on a device.


def test_no_message_prints_what_may_be_an_array():
    """What was found is described: repr would ask a device for all its numbers."""
    described = 0
    files = [p for p in ROOT.rglob("*.py") if p.parent.name != "cli"]  # words only
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else []
            for text, value in pairwise(parts):
                if str(getattr(text, "value", "")).endswith("found "):
                    where = f"{path.relative_to(ROOT)}, line {value.lineno}"
                    assert value.conversion != ord("r"), f"{where}: use describe(...)"
                    described += "describe(" in ast.unparse(value)
    assert described > 15


def test_what_was_found_is_described():
    describe = errors.describe
    far = f"{Far.__module__}.Far of shape (5, 3), float32"
    assert describe(Far()) == far
    assert describe([1, Far()]) == f"[1, {far}]"
    assert describe({"b": 1, "a": Far()}) == f"{{'b': 1, 'a': {far}}}"
    endless = {}
    endless["itself"] = endless
    assert describe(endless).count("itself") == 6 and "{...}" in describe(endless)
    assert describe(dict.fromkeys("abcde")).endswith("'d': None, ...}")
    assert describe(np.ones((2, 0))) == "numpy.ndarray of shape (2, 0), float64"
    assert describe(np.float32(2.5)) == "np.float32(2.5)"
    assert describe(Far) == repr(Far) and describe(np.ndarray) == repr(np.ndarray)
    matrix = DenseMatrix(np.eye(3), "layer 0")
    assert describe(matrix) == "DenseMatrix(3 x 3, 'layer 0')"
    assert describe("y" * 100) == f"'{'y' * 27}...{'y' * 28}'"
    shown = "Place(order=numpy.ndarray of shape (2000,), int64, seen=3)"
    assert describe(Place(np.arange(2000), 3)) == shown


def test_what_holds_arrays_is_shown_in_a_line_without_their_numbers(rng):
    net = Network([Dense(4, 3)], Normal())
    at = net.linearize(net.init(rng), rng.normal(size=(7, 4)))
    for value in (propagate(at), at, propagate(at).part(0, 3)):
        shown = errors.describe(value)
        assert shown.startswith(f"{type(value).__name__}(") and len(shown) <= 120
        assert "\n" not in shown and "0." not in shown
