"""Boot, allocate, free, check: in every life."""

import pytest
from small_machines import MODES, poison


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("prepare", [None, poison], ids=["fresh", "poisoned"])
def test_boots_and_allocates(boot, mode, prepare):
    kernel = boot(mode=mode, prepare=prepare)
    blocks = [kernel.malloc(size) for size in (1, 16, 100, 5000, 40_000, 300_000)]
    assert len(set(blocks)) == len(blocks)
    for va in blocks:
        kernel.free(va)
