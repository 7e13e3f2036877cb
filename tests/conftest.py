"""Hypothesis profiles: HYPOTHESIS_PROFILE=dev|default|ci|intense (ci where CI is set)."""

import os
from collections.abc import Iterator

# The arrays of tests are small: a second BLAS thread only waits, and on a busy machine for long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

_slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("dev", max_examples=4, deadline=None, suppress_health_check=_slow)
settings.register_profile("default", max_examples=12, deadline=None, suppress_health_check=_slow)
settings.register_profile("intense", max_examples=500, deadline=None, suppress_health_check=_slow)
settings.register_profile(
    "ci",
    max_examples=12,
    deadline=None,
    derandomize=True,  # the same examples each time: a red run is about the change
    database=None,
    print_blob=True,
    suppress_health_check=_slow,
)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default")
)


@pytest.fixture
def own_primitives() -> Iterator[None]:
    """Primitives declared in a test are forgotten after it."""
    from tinygen.primitive import PRIMITIVES

    before = set(PRIMITIVES)
    yield
    for name in set(PRIMITIVES) - before:
        del PRIMITIVES[name]
