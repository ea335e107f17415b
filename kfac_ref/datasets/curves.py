"""CURVES: generated images of smooth curves through three random points.

Modelled on the set of Hinton & Salakhutdinov 2006 on which deep autoencoders are
compared; generated, because the original would have to be downloaded. Six numbers
determine an image, so a perfect autoencoder needs a code of six.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kfac_ref.backend import Array, asarray
from kfac_ref.checks import check_count, check_float_type, check_generator

MARGIN = 1 / 7  # of the side, between the points and the edge
BRUSH = 0.75  # pixels: the standard deviation of the stroke
DOTS = 48  # positions of the brush along a curve
CHUNK = 2000  # images drawn at a time


def curves(
    count: int, rng: np.random.Generator, side: int = 28, dtype: Any = np.float64
) -> Array:
    """Draw images x (count, side^2), row by row, with intensities in [0, 1].

    The points are uniform in the image less its margins; the curve is the quadratic c
    through them at c(0), c(1/2), c(1). A Gaussian brush moves along it: the paint on a
    pixel is the integral of the brush over the arc length, scaled so that a straight
    line has intensity 1 on its axis, and clipped at 1. Raises ValueRangeError.
    """
    check_generator(rng)
    count, side = check_count("count", count), check_count("side", side)
    points = rng.uniform(MARGIN, 1.0 - MARGIN, (count, 2, 3)) * side
    images = np.empty((count, side * side), check_float_type("dtype", dtype))
    for start in range(0, count, CHUNK):
        few = slice(start, start + CHUNK)
        images[few] = _paint(points[few], side)
    return asarray(images)


def _paint(points: np.ndarray, side: int) -> np.ndarray:
    """Draw images (n, side^2) of curves through points (n, x or y, 3), in pixels."""
    t = (np.arange(DOTS) + 0.5) / DOTS
    # Lagrange's polynomials of the nodes 0, 1/2 and 1, and their derivatives
    basis = np.stack([(1 - t) * (1 - 2 * t), 4 * t * (1 - t), t * (2 * t - 1)])
    slopes = np.stack([4 * t - 3, 4 - 8 * t, 4 * t - 1])
    speed = np.hypot(*np.moveaxis(points @ slopes, 1, 0))  # (n, DOTS)
    pixels = np.arange(side)[:, None] + 0.5
    far = ((points @ basis)[:, :, None] - pixels) / BRUSH  # (n, 2, side, DOTS)
    across, down = np.moveaxis(np.exp(-0.5 * far**2), 1, 0)
    paint = speed / DOTS / (np.sqrt(2 * np.pi) * BRUSH)
    images = (down * paint[:, None]) @ np.swapaxes(across, 1, 2)
    return np.minimum(images, 1.0).reshape(len(points), -1)
