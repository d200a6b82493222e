"""Exercise 1: the chicken and the egg by hand. How many frames each step of the boot takes, and where they come from.

The kernel is booted step by step, and its record is read after each step.
"""

from random import Random
from typing import NamedTuple

from kernmalloc.course.machines import IMAGE, MIB, PAGE, kernel_toml, loaded, machine_toml, steps
from kernmalloc.course.shape import Question, Task
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.story import NAMES
from kernmalloc.kernel.boot.config import BootRange
from kernmalloc.kernel.core.kern import RAM

TITLE = "The chicken and the egg by hand"
UPPER = 64 * MIB  # where the upper range begins
EVENTS = (
    "does the heap get its first page",
    "does the free list get its first frame",
    "is malloc first given a frame that was not donated",
)


class Area(NamedTuple):
    """A range of RAM as the boot is told of it: first frame, frames; bytes of its free bitmaps, of its core table with
    identities and bitmaps."""

    base: int
    frames: int
    bitmaps: int
    bytes: int


class Stage(NamedTuple):
    """What is after a step: pages of the heap and of its map; frames of both and of their leaf tables; free ones that
    the bitmaps list."""

    pages: int
    records: int
    taken: int
    listed: int


class Seen(NamedTuple):
    """What a boot did: its ranges of RAM, from the lowest; frames donated, and of those for leaf tables; what was after
    each step."""

    areas: list[Area]
    donated: int
    maps: int
    after: dict[str, Stage]

    def first(self, event: str) -> str:
        """The step in which one of `EVENTS` is first so."""
        at = EVENTS.index(event)
        return next(
            name
            for name, stage in self.after.items()
            if (stage.pages > 0, stage.listed > 0, stage.taken > self.donated)[at]
        )


def seen(kernel: Kernel) -> Seen:
    """Boot a kernel that has been loaded, and look at it after each step."""
    kern = kernel.view.kern
    each = int(kern["stride"] + kern["identity"])
    areas, after = [], {}
    for told in kernel.view.read(BootRange, int(kern["ranges"]), int(kern["range_count"])):
        base, frames = int(told["base"]), int(told["count"])
        if told["kind"] == RAM and frames:
            bytes = kernel.call_kern("table_bytes", base, frames)
            areas.append(Area(base, frames, bytes - frames * each, bytes))
    for name in steps(kernel):
        kern = kernel.view.kern
        donated = int(kern["donated_heap"] + kern["donated_maps"])
        after[name] = Stage(
            pages=int(kern["backed"]),
            records=int(kern["map_pages"]),
            taken=max(donated, int(kern["heap_frames"] + kern["mapping_frames"])),
            listed=sum(region.free for region in kernel.regions),
        )
    return Seen(areas, kernel.donation.frames, int(kern["donation_maps"]), after)


def task(numbers: Random) -> Task:
    """Two ranges of RAM of some size; the image lies in the lower one."""
    machine = machine_toml(
        (IMAGE[0], numbers.randrange(600, 15_000) * PAGE), (UPPER, numbers.randrange(20_000, 120_000) * PAGE)
    )
    profile = kernel_toml()
    with loaded(machine, profile) as kernel:
        done = seen(kernel)
    return Task(_text(done), _questions(done, numbers.choice(EVENTS)), machine, profile)


def _text(done: Seen) -> str:
    lower, upper = done.areas
    return f"""\
A kernel boots on a machine with two ranges of RAM. Of the lower one the image and the boot area have been carved out,
so that the kernel is told of these frames:

  range  first frame   frames  bytes of its free bitmaps
  upper  {upper.base:>11,}  {upper.frames:>7,}  {upper.bitmaps:>25,}
  lower  {lower.base:>11,}  {lower.frames:>7,}  {lower.bitmaps:>25,}

A page has 4096 bytes. Every frame of RAM has a core table entry of 16 bytes and an identity of 16 bytes. The core
table of a range, its identities and its free bitmaps are one allocation, in whole pages of the heap. Each page of the
heap has a record of 64 bytes in the heap map, which grows by whole pages, too. A leaf table is one frame and maps 512
pages; heap and heap map each begin at a leaf table of their own.

The boot goes through the steps {", ".join(NAMES)}. The upper range gives the donation: exactly the frames that its
own table costs. In step rest a page of the heap is allocated for region records, and then the lower range is
described."""


def _questions(done: Seen, event: str) -> tuple[Question, ...]:
    lower, upper = done.areas
    table, listed, rest = done.after["table"], done.after["list"], done.after["rest"]
    more = rest.taken - listed.taken
    return (
        Question(
            prompt="Step table: how many pages of the heap does the table of the upper range take?",
            unit="pages",
            answer=table.pages,
            why=f"{upper.frames:,} frames at 16 + 16 bytes and {upper.bitmaps:,} bytes of bitmaps are {upper.bytes:,} "
            "bytes, in pages of 4096, rounded up.",
        ),
        Question(
            prompt="Step table: how many pages of the heap map do these need?",
            unit="pages",
            answer=table.records,
            why=f"{table.pages:,} records of 64 bytes; 64 of them fill a page.",
        ),
        Question(
            prompt="Step table: how many leaf tables map the heap and the heap map?",
            unit="frames",
            answer=done.maps,
            why="One for each 512 pages of the heap begun, and one for the heap map.",
        ),
        Question(
            prompt="Step donate: how many frames are donated?",
            unit="frames",
            answer=done.donated,
            why=f"{table.pages} pages of the heap, {table.records} of its map and {done.maps} leaf tables: what the "
            "table of the donor costs, and nothing else.",
        ),
        Question(
            prompt="After step list: how many frames are on the free list?",
            unit="frames",
            answer=listed.listed,
            why=f"All {upper.frames:,} frames of the upper range but the {done.donated} donated ones. The lower range "
            "is not described yet.",
        ),
        Question(
            prompt="Step rest: how many frames does it take to describe the lower range, region records included?",
            unit="frames",
            answer=more,
            why=f"A page for region records, and the table of the lower range, {lower.bytes:,} bytes in whole pages: "
            f"the heap has {rest.pages} pages then, its map {rest.records}. What was mapped by a leaf table before "
            "needs none anew.",
        ),
        Question(
            prompt="After step rest: how many frames are on the free list?",
            unit="frames",
            answer=rest.listed,
            why=f"{listed.listed:,} that were there, less the {more} taken, and {lower.frames:,} of the lower range. "
            "No second donation was needed.",
        ),
        Question(
            prompt=f"In which step {event}?",
            unit="choice",
            choices=NAMES,
            answer=done.first(event),
            why="Step donate sets frames aside and takes none. Step table mallocs out of the donation. Step mark "
            "writes entries only. Step list makes the free list. From step rest on malloc finds frames through the "
            "core table.",
        ),
    )
