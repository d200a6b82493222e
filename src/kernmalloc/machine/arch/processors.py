"""Processors and their TLBs, as published: what the soft machine counts misses by.

Concepts
  1. A *TLB* holds translations in sets of `ways` entries; one set is full associativity. An entry holds a page of one
     of the sizes in `pages`. A page of another size is held in pieces of the largest size below its own, or not at all.
  2. Level 1 has TLBs for data, for instructions, or one for both. What misses there may be found in level 2, and is
     walked for otherwise. What was found at a lower level is put into those above.
  3. A miss costs `second_cycles` if level 2 has the translation, and `walk_cycles` if nobody has. The figures are for
     tables that are in the level-1 cache. Who says so, `cost` tells: "documented" by the maker, "measured" by others,
     or an "estimate", whose reason is in the source.
  4. `asid_bits`: address spaces that a TLB tells apart; 0: a change of the address space drops what is not global.
     `global_entries`: whether entries of the kernel can be kept then.

What no TLB here models: entries for several adjacent pages at once (Zen's 16 KiB, ARM's contiguous bit), caches of
upper tables, prefetching, and what speculation loads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["data", "instruction", "unified"]
Replacement = Literal["lru", "pseudo-lru", "random", "round-robin"]
Known = Literal["documented", "measured", "estimate"]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True)
class Tlb:
    """One TLB."""

    name: str
    kind: Kind
    level: int  # 1 or 2
    entries: int
    ways: int  # entries of a set; all of them: fully associative
    pages: tuple[int, ...]  # bytes of a page, the sizes that an entry can have, ascending
    source: str
    replacement: Replacement = "pseudo-lru"
    replacement_known: Known = "estimate"
    splits: bool = True  # a page of another size is held in pieces; otherwise it is not held

    @property
    def sets(self) -> int:
        """How many sets there are."""
        return self.entries // self.ways


@dataclass(frozen=True, kw_only=True)
class Processor:
    """One processor."""

    name: str
    title: str
    formats: tuple[str, ...]  # page tables that it walks, or whose software-loaded entries it takes
    tlbs: tuple[Tlb, ...]
    loads: Literal["hardware", "software"]  # who fills the TLB when it misses
    second_cycles: int
    walk_cycles: int
    cost: Known
    cost_source: str
    asid_bits: int
    global_entries: bool
    locks: bool = False  # entries can be locked: they are never replaced
    source: str


_V4E_PAGES = KIB, 4 * KIB, 8 * KIB, MIB
ARM_BLOCKS = (4 * KIB, 16 * KIB, 64 * KIB, MIB, 2 * MIB, 16 * MIB, 32 * MIB, 512 * MIB)
"""Page and block sizes of VMSAv7 and VMSAv8 below 1 GiB."""

_A53 = "ARM DDI 0500, "
_A72 = "ARM 100095, "
_A76 = "ARM Cortex-A76 TRM 100798, "
_A7 = "ARM DDI 0464, "
_U74 = "SiFive U74 Core Complex Manual, Memory Management Unit; JH7110 device tree (d-tlb-size = 40, d-tlb-sets = 1)"
_ZEN4 = "AMD 57647, 2.7: "
_SKYLAKE = "Intel 248966, TLB parameters of the Skylake client microarchitecture"
_V4E = "MCF5475RM, 5.6.2"
_I486 = "Embedded Intel486 Hardware Reference Manual, figure 3-7"
_PENTIUM = "Pentium Processor Family Developer's Manual, volume 1, 2.1 and 3.7"

_PROCESSORS = (
    Processor(
        name="cortex-a53",
        title="ARM Cortex-A53",
        formats=("aarch64", "aarch64-64k", "armv7", "armv7-lpae"),
        tlbs=(
            Tlb("data micro TLB", "data", 1, 10, 10, ARM_BLOCKS, _A53 + "5.2.1; the page sizes are not documented"),
            Tlb("instruction micro TLB", "instruction", 1, 10, 10, ARM_BLOCKS, _A53 + "5.2.1"),
            Tlb("main TLB", "unified", 2, 512, 4, ARM_BLOCKS, _A53 + "5.2.2: all sizes but 1 GiB, which is split"),
        ),
        loads="hardware",
        second_cycles=2,
        walk_cycles=20,
        cost="measured",
        cost_source="Hennessy and Patterson, Computer Architecture, 6th edition, figure 2.19",
        asid_bits=16,  # 8 in AArch32
        global_entries=True,
        source=_A53 + "5.1",
    ),
    Processor(
        name="cortex-a72",
        title="ARM Cortex-A72",
        formats=("aarch64", "aarch64-64k", "armv7", "armv7-lpae"),
        tlbs=(
            Tlb("L1 data TLB", "data", 1, 32, 32, (4 * KIB, 64 * KIB, MIB), _A72 + "5.2.2"),
            Tlb("L1 instruction TLB", "instruction", 1, 48, 48, (4 * KIB, 64 * KIB, MIB), _A72 + "5.2.1"),
            Tlb(
                "L2 TLB",
                "unified",
                2,
                1024,
                4,
                (4 * KIB, 64 * KIB, MIB, 2 * MIB, 16 * MIB, 512 * MIB, GIB),
                _A72 + "5.2.3",
            ),
        ),
        loads="hardware",
        second_cycles=3,
        walk_cycles=20,
        cost="estimate",
        cost_source="5.2.3 calls it variable; level 2 as on the Cortex-A76, a walk as on the Cortex-A53",
        asid_bits=16,
        global_entries=True,
        source=_A72 + "5.1",
    ),
    Processor(
        name="cortex-a76",
        title="ARM Cortex-A76",
        formats=("aarch64", "aarch64-16k", "aarch64-64k"),
        tlbs=(
            Tlb("L1 data TLB", "data", 1, 48, 48, (4 * KIB, 16 * KIB, 64 * KIB, 2 * MIB, 512 * MIB), _A76 + "A5.2.2"),
            Tlb(
                "L1 instruction TLB",
                "instruction",
                1,
                48,
                48,
                (4 * KIB, 16 * KIB, 64 * KIB, 2 * MIB, 32 * MIB),
                _A76 + "A5.2.1",
            ),
            Tlb(
                "L2 TLB",
                "unified",
                2,
                1280,
                5,
                (4 * KIB, 16 * KIB, 64 * KIB, 2 * MIB, 32 * MIB, 512 * MIB, GIB),
                _A76 + "A5.2.3",
            ),
        ),
        loads="hardware",
        second_cycles=3,
        walk_cycles=20,
        cost="estimate",
        cost_source="level 2 usually takes 3 cycles, says A5.2.3; a walk as on the Cortex-A53",
        asid_bits=16,
        global_entries=True,
        source=_A76 + "A5.1",
    ),
    Processor(
        name="cortex-a7",
        title="ARM Cortex-A7",
        formats=("armv7", "armv7-lpae"),
        tlbs=(
            Tlb("data micro TLB", "data", 1, 10, 10, ARM_BLOCKS, _A7 + "5.3.1; the page sizes are not documented"),
            Tlb("instruction micro TLB", "instruction", 1, 10, 10, ARM_BLOCKS, _A7 + "5.3.1"),
            Tlb("main TLB", "unified", 2, 256, 2, (4 * KIB, 64 * KIB, MIB, 2 * MIB, 16 * MIB, GIB), _A7 + "5.3.2"),
        ),
        loads="hardware",
        second_cycles=2,
        walk_cycles=20,
        cost="estimate",
        cost_source="as on the Cortex-A53, whose TLBs are built alike",
        asid_bits=8,
        global_entries=True,
        source=_A7 + "5.2",
    ),
    Processor(
        name="sifive-u74",
        title="SiFive U74",
        formats=("riscv64-sv39",),
        tlbs=(
            Tlb("data TLB", "data", 1, 40, 40, (4 * KIB, 2 * MIB, GIB), _U74),
            Tlb("instruction TLB", "instruction", 1, 40, 40, (4 * KIB, 2 * MIB, GIB), _U74),
            Tlb(
                "L2 TLB",
                "unified",
                2,
                512,
                1,
                (4 * KIB,),
                _U74 + "; 4 KiB only as in Rocket, of which it comes",
                "lru",
                "documented",
                splits=False,
            ),
        ),
        loads="hardware",
        second_cycles=5,
        walk_cycles=20,
        cost="estimate",
        cost_source="nothing is published: a look into one RAM; three loads that hit the level-1 cache, 3 cycles each, "
        "and their arbitration",
        asid_bits=0,
        global_entries=True,
        source=_U74,
    ),
    Processor(
        name="zen4",
        title="AMD Zen 4",
        formats=("x86_64", "x86_64-la57", "i386-pae", "i386"),
        tlbs=(
            Tlb("L1 DTLB", "data", 1, 72, 72, (4 * KIB, 2 * MIB, GIB), _ZEN4 + "72 entries, fully associative"),
            Tlb("L1 ITLB", "instruction", 1, 64, 64, (4 * KIB, 2 * MIB, GIB), _ZEN4 + "64 entries, fully associative"),
            Tlb("L2 DTLB", "data", 2, 3072, 24, (4 * KIB, 2 * MIB), _ZEN4 + "3072 entries, 24 ways"),
            Tlb("L2 ITLB", "instruction", 2, 512, 8, (4 * KIB, 2 * MIB), _ZEN4 + "512 entries, 8 ways"),
        ),
        loads="hardware",
        second_cycles=7,
        walk_cycles=20,
        cost="estimate",
        cost_source="nothing is published: level 2 and a walk as on Skylake",
        asid_bits=12,
        global_entries=True,
        source="AMD 57647, 2.7; AMD 24593, 5.5.1 (PCID)",
    ),
    Processor(
        name="skylake",
        title="Intel Skylake",
        formats=("x86_64", "i386-pae", "i386"),
        tlbs=(
            Tlb("DTLB, small pages", "data", 1, 64, 4, (4 * KIB,), _SKYLAKE),
            Tlb("DTLB, large pages", "data", 1, 32, 4, (2 * MIB, 4 * MIB), _SKYLAKE),
            Tlb("DTLB, 1 GiB pages", "data", 1, 4, 4, (GIB,), _SKYLAKE),
            Tlb("ITLB, small pages", "instruction", 1, 128, 8, (4 * KIB,), _SKYLAKE),
            Tlb("ITLB, large pages", "instruction", 1, 8, 8, (2 * MIB, 4 * MIB), _SKYLAKE + "; of one thread"),
            Tlb("STLB", "unified", 2, 1536, 12, (4 * KIB, 2 * MIB, 4 * MIB), _SKYLAKE),
            Tlb("STLB, 1 GiB pages", "unified", 2, 16, 4, (GIB,), _SKYLAKE),
        ),
        loads="hardware",
        second_cycles=7,
        walk_cycles=20,
        cost="measured",
        cost_source="about 7, says Intel's list of events of DTLB_LOAD_MISSES.STLB_HIT (Sandy Bridge); some 20 for "
        "what misses level 2, measured on Haswell (news.mynavi.jp/article/20130621-s_haswell2/15)",
        asid_bits=12,
        global_entries=True,
        source=_SKYLAKE + "; SDM 3A, 4.10",
    ),
    Processor(
        name="coldfire-v4e",
        title="ColdFire V4e",
        formats=("coldfire",),
        tlbs=(
            Tlb("DTLB", "data", 1, 32, 32, _V4E_PAGES, _V4E, "pseudo-lru", "documented"),
            Tlb("ITLB", "instruction", 1, 32, 32, _V4E_PAGES, _V4E, "pseudo-lru", "documented"),
        ),
        loads="software",
        second_cycles=0,
        walk_cycles=73,
        cost="estimate",
        cost_source="73 instructions from the exception to the return (docs/software-tlb.md), a cycle each; the "
        "exception itself takes more",
        asid_bits=8,
        global_entries=True,
        locks=True,
        source="MCF5475RM, chapter 5",
    ),
    Processor(
        name="i486",
        title="Intel486",
        formats=("i386",),  # without its large pages: 4 KiB is the only size
        tlbs=(Tlb("TLB", "unified", 1, 32, 4, (4 * KIB,), _I486, "pseudo-lru", "documented"),),
        loads="hardware",
        second_cycles=0,
        walk_cycles=13,
        cost="documented",
        cost_source="Intel486 data book, instruction clock counts: 13 if no accessed or dirty bit is to be set, 21 or "
        "28 otherwise",
        asid_bits=0,
        global_entries=False,
        source=_I486,
    ),
    Processor(
        name="pentium",
        title="Intel Pentium",
        formats=("i386",),
        tlbs=(
            Tlb("data TLB", "data", 1, 64, 4, (4 * KIB,), _PENTIUM, "pseudo-lru", "documented"),
            Tlb("data TLB, large pages", "data", 1, 8, 4, (4 * MIB,), _PENTIUM, "pseudo-lru", "documented"),
            Tlb("code TLB", "instruction", 1, 32, 4, (4 * KIB,), _PENTIUM, "pseudo-lru", "documented"),
        ),
        loads="hardware",
        second_cycles=0,
        walk_cycles=13,
        cost="documented",
        cost_source="Pentium manual, volume 3, appendix F: typically 13 to 28",
        asid_bits=0,
        global_entries=False,
        source=_PENTIUM,
    ),
)

PROCESSORS: dict[str, Processor] = {processor.name: processor for processor in _PROCESSORS}
"""Every processor, by its name."""

_USUAL = {
    "i386-pae": "skylake",
    "x86_64": "skylake",
    "x86_64-la57": "zen4",
    "coldfire": "coldfire-v4e",
    "i386": "pentium",
    "armv7": "cortex-a7",
    "armv7-lpae": "cortex-a7",
    "aarch64": "cortex-a53",
    "aarch64-16k": "cortex-a76",
    "aarch64-64k": "cortex-a72",
    "riscv64-sv39": "sifive-u74",
    # which stands in for processors that walk these
    "riscv32-sv32": "sifive-u74",
    "riscv64-sv48": "sifive-u74",
    "riscv64-sv39-svpbmt": "sifive-u74",
    "riscv64-sv48-svpbmt": "sifive-u74",
}


def processor_for(format: str) -> Processor | None:
    """The processor that is taken for page tables of that format where a profile names none; None: it has no tables."""
    return PROCESSORS[_USUAL[format]] if format in _USUAL else None
