"""What to publish of a machine's devices: unions of pages, with names."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs.facts import Bridge, Device, Facts, Range
from kernmalloc.machine.memory_map import DeviceRange, Machine, resolve

GIB = 1 << 30
Spans = Sequence[tuple[int, int]]


def machine(*devices: Device, ram: Spans = ((0, GIB),)) -> Machine:
    facts = Facts("made")
    facts.memory = [Range(base, size, "ram") for base, size in ram]
    facts.devices = list(devices)
    return resolve(facts)


def bar(base: int, size: int, name: str = "a", status: str = "assigned", line: int = 0) -> Device:
    return Device(base, size, name=name, status=status, line=line)


def ranges(*devices: Device, page_shift: int = 12, ram: Spans = ((0, GIB),)) -> list[DeviceRange]:
    return machine(*devices, ram=ram).device_ranges(page_shift)


def test_small_registers_share_a_page() -> None:
    assert ranges(bar(0xF0000010, 16, "a"), bar(0xF0000800, 16, "b"), bar(0xF0000820, 16, "a")) == [
        DeviceRange(0xF0000, 1, ("a", "b"))
    ]


def test_a_window_is_rounded_outward_to_whole_pages() -> None:
    assert ranges(bar(0xF0000FFF, 2)) == [DeviceRange(0xF0000, 2, ("a",))]
    assert ranges(bar(0xF0000FFF, 2), page_shift=13) == [DeviceRange(0x78000, 1, ("a",))]
    assert ranges(bar(0xF0001FFF, 2), page_shift=21) == [DeviceRange(0xF0000 >> 9, 1, ("a",))]


def test_windows_that_only_touch_stay_apart() -> None:
    assert ranges(bar(0xF0000000, 4096, "a"), bar(0xF0001000, 4096, "b")) == [
        DeviceRange(0xF0000, 1, ("a",)),
        DeviceRange(0xF0001, 1, ("b",)),
    ]


def test_children_in_the_window_of_their_bridge_are_one_range_with_it() -> None:
    assert ranges(
        bar(0xEA000000, 0x2000000, "vmd"), bar(0xEA000000, 0x4000, "nvme0"), bar(0xEA100000, 0x4000, "nvme1")
    ) == [DeviceRange(0xEA000, 0x2000, ("nvme0", "vmd", "nvme1"), "boot")]


def test_a_host_bridge_that_claims_everything_is_counted_once() -> None:
    found = ranges(
        bar(0xE0000000, 0x20000000, "hostb"), *(bar(0xF0000000 + 0x1000000 * i, 0x1000000, f"d{i}") for i in range(9))
    )
    assert [(r.pfn, r.frames) for r in found] == [(0xE0000, 0x20000)]
    assert found[0].names == ("hostb", *(f"d{i}" for i in range(9)))


def test_overlaps_without_nesting_are_joined() -> None:
    assert ranges(bar(0xF0000000, 0x3000, "a"), bar(0xF0002000, 0x3000, "b"), bar(0xF0004000, 0x2000, "c")) == [
        DeviceRange(0xF0000, 6, ("a", "b", "c"))
    ]


@pytest.mark.parametrize(
    "device, status",
    [
        (bar(0x1000, 4096, line=5), "inside RAM"),
        (bar(GIB - 1, 2, line=5), "inside RAM"),
        (bar(0, 4 * GIB, line=5), "inside RAM"),
        (bar((1 << 52) - 4096, 4097, line=5), "beyond"),
        (bar(1 << 63, 4096, line=5), "beyond"),
        (bar(1 << 52, 1, line=5), "beyond"),
    ],
)
def test_windows_that_cannot_be_published_are_listed(device: Device, status: str) -> None:
    found = machine(device)
    assert [d.status for d in found.devices] == [status] and not found.device_ranges(12)
    assert [p.line for p in found.problems] == [5] and found.problems[0].reason.endswith(": not published")


def test_windows_beside_ram_and_below_the_limit_are_published() -> None:
    assert len(ranges(bar(GIB, 4096), bar((1 << 52) - 4096, 4096))) == 2
    assert len(ranges(bar(GIB, 4096), ram=((0, GIB), (GIB + 4096, GIB)))) == 1


@pytest.mark.parametrize("status", ["unassigned", "disabled"])
def test_windows_without_a_place_or_use_are_not_published(status: str) -> None:
    found = machine(bar(0, 4096, status=status))
    assert not found.device_ranges(12) and not found.problems and found.devices[0].status == status


WINDOWS = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 30), st.sampled_from("abcd")), max_size=12)
RAM = st.lists(st.integers(0, 200), max_size=6, unique=True)


@given(WINDOWS, RAM, st.integers(0, 4))
def test_against_a_model_of_bytes(windows: list[tuple[int, int, str]], edges: list[int], page_shift: int) -> None:
    edges = sorted(edges)
    ram = [(low, high - low) for low, high in zip(edges[::2], edges[1::2], strict=False)] or [(1000, 1)]
    found = ranges(*(bar(*window) for window in windows), page_shift=page_shift, ram=ram)
    held = {byte for base, size in ram for byte in range(base, base + size)}
    kept = [(base, size, name) for base, size, name in windows if not held & set(range(base, base + size))]
    pages: dict[int, set[str]] = {}
    for base, size, name in kept:
        for byte in range(base, base + size):
            pages.setdefault(byte >> page_shift, set()).add(name)
    assert [page for r in found for page in range(r.pfn, r.end)] == sorted(pages)
    for r in found:
        assert set(r.names) == set().union(*(pages[page] for page in range(r.pfn, r.end)))
        assert len(set(r.names)) == len(r.names)
    rounded = [(base >> page_shift, base + size - 1 >> page_shift) for base, size, _ in kept]
    for low, high in pairwise(found):  # ranges that touch have no window in common
        assert low.end < high.pfn or not any(first < low.end <= last for first, last in rounded)


def test_devices_of_another_file(tmp_path: Path) -> None:
    file = tmp_path / "lspci.txt"
    file.write_text(
        "01:00.0 VGA compatible controller: x\n"
        "\tRegion 0: Memory at f0000000 (32-bit, non-prefetchable) [size=16M]\n"
        "\tRegion 1: Memory at 20000000 (64-bit, prefetchable) [size=256M]\n"
        "\tMemory somewhere around f6000000\n"
    )
    own = machine(bar(0x3000, 4096), bar(0xE0000000, 4096), bar(1 << 60, 1))
    assert len(own.problems) == 2
    both = own.with_devices(file)
    assert both.ram == own.ram and both.name == own.name
    assert [(d.name, d.base, d.status, d.line) for d in both.devices] == [
        ("0000:01:00.0", 0x20000000, "inside RAM", 0),
        ("0000:01:00.0", 0xF0000000, "assigned", 0),
    ]
    assert [(p.file, p.line, p.reason) for p in both.problems] == [("", 0, "device window where RAM is: not published")]
    assert [(p.file, p.line, p.reason) for p in both.unread] == [(str(file), 4, "not understood")]
    assert own.with_devices(both).devices == both.devices
    far = machine(ram=((1 << 40, GIB),)).with_devices(both)
    assert {d.status for d in far.devices} == {"assigned"}
    assert [(p.file, p.line) for p in far.unread] == [(str(file), 4)] and not far.problems


def test_bridges_and_windows_of_host_bridges_come_with_the_devices() -> None:
    facts = Facts("other")
    facts.windows = [Range(0xE0000000, 0x10000000, "window")]
    facts.bridges = [Bridge("0000:00:1c.0", 1, 2)]
    other = resolve(facts, devices_only=True)
    assert not other.ram and machine().with_devices(other).windows == other.windows
    assert machine().with_devices(other).bridges == other.bridges != ()


def test_devices_written_as_toml_read_back() -> None:
    made = machine(bar(0x1000, 4096), bar(1 << 60, 1), bar(0, 4096, status="disabled"), bar(0xF0000000, 16))
    back = Machine.from_toml(made.to_toml())
    assert [d.status for d in back.devices] == [d.status for d in made.devices]
    assert back.device_ranges(12) == made.device_ranges(12)
