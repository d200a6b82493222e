"""Cards that are not there yet (C21): the size of their windows and where they go."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from kernmalloc.inputs.errors import InputError, UnreadableError
from kernmalloc.inputs.facts import Device, Facts, Range
from kernmalloc.machine.cards import NoPlaceError, cards, place_window, registers_of, with_card
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
    "card, window",
    [
        ("24GiB", 32 * GIB),
        ("141GiB", 256 * GIB),
        ("32GiB", 32 * GIB),
        ("1MiB", MIB),
        ("8 GB", 8 * GIB),
        ("33G", 64 * GIB),
        ("GeForce RTX 3090", 32 * GIB),
        ("3090", 32 * GIB),
        ("mi300x", 256 * GIB),
        ("H100", 128 * GIB),
        ("B200", 256 * GIB),
        ("rtx 3080", 16 * GIB),
        ("rtx 3080 ti", 16 * GIB),
        ("F1", 128 * GIB),
        (" Radeon RX 7900 XTX ", 32 * GIB),
    ],
)
def test_windows(card: str, window: int) -> None:
    """C21: registers are powers of two."""
    assert max(registers_of(card)) == window


@given(st.integers(MIB, 1 << 50))
def test_a_window_is_the_least_power_of_two_that_holds_the_memory(memory: int) -> None:
    (window,) = registers_of(str(memory))
    assert window & window - 1 == 0 and window // 2 < memory <= window


@pytest.mark.parametrize(
    "card, reason",
    [
        ("", "neither a size nor a known card"),
        ("GTX 9999", "neither a size nor a known card"),
        ("0GiB", "less memory than any card has"),
        ("Radeon", "several cards .24GiB or one of Radeon RX 580, Radeon"),
        ("24", "write it with its unit"),
        ("64K", "less memory than any card has"),
        ("-8GiB", "neither a size"),
    ],
)
def test_what_is_no_card(card: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        registers_of(card)


def test_the_table_is_of_real_cards() -> None:
    assert 10 <= len(cards()) <= 25
    assert len({card.name for card in cards()}) == len({card.id for card in cards()}) == len(cards())
    for card in cards():
        assert re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", card.id) and len(card.source) > 10
        assert all(size & size - 1 == 0 for size in card.bars)
        assert card.memory <= max(card.bars) < 4 * card.memory
        assert registers_of(card.name) == card.bars


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
