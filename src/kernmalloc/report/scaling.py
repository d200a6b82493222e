"""What processors cost each other, as text: a table for each figure, works and allocators down, processors across.

`python -m kernmalloc.report.scaling > benchmarks/scaling.md` writes the tables into a document.
"""

from collections.abc import Iterable, Iterator, Sequence

from kernmalloc.bench import scaling
from kernmalloc.bench.coherence import MISS, TRANSFER
from kernmalloc.bench.rows import Row
from kernmalloc.bench.turns import CYCLES, PER_INSTRUCTION
from kernmalloc.report.text import Cells, columns, paragraph

HOW = f"""\
Instructions are the freestanding object's, on emulated processors that take turns of a few; each has a cache, and every
access is looked at. Own: what a processor gives back it has got itself; foreign: the one before it has; growing: it
gives nothing back. Nobody touches what is got. Time is reckoned, in cycles: {PER_INSTRUCTION:.2f} for an instruction,
{CYCLES[TRANSFER]} where a line is in other caches, {CYCLES[MISS]} where it is in none, one after the other. The frames'
peers keep an entry for each frame; the heap's are written for this: lists with one lock, and magazines before them. A
line moves because of what another processor did to it: "quick" in a call that never took the lock, "inside" in a call
that did."""
FILE = """\
# Scaling

`kernmalloc bench scaling` prints this; `python -m kernmalloc.report.scaling > benchmarks/scaling.md` writes it anew, in
two to three minutes. It is the same in every run: only other code changes it, the kernel's or a compiler's.
"""


def tables(rows: Iterable[Row]) -> Iterator[tuple[str, Iterator[str]]]:
    """Titles and lines of all of them, for the rows of `bench.scaling`."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        title, _, rest = row.work.partition(": ")
        what, _, many = rest.rpartition(", ")
        who = what if title == scaling.MOVES else f"{what}: {row.who}"
        found.setdefault(title, {}).setdefault(who, {})[many.removesuffix(" processors")] = row.median
    for title, figures in found.items():
        yield title, columns(list(_table(figures)))


def _table(figures: dict[str, dict[str, float]]) -> Iterator[Cells]:
    many = sorted({each for line in figures.values() for each in line}, key=int)
    yield ("processors", *many)
    for what, line in sorted(figures.items(), key=lambda each: each[0].split(": ")[:-1]):
        yield (what, *(_figure(line[each]) if each in line else "" for each in many))


def _figure(value: float) -> str:
    """Two digits behind the point, where there are some."""
    return f"{value:,.0f}" if value == int(value) or value >= 1000 else f"{value:,.2f}"


def document(rows: Sequence[Row]) -> Iterator[str]:
    """The tables as a document."""
    yield from (FILE, *paragraph(HOW))
    for title, lines in tables(rows):
        yield from ("", f"## {title[0].upper()}{title[1:]}", "```", *lines, "```")


if __name__ == "__main__":
    for line in document(list(scaling.run(scaling.PROCESSORS, lambda what, part: None, print))):
        print(line)
