"""Every architecture, under every strategy: what is planned is what is used, on machines of the collection."""

import random
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from agreement import agree
from collection import DATA
from effort import EFFORT
from msgspec.structs import replace

from kernmalloc import Kernel, Machine, Profile
from kernmalloc.facade.exercise import exercise
from kernmalloc.facade.profile import STRATEGIES, Address
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.traces import read_trace
from kernmalloc.machine.arch import FORMATS
from kernmalloc.plan.plan import with_strategy
from kernmalloc.sim.replay import replay
from kernmalloc.sim.run import run_on
from kernmalloc.sim.scenario import Scenario, plain_pc

TRACES = Path(__file__).parents[1] / "data" / "traces"
GIB = 1 << 30
MACHINES = 20
LARGEST = 64 * GIB

LIKE = {  # formats that no shipped kernel is for: a kernel that is, and what is different
    "x86_64-la57": ("x86_64", 0xFF11_0000_0000_0000, 52),  # Linux's Documentation/arch/x86/x86_64/mm.rst
    "armv7-lpae": ("armv7", 0xC000_0000, 40),
    "aarch64-16k": ("aarch64", 0xFFFF_C000_0000_0000, 48),
    "aarch64-64k": ("aarch64", 0xFFFF_FE00_0000_0000, 48),
    "riscv32-sv32": ("i386", 0xD000_0000, 34),
    "riscv64-sv48": ("riscv64", 0xFFFF_8000_0000_0000, 52),
    "riscv64-sv39-svpbmt": ("riscv64", 0xFFFF_FFC0_0000_0000, 52),
    "riscv64-sv48-svpbmt": ("riscv64", 0xFFFF_8000_0000_0000, 52),
}
BUSY = Scenario.parse("""
summary = "two processes, and a driver"
ram = "64 MiB"
touches = 2000
[[processes]]
name = "both"
count = 2
pages = 300
zipf = 0.8
writes = 0.3
[[heap]]
name = "driver"
every = 50
hold = 500
""")
SHIPPED = [Profile.load(name) for name in Profile.shipped()]


def kernel_of(format: str) -> Profile:
    """A kernel on page tables of that format: a shipped one, or one like it."""
    if format not in LIKE:
        return next(each for each in SHIPPED if each.arch == format and each.core.identity and not each.direct)
    name, base, bits = LIKE[format]
    profile = Profile.load(name)
    return replace(profile, arch=format, phys_bits=bits, va=replace(profile.va, base=Address(base)))


KERNELS = {name: kernel_of(name) for name, format in FORMATS.items() if format.has_tables}


@cache
def twenty() -> list[Machine]:
    """Machines of the collection, of every kind and age."""
    paths = sorted(path for kind in ("dmesg", "iomem") for path in (DATA / "machines" / kind).iterdir())
    random.Random(MACHINES).shuffle(paths)
    found: list[Machine] = []
    for path in paths:
        with suppress(InputError):
            machine = Machine.read(path)
            found += [machine] if machine.ram_bytes <= LARGEST else []
        if len(found) == MACHINES:
            break
    return found


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the collection of machines is not at {DATA}")
@pytest.mark.parametrize("format", KERNELS)
def test_E3_E4_C7_C8_on_twenty_machines(format):
    """E3, E4, C7, C8: some pairs by day, every strategy on every machine at night. What cannot be is told by plan and
    boot alike."""
    pairs = [(machine, strategy) for machine in twenty() for strategy in STRATEGIES]
    some = random.Random(format).sample(pairs, min(2 * EFFORT, len(pairs)))
    booted = Counter(strategy for machine, strategy in some if agree(machine, with_strategy(KERNELS[format], strategy)))
    if len(some) == len(pairs):
        assert set(booted) == set(STRATEGIES)
        assert booted.total() > len(pairs) // 2


@pytest.mark.parametrize("format", KERNELS)
def test_E3_a_kernel_of_each_architecture_is_used_and_sound(format):
    """Page by page as its tables say (soft): malloc, caches, frames, and every invariant; a recorded trace; processes
    that fault, and whose pages are what they wrote."""
    profile = KERNELS[format]
    with Kernel.boot(plain_pc(128 << 20), profile, "soft") as kernel:
        assert exercise(kernel) > 0
        result = kernel.check()
        assert result.passed, result.failure
    growing = with_strategy(profile, "demand") if profile.bank.lenient else profile
    replayed = replay(read_trace(TRACES / "gcc.tracefs.txt"), growing, "soft")
    assert replayed.held and not replayed.refused, (replayed.failure, replayed.refused)
    with Kernel.boot(BUSY.machine_made(), growing, "soft") as kernel:
        ran = run_on(kernel, BUSY)
        assert ran.held and not ran.wrong and ran.misses, ran.failure
