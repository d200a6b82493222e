"""The demonstration that `boot` runs leaves the kernel as it was."""

import pytest
from small_machines import MIB, conserved, machine

from kernmalloc import Kernel, Profile
from kernmalloc.facade.configure import configure
from kernmalloc.facade.exercise import exercise
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.plan.plan import with_strategy


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("size", [31 * MIB, 127 * MIB])
def test_C13_C14_it_leaves_the_kernel_as_it_was(strategy, size):
    """C13, C14, C11: blocks, objects and frames are given back, and what was kept ready for more of them: the ledger
    tells what it told before, drained."""
    profile = with_strategy(Profile.load("eros2"), strategy)
    with Kernel.boot(machine((MIB, size)), profile) as kernel:
        configure(kernel)
        kernel.drain()
        before = kernel.ledger, kernel.frames_by_type(), kernel.heap, kernel.mappings, kernel.view.used_slots()
        assert exercise(kernel) > 0 or strategy == "static"  # whose bank has all frames
        assert (
            kernel.ledger,
            kernel.frames_by_type(),
            kernel.heap,
            kernel.mappings,
            kernel.view.used_slots(),
        ) == before
        conserved(kernel)
