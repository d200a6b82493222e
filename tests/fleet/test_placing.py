"""The placer takes what OVMF takes, and where windows are of one kind no order takes less."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st
from pci_machines import GIB, MIB, cards, high, low, machine

from kernmalloc.fleet.buses import root_buses
from kernmalloc.fleet.placing import HOTPLUG, up, wants
from kernmalloc.inputs.facts import Bridge, Device

ORDERS = st.integers(0, 3)


def blocks(drawn, hotplug=0):
    return wants(root_buses(drawn).values(), hotplug)


def least(windows):
    """The shortest block that any order of (size, alignment) takes, one after the other from 0."""
    shortest = None
    for order in permutations(windows):
        end = 0
        for size, align in order:
            end = up(end, align) + size
        shortest = end if shortest is None else min(shortest, end)
    return shortest or 0


def drawn_cards(count):
    return st.lists(st.lists(ORDERS.map(lambda order: 1 << order), min_size=1, max_size=4), max_size=count)


@given(drawn_cards(6))
def test_it_is_never_shorter_than_the_shortest_of_all_orders(windows):
    sizes = [(sum(each), max(each)) for each in windows]
    _, found = blocks(cards(*windows))
    assert found.size >= least(sizes) * GIB
    if len({align for _, align in sizes}) == 1 or all(size % align == 0 for size, align in sizes):
        assert found.size == least(sizes) * GIB


@given(st.lists(ORDERS, max_size=7))
def test_cards_of_one_register_take_their_sum(orders):
    _, found = blocks(cards(*([1 << order] for order in orders)))
    assert found.size == sum(1 << order for order in orders) * GIB
    assert found.align == (max((1 << order for order in orders), default=0) * GIB or 1)


def test_a_small_window_is_not_put_into_a_gap():
    windows = ([4, 1], [4, 1], [1, 1, 1])
    assert blocks(cards(*windows))[1].size == 16 * GIB
    assert least([(5, 4), (5, 4), (3, 1)]) == 13


def test_of_equals_the_one_that_leaves_most_behind_it_is_last():
    assert blocks(cards([4, 1], [4, 2]))[1].size == 13 * GIB  # 6 at 0, 5 at 8


def test_bridges_windows_have_a_unit_and_a_least():
    small = machine(low("0000:01:00.0", 4096), high("0000:01:00.0", 4096, 2))
    assert [block.size for block in blocks(small)] == [MIB, MIB]
    assert [block.size for block in blocks(small, HOTPLUG)] == [HOTPLUG, MIB]


def test_64_bits_that_are_not_prefetchable_are_high_on_a_root_bus_alone():
    for bus, expected in (("0000:00", (0, GIB)), ("0000:01", (GIB, 0))):
        wide = Device(1 << 40, GIB, name=f"{bus}:00.0", bar=0, bits=64)
        assert tuple(block.size for block in blocks(machine(wide))) == expected


def test_prefetchable_of_32_bits_gives_way_to_what_is_high():
    narrow = Device(0xE0000000, 2 * MIB, name="0000:01:00.0", bar=0, bits=32, prefetch=True)
    alone, _ = blocks(machine(narrow))
    assert [(m.window, m.size) for _, m in alone.members] == [("prefetchable", 2 * MIB)]
    both, above = blocks(machine(narrow, high("0000:01:00.0", GIB, 2)))
    assert [(m.window, m.size) for _, m in both.members] == [("memory", 2 * MIB)]
    assert [(m.window, m.size) for _, m in above.members] == [("prefetchable", GIB)]


def test_a_switch_takes_what_its_ports_take():
    bridges = (Bridge("0000:00:01.0", 1, 3), Bridge("0000:01:00.0", 2, 2), Bridge("0000:01:01.0", 3, 3))
    _, found = blocks(machine(high("0000:02:00.0", 4 * GIB), high("0000:03:00.0", GIB), bridges=bridges))
    assert (found.size, found.align) == (5 * GIB, 4 * GIB)
    assert [(m.name, m.size) for _, m in found.members] == [("0000:00:01.0", 5 * GIB)]
