"""Real and generated inputs: the UCI digits, MNIST's files, CURVES. No downloads.

Digits and MNIST are pairs (x, y) with examples first: x holds inputs in [0, 1], y the
integer labels (N,). CURVES have no labels. All arrays live on the current backend.
"""

from kfac_ref.datasets.curves import curves
from kfac_ref.datasets.digits import digits
from kfac_ref.datasets.mnist import (
    DatasetError,
    DatasetMissing,
    mnist,
    read_idx,
    shrink,
)

__all__ = [
    "DatasetError",
    "DatasetMissing",
    "curves",
    "digits",
    "mnist",
    "read_idx",
    "shrink",
]
