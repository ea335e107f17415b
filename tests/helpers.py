"""Small things that many tests need."""

from __future__ import annotations

import numpy as np

from kfac_ref.backend import to_numpy


def host(x):
    """The host copy of an array, of a list of arrays, or of a number."""
    if isinstance(x, list | tuple):
        return [host(v) for v in x]
    return np.array(x if isinstance(x, int | float) else to_numpy(x))


def relative_error(actual, expected):
    """Frobenius norm of the difference over that of `expected`."""
    actual, expected = host(actual), host(expected)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def assert_exact(actual, expected, tolerance=1e-12):
    """Equal to `tolerance`, relative, in Frobenius norm; the message has the ratio."""
    error = relative_error(actual, expected)
    if not error <= tolerance:
        a, e = host(actual), host(expected)
        ratio = float(np.vdot(e, a) / np.vdot(e, e))
        raise AssertionError(
            f"relative error {error:.3e} > {tolerance:g}; best-fit ratio {ratio:.6g}"
        )
