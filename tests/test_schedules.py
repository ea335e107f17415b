"""Schedules against numbers worked by hand."""

from __future__ import annotations

import math

import pytest

from kfac_ref.errors import ValueRangeError
from kfac_ref.optimizer.schedules import (
    ApproachTarget,
    Bounded,
    Constant,
    Exponential,
)


def assert_values(schedule, expected, tolerance=1e-14):
    for step, value in expected.items():
        found = schedule(step)
        assert abs(found - value) <= tolerance * abs(value), (step, found, value)


def test_constant_is_the_same_at_every_step():
    assert_values(Constant(0.37), {0: 0.37, 5: 0.37, 1e9: 0.37})


def test_exponential_multiplies_at_every_step():
    """0.32, 0.08, 0.02, ..."""
    assert_values(Exponential(0.32, 1 / 4), {0: 0.32, 1: 0.08, 2: 0.02, 0.5: 0.16})


def test_exponential_through_two_values():
    """From 0.01 to 0.0001 in 4 steps: a factor of 10 in two, and on after them."""
    schedule = Exponential.through(0.01, 0.0001, 4)
    assert_values(schedule, {0: 0.01, 2: 1e-3, 4: 1e-4, 6: 1e-5})
    growing = Bounded(Exponential.through(1000, 8000, 499), high=8000)
    expected = {0: 1000, 499 / 3: 2000, 499: 8000, 10**6: 8000}
    assert_values(growing, expected, 1e-13)  # the rate is rounded, then raised


def test_bounded_cuts_at_both_ends():
    schedule = Bounded(Exponential(0.32, 1 / 4), low=0.03, high=0.25)
    assert_values(schedule, {0: 0.25, 1: 0.08, 2: 0.03, 9: 0.03})
    assert Bounded(Exponential(2.0, 2.0), high=1024.0)(5000) == 1024  # 2^5000 overflows
    assert Bounded(Exponential(-2.0, 2.0), low=-7.0)(5000) == -7


@pytest.mark.parametrize(
    "initial, target, steps, digits, expected",
    [  # numbers of LBANN's code, where alpha is a float32
        (
            0.02,
            0.002,
            500,
            1e-8,
            {
                1: 0.019928,
                2: 0.01985628799,
                10: 0.01929282269,
                100: 0.01405608605,
                500: 0.00442628423,
                1000: 0.002327047509,
            },
        ),
        (
            0.1,
            0.001,
            100,
            5e-8,
            {1: 0.09604, 10: 0.0668184, 50: 0.0138587, 250: 0.00100366},
        ),
    ],
)
def test_approach_to_a_target(initial, target, steps, digits, expected):
    """LBANN's recursion, of which the first update comes before the first step."""
    schedule = ApproachTarget(initial, target, steps)
    alpha = 2 * math.log10(initial / target) / steps
    value = initial
    for update in range(1, max(expected) + 1):
        value = (1 - alpha) * value + alpha * target
        assert abs(schedule(update - 1) - value) < 1e-12 * value
        if update in expected:
            assert abs(value - expected[update]) < digits
    assert schedule(0) < initial  # step 0 uses one update already
    at_the_end = schedule(steps - 1) / target
    assert 2.2 < at_the_end < 2.9  # not reached, and it goes on
    assert schedule(steps) < schedule(steps - 1)


def test_approach_to_a_target_by_hand():
    """alpha = 2 / 4: half the way at each step. 1 -> 0.1: 0.55, 0.325, 0.2125."""
    schedule = ApproachTarget(1.0, 0.1, 4)
    assert_values(schedule, {0: 0.55, 1: 0.325, 2: 0.2125})
    assert_values(ApproachTarget(0.37, 0.37), {0: 0.37, 50: 0.37})
    assert_values(ApproachTarget(1.0, 0.1, 2), {0: 0.1, 1: 0.1})  # alpha = 1: at once


def test_schedules_are_data():
    one, other = (Bounded(Exponential(0.5, 2), 0.2, 2) for _ in range(2))
    assert one == other
    assert one != Bounded(Exponential(0.5, 3), 0.2, 2)
    assert eval(repr(one)) == one


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Constant(math.nan), r"Constant\(value=nan\): .* finite .* found nan"),
        (lambda: Exponential(0.1, 0), "Exponential: expected rate > 0, found 0"),
        (lambda: Exponential(0, 0.5), "Exponential: expected initial not 0"),
        (lambda: Exponential(math.inf, 2), "finite numbers, found inf"),
        (
            lambda: Exponential.through(0.1, -0.2, 5),
            r"one sign.*found \(0.1, -0.2",
        ),
        (lambda: Exponential.through(0.1, 0.2, 0), "steps > 0"),
        (lambda: Exponential.through(0, 0.2, 5), "not 0"),
        (lambda: Bounded(Constant(1), 3, 2), r"low <= high, found \(3.0, 2.0\)"),
        (lambda: Bounded(Constant(1), math.nan), r"low <= high, found \(nan, inf\)"),
        (
            lambda: ApproachTarget(0.03, 0.3),
            r"initial >= target > 0, found \(0.03",
        ),
        (lambda: ApproachTarget(0.03, 0), "initial >= target > 0"),
        (
            lambda: ApproachTarget(1.0, 0.01, 3),
            r"2 log10.* = 4 steps.*found 3",
        ),
        (lambda: ApproachTarget(0.3, 0.3, 0), "found 0"),
        (lambda: Constant(1)(-1), "schedule: expected a step >= 0, found -1"),
        (lambda: ApproachTarget(0.3, 0.1)(math.nan), "a step >= 0, found nan"),
    ],
)
def test_errors_say_what_is_expected(make, message):
    with pytest.raises(ValueRangeError, match=message):
        make()


@pytest.mark.parametrize(
    "schedule",
    [
        Exponential(0.3, 0.5),
        Bounded(Constant(1)),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_every_schedule_refuses_a_negative_step(schedule):
    with pytest.raises(ValueRangeError, match="a step >= 0, found -2"):
        schedule(-2)
