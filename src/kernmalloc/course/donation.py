"""Exercise 2: minimal donation. Why exactly so many frames, and what becomes of one frame less.

The cost is the kernel's own `area_cost`. A boot whose donation has been made one frame smaller in the kernel's record
is refused by the kernel.
"""

import struct
from bisect import bisect_right
from itertools import count
from random import Random

from kernmalloc.course.machines import IMAGE, MIB, PAGE, kernel_toml, loaded, machine_toml, steps
from kernmalloc.course.shape import Question, Task
from kernmalloc.facade.errors import KernelError
from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.core.kern import Kern
from kernmalloc.lang import status

TITLE = "Minimal donation"
UPPER = 256 * MIB  # where the donor begins: the bitmaps of 65,536 frames from there on begin with it
MOST = 1 << 16
LOWER = IMAGE[0], 2 * MIB
STRIDES = (16, 24, 32, 40, 48, 56, 64)
ANSWERS = ("OK", "NO_FRAMES", "NO_VA", "BAD_SIZE")


def task(numbers: Random) -> Task:
    """A donor of some size, in a kernel with entries of some size."""
    stride, frames = numbers.choice(STRIDES), numbers.randrange(400, 60_000)
    machine, profile = machine_toml(LOWER, (UPPER, frames * PAGE)), kernel_toml(stride)
    with loaded(machine, profile) as kernel:
        bytes = kernel.call_kern("table_bytes", UPPER // PAGE, frames)
        more = next(n for n in count(1) if cost(kernel, frames + n) > cost(kernel, frames))
        next(steps(kernel))
        donated, maps = kernel.donation.frames, int(kernel.view.kern["donation_maps"])
        given = numbers.randrange(20, 400)
        longest = bisect_right(range(MOST), given, key=lambda frames: cost(kernel, frames)) - 1
    with loaded(machine, kernel_toml(stride + 8)) as kernel:
        larger = cost(kernel, frames)
    text = f"""\
The highest range of RAM of a machine begins at frame {UPPER // PAGE:,} and has {frames:,} frames. A kernel with core
table entries of {stride} bytes and identities of 16 bytes boots on it. The free bitmaps of the range take {
        bytes
        - frames
        * (stride + 16):,} bytes; they are four: a bit for each frame, in whole chunks of 512 frames; a bit for each
word of 64 bits of that; a bit for each word of these; and a bit for each chunk; each of them in whole words. A page
has 4096 bytes.

The core table with its identities and bitmaps is one allocation of whole heap pages. Each heap page has a record of
64 bytes in the heap map, in whole pages. Each 512 pages of the heap, and of the heap map, have a leaf table of one
frame. All these frames are donated before the table is allocated, and no others."""
    return Task(
        text,
        (
            Question(
                prompt="How many frames are donated?",
                unit="frames",
                answer=donated,
                why=f"The table takes {bytes:,} bytes, rounded up to pages; their records and leaf tables are the "
                "rest.",
            ),
            Question(
                prompt="How many of them are for leaf tables?",
                unit="frames",
                answer=maps,
                why="One for each 512 pages of the heap begun, and one for the heap map.",
            ),
            Question(
                prompt=f"How many would be donated if an entry had {stride + 8} bytes?",
                unit="frames",
                answer=larger,
                why=f"{frames * 8:,} bytes more, in whole pages, and what describes and maps these.",
            ),
            Question(
                prompt="By how many frames must the range be longer at least for the donation to be larger?",
                unit="frames",
                answer=more,
                why=f"The last page of the table has {-bytes % PAGE:,} bytes left. Each frame more takes {stride + 16} "
                "of them, and each 512 frames begun a chunk of the bitmaps.",
            ),
            Question(
                prompt="The donation is made one frame smaller. What does the kernel answer in step table?",
                unit="choice",
                choices=ANSWERS,
                answer=starved(machine, profile),
                why="malloc asks for all that the table takes before it takes anything. There is no free list yet, so "
                "that nothing but the donation could serve it.",
            ),
            Question(
                prompt=f"What is the longest range, from the same frame on, that a donation of {given} frames "
                "describes?",
                unit="frames",
                answer=longest,
                why=f"Of {given} frames the heap map and the leaf tables take their part; the rest are pages of the "
                f"table, of which each frame takes {stride + 16} bytes and its bits.",
            ),
        ),
        machine,
        profile,
    )


def cost(kernel: Kernel, frames: int) -> int:
    """Frames that describing so many takes, the first of them being that of the donor, out of an empty heap."""
    return kernel.call_kern("area_cost", 0, UPPER // PAGE, frames)


def starved(machine: str, profile: str) -> str:
    """The status of a boot whose donation is a frame smaller than the kernel computed."""
    with loaded(machine, profile) as kernel:
        donate = steps(kernel)
        next(donate)
        less = struct.pack("<q", kernel.donation.frames - 1)
        pa = kernel.view.pa(kernel.view.kern_va + Kern.offset("donation_frames"))
        kernel.view.memory[pa : pa + len(less)] = less
        try:
            next(donate)
        except KernelError as refused:
            return status.NAMES[refused.status]
        return "OK"
