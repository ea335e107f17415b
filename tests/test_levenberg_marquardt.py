"""The rule for lambda against truth tables; the candidates for gamma."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kfac_ref.errors import UnknownName, ValueRangeError
from kfac_ref.optimizer.levenberg_marquardt import LevenbergMarquardt, gamma_candidates
from kfac_ref.quadratic_model import reduction_ratio

HALVES = {"decay": 0.5, "period": 3}  # omega = 1/8, exact in binary
SHRINKS, STAYS, GROWS = 0.4 / 8, 0.4, 0.4 * 8  # what becomes of lambda = 0.4

PAPER = LevenbergMarquardt(**HALVES)
KFAC_JAX = LevenbergMarquardt(**HALVES, minimum=1e-8, nan="grow")
TENSORFLOW = LevenbergMarquardt(**HALVES, minimum=1e-8, nan="keep", any_fall=True)
NAN, INF = math.nan, math.inf

TABLE = [  # change of the loss, M(delta), rho; paper, KFAC-JAX, TensorFlow K-FAC
    (-1.0, -1.0, 1.0, SHRINKS, SHRINKS, SHRINKS),
    (-3.0, -1.0, 3.0, SHRINKS, SHRINKS, SHRINKS),  # fell more than predicted
    (-0.76, -1.0, 0.76, SHRINKS, SHRINKS, SHRINKS),
    (-0.75, -1.0, 0.75, STAYS, STAYS, STAYS),  # the thresholds belong to the middle
    (-0.5, -1.0, 0.5, STAYS, STAYS, STAYS),
    (-0.25, -1.0, 0.25, STAYS, STAYS, STAYS),
    (-0.24, -1.0, 0.24, GROWS, GROWS, GROWS),
    (0.0, -1.0, 0.0, GROWS, GROWS, GROWS),
    (1.0, -1.0, -1.0, GROWS, GROWS, GROWS),  # rose, predicted to fall
    (INF, -1.0, -INF, GROWS, GROWS, GROWS),
    (-1.0, 1.0, -1.0, GROWS, GROWS, SHRINKS),  # fell, predicted to rise
    (1.0, 1.0, 1.0, SHRINKS, SHRINKS, SHRINKS),  # rose, as predicted
    (0.1, 1.0, 0.1, GROWS, GROWS, GROWS),  # rose less than predicted
    (NAN, -1.0, NAN, None, GROWS, STAYS),
]


@pytest.mark.parametrize("change, predicted, rho, paper, jax, tensorflow", TABLE)
def test_rho_of_every_sign_moves_lambda_as_others_do(
    change, predicted, rho, paper, jax, tensorflow
):
    found = reduction_ratio(2.0, 2.0 + change, predicted)
    assert found == pytest.approx(rho, abs=1e-15, nan_ok=True)
    rules = {PAPER: paper, KFAC_JAX: jax, TENSORFLOW: tensorflow}
    for rule, expected in rules.items():
        if expected is None:
            with pytest.raises(ValueRangeError, match="rho: expected a number .* nan"):
                rule(0.4, rho, predicted)
        else:
            assert rule(0.4, rho, predicted) == expected


def test_the_papers_numbers():
    """T_1 = 5 and omega_1 = (19/20)^5 = 2476099 / 3200000; lambda starts at 150."""
    rule = LevenbergMarquardt()
    omega = 2476099 / 3200000
    assert rule.omega == pytest.approx(omega, rel=1e-15)
    assert rule(150.0, 0.9) == pytest.approx(150 * omega, rel=1e-15)
    assert rule(150.0, 0.1) == pytest.approx(150 / omega, rel=1e-15)
    assert rule(rule(150.0, 0.9), 0.1) == pytest.approx(150.0, rel=1e-15)
    assert [step for step in range(21) if rule.due(step)] == [4, 9, 14, 19]
    assert LevenbergMarquardt(decay=0.9).omega == pytest.approx(0.59049, rel=1e-15)


def test_lambda_moves_outside_the_given_thresholds():
    rule = LevenbergMarquardt(**HALVES, lower=0.4, upper=0.6)
    table = {0.39: GROWS, 0.4: STAYS, 0.6: STAYS, 0.61: SHRINKS}
    assert {rho: rule(0.4, rho) for rho in table} == table


def test_lambda_stays_between_its_bounds():
    rule = LevenbergMarquardt(**HALVES, minimum=0.1, maximum=2.0)
    assert [rule(0.4, rho) for rho in (0.9, 0.5, 0.1)] == [0.1, 0.4, 2.0]
    # outside the bounds lambda is brought inside, even where rho says nothing
    assert (rule(0.01, 0.5), rule(9.0, 0.5)) == (0.1, 2.0)
    assert (rule(0.1, 0.9), rule(2.0, 0.1)) == (0.1, 2.0)


def test_numbers_of_arrays_are_numbers(xp):
    found = LevenbergMarquardt(**HALVES)(
        xp.asarray(np.array(0.4)), xp.asarray(np.array(0.9))
    )
    assert isinstance(found, float)
    assert found == SHRINKS


def test_gamma_candidates_are_gamma_one_smaller_and_one_larger():
    """omega_2 = sqrt(19/20)^20 = (19/20)^10 in the paper; gamma itself comes first."""
    assert gamma_candidates(2.0, omega_2=0.25) == (2.0, 0.5, 8.0)
    omega_2 = 19**10 / 20**10
    assert gamma_candidates(2.0) == pytest.approx((2.0, 2 * omega_2, 2 / omega_2))
    assert omega_2 == pytest.approx(0.5987369392383789, rel=1e-15)


def test_gamma_candidates_at_the_bounds():
    """No candidate outside, none twice: each is one more factorisation."""
    assert gamma_candidates(2.0, 0.25, minimum=1.0, maximum=4.0) == (2.0, 1.0, 4.0)
    assert gamma_candidates(2.0, 0.25, minimum=2.0) == (2.0, 8.0)
    assert gamma_candidates(2.0, 0.25, maximum=2.0) == (2.0, 0.5)
    assert gamma_candidates(2.0, 0.25, minimum=3.0) == (3.0, 8.0)  # brought inside
    assert gamma_candidates(2.0, 0.25, minimum=2.0, maximum=2.0) == (2.0,)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: LevenbergMarquardt(decay=0), "0 < decay <= 1, found 0"),
        (lambda: LevenbergMarquardt(decay=1.1), "0 < decay <= 1, found 1.1"),
        (lambda: LevenbergMarquardt(period=0), "whole number >= 1, found 0"),
        (lambda: LevenbergMarquardt(period=2.5), "whole number >= 1, found 2.5"),
        (lambda: LevenbergMarquardt(lower=0.8), r"upper, found \(0.8, 0.75\)"),
        (lambda: LevenbergMarquardt(minimum=-1), r"maximum, found \(-1.0, inf\)"),
        (lambda: LevenbergMarquardt(minimum=3, maximum=2), r"found \(3.0, 2.0\)"),
        (lambda: PAPER(-0.4, 0.5), "damping: expected .* found -0.4"),
        (lambda: TENSORFLOW(0.4, 0.5), "predicted: expected M.*any_fall.* found None"),
        (lambda: gamma_candidates(0.0), "gamma: expected a finite number > 0"),
        (lambda: gamma_candidates(NAN), "gamma: expected a finite number > 0"),
        (lambda: gamma_candidates(1.0, 1.0), "omega_2: expected 0 < omega_2 < 1"),
        (
            lambda: gamma_candidates(1.0, 0.5, 3, 2),
            r"gamma: .* found \(3.0, 2.0\)",
        ),
    ],
)
def test_errors_say_what_is_expected(make, message):
    with pytest.raises(ValueRangeError, match=message):
        make()


def test_an_unknown_word_for_nan():
    with pytest.raises(UnknownName, match="did you mean 'keep'"):
        LevenbergMarquardt(nan="kept")


def test_tensorflows_lambda_contains_its_l2():
    """Its loop, by hand, beside the rule for a lambda that does not contain l2."""
    l2, theirs, ours = 0.03, 0.4, 0.4 - 0.03
    rule = LevenbergMarquardt(0.95, 5, minimum=1e-8 + l2, nan="keep", any_fall=True)
    rng, bounded, kept = np.random.default_rng(5), 0, 0
    for _ in range(200):
        change, predicted = rng.normal(-0.7, 1.0), rng.normal(-1.0, 0.6)
        rho, omega = change / predicted, 0.95**5
        if (change < 0 and predicted > 0) or rho > 0.75:
            theirs *= omega
        elif rho < 0.25:
            theirs /= omega
        theirs = max(theirs, 1e-8 + l2)
        without = rule(ours, rho, predicted)  # as if lambda did not contain it
        kept += abs(without - (theirs - l2)) > 1e-3 * theirs
        ours = rule(ours + l2, rho, predicted) - l2
        bounded += theirs == 1e-8 + l2
        assert math.isclose(ours + l2, theirs, rel_tol=1e-12)
    assert 0 < bounded < 200 and kept > 100
