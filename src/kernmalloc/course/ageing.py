"""Exercise 5: ageing against a clock. Which page goes next, and whose hit rate is better on the same touches.

The kernel has as many frames for its page cache as the exercise says; all others are held. Each touch asks it for a
page. The clock is the textbook's, and no part of the kernel.
"""

import tempfile
from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from kernmalloc.course.machines import IMAGE, MIB, booted, kernel_toml, machine_toml, take_all
from kernmalloc.course.shape import Question, Task
from kernmalloc.kernel.core.kern import MAIN

TITLE = "Ageing against a clock"
RAM = IMAGE[0], 2 * MIB
PAGES = 9  # pages that are touched, from 1 on
TOUCHES = 24
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


class Aged(NamedTuple):
    """What ageing came to: touches of pages that were there, pages evicted in order, pages in queue MAIN at the end."""

    hits: int
    evicted: list[int]
    main: int


def aged(touches: Iterable[int], frames: int) -> Aged:
    """Ask a kernel with so many frames for pages, one after the other."""
    with (
        tempfile.NamedTemporaryFile() as file,
        booted(machine_toml(RAM), kernel_toml()) as kernel,
        kernel.pages.source(file.name, pages=PAGES + 1),
    ):
        for pfn in take_all(kernel)[-frames:]:
            kernel.frame_put(pfn)
        holds: dict[int, int] = {}  # frame -> page
        evicted = []
        hits = 0
        for page in touches:
            missed = int(kernel.pages.state["misses"])
            pfn = kernel.pages.get(page).pfn
            if int(kernel.pages.state["misses"]) == missed:
                hits += 1
            elif pfn in holds:
                evicted.append(holds[pfn])
            holds[pfn] = page
        return Aged(hits, evicted, int(kernel.pages.state["queues"][MAIN]["count"]))


def clock(touches: Iterable[int], frames: int) -> int:
    """Touches of pages that were there, under a plain clock: a hand that goes round, and one bit for each frame, set by
    every touch. The hand passes over a frame whose bit is set, and clears it; a frame whose bit is clear is taken."""
    where: dict[int, int] = {}
    held, used, hand, hits = [-1] * frames, bytearray(frames), 0, 0
    for page in touches:
        if page in where:
            hits += 1
            used[where[page]] = 1
            continue
        while used[hand]:
            used[hand] = 0
            hand = hand + 1 if hand + 1 < frames else 0
        where.pop(held[hand], None)
        held[hand], where[page], used[hand] = page, hand, 1
        hand = hand + 1 if hand + 1 < frames else 0
    return hits


def string(numbers: Random) -> list[int]:
    """Touches of a few pages again and again, and of others once in a while."""
    pages = list(range(1, PAGES + 1))
    numbers.shuffle(pages)
    return numbers.choices(pages, [6, 5, 4, 1, 1, 1, 1, 1, 1], k=TOUCHES)


def task(numbers: Random) -> Task:
    """A reference string on which the kernel and a clock differ."""
    frames = numbers.choice((4, 5))
    touches, done = list[int](), Aged(0, [], 0)
    while done.hits == clock(touches, frames) or len(done.evicted) < len(ORDINALS):
        touches = string(numbers)
        done = aged(touches, frames)
    which = numbers.randrange(1, len(ORDINALS))
    text = f"""\
A page cache has {frames} frames, all of them empty. These pages are touched, in this order:

  {" ".join(map(str, touches))}

The kernel ages pages in two queues. A page counts its uses, up to 3; the one that brings it in counts. A page that
comes in enters SMALL. When a frame is needed, the page that has been in its queue longest is looked at: of SMALL if
there is any page in it (a cache so small leaves SMALL no share of its own), else of MAIN. A page of SMALL with 2 uses
or more moves to MAIN, and its count begins again at 0; one with fewer goes, and its number is remembered: if it comes
in again it enters MAIN, and its number is forgotten. A page of MAIN whose count is 0 goes; else it goes round once
more, and its count is one less.

A clock has a hand, and one bit for each frame, which every touch sets, also the one that brings a page in. When a
frame is needed, the hand passes over frames whose bit is set, and clears it; the first frame whose bit is clear is
taken, and the hand moves on behind it."""
    return Task(
        text,
        (
            Question(
                prompt="Which page does the kernel evict first?",
                unit="page",
                answer=done.evicted[0],
                why="SMALL is looked at from the page that came first: those with two uses or more pass into MAIN.",
            ),
            Question(
                prompt=f"Which page does the kernel evict as the {ORDINALS[which]} one?",
                unit="page",
                answer=done.evicted[which],
                why=f"In all, it evicts {', '.join(map(str, done.evicted))}, in this order.",
            ),
            Question(
                prompt=f"How many of the {TOUCHES} touches are hits in the kernel's page cache?",
                unit="touches",
                answer=done.hits,
                why=f"A hit rate of {done.hits / TOUCHES:.1%}. All others bring a page in.",
            ),
            Question(
                prompt="How many are hits under the clock?",
                unit="touches",
                answer=clock(touches, frames),
                why=f"A hit rate of {clock(touches, frames) / TOUCHES:.1%}, on the same touches and frames.",
            ),
            Question(
                prompt="How many pages are in MAIN at the end?",
                unit="pages",
                answer=done.main,
                why="Those that were used twice while they were in SMALL, or came back after they had gone from it.",
            ),
        ),
        machine_toml(RAM),
        kernel_toml(),
    )
