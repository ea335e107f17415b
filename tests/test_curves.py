"""CURVES against loops over pixels and dots, and against the length of the curves."""

from __future__ import annotations

import math
from importlib import import_module

import numpy as np
import pytest

from helpers import assert_exact
from kfac_ref.datasets.curves import BRUSH, CHUNK, DOTS, MARGIN, curves
from kfac_ref.errors import ValueRangeError

SIDE = 13


def points_of(rng, count, side):
    """The points that `curves` draws, (count, 3, 2): x and y."""
    drawn = rng.uniform(MARGIN, 1.0 - MARGIN, (count, 2, 3)) * side
    return drawn.swapaxes(1, 2)


def painted(points, side):
    """One image, pixel by pixel and dot by dot."""
    (x0, y0), (x1, y1), (x2, y2) = points
    image = np.zeros((side, side))
    for dot in range(DOTS):
        t = (dot + 0.5) / DOTS
        # c(t) = p0 + t v + t^2 w through p0, p1 at 1/2, p2 at 1
        vx, vy = 4 * x1 - 3 * x0 - x2, 4 * y1 - 3 * y0 - y2
        wx, wy = 2 * (x0 + x2) - 4 * x1, 2 * (y0 + y2) - 4 * y1
        x, y = x0 + t * vx + t * t * wx, y0 + t * vy + t * t * wy
        step = math.hypot(vx + 2 * t * wx, vy + 2 * t * wy) / DOTS
        for row in range(side):
            for column in range(side):
                far = (column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2
                brush = math.exp(-far / (2 * BRUSH**2))
                image[row, column] += step * brush / (math.sqrt(2 * math.pi) * BRUSH)
    return np.minimum(image, 1.0)


def test_every_pixel_is_what_loops_give():
    found = curves(3, np.random.default_rng(11), SIDE)
    for image, points in zip(
        found, points_of(np.random.default_rng(11), 3, SIDE), strict=True
    ):
        assert_exact(image, painted(points, SIDE).ravel())


def test_the_paint_is_proportional_to_the_length():
    """Where nothing is cut off: the integral of a Gaussian along a line and across."""
    count, side = 200, 28
    images = curves(count, np.random.default_rng(3), side)
    points = points_of(np.random.default_rng(3), count, side)
    t = np.linspace(0.0, 1.0, 4001)
    v = 4 * points[:, 1] - 3 * points[:, 0] - points[:, 2]
    w = 2 * (points[:, 0] + points[:, 2]) - 4 * points[:, 1]
    at = points[:, 0, :, None] + v[:, :, None] * t + w[:, :, None] * t**2
    lengths = np.hypot(*np.diff(at, axis=2).swapaxes(0, 1)).sum(axis=1)
    inside = (at.min(axis=(1, 2)) > 3) & (at.max(axis=(1, 2)) < side - 3)
    uncut = inside & (images.max(axis=1) < 1.0)
    assert uncut.sum() > 10
    expected = lengths * math.sqrt(2 * math.pi) * BRUSH
    np.testing.assert_allclose(images.sum(axis=1)[uncut], expected[uncut], rtol=2e-3)
    cut = inside & ~uncut
    assert (images.sum(axis=1)[cut] < 0.999 * expected[cut]).any()


def test_intensities_lie_between_0_and_1_and_reach_both():
    images = curves(400, np.random.default_rng(5), SIDE, np.float32)
    assert images.dtype == np.float32 and images.shape == (400, SIDE**2)
    assert 0.0 <= images.min() < 1e-6 and images.max() == 1.0


def test_the_generator_decides_and_chunks_do_not(monkeypatch):
    many = curves(CHUNK + 3, np.random.default_rng(7), 5)
    monkeypatch.setattr(import_module("kfac_ref.datasets.curves"), "CHUNK", 17)
    assert_exact(curves(CHUNK + 3, np.random.default_rng(7), 5), many)
    other = curves(3, np.random.default_rng(8), 5)
    assert np.abs(other - many[:3]).max() > 0.1


def test_the_code_of_an_image_has_six_numbers():
    """The images are a smooth function of six: nearby points, nearby images."""
    images = curves(2000, np.random.default_rng(1), SIDE)
    centred = images - images.mean(axis=0)
    spectrum = np.linalg.svd(centred, compute_uv=False)
    assert (spectrum > 0.01 * spectrum[0]).sum() > 6  # not a linear one


def test_wrong_arguments():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueRangeError, match="count: expected a whole number >= 1"):
        curves(0, rng)
    with pytest.raises(ValueRangeError, match="side: expected a whole number >= 1"):
        curves(3, rng, 2.5)
    with pytest.raises(ValueRangeError, match="Generator"):
        curves(3, 7)
