"""The TLB comparison as text: a side a row, misses by structure, the curve, growth, and what it means.

Where the load is long enough, counts are for a thousand operations of it, else in all.
"""

from collections.abc import Iterator

from kernmalloc.inputs.sizes import size
from kernmalloc.report.text import Cells, columns, fitted, section
from kernmalloc.report.units import several
from kernmalloc.sim.tlb import FIXED, LARGE, PAGES, Compared, Counted, Growth, Side

NAMES = {PAGES: "page by page", LARGE: "in large pages", FIXED: "fixed entries"}
SHOWN = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Entries of the TLBs that the table of the curve has a column for."""
LONG = 1000  # operations


def whole(done: Compared) -> Iterator[str]:
    """All lines."""
    yield from fitted(f"{done.machine or done.file}: kernel {done.kernel}, load {done.load}")
    yield from fitted(processor(done))
    unit = unit_of(done)
    measured = [side for side in done.sides if side.load]
    yield from section(f"How the heap is mapped, and misses {unit}", columns([SIDES, *map(cells, measured)]))
    for side in done.sides:
        if side.reason:
            yield from fitted(f"  {NAMES[side.mapping]}, {side.strategy}: {side.reason}", 4)
    loads = [(side, side.load, LONG) for side in measured if side.load]
    yield from section(f"Misses {unit}, by what was accessed", columns(_structures(loads)))
    boots = [(side, side.boot, 0) for side in measured if side.boot and not side.fixed]
    yield from section("Misses of the boot, in all, by what was accessed", columns(_structures(boots)))
    yield from section(
        f"Misses of data {unit}, by entries of a TLB that is fully associative", columns(_curve(measured))
    )
    yield from section("Entries that the load adds to the kernel's window", columns(_growth(done.growth), notes=True))
    yield ""
    for note in notes(done):
        yield from fitted(note)


def processor(done: Compared) -> str:
    """Its TLB, and what a miss costs."""
    entries = several(done.tlb_entries, "entry", "entries")
    if done.second_cycles:
        cost = f"{entries} of level 1 for data; a miss costs {done.second_cycles} cycles if level 2 has it, "
        cost += f"else {done.walk_cycles}"
    else:
        cost = f"{entries} for data, loaded by {done.loads}; a miss costs {done.walk_cycles} cycles"
    return f"{done.title}: {cost} ({done.cost})"


def unit_of(done: Compared) -> str:
    """What counts are of."""
    long = all(side.load.operations >= LONG for side in done.sides if side.load)
    return "in a thousand operations" if long else "in all"


def scaled(side: Side, count: int) -> float:
    """A count of a side in that unit."""
    assert side.load
    return rate(count, side.load, LONG)


def rate(count: int, of: Counted, per: int) -> float:
    """A count for so many operations; in all where there were fewer, or for 0."""
    return count * per / of.operations if 0 < per <= of.operations else count


SIDES = ("", "strategy", "entries", "large", "single", "grown", "fixed", "at boot", "misses", "walks", "cycles")


def cells(side: Side) -> Cells:
    """A side: entries that map the window, what the load adds, what the boot missed in all, and what the load did."""
    assert side.load and side.boot
    load = side.load
    return (
        NAMES[side.mapping],
        side.strategy,
        f"{side.large + side.small:,}",
        f"{side.large:,}",
        f"{side.small:,}",
        f"{side.grown:,}",
        f"{side.fixed:,}",
        f"{side.boot.kernel.misses:,}",
        *(number(scaled(side, count)) for count in (load.kernel.misses, load.kernel.walks, load.cycles)),
    )


def number(value: float) -> str:
    """How often something happened: 0 only where it never did."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _structures(found: list[tuple[Side, Counted, int]]) -> list[Cells]:
    """Misses of each side by structure, for so many operations, 0: in all; what nothing accessed is left out."""
    used = [name for name in found[0][1].structures if any(each.structures[name].accesses for _, each, _ in found)]
    rows: list[Cells] = [("", *used, "accesses")]
    for side, counted, per in found:
        counts = [*(counted.structures[name].misses for name in used), counted.kernel.accesses]
        rows.append((NAMES[side.mapping], *(number(rate(count, counted, per)) for count in counts)))
    return rows


def _curve(sides: list[Side]) -> list[Cells]:
    """What fully associative TLBs miss: of the heap, and of all."""
    rows: list[Cells] = [("", *map(str, SHOWN))]
    for side in sides:
        points = {point.entries: point for point in side.curve}
        for what, name in (("heap", "the heap"), ("all", "all data")):
            found = (getattr(points[entries], what) if entries in points else None for entries in SHOWN)
            rows.append(
                (f"{NAMES[side.mapping]}: {name}", *("-" if n is None else number(scaled(side, n)) for n in found))
            )
    return rows


def _growth(growth: tuple[Growth, ...]) -> list[Cells]:
    return [(each.strategy, "-" if each.reason else f"{each.entries:,}", _refusals(each)) for each in growth]


def _refusals(each: Growth) -> str:
    return each.reason or (unserved(each.refused) if each.refused else "")


def unserved(requests: int) -> str:
    """What of the load was refused."""
    return f"{several(requests, 'request')} of the load not served in full"


def notes(done: Compared) -> Iterator[str]:
    """What it means: a line each."""
    for side in done.sides:
        if side.refused:
            yield f"{NAMES[side.mapping].capitalize()}: {unserved(side.refused)}."
    fixed = next(side for side in done.sides if side.mapping == FIXED)
    if fixed.load and not done.locks:
        yield f"{done.title} locks no entries: {NAMES[FIXED]} are what it would do if it could."
    if fixed.load:
        left = done.tlb_entries - fixed.fixed
        yield f"Fixed entries leave {left} of {done.tlb_entries} for all that is not heap."
    verdict = "it cannot be" if done.direct_map > done.window else "it can be"
    entries = several(-(-done.direct_map // done.large_page), "entry", "entries")
    yield (
        f"A direct map of all RAM would take {size(done.direct_map)} of the window's {size(done.window)}, "
        f"{entries} of {size(done.large_page)}: {verdict}."
    )
    told = ", ".join(_of_the_heap(side) for side in done.sides)
    yield f"Misses on the heap at boot, and then {unit_of(done)}: {told}; {done.seconds:.1f} s"


def _of_the_heap(side: Side) -> str:
    """What it misses, when it boots and then."""
    if not side.load or not side.boot:
        return f"{NAMES[side.mapping]} -"
    return f"{NAMES[side.mapping]} {side.boot.heap.misses:,} and {number(scaled(side, side.load.heap.misses))}"
