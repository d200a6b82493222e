"""Cards that are not there yet (C21): where their windows go."""

from collections.abc import Sequence

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.facts import Device, Facts, Range
from kernmalloc.machine.cards import NoPlaceError, place_window, with_card
from kernmalloc.machine.memory_map import Machine, resolve

MIB, GIB = 1 << 20, 1 << 30
Spans = Sequence[tuple[int, int]]


def machine(ram: Spans = ((0, GIB),), firmware: Spans = (), devices: Spans = (), windows: Spans = ()) -> Machine:
    facts = Facts("made")
    facts.memory = [Range(*r, "ram") for r in ram] + [Range(*r, "reserved") for r in firmware]
    facts.devices = [Device(*d) for d in devices]
    facts.windows = [Range(*w, "window") for w in windows]
    return resolve(facts)


@pytest.mark.parametrize(
    "layout, size, base",
    [
        ({}, 32 * GIB, 32 * GIB),
        ({}, 256 * MIB, 4 * GIB),
        ({"ram": ((0, 2 * GIB), (4 * GIB, 62 * GIB))}, 32 * GIB, 96 * GIB),
        ({"ram": ((0, 2 * GIB), (4 * GIB, 60 * GIB))}, 32 * GIB, 64 * GIB),
        ({"devices": ((32 * GIB, 4096),)}, 32 * GIB, 64 * GIB),
        ({"devices": ((63 * GIB, 16 * GIB),)}, 32 * GIB, 96 * GIB),
        ({"devices": ((64 * GIB, 16 * GIB),)}, 32 * GIB, 32 * GIB),
        ({"firmware": ((0xFD_0000_0000, 0x3_0000_0000),)}, 512 * GIB, 1 << 40),
        ({"windows": ((512 * GIB, 512 * GIB),)}, 32 * GIB, 32 * GIB),
    ],
)
def test_where_a_window_goes(layout: dict[str, Spans], size: int, base: int) -> None:
    assert place_window(machine(**layout), size, 52) == base


RANGES = st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(1, 1 << 38)), max_size=6)


@given(RANGES, RANGES, RANGES, st.integers(20, 40))
def test_a_window_is_aligned_and_free_and_no_lower_one_is(
    ram: list[tuple[int, int]], firmware: list[tuple[int, int]], devices: list[tuple[int, int]], power: int
) -> None:
    try:
        made, size = machine([(0, GIB), *ram], firmware, devices), 1 << power
    except UnreadableError:
        reject()  # firmware lies on all of RAM
    base = place_window(made, size, 62)
    taken = [(r.base, r.end) for r in (*made.ram, *made.firmware)]
    taken += [(d.base, d.end) for d in made.devices if d.status == "assigned"]

    def free(at: int) -> bool:
        return all(high <= at or at + size <= low for low, high in taken)

    floor = max(4 * GIB, made.ram[-1].end)
    assert base % size == 0 and base >= floor and free(base)
    lower = {-(-edge // size) * size for edge in (floor, *(high for _, high in taken))}
    assert not any(floor <= at < base and free(at) for at in lower)


def test_a_window_above_the_address_limit_is_refused() -> None:
    """C21: beyond the address limit a stated refusal."""
    made = machine(ram=((0, 40 * GIB),))
    assert place_window(made, 32 * GIB, 37) == 64 * GIB
    with pytest.raises(NoPlaceError, match="32 GiB would end at 0x1800000000, above the 36 bits"):
        place_window(made, 32 * GIB, 36)
    with pytest.raises(NoPlaceError):
        with_card(made, "24GiB", 36)


def test_cards_are_added_one_beside_the_other() -> None:
    made = with_card(with_card(machine(), "24GiB", 52), "24GiB", 52)
    assert [(d.name, d.base, d.size) for d in made.devices] == [
        ("24GiB", 32 * GIB, 32 * GIB),
        ("24GiB", 64 * GIB, 32 * GIB),
    ]
    assert [(r.pfn, r.frames) for r in made.device_ranges(12)] == [(8 << 20, 8 << 20), (16 << 20, 8 << 20)]


@given(st.integers(1, 12), st.sampled_from(["24GiB", "H100", "MI300X"]))
def test_several_cards_are_added_as_one_after_the_other(count: int, word: str) -> None:
    made = machine()
    for _ in range(count):
        made = with_card(made, word, 52)
    assert with_card(machine(), f"{count} x {word}", 52) == made
    largest = [device for device in made.devices if device.size >= 32 * GIB]
    assert len(largest) == count and len({device.base for device in largest}) == count


def test_a_named_card_brings_all_its_registers() -> None:
    made = with_card(machine(), "MI300X", 52)
    assert sorted((d.bar, d.size, d.bits, d.prefetch, d.status) for d in made.devices) == [
        (0, 256 * GIB, 64, True, "assigned"),
        (1, 2 * MIB, 64, True, "assigned"),
        (2, 2 * MIB, 64, True, "assigned"),
    ]
    assert sum(r.frames for r in made.device_ranges(12)) == (256 * GIB + 4 * MIB) >> 12


def test_ram_is_as_it_was() -> None:
    """E5."""
    assert with_card(machine(), "H100", 52).ram == machine().ram
