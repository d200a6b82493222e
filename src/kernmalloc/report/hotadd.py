"""How a guest grows as text: what added RAM costs before it is there, its steps in order, the least boot memory."""

from collections.abc import Iterator
from itertools import groupby

from kernmalloc.fleet.hotadd import Growth
from kernmalloc.fleet.need import Need
from kernmalloc.inputs.sizes import size
from kernmalloc.report.text import Cells, columns, fitted, section
from kernmalloc.report.units import several


def whole(growth: Growth, stepping: Need, at_once: Need) -> Iterator[str]:
    """All about one guest; what it needs to grow in steps, and in one."""
    yield from fitted(verdict(growth))
    if growth.steps:
        yield from section("Steps, in order", columns(step_rows(growth)))
    yield from section("Least boot memory", columns(boot_rows(stepping, at_once), notes=True))


def verdict(growth: Growth) -> str:
    """What the guest has, what all of it takes at once, and how it grows, in a sentence or two."""
    if not growth.more:
        return f"The guest has {size(growth.boot)} of RAM at boot, and need not grow."
    free = size(max(growth.free, 0))
    told = f"The guest boots with {size(growth.boot)}, {free} of it free, and is to grow by {size(growth.more)}. "
    if growth.missing:
        told += f"At once that takes {size(growth.cost)} before it is there; {size(growth.missing)} are missing. "
    elif growth.cost:
        told += f"That takes {size(growth.cost)}. "
    if not growth.reason:
        return f"{told}It grows in {several(len(growth.steps), 'step')}."
    after = f"After {several(len(growth.steps), 'step')} it" if growth.steps else "It"
    return f"{told}{after} can grow no further: {growth.reason}."


def step_rows(growth: Growth) -> list[Cells]:
    """A table of the steps; equal ones that follow each other are one row."""
    rows: list[Cells] = [("steps", "added by each", "taken by each", "RAM then", "free then")]
    ram = growth.boot
    for _, run in groupby(growth.steps, lambda step: (step.size, step.taken)):
        steps = list(run)
        ram += sum(step.size for step in steps)
        last = steps[-1]
        rows.append((f"{len(steps):,}", size(last.size), size(last.taken), size(ram), size(max(last.free, 0))))
    return rows


def boot_rows(stepping: Need, at_once: Need) -> list[Cells]:
    """A table of the least boot memory, and of the most where more does not do."""
    rows: list[Cells] = [("growing", "least", "most", "")]
    for name, need in (("in steps", stepping), ("at once", at_once)):
        least = "none" if need.least is None else size(need.least)
        rows.append((name, least, "" if need.most is None else size(need.most), need.reason))
    return rows
