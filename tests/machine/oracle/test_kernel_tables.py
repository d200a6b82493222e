"""Processors that are not ours walk the page tables that the kernel wrote, and find what the kernel thinks is there.

Rows E3, E4 (frames above 4 GiB behind 32-bit addresses), E14 and E16 (nothing else can be reached), E17 (tables are
mapped themselves), E20 (scattered frames)."""

import pytest
from emulated import ABSENT, GENERAL, PAGE, PROCESSORS, Emulated, Outcome
from oracle import Tables

from kernmalloc.machine.arch import FORMATS

KNOWN = [name for name in FORMATS if name in PROCESSORS]
STRATEGIES = ("demand", "hybrid")
DAY, NIGHT = 1000, 50_000  # accesses for each format and strategy


def told(tables: Tables, cpu: Emulated, idea: Outcome) -> Outcome:
    """What this processor says of that."""
    if idea.fault != ABSENT:
        return idea
    if not tables.has(idea.va) and cpu.family.arch == "X86":
        return Outcome(fault=GENERAL)
    return idea if cpu.family.known else idea._replace(fault=PAGE)


def compare(tables: Tables, cpu: Emulated, code: int, accesses: int) -> None:
    """Random loads and stores arrive where the kernel thinks, or are refused."""
    memory, words = tables.ram.bytes, tables.words
    for _ in range(accesses):
        va = tables.address()
        expected = told(tables, cpu, tables.own_idea(va))
        pa = expected.pa
        if tables.pick.random() < 0.3 and not code <= pa < code + 64:
            value, before = tables.pick.getrandbits(8 * words), memory[pa : pa + words] if pa >= 0 else b""
            outcome = cpu.store(va, value)
            if pa >= 0:
                assert memory[pa : pa + words] == value.to_bytes(words, "little")
                memory[pa : pa + words] = before
                expected = Outcome(pa, value)
            tables.counts["stores"] += 1
        else:
            outcome = cpu.load(va)
            if pa >= 0:
                expected = Outcome(pa, int.from_bytes(memory[pa : pa + words], "little"))
            tables.counts["loads"] += 1
        if outcome.fault == GENERAL:
            outcome = Outcome(fault=GENERAL)
        assert outcome == expected, f"{va:#x}: {outcome}, and not {expected}"
        tables.counts[outcome.fault or "arrived"] += 1
        tables.counts["above 4 GiB"] += pa >= 1 << 32


def oracle(format: str, strategy: str, accesses: int) -> None:
    with Tables(format, strategy, accesses) as tables:
        tables.use()
        cpu, code = tables.emulated(), int(tables.loaded.info["image_pa"])
        tables.ram.bytes[code : code + len(cpu.instructions)] = cpu.instructions
        cpu.begin(tables.loaded.root, 0, tables.base % (1 << 8 * tables.words))
        before = tables.kernel.snapshot()
        compare(tables, cpu, code, accesses)
        assert tables.kernel.snapshot() == before
        print(f"{format}, {strategy}: {dict(tables.counts)}")
        assert tables.counts["arrived"] > accesses // 3
        if tables.kernel.profile.phys_bits > 32:
            assert tables.counts["above 4 GiB"] > accesses // 50


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("format", KNOWN)
def test_a_processor_finds_what_the_kernel_mapped_E3_E4_E14_E16_E17_E20(format: str, strategy: str) -> None:
    oracle(format, strategy, DAY)


@pytest.mark.nightly
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("format", KNOWN)
def test_a_processor_finds_it_a_hundred_thousand_times_E3_E4_E17(format: str, strategy: str) -> None:
    oracle(format, strategy, NIGHT)
