"""Exercise 3: fragmentation and moving pages. A range of contiguous frames where enough are free, but not together.

The map is laid out in a kernel frame by frame: its other frames are held, pages of a file are read into some, and some
are given back. Then a range is asked of the kernel, which counts the pages that it moves, for one question after the
other; in between the memory is what it was.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import NamedTuple

from kernmalloc.course.machines import IMAGE, MIB, PAGE, booted, kernel_toml, machine_toml, take_all
from kernmalloc.course.shape import Question, Task
from kernmalloc.facade.errors import OutOfMemory
from kernmalloc.facade.kernel import Kernel

TITLE = "Fragmentation and moving pages"
RAM = IMAGE[0], 4 * MIB
FIRST = 768  # pfn of the first frame of the map
FREE, PAGES, STAYS = ".", "p", "x"
ROW, ROWS = 16, 4
FRAMES = ROW * ROWS  # of the map
ELSEWHERE = 40  # frames that are free beside the map, for pages to move to


class Got(NamedTuple):
    """A range: its first pfn, and how many pages were moved for it."""

    first: int
    moved: int


class Asked(NamedTuple):
    """What the kernel says to the questions: the longest run of free frames, a range anywhere, an aligned one, and the
    longest range that can be had at all."""

    run: int
    anywhere: Got
    aligned: Got
    longest: int


def layout(numbers: Random) -> str:
    """What the frames of the map are, a letter for each: about half are free, a few stay where they are."""
    return "".join(numbers.choices((FREE, PAGES, STAYS), (12, 9, 2), k=FRAMES))


@contextmanager
def laid(layout: str) -> Iterator[Kernel]:
    """A kernel whose frames from FIRST on are as a layout says; of the others ELSEWHERE are free."""
    pages = [FIRST + at for at, what in enumerate(layout) if what == PAGES]
    free = [FIRST + at for at, what in enumerate(layout) if what == FREE]
    with tempfile.NamedTemporaryFile() as file, booted(machine_toml(RAM), kernel_toml()) as kernel:
        with kernel.pages.source(file.name, pages=max(len(pages), 1)):
            held = take_all(kernel)
            for oid, pfn in enumerate(pages):
                kernel.frame_put(pfn)
                kernel.pages.get(oid)
            for pfn in [*free, *[pfn for pfn in held if not FIRST <= pfn < FIRST + FRAMES][-ELSEWHERE:]]:
                kernel.frame_put(pfn)
        yield kernel


def asked(kernel: Kernel, count: int, align: int = 1) -> Got | None:
    """The range that a kernel gives out of the map; None: it refuses. Its memory is as before then."""
    before, moved = kernel.snapshot(), int(kernel.view.kern["moved"])
    try:
        first = kernel.range_get(count, align=align, low=FIRST * PAGE, high=(FIRST + FRAMES) * PAGE)
        return Got(first, int(kernel.view.kern["moved"]) - moved)
    except OutOfMemory:
        return None
    finally:
        kernel.restore(before)


def task(numbers: Random) -> Task:
    """A map in which no run of free frames is long enough, and in which alignment costs moves."""
    count, align = numbers.randrange(9, 15), numbers.choice((4, 8, 16))
    found = None
    while not found:
        map = layout(numbers)
        with laid(map) as kernel:
            found = _answers(kernel, count, align)
    return Task(_text(map), _questions(found, count, align), machine_toml(RAM), kernel_toml())


def _answers(kernel: Kernel, count: int, align: int) -> Asked | None:
    """What the kernel says; None where the questions would be too easy."""
    anywhere, aligned = asked(kernel, count), asked(kernel, count, align)
    if not anywhere or not aligned or not 0 < anywhere.moved < aligned.moved:
        return None
    run = max(n for n in range(1, count) if (got := asked(kernel, n)) and not got.moved)
    longest = max(n for n in range(count, FRAMES + 1) if asked(kernel, n))
    return Asked(run, anywhere, aligned, longest)


def _text(map: str) -> str:
    rows = "\n".join(f"  {FIRST + at}  {' '.join(map[at : at + ROW])}" for at in range(0, FRAMES, ROW))
    return f"""\
A driver wants contiguous frames, for its device adds an offset to addresses and knows no page tables. It wants them
in these frames, {ROW} in a row, the first with the number beside the row:

{rows}

{FREE} is free; {PAGES} holds a page of the page cache, which can be moved to another frame; {STAYS} stays where it
is, for a driver or the kernel has it. Beside the map {ELSEWHERE} frames are free, to which pages can be moved.

The kernel looks for a range of free frames first. Where there is none, it takes the range with the fewest pages to
move, and of several such the lowest. Before each question the map is as it stands here."""


def _questions(found: Asked, count: int, align: int) -> tuple[Question, ...]:
    return (
        Question(
            prompt="What is the longest range that can be had without moving a page?",
            unit="frames",
            answer=found.run,
            why="The longest run of free frames; it may go on from one row to the next.",
        ),
        Question(
            prompt=f"The driver asks for {count} frames. How many pages move?",
            unit="pages",
            answer=found.anywhere.moved,
            why=f"Slide {count} frames over the map: a place with a frame that stays is none; of the others, the pages "
            "in it are its cost.",
        ),
        Question(
            prompt=f"Which is the first of these {count} frames?",
            unit="frame number",
            answer=found.anywhere.first,
            why="The cheapest place, and the lowest of those that cost the same.",
        ),
        Question(
            prompt=f"It asks for {count} frames that begin at a multiple of {align}. How many pages move?",
            unit="pages",
            answer=found.aligned.moved,
            why=f"Only each {align}th frame can be the first: here {found.aligned.first}.",
        ),
        Question(
            prompt="What is the longest range that can be had at all?",
            unit="frames",
            answer=found.longest,
            why="The longest run of frames none of which stays.",
        ),
    )
