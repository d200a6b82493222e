"""Processors that are not ours walk the page tables that the kernel wrote, and find what the walker finds, and what the
kernel thinks is there.

Rows E3, E4 (frames above 4 GiB behind 32-bit addresses), E14 and E16 (nothing else can be reached), E17 (tables are
mapped themselves), E20 (scattered frames)."""

import pytest
from emulated import PROCESSORS
from oracle import Tables

from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.walker import EXECUTE, READ, WRITE

KNOWN = [name for name in FORMATS if name in PROCESSORS]
STRATEGIES = ("demand", "hybrid")
DAY, NIGHT = 1000, 50_000  # accesses for each format and strategy


def oracle(format: str, strategy: str, accesses: int, hung: bool = False) -> None:
    """Of a kernel with large pages the image alone may be executed."""
    with Tables(format, strategy, accesses, guarded=strategy == "hybrid", hung=hung) as tables:
        tables.use()
        cpu, code = tables.emulated(), int(tables.loaded.info["image_pa"])
        tables.ram.bytes[code : code + len(cpu.instructions)] = cpu.instructions
        cpu.begin(tables.loaded.root, 0, tables.base % (1 << 8 * tables.words))
        before = tables.kernel.snapshot()
        for _ in range(accesses):
            va, access = tables.address(), tables.pick.choices((READ, WRITE, EXECUTE), (5, 3, 2))[0]
            if not 0 <= va - tables.base % (1 << 8 * tables.words) < 64:  # there are the instructions
                tables.access(cpu, tables.loaded.root, va, access)
        assert tables.kernel.snapshot() == before
        counts = tables.counts
        print(f"{format}, {strategy}: {dict(counts)}")
        assert counts["in a page"] > accesses // 5
        assert (counts["in a large page"] > accesses // 20) == (strategy == "hybrid")
        assert counts["above 4 GiB"] > accesses // 20 or tables.kernel.profile.phys_bits == 32


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("format", KNOWN)
def test_a_processor_finds_what_the_kernel_mapped_E3_E4_E14_E16_E17_E20(format: str, strategy: str) -> None:
    oracle(format, strategy, DAY)


@pytest.mark.parametrize("format", [name for name in KNOWN if len(FORMATS[name].levels) > 2])
def test_a_window_is_hung_in_tables_that_are_there_E14_E17(format: str) -> None:
    """What a kernel around maps is found beside it."""
    oracle(format, "demand", DAY // 4, hung=True)


@pytest.mark.nightly
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("format", KNOWN)
def test_a_processor_finds_it_a_hundred_thousand_times_E3_E4_E17(format: str, strategy: str) -> None:
    oracle(format, strategy, NIGHT)
