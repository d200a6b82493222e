"""Exercise 4: TLB reach. What a loop over a block of the heap misses: page by page, in large pages, by fixed entries.

The loop is calls of the kernel, in mode soft. Misses are counted by TLBs: those of every size that replace what was
used longest ago (`machine/distances.py`), and the processor's own.
"""

from random import Random
from typing import NamedTuple

from kernmalloc.course.machines import KIB, MIB
from kernmalloc.course.shape import Question, Task
from kernmalloc.facade.distances import Distances
from kernmalloc.facade.errors import checked
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.facade.tlb import TlbFigures
from kernmalloc.machine.distances import PLACES
from kernmalloc.machine.memory_map import Machine

TITLE = "TLB reach"
MACHINE = "m5475-64m"
PAGE, LARGE = 8 * KIB, MIB  # bytes
ENTRIES = (8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Of TLBs that are asked about."""
WORD = 8  # bytes that are copied to each page


def profile(strategy: str, spare: int) -> str:
    """A kernel without objects for a ColdFire V4e; its heap has so many MiB for malloc."""
    return f"""\
name = "course-coldfire"
summary = "a kernel without objects on ColdFire V4e, for what its heap does to the TLB"
arch = "coldfire"
phys_bits = 32
strategy = "{strategy}"

[va]
base = 0xC0000000
size = "1 GiB"
windows = "16 MiB"

[image]
base = "1 MiB"
size = "512 KiB"

[core]
stride = 56

[heap]
spare = "{spare} MiB"
excess = 0

[bank]
lenient = true
"""


class Loop(NamedTuple):
    """A loop: pages of the block, how often it goes over it, and bytes of a block that was allocated before."""

    pages: int
    rounds: int
    before: int


class Looped(NamedTuple):
    """What was counted: the block's address; bytes of the heap that the boot uses; misses of the heap by entries of a
    TLB that replaces what was used longest ago; other translations that the loop uses; what the processor's own TLBs
    counted."""

    va: int
    planned: int
    misses: dict[int, int]
    others: int
    own: TlbFigures


def looped(strategy: str, spare: int, loop: Loop, fixed: bool = False) -> Looped:
    """Run the loop on a kernel with that strategy; `fixed`: its heap is in locked entries."""
    with Kernel.boot(Machine.shipped(MACHINE), Profile.parse(profile(strategy, spare)), "soft") as kernel:
        frame = kernel.frame_get("page")
        kernel.malloc(loop.before)
        va = kernel.malloc(loop.pages * PAGE)
        _round(kernel, frame, va, loop.pages)
        kernel.tlb_reset(locked=fixed)
        distances = Distances(kernel)
        for _ in range(loop.rounds):
            _round(kernel, frame, va, loop.pages)
        own = kernel.tlb()
        assert own  # mode soft counts
        every = distances.misses(PLACES)
        windows = every["windows"] - 1  # the window is one translation, which is dropped and made again
        others = sum(every.values()) - every["heap"] - windows
        return Looped(
            va, kernel.heap.planned, {n: distances.misses(n)["heap"] for n in range(1, PLACES + 1)}, others, own
        )


def _round(kernel: Kernel, frame: int, va: int, pages: int) -> None:
    """Copy a word of a frame into each page of a block."""
    for at in range(va, va + pages * PAGE, PAGE):
        checked(kernel.call("copyin", frame, 0, at, WORD), "copyin")


def task(numbers: Random) -> Task:
    """A block, and two TLBs: one is too small for the loop, the other is not. No core table lies in a large page of the
    block."""
    loop = Loop(numbers.randrange(12, 100), numbers.randrange(3, 10), LARGE + numbers.randrange(150) * PAGE)
    spare = numbers.randrange(4, 12)
    paged, large, fixed = (
        looped("demand", spare, loop),
        looped("reserve", spare, loop),
        looped("reserve", spare, loop, fixed=True),
    )
    enough = next(entries for entries, misses in paged.misses.items() if misses == loop.pages)
    small = max(entries for entries in ENTRIES if entries < enough)
    big = min(entries for entries in ENTRIES if entries >= enough)
    own = paged.own.processor.tlbs[0].entries
    text = f"""\
A kernel runs on a ColdFire V4e, whose TLB has {own} entries for data and is loaded by software. A block of its heap
has {loop.pages * PAGE // KIB} KiB. A loop copies a word into each page of the block, from the first to the last, and
does so {loop.rounds} times. When it begins, the TLB is empty.

In one kernel the heap is mapped page by page, in pages of 8 KiB. Beside the page of the block each copy touches
{paged.others} other pages: of core table, page tables, records and stack, and a window; each of these needs an entry
of its own. Assume TLBs that replace the entry which was used longest ago.

In another kernel the heap is mapped in large pages of 1 MiB, and the block begins at address {large.va:#x}. The boot
uses {large.planned // KIB:,} KiB of this heap, {spare} MiB more are kept for malloc, and the whole is rounded up to
large pages. A third kernel locks the entries of these large pages: they are never replaced."""
    return Task(
        text,
        (
            Question(
                prompt="Page by page: how many entries must a TLB have at least so that nothing of the block misses "
                "but in the first round?",
                unit="entries",
                answer=enough,
                why=f"Its reach must hold all that is touched from one use of a page to the next: {loop.pages} pages "
                f"of the block and {paged.others} others.",
            ),
            Question(
                prompt=f"Page by page, with {big} entries: how many accesses to the block miss in all rounds?",
                unit="misses",
                answer=paged.misses[big],
                why="Each page misses once, when it is touched first.",
            ),
            Question(
                prompt=f"Page by page, with {small} entries: how many accesses to the block miss in all rounds?",
                unit="misses",
                answer=paged.misses[small],
                why="When the loop comes back to a page, all others have been used since, and it is the one that has "
                f"been replaced: a loop that is a little too long misses always. The ColdFire's own {own} entries, "
                f"which a tree of bits replaces, missed {paged.own.by_structure['heap'].misses:,} times.",
            ),
            Question(
                prompt=f"In large pages, with {own} entries: how many accesses to the block miss in all rounds?",
                unit="misses",
                answer=large.misses[own],
                why=f"The block lies in {large.misses[own]} large page{'s' if large.misses[own] > 1 else ''}: from "
                f"{large.va:#x} to {large.va + loop.pages * PAGE - 1:#x}.",
            ),
            Question(
                prompt=f"The third kernel: how many of the {own} entries are left for all that is not heap?",
                unit="entries",
                answer=own - fixed.own.locked,
                why=f"{fixed.own.locked} large pages are locked. The heap misses "
                f"{fixed.own.by_structure['heap'].misses} times.",
            ),
        ),
        MACHINE,
        profile("reserve", spare),
    )
