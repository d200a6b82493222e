"""Exercise 8: two resolutions. A card of hundreds of GiB in constant space: an extent, and chunks of entries.

The kernel has a reserve of chunks that never grows. Cards are published and used until it refuses; what the reserve has
is read off in between.
"""

from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import NamedTuple

from kernmalloc.course.machines import IMAGE, MIB, PAGE, booted, machine_toml
from kernmalloc.course.shape import Question, Task
from kernmalloc.facade.errors import OutOfMemory
from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.devices import CHUNK_FRAMES, Chunk, chunk_bytes, chunks_guaranteed
from kernmalloc.plan.scratch import Scratch, Slabs

TITLE = "Two resolutions"
RAM = IMAGE[0], 64 * MIB
GIB = 1 << 30
CARDS = 1 << 40  # where the first card has its memory
SIZES = tuple(GIB << shift for shift in range(4, 10))  # 16 to 512 GiB
USED = 8  # chunks of which a driver uses frames
ROW = 6  # numbers in a line


class Card(NamedTuple):
    """A card: its bytes, the frames whose entries are guaranteed, the frames of it that are used, counted from 0."""

    size: int
    guarantee: int
    used: list[int]


class Said(NamedTuple):
    """What the kernel said: chunks of its reserve; those taken by the publication, and those that are left when the
    frames have been used; cards like this that it can hold; chunks and heap pages that entries for all of it would
    take; the slabs of chunks."""

    reserve: int
    taken: int
    left: int
    cards: int
    chunks: int
    pages: int
    slab: Slabs


def profile(frames: int) -> str:
    """A kernel that reserves entries for so many device frames at boot."""
    return f"""\
name = "course-x86_64"
summary = "a kernel without objects on x86-64, whose entries for devices are reserved at boot"
arch = "x86_64"
phys_bits = 52
strategy = "reserve"

[va]
base = 0xffff888000000000
size = "256 MiB"
windows = "4 MiB"
hosted_base = 0x100000000000

[image]
base = {IMAGE[0]:#x}
size = {IMAGE[1]:#x}

[core]
stride = 16

[devices]
frames = {frames}
ranges = 256
last_words = 0
last_ranges = 0
last_maps = 0
"""


def said(card: Card, frames: int) -> Said:
    """Ask a kernel with that reserve."""
    with booted(machine_toml(RAM), profile(frames)) as kernel:
        first, count = CARDS // PAGE, card.size // PAGE
        slab = Slabs(kernel.profile.page_shift, Scratch(kernel.view.kern.tobytes()).ask(chunk_bytes))
        chunks = chunks_guaranteed(first, count, count)
        reserve = kernel.devices.reserve.free
        kernel.devices.publish(CARDS, card.size, card.guarantee)
        taken = reserve - kernel.devices.reserve.free
        for frame in card.used:
            kernel.devices.get(first + frame)
        left = kernel.devices.reserve.free
        for frame in card.used:
            kernel.devices.put(first + frame)
        cards = 1 + len(list(_more(kernel, card)))
        return Said(reserve, taken, left, cards, chunks, slab.slabs(chunks) * slab.pages, slab)


def _more(kernel: Kernel, card: Card) -> Iterator[int]:
    """Publish cards behind the first one until the kernel refuses: where."""
    base = CARDS
    with suppress(OutOfMemory):
        while True:
            base += card.size
            kernel.devices.publish(base, card.size, card.guarantee)
            yield base


def task(numbers: Random) -> Task:
    """A card, and a driver that uses frames here and there."""
    size, guarantee = numbers.choice(SIZES), numbers.randrange(2, 5) * CHUNK_FRAMES + numbers.randrange(1, CHUNK_FRAMES)
    starts = [numbers.randrange(size // PAGE // CHUNK_FRAMES) * CHUNK_FRAMES for _ in range(USED)]
    near = [numbers.choice(starts[: USED // 2]) for _ in range(USED)]  # of one chunk are several
    used = sorted({start + numbers.randrange(CHUNK_FRAMES) for start in [*starts, *near]})
    card = Card(size, guarantee, used)
    frames = numbers.randrange(25, 100) * CHUNK_FRAMES
    done = said(card, frames)
    needed = len({frame // CHUNK_FRAMES for frame in used})
    return Task(_text(card, done), _questions(card, done, needed), machine_toml(RAM), profile(frames))


def _text(card: Card, done: Said) -> str:
    return f"""\
A driver finds a card with {card.size // GIB} GiB of memory, which begins at address {CARDS:#x}. The kernel has pages
of 4096 bytes and core table entries of 16 bytes. Entries for device frames come in chunks: the entries of
{CHUNK_FRAMES} frames, the first of which is a multiple of {CHUNK_FRAMES}, and a head of {Chunk.size} bytes. Chunks
lie in slabs of {done.slab.pages} heap pages, {done.slab.slots} in each. At boot a reserve of {done.reserve} chunks
was made, and it never grows.

A range of device memory is published in two resolutions. Its extent is one region record, however long it is. Chunks
are taken for the frames that the driver has guaranteed, here {card.guarantee}: as many as that many frames need that
lie side by side, from the start of a chunk on. They wait on the range's list. A frame that is used gets its entry: if
its chunk is not there yet, one of the list is taken for it, and once the list is empty one of the reserve.

The driver publishes the card, and then uses these frames of it at the same time, counted from the card's first frame:

{_rows(card.used)}"""


def _rows(frames: list[int]) -> str:
    rows = [frames[at : at + ROW] for at in range(0, len(frames), ROW)]
    return "\n".join("  " + "  ".join(f"{frame:>11,}" for frame in row) for row in rows)


def _questions(card: Card, done: Said, needed: int) -> tuple[Question, ...]:
    return (
        Question(
            prompt="How many chunks would entries for all frames of the card take?",
            unit="chunks",
            answer=done.chunks,
            why=f"{card.size // PAGE:,} frames, {CHUNK_FRAMES} in a chunk.",
        ),
        Question(
            prompt="How many pages of the heap would these chunks take?",
            unit="pages",
            answer=done.pages,
            why=f"Slabs of {done.slab.slots} chunks, {done.slab.pages} pages each: {done.pages * PAGE / MIB:,.0f} MiB.",
        ),
        Question(
            prompt=f"How many chunks does the publication take, with {card.guarantee} frames guaranteed?",
            unit="chunks",
            answer=done.taken,
            why=f"{card.guarantee} frames in chunks of {CHUNK_FRAMES}. The size of the card has no part in it: its "
            "extent is one record.",
        ),
        Question(
            prompt="How many chunks does the reserve have left when all those frames are in use?",
            unit="chunks",
            answer=done.left,
            why=f"They lie in {needed} chunks; {done.taken} came with the publication, the others from the reserve.",
        ),
        Question(
            prompt="How many cards like this, with such a guarantee each and no frame in use, can be published at a "
            "time?",
            unit="cards",
            answer=done.cards,
            why=f"{done.reserve} chunks, {done.taken} for each. A driver that asks for less leaves room for others.",
        ),
    )
