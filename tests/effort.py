"""How hard tests search: `make nightly` sets KERNMALLOC_EFFORT."""

import os

EFFORT = int(os.environ.get("KERNMALLOC_EFFORT", "1"))
"""By day 1. Numbers of examples and steps are multiplied by it."""
