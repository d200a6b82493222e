"""The report of a hole has everything that is placed, and every option."""

from pci_machines import GIB, MIB, high, low, machine

from kernmalloc.fleet.hole import need, proof
from kernmalloc.fleet.hole_options import Options, options, room_behind_bridges
from kernmalloc.inputs.facts import Device
from kernmalloc.report import hole

ROM = Device(0, MIB, "rom", "0000:00:02.0", 6, 32, status="unassigned")
MACHINE = machine(high("0000:01:00.0", 8 * GIB), low("0000:00:02.0", MIB), high("a card", GIB, 2), ROM)


def report():
    placement = proof(MACHINE, need(MACHINE).least)
    told = options(placement.aperture.size, placement.aperture.end, *room_behind_bridges([placement]))
    return placement, told, "\n".join(hole.whole(placement, told))


def test_everything_that_is_placed_and_set_is_told():
    placement, told, text = report()
    assert len(hole.placed_rows(placement)) == 1 + len(placement.placed)
    assert all(option in text for option in told)
    assert [*hole.SET] == [*Options._fields]


def test_windows_come_before_what_is_in_them():
    rows = [row[0] for row in hole.placed_rows(report()[0])]
    window = rows.index("prefetchable window of bridge to 0000:01")
    assert rows[window + 1] == "0000:01:00.0 BAR 0"
    assert {"0000:00:02.0 ROM", "a card BAR 2", "memory window of port of a card"} <= {*rows}


def test_the_holes_tell_what_is_used():
    _, low_hole, aperture = hole.hole_rows(report()[0])
    assert low_hole[:5] == ("low", "c0000000-fbffffff", "960 MiB", "6 MiB", "2")
    assert aperture[:5] == ("aperture", "200000000-43fffffff", "9 GiB", "9 GiB", "2")
    assert hole.hole_rows(proof(machine(), 0))[2][1] == "none"
