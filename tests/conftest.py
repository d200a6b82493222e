"""What all tests share: how hard random search tries (`make nightly` sets KERNMALLOC_EFFORT)."""

import os

from hypothesis import HealthCheck, settings

EFFORT = int(os.environ.get("KERNMALLOC_EFFORT", "1"))

settings.register_profile(
    "kernmalloc",
    deadline=None,
    max_examples=100 * EFFORT,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("kernmalloc")
