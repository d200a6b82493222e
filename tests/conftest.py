"""What all tests share: how hard random search tries (`make nightly` sets KERNMALLOC_EFFORT)."""

import pytest
from effort import EFFORT
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite(
    "device_model", "frame_model", "heap_model", "small_machines"
)  # their assertions tell values, too


settings.register_profile(
    "kernmalloc",
    deadline=None,
    max_examples=100 * EFFORT,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("kernmalloc")
