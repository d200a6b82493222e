"""/proc/zoneinfo."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs import read_bytes
from kernmalloc.machine.memory_map import Machine, resolve


def zone(name: str, start: int, spanned: int, present: int, node: int = 0) -> str:
    return (
        f"Node {node}, zone {name:>8}\n  pages free     1\n        min      2\n        spanned  {spanned}\n"
        f"        present  {present}\n        managed  {present // 2}\n      nr_free_pages 4\n  pagesets\n    cpu: 0\n"
        f"              count: 0\n  start_pfn:           {start}\n"
    )


def machine(text: str) -> Machine:
    return resolve(read_bytes(text.encode(), "zoneinfo")[-1])


def test_a_pc():
    text = zone("DMA", 1, 4095, 3998) + zone("DMA32", 4096, 1044480, 782304) + zone("Normal", 1 << 20, 3097152, 3097152)
    found = machine(text + zone("Movable", 0, 0, 0))
    assert [(r.base, r.end) for r in found.ram] == [
        (0x1000, 0x9F000),  # the hole of a PC: 97 pages from 0x9f000
        (0x100000, (4096 + 782304) << 12),
        (1 << 32, (1 << 32) + (3097152 << 12)),
    ]


def test_an_excerpt_tells_how_much():
    whole = zone("DMA", 1, 4095, 3998) + zone("DMA32", 4096, 1044480, 782328)
    found = machine("\n".join(line for line in whole.splitlines() if "zone" in line or "present" in line))
    assert (found.ram_bytes + (384 << 10)) >> 12 == 3998 + 782328
    assert any("4 KiB" in each.reason for each in found.missing) and any("assumed" in e.reason for e in found.missing)


def test_overlapping_zones_have_a_place_each():
    found = machine(zone("Normal", 1048576, 524288, 393216) + zone("Movable", 1310720, 229376, 131072))
    assert found.ram_bytes == (393216 + 131072) << 12


@given(
    st.lists(st.tuples(st.integers(0, 1 << 22), st.integers(0, 1 << 20), st.integers(0, 1 << 20)), max_size=6),
)
def test_zones_never_lie_outside_their_span(zones):
    text = "".join(
        zone(f"Z{i}", start, spanned, min(present, spanned)) for i, (start, spanned, present) in enumerate(zones)
    )
    facts = read_bytes((zone("Normal", 1 << 30, 16, 16) + text).encode(), "zoneinfo")[-1]
    for r in facts.memory:
        assert any(
            start << 12 <= r.base and r.end <= (start + spanned) << 12
            for start, spanned, _ in [*zones, (1 << 30, 16, 16)]
        )
    ordered = sorted(facts.memory, key=lambda r: r.base)
    assert all(low.end <= high.base for low, high in pairwise(ordered))
