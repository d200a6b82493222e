"""The hole of one machine's guest as text: what is placed where, how much room that takes, and what to set."""

from collections.abc import Iterator

from kernmalloc.fleet.hole import Placement
from kernmalloc.fleet.hole_options import Options
from kernmalloc.fleet.placing import ROM, Placed
from kernmalloc.inputs.sizes import size
from kernmalloc.report.text import Cells, columns, section
from kernmalloc.report.units import span

SET = {
    "qemu": "QEMU's q35, for what ACPI tells the guest",
    "i440fx": "QEMU's i440fx, instead",
    "ovmf": "OVMF, for what the firmware uses",
    "host": "QEMU with the host's processor",
    "model": "QEMU with another, the fewest bits",
    "cloud_hypervisor": "cloud-hypervisor, the fewest bits",
    "linux": "Linux on the machine, for slots with hot plug",
    "last_resort": "Linux where ACPI's host bridges are too small",
}
"""What each option is for."""


def whole(placement: Placement, told: Options) -> Iterator[str]:
    """All about one machine's hole."""
    yield from section("Holes of the guest", columns(hole_rows(placement), notes=True))
    yield from section("Placed, in order of address", columns(placed_rows(placement), notes=True))
    yield from section("What to set", columns(option_rows(told), notes=True))


def hole_rows(placement: Placement) -> list[Cells]:
    """A table of the two holes: where, how long, what is in them."""
    rows: list[Cells] = [("hole", "addresses", "size", "used", "registers", "")]
    for name, hole, note in (
        ("low", placement.low_hole, "registers of 32 bits, and what a bridge forwards with them"),
        ("aperture", placement.aperture, "registers of 64 bits"),
    ):
        inside = [p for p in placement.placed if hole.base <= p.base < hole.end]
        used = max((p.end for p in inside), default=hole.base) - hole.base
        where = span(hole.base, hole.end) if hole.size else "none"
        registers = f"{sum(not p.window for p in inside):,}"
        rows.append((name, where, size(hole.size), size(used), registers, note))
    return rows


def placed_rows(placement: Placement) -> list[Cells]:
    """A table of everything that is placed, a bridge's window before what is in it."""
    placed = sorted(placement.placed, key=lambda p: (p.base, -p.size, not p.window))
    rows = [(_what(each), span(each.base, each.end), size(each.size), each.behind or "root bus") for each in placed]
    return [("placed", "addresses", "size", "behind"), *rows]


def option_rows(told: Options) -> list[Cells]:
    """A table of the options, as they are written."""
    return [("program", "option"), *((where, getattr(told, name)) for name, where in SET.items())]


def _what(placed: Placed) -> str:
    if placed.window:
        return f"{placed.window} window of {placed.name}"
    return f"{placed.name} {'ROM' if placed.bar == ROM else f'BAR {placed.bar}' if placed.bar >= 0 else 'BAR'}"
