"""A stand-in for a device that rounds in its own way, as every other machine does.

Sums of products go through their terms backwards, the last bits of all products and
quotients are noise (so X^T X is not quite symmetric), and the eigenvectors of `eigh`
come from the matrix read backwards, with random signs.
"""

from __future__ import annotations

import numpy as np

import strict

NOISY = "__mul__ __rmul__ __truediv__ __rtruediv__ __matmul__ sum mean".split()


def round_otherwise(monkeypatch, seed=7):
    """Let strict arrays round so, until the test ends."""
    rng = np.random.default_rng(seed)

    def noisy(array):
        data = array._data
        if data.dtype.kind == "f":
            bits = rng.integers(-1, 2, data.shape) * np.finfo(data.dtype).eps
            data = data * (1 + bits).astype(data.dtype)
        return strict.StrictArray(data)

    def with_noise(method):
        return lambda *args, **kwargs: noisy(method(*args, **kwargs))

    for name in NOISY:
        method = getattr(strict.StrictArray, name)
        monkeypatch.setattr(strict.StrictArray, name, with_noise(method))
    matmul = strict.StrictArray.__matmul__

    def backwards(a, b):
        return matmul(a[..., ::-1], b[..., ::-1, :] if b.ndim > 1 else b[::-1])

    eigh = strict.xp.linalg.eigh

    def other_eigenvectors(matrix):
        values, U = eigh(matrix[::-1, ::-1])
        signs = strict.xp.asarray(rng.choice([-1.0, 1.0], len(matrix)))
        return noisy(values), noisy(U[::-1] * signs.astype(U.dtype))

    monkeypatch.setattr(strict.StrictArray, "__matmul__", backwards)
    monkeypatch.setattr(strict.xp.linalg, "eigh", other_eigenvectors)
