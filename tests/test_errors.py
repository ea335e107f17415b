"""Every message says where, what was expected, what was found, what to do."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from kfac_ref import errors
from kfac_ref.matrices import DenseMatrix


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


# NotPositiveDefinite


def test_not_positive_definite_says_where_and_how_badly():
    error = errors.NotPositiveDefinite("block Dense(5, 3)", 1e-3, [2.0, -0.25, 40.0])
    assert str(error) == (
        "block Dense(5, 3) is not positive definite: with lambda = 0.001 its "
        "eigenvalues run from -0.25 to 40 (condition number 160); use a larger damping"
    )
    assert (error.damping, error.smallest, error.largest) == (1e-3, -0.25, 40.0)
    assert error.condition == 160.0


def test_the_condition_number_is_that_of_absolute_values():
    error = errors.NotPositiveDefinite("A", 0.0, iter([-60.0, -0.5, 0.25, 3.0]))
    assert (error.smallest, error.largest) == (-60.0, 3.0)
    assert error.condition == 240.0


def test_a_singular_matrix_has_an_infinite_condition_number():
    error = errors.NotPositiveDefinite("A", 0.0, [0.0, 0.0, 3.0])
    assert error.condition == float("inf")
    assert "with lambda = 0 its eigenvalues run from 0 to 3 " in str(error)
    assert "(condition number inf)" in str(error)


@pytest.mark.parametrize("smallest", [3.37e-07, -1e-7])
def test_a_matrix_that_is_singular_to_rounding_only_is_called_so(smallest):
    """All eigenvalues positive, or nearly, and yet no inverse: the reason is eps."""
    values = np.array([smallest, 2.0, 11.4], np.float32)
    error = errors.NotPositiveDefinite("factor A", 0.0, values)
    assert str(error) == (
        "factor A is not positive definite but singular to rounding: with lambda = 0 "
        f"its eigenvalues run from {smallest:.3g} to 11.4 (condition number "
        f"{error.condition:.3g}; 3 rows with eps = 1.2e-07 do not resolve that); use a "
        "larger damping"
    )
    in_float64 = errors.NotPositiveDefinite("factor A", 0.0, [-1e-7, 2.0, 11.4])
    assert "rounding" not in str(in_float64) and "singular" not in str(in_float64)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_matrix_that_is_not_finite_has_no_condition(bad):
    error = errors.NotPositiveDefinite("factor A", 0.1, [1.0, bad, 2.0])
    assert str(error) == (
        "factor A is not finite: with lambda = 0.1 some of its 3 eigenvalues are NaN "
        "or infinite; are the numbers that it is made of too large?"
    )


def test_every_way_to_fail_has_a_sentence_of_its_own(xp):
    def said(values, dtype="float64"):
        M = DenseMatrix(xp.asarray(np.diag(values).astype(dtype)), "M")
        with pytest.raises(errors.NotPositiveDefinite) as caught:
            M.solve(xp.ones(3, dtype=dtype))
        return str(caught.value).partition(": ")[0]

    assert said([1.0, -2.0, 3.0]) == "M is not positive definite"
    assert said([1.0, 0.0, 3.0]) == "M is not positive definite but singular"
    rounding = "M is not positive definite but singular to rounding"
    assert said([1.0, 1e-18, 3.0]) == rounding
    assert said([1.0, 3e-7, 3.0], "float32") == rounding
    M = DenseMatrix(xp.asarray(np.diag([1.0, 3e-7, 3.0])), "M")
    assert float(M.solve(xp.ones(3))[1]) == pytest.approx(1 / 3e-7)


# choose


KNOWN = ("exact", "sampled", "empirical")


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_name_is_returned(name):
    assert errors.choose("estimate", name, iter(KNOWN)) == name


def test_suggestions_do_not_mind_capitals():
    with pytest.raises(errors.UnknownName, match="'same': did you mean 'SAME'[?] "):
        errors.choose("padding", "same", ["VALID", "SAME"])


def test_an_unknown_name_suggests_the_closest():
    with pytest.raises(errors.UnknownName) as caught:
        errors.choose("estimate", "emprical", KNOWN)
    assert str(caught.value) == (
        "unknown estimate 'emprical': did you mean 'empirical'? "
        "known: exact, sampled, empirical"
    )


@pytest.mark.parametrize("name", ["zzz", "", 3, None, []])
def test_a_name_unlike_all_others_lists_them(name):
    with pytest.raises(errors.UnknownName) as caught:
        errors.choose("estimate", name, KNOWN)
    expected = f"unknown estimate {name!r}: known: exact, sampled, empirical"
    assert str(caught.value) == expected


# check_shape


@pytest.mark.parametrize("expected", [(7, 5), (7, None), ("N", 5), ("N", "d_in")])
def test_a_shape_that_fits_passes(xp, expected):
    errors.check_shape("x", xp.zeros((7, 5)), expected)


def test_the_shape_of_a_number(xp):
    errors.check_shape("loss", xp.sum(xp.ones(3)), ())


@pytest.mark.parametrize(
    ("expected", "shown"),
    [
        ((7, 3), "(7, 3)"),
        ((5, 7), "(5, 7)"),
        (("N", 11), "(N, 11)"),
        ((None, 11), "(any, 11)"),
        ((7,), "(7,)"),
        (("N",), "(N,)"),
        ((7, 5, 1), "(7, 5, 1)"),
        ((), "()"),
    ],
)
def test_a_shape_that_does_not_fit(xp, expected, shown):
    with pytest.raises(errors.ShapeError) as caught:
        errors.check_shape("input of Dense(3, 2)", xp.zeros((7, 5)), expected)
    assert str(caught.value) == (
        f"input of Dense(3, 2): expected shape {shown}, found (7, 5)"
    )


@pytest.mark.parametrize(("thing", "name"), [([[1.0]], "list"), (2.5, "float")])
def test_what_has_no_shape(thing, name):
    expected = f"W: expected an array of shape (4, any), found {name}"
    with pytest.raises(errors.ShapeError, match=f"^{re.escape(expected)}$"):
        errors.check_shape("W", thing, (4, None))


# check_batch


def test_a_good_batch_passes(xp):
    errors.check_batch("x", xp.asarray([[0.5, -2.0, 0.0]]))
    errors.check_batch("y", xp.asarray([3, 1]))


@pytest.mark.parametrize("shape", [(0, 5), (7, 0), (0,), (7, 0, 3)])
def test_an_empty_batch(xp, shape):
    expected = f"x: the batch is empty, its shape is {shape}"
    with pytest.raises(errors.ShapeError, match=f"^{re.escape(expected)}$"):
        errors.check_batch("x", xp.zeros(shape))


def test_a_batch_without_examples(xp):
    expected = "^x: expected an array with a first axis of examples, found {}$"
    with pytest.raises(errors.ShapeError, match=expected.format("list")):
        errors.check_batch("x", [[1.0, 2.0]])
    number = xp.sum(xp.ones(3))
    with pytest.raises(errors.ShapeError, match=expected.format(type(number).__name__)):
        errors.check_batch("x", number)


def test_a_batch_with_bad_numbers(xp):
    with pytest.raises(errors.ValueRangeError, match="^x: 1 of 6 numbers are NaN"):
        errors.check_batch("x", xp.asarray([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]]))


# check_finite


@pytest.mark.parametrize("dtype", ["bool", "int64", "uint8", "float32", "float64"])
def test_finite_numbers_pass(xp, dtype):
    errors.check_finite("x", xp.asarray([0, 1, 1], dtype=dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_that_are_not_finite_are_counted(xp, dtype):
    host = [[1.0, np.nan], [-np.inf, 2.0], [np.inf, 3.0], [4.0, 5.0]]
    expected = "^W: 3 of 8 numbers are NaN or infinite$"
    with pytest.raises(errors.ValueRangeError, match=expected):
        errors.check_finite("W", xp.asarray(host, dtype=dtype))


def test_complex_numbers_are_refused(xp):
    expected = "^x: expected real numbers, found an array of complex128$"
    with pytest.raises(errors.ValueRangeError, match=expected):
        errors.check_finite("x", xp.asarray([1j, 2.0]))


@pytest.mark.parametrize(
    ("array", "dtype"), [(["1", "2"], "<U1"), ([None, 1.0], "object")]
)
def test_what_is_no_number_is_refused(array, dtype):
    expected = f"^x: expected real numbers, found an array of {dtype}$"
    with pytest.raises(errors.ValueRangeError, match=expected):
        errors.check_finite("x", np.asarray(array))


# located


@pytest.mark.parametrize("error", [errors.ShapeError, errors.ValueRangeError])
def test_located_puts_the_place_in_front(error):
    with pytest.raises(error) as caught, errors.located("layer 3, Dense(5, 3)"):
        raise error("W: expected shape (6, 3), found (3, 6)")
    assert type(caught.value) is error
    assert str(caught.value) == (
        "layer 3, Dense(5, 3): W: expected shape (6, 3), found (3, 6)"
    )
    assert caught.value.__suppress_context__  # one message, not two


def test_located_nests_from_the_outside_in():
    with (
        pytest.raises(errors.ShapeError, match="^network: layer 3: W: bad$"),
        errors.located("network"),
        errors.located("layer 3"),
    ):
        raise errors.ShapeError("W: bad")


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
        assert errors.all_finite(array) is finite
        assert errors.all_finite(array.T) is finite
