"""The UCI test digits that scikit-learn ships."""

from __future__ import annotations

from typing import Any

import numpy as np

from kfac_ref.backend import Array, asarray
from kfac_ref.checks import check_float_type
from kfac_ref.extras import optional


def digits(dtype: Any = np.float64) -> tuple[Array, Array]:
    """Return x (1797, 64), images of 8 x 8 pixels row by row, and labels y (1797,).

    Raises ExtraMissing without scikit-learn.
    """
    float_type = check_float_type("dtype", dtype)
    load_digits = optional("sklearn.datasets", "the digits").load_digits
    pixels, labels = load_digits(return_X_y=True)
    return asarray(pixels.astype(float_type) / 16), asarray(labels.astype(np.int64))
