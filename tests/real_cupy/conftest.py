"""The real CuPy, without a device; `make test-cupy` runs these tests where CuPy is."""

from __future__ import annotations

import numpy as np
import pytest
from host_memory import over_host_memory


def pytest_collection_modifyitems(items):
    """Where there is no driver, CuPy 13 prints that its stream could not be asked."""
    ignore = "ignore::pytest.PytestUnraisableExceptionWarning"
    for item in items:
        item.add_marker(pytest.mark.filterwarnings(ignore))


@pytest.fixture
def d():
    return over_host_memory(np.arange(15.0).reshape(5, 3))
