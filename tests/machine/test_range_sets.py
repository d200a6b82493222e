"""Ranges made consistent: overlaps, holes, ends that miss a page's, and the time that it takes."""

import time
from itertools import pairwise

import pytest
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.inputs import read_bytes
from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.facts import MAP_KINDS, Facts, Problem, Range
from kernmalloc.inputs.sizes import Ram
from kernmalloc.machine.memory_map import resolve
from kernmalloc.machine.range_sets import clip, flatten, note_lost_pages, outside

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=8)


def ranges(spans: list[tuple[int, int]], kind: str = "ram") -> list[Range]:
    return [Range(base, size, kind) for base, size in spans]


def bytes_of(*spans: Range) -> set[int]:
    return {byte for r in spans for byte in range(r.base, r.end)}


@given(SPANS, SPANS)
def test_inside_and_outside_against_sets_of_bytes(these: list[tuple[int, int]], those: list[tuple[int, int]]) -> None:
    flat, other = flatten(ranges(these), ("ram",)), ranges(those, "removed")
    inside, rest = clip(flat, flatten(other, ("removed",))), outside(flat, other)
    assert bytes_of(*inside) == bytes_of(*flat) & bytes_of(*other)
    assert bytes_of(*rest) == bytes_of(*flat) - bytes_of(*other)
    for part in (inside, rest):
        assert sum(r.size for r in part) == len(bytes_of(*part)) and list(part) == sorted(part, key=lambda r: r.base)


@pytest.mark.parametrize("form", ["nested", "alternating", "stairs", "removed"])
def test_many_ranges_take_time_in_proportion(form: str) -> None:
    """A hundred thousand entries, each inside the one before, took more than linear time."""
    count, top = 20_000 * min(EFFORT, 5), 1 << 45
    entry = "BIOS-e820: [mem 0x{:x}-0x{:x}] {}"
    kinds = ("usable", "reserved", "ACPI NVS")
    match form:
        case "nested":
            lines = [entry.format(n << 12, top - (n << 12), kinds[n % 3]) for n in range(count)]
        case "alternating":
            lines = [entry.format(n << 12, (n << 12) + 4095, kinds[n % 3]) for n in range(count)]
        case "stairs":
            lines = [entry.format(n << 12, (n << 12) + (1 << 40), kinds[n % 3]) for n in range(count)]
        case _:
            lines = [entry.format(n << 12, top - (n << 12), kinds[n % 3]) for n in range(count // 2)]
            lines += (f"e820: remove [mem 0x{n << 13:x}-0x{(n << 13) + 4095:x}] reserved" for n in range(count // 2))
    start = time.process_time()
    machine = resolve(read_bytes("\n".join(lines).encode(), "log")[-1])
    assert machine.ram and time.process_time() - start < 20  # about 1 s by day, 5 s at night


MAP = st.lists(
    st.tuples(st.integers(0, 1 << 33), st.integers(1, 1 << 33), st.sampled_from([k for k in MAP_KINDS if k != "ram"])),
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(MAP, st.integers(1, 1 << 36), st.none() | st.integers(0, 1 << 34), st.integers(0, 1 << 33))
def test_ram_that_is_only_told_as_an_amount_keeps_clear_of_the_firmware(
    entries: list[tuple[int, int, str]], total: int, base: int | None, window: int
) -> None:
    """Also where the firmware's range begins at address 0."""
    facts = Facts("log")
    facts.memory = [Range(low, size, kind) for low, size, kind in entries]
    facts.windows = [Range(window, 1 << 20, "window")]
    try:
        machine = resolve(facts, Ram(total, base))
    except UnreadableError:
        return
    parts = sorted((*machine.ram, *machine.firmware), key=lambda r: r.base)
    assert all(low.end <= high.base for low, high in pairwise(parts))
    assert machine.ram_bytes == total or total > machine.ram_bytes >= total - (384 << 10)


@pytest.mark.parametrize(
    ("base", "end", "told"),
    [
        (0x1000, 0x2FFF, ["RAM ends 1 byte before a page does"]),
        (0x1000, 0x2FFE, ["RAM ends 2 bytes before a page does"]),
        (0x1001, 0x3000, ["RAM begins 1 byte after a page does"]),
        (0x1002, 0x2FFF, ["RAM begins 2 bytes after a page does", "RAM ends 1 byte before a page does"]),
        (0x1000, 0x2FFD, []),
        (0x1003, 0x3000, []),
        (0x1000, 0x3000, []),
    ],
)
def test_a_page_that_an_off_by_one_loses(base: int, end: int, told: list[str]) -> None:
    problems: list[Problem] = []
    note_lost_pages([Range(base, end - base, "ram", line=7)], problems)
    assert [p.reason.split(",")[0] for p in problems] == told and {p.line for p in problems} <= {7}


def test_a_byte_that_somebody_has_is_not_lost() -> None:
    problems: list[Problem] = []
    note_lost_pages([Range(0, 0xFFF, "ram"), Range(0xFFF, 1, "reserved"), Range(0x1000, 0x1000, "ram")], problems)
    assert not problems
