"""The collection of real machines beside the repository, where there is one."""

import os
from functools import cache
from pathlib import Path

from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.memory_map import Machine

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("KERNMALLOC_DATA") or ROOT.parent / "shared" / "data")


@cache
def machines(*kinds: str) -> tuple[Machine, ...]:
    """Every machine of these kinds ("dmesg", "iomem") whose map can be read."""
    found = []
    for kind in kinds:
        for path in sorted((DATA / "machines" / kind).iterdir()):
            try:
                found.append(Machine.read(path))
            except InputError:
                continue  # which these are, and why, is asserted by tests/inputs/test_corpus.py
    return tuple(found)
