"""What was found is said by type, shape and dtype: the numbers may be on a device."""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import kfac_ref
from kfac_ref.checks import check_count
from kfac_ref.errors import KfacError, describe
from kfac_ref.layers.arguments import check_pair
from kfac_ref.matrices import DenseMatrix
from kfac_ref.optimizer import KFAC
from networks import chain


def test_no_message_prints_what_may_be_an_array():
    """What was found is described: repr would ask a device for all its numbers."""
    root, described = Path(kfac_ref.__file__).parent, 0
    files = [p for p in root.rglob("*.py") if p.parent.name != "cli"]  # words only
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else []
            for text, value in pairwise(parts):
                if str(getattr(text, "value", "")).endswith("found "):
                    where = f"{path.relative_to(root)}, line {value.lineno}"
                    assert value.conversion != ord("r"), f"{where}: use describe(...)"
                    described += "describe(" in ast.unparse(value)
    assert described > 15


class Far:
    """An array whose numbers are far away: whoever asks for them is found out."""

    shape, dtype, ndim = (5, 3), np.dtype("float32"), 2

    def __repr__(self):
        raise RuntimeError("asked the device for its numbers")

    __str__ = __float__ = __bool__ = __array__ = __repr__


def test_what_was_found_is_described():
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
    assert (
        describe(DenseMatrix(np.eye(3), "layer 0")) == "DenseMatrix(3 x 3, 'layer 0')"
    )
    assert describe("y" * 100) == f"'{'y' * 27}...{'y' * 28}'"


def test_arrays_far_away_where_numbers_are_expected():
    for door in (
        lambda: check_count("samples", Far()),
        lambda: check_pair("kernel", Far()),
        lambda: DenseMatrix(np.eye(3)).power(Far()),
        lambda: DenseMatrix(np.eye(3)).solve(np.ones(3), Far()),
        lambda: KFAC(chain(), damping=Far()),
    ):
        with pytest.raises(
            KfacError, match=r"found test_descriptions.Far of shape \(5, 3\)"
        ):
            door()
