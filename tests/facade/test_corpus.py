"""Every machine of the collection boots, or is refused for a reason that plain arithmetic confirms."""

import re

import msgspec
import pytest
from collection import DATA, machines

from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile

GIB = 2**30

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the collection of machines is not at {DATA}")


@pytest.mark.parametrize("largest, least", [(16 * GIB, 150), pytest.param(1 << 52, 230, marks=pytest.mark.nightly)])
def test_every_machine_boots(largest, least):
    """E4, E28, E29, E38: every machine whose map can be read boots eros2; invariants hold; no frame is lost."""
    profile = Profile.load("eros2")
    booted = 0
    for machine in machines("dmesg", "iomem"):
        pages, clipped, _ = machine.ram_pages(12, profile.phys_bits)
        frames = sum(count for _, count in pages)
        if frames * 4096 > largest:
            continue
        with Kernel.boot(machine, profile) as kernel:
            result = kernel.check()
            assert result.passed, f"{machine.file}: {result.failure}"
            assert sum(kernel.frames_by_type().values()) == frames, machine.file
            assert kernel.clipped == clipped
        booted += 1
    assert booted >= least


def test_devices_are_not_read_at_boot():
    """E5: with the devices deleted from the input, memory after boot is byte-identical."""
    profile = Profile.load("eros2")
    compared = 0
    for machine in machines("dmesg", "iomem")[::4]:
        if machine.devices:
            with Kernel.boot(machine, profile) as kernel:
                memory = kernel.snapshot()
            with Kernel.boot(msgspec.structs.replace(machine, devices=(), windows=()), profile) as kernel:
                assert kernel.snapshot() == memory, machine.file
            compared += 1
    assert compared > 30


def test_refusals_are_true():
    """E10, C1: what does not fit into coyotos-i386's window does not by plain arithmetic either, and the rest boots."""
    profile = Profile.load("coyotos-i386")
    refused = 0
    for machine in machines("dmesg", "iomem"):
        pages, _, _ = machine.ram_pages(12, profile.phys_bits)
        least = sum(count for _, count in pages) * (profile.core.stride + profile.core.identity + 3)
        try:
            Kernel.boot(machine, profile).close()
        except TooSmall as error:
            refused += 1
            bound = float(re.search(r"the heap's bound is ([0-9.]+) MiB", str(error))[1])
            assert least > (bound - 1) * 2**20, f"{machine.file}: {error}"
        else:
            assert least < profile.va.size, machine.file
    assert refused > 0
