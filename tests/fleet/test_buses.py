"""Registers are behind the bridges that their addresses and the file tell."""

from hypothesis import given
from pci_machines import BRIDGES, GIB, MIB, high, low, machine, machines

from kernmalloc.fleet.buses import behind, registers, root_buses
from kernmalloc.inputs.facts import Bridge, Device


def shape(bus):
    return (bus.bridge, sorted(r.name for r in bus.registers), sorted(shape(each) for each in bus.buses))


def test_bridges_that_the_file_tells_are_nested():
    found = root_buses(machine(low("0000:00:02.0", MIB), low("0000:02:00.0", MIB), bridges=BRIDGES))
    nested = ("0000:01:00.0", ["0000:02:00.0"], [])
    assert {key: shape(bus) for key, bus in found.items()} == {
        "0000:00": ("", ["0000:00:02.0"], [("0000:00:1c.0", [], [nested])])
    }


def test_a_bus_that_no_bridge_leads_to_is_a_root_bus_where_bridges_are_told():
    found = root_buses(machine(low("0000:80:00.0", MIB), bridges=BRIDGES))
    assert shape(found["0000:80"]) == ("", ["0000:80:00.0"], [])


def test_without_bridges_each_bus_is_behind_one_of_its_own():
    found = root_buses(machine(low("0000:01:00.0", MIB), low("0000:01:00.1", MIB), low("0001:02:00.0", MIB)))
    first = ("bridge to 0000:01", ["0000:01:00.0", "0000:01:00.1"], [])
    assert {key: shape(bus) for key, bus in found.items()} == {
        "0000:00": ("", [], [first]),
        "0001:00": ("", [], [("bridge to 0001:02", ["0001:02:00.0"], [])]),
    }


def test_a_bridge_that_leads_to_its_own_bus_is_none():
    found = root_buses(machine(low("0000:01:00.0", MIB), bridges=(Bridge("0000:01:00.0", 1, 1),)))
    assert shape(found["0000:00"])[2] == [("bridge to 0000:01", ["0000:01:00.0"], [])]


def test_cards_of_one_name_are_as_many_in_ports_of_their_own():
    found = root_buses(machine(*(high("a card", GIB, bar) for bar in (0, 2, 0, 2))))
    assert shape(found["0000:00"])[2] == [
        ("port of a card", ["a card", "a card"], []),
        ("port of a card #2", ["a card #2", "a card #2"], []),
    ]


def test_a_register_that_is_listed_twice_is_one_and_the_larger():
    twice = (high("0000:01:00.0", GIB, 0, 1 << 40), high("0000:01:00.0", 2 * GIB, 0, 1 << 41))
    assert [r.size for r in registers(machine(*twice))] == [2 * GIB]
    unnumbered = (high("0000:01:00.0", GIB, -1, 1 << 40), high("0000:01:00.0", GIB, -1, 1 << 41))
    assert len(registers(machine(*unnumbered))) == 2


def test_what_is_inside_a_register_of_another_device_wants_no_place():
    found = registers(machine(low("10000:e1:00.0", MIB), low("0000:00:0e.0", 32 * MIB)))
    assert [r.name for r in found] == ["0000:00:0e.0"]


def test_what_is_not_on_pci_or_not_in_use_wants_no_place():
    resource = Device(1 << 40, GIB, "resource", "0000:01:00.0")
    others = (Device(0x1000, 0x1000, "resource", "serial@1000"), Device(0, GIB, name="x", status="disabled"))
    assert [(r.name, r.wide, r.prefetch) for r in registers(machine(resource, *others))] == [
        ("0000:01:00.0", True, True)
    ]


@given(machines)
def test_every_register_is_on_one_bus(drawn):
    found = [r for root in root_buses(drawn).values() for bus in (root, *behind(root)) for r in bus.registers]
    assert sorted(found) == sorted(registers(drawn))
