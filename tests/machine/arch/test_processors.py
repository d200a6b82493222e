"""Processors: geometry against the manuals, written down once more from there, and what must hold of any."""

import pytest

from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.arch.processors import PROCESSORS, processor_for

# level-1 data, level-1 instructions, level 2: entries and ways, all TLBs of that kind
MANUALS = {
    "cortex-a53": ([(10, 10)], [(10, 10)], [(512, 4)]),
    "cortex-a72": ([(32, 32)], [(48, 48)], [(1024, 4)]),
    "cortex-a76": ([(48, 48)], [(48, 48)], [(1280, 5)]),
    "cortex-a7": ([(10, 10)], [(10, 10)], [(256, 2)]),
    "sifive-u74": ([(40, 40)], [(40, 40)], [(512, 1)]),
    "zen4": ([(72, 72)], [(64, 64)], [(3072, 24), (512, 8)]),
    "skylake": ([(64, 4), (32, 4), (4, 4)], [(128, 8), (8, 8)], [(1536, 12), (16, 4)]),
    "coldfire-v4e": ([(32, 32)], [(32, 32)], []),
    "i486": ([(32, 4)], [(32, 4)], []),
    "pentium": ([(64, 4), (8, 4)], [(32, 4)], []),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_geometry_is_the_manuals(name: str) -> None:
    """E3, C2: what misses are counted by."""
    tlbs = PROCESSORS[name].tlbs
    data, code, second = MANUALS[name]
    assert [(t.entries, t.ways) for t in tlbs if t.level == 1 and t.kind != "instruction"] == data
    assert [(t.entries, t.ways) for t in tlbs if t.level == 1 and t.kind != "data"] == code
    assert [(t.entries, t.ways) for t in tlbs if t.level == 2] == second


@pytest.mark.parametrize("name", PROCESSORS)
def test_every_figure_is_possible_and_has_a_source(name: str) -> None:
    processor = PROCESSORS[name]
    assert processor.source and processor.cost_source and processor.walk_cycles > processor.second_cycles >= 0
    assert (processor.second_cycles > 0) == any(tlb.level == 2 for tlb in processor.tlbs)
    for tlb in processor.tlbs:
        assert tlb.sets * tlb.ways == tlb.entries and tlb.sets & (tlb.sets - 1) == 0
        assert list(tlb.pages) == sorted(set(tlb.pages)) and all(size & (size - 1) == 0 for size in tlb.pages)
        assert tlb.level in (1, 2) and tlb.source
    for kind in ("data", "instruction"):
        first = [tlb for tlb in processor.tlbs if tlb.level == 1 and tlb.kind in (kind, "unified")]
        assert min(size for tlb in first for size in tlb.pages) <= 4096, "the smallest page fits somewhere"


def test_every_format_with_tables_has_a_processor() -> None:
    for format in FORMATS.values():
        assert (processor_for(format.name) is not None) == format.has_tables, format.name
    assert processor_for("none") is None


def test_who_loads_the_tlb_agrees_with_the_format() -> None:
    for format in FORMATS.values():
        usual = processor_for(format.name)
        if usual:
            assert (usual.loads == "software") == (format.tlb > 0)
            if format.tlb:
                assert [tlb.entries for tlb in usual.tlbs if tlb.kind == "data"] == [format.tlb]
