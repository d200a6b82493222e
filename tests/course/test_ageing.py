"""Exercise 5, solved with the touches of its text alone, by a model of the two queues."""

from collections import deque

import pytest
from exercises import found, lines, numbers, solved_as
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.course import Exercise
from kernmalloc.course.ageing import ORDINALS, PAGES, aged, clock


def model(touches: list[int], frames: int) -> tuple[int, list[int], int]:
    """Hits, pages evicted in order, pages in MAIN: as the text says it. Queues have the page to be looked at first."""
    small, main = deque[int](), deque[int]()
    uses: dict[int, int] = {}
    ghosts: set[int] = set()
    hits, evicted = 0, []
    for page in touches:
        if page in uses:
            hits += 1
            uses[page] = min(uses[page] + 1, 3)
            continue
        while len(uses) == frames:
            if small:
                looked = small.popleft()
                stays, left = uses[looked] >= 2, 0
                ghosts |= set() if stays else {looked}
            else:
                looked = main.popleft()
                stays, left = uses[looked] > 0, uses[looked] - 1
            if stays:
                main.append(looked)
                uses[looked] = left
            else:
                del uses[looked]
                evicted.append(looked)
        uses[page] = 1
        if page in ghosts:
            main.append(page)
        else:
            small.append(page)
        ghosts.discard(page)
    return hits, evicted, len(main)


def plain_clock(touches: list[int], frames: int) -> int:
    """Hits under a clock: a queue of [page, bit], whose head is where the hand points."""
    ring, hits = deque[list[int]](), 0
    for page in touches:
        if held := [each for each in ring if each[0] == page]:
            hits, held[0][1] = hits + 1, 1
            continue
        while len(ring) == frames and ring[0][1]:
            ring[0][1] = 0
            ring.rotate(-1)
        if len(ring) == frames:
            ring.popleft()
        ring.append([page, 1])
    return hits


def solve(asked: Exercise) -> list[int | str]:
    (frames,) = found("cache has # frames", asked.text)
    touches = numbers(lines(asked)[0])
    hits, evicted, main = model(touches, frames)
    which = next(at for at, name in enumerate(ORDINALS) if f"the {name} one" in asked.questions[1].prompt)
    return [evicted[0], evicted[which], hits, plain_clock(touches, frames), main]


test_E30_ageing_by_hand = solved_as(5, solve, examples=6)


@settings(max_examples=15)
@given(st.lists(st.integers(1, PAGES), min_size=1, max_size=60), st.integers(2, 7))
def test_E30_any_string_ages_as_the_text_says(touches, frames):
    """Of the kernel: hits, every page that goes, and where the others are."""
    assert tuple(aged(touches, frames)) == model(touches, frames)


@given(st.lists(st.integers(1, PAGES), max_size=60), st.integers(1, 7))
def test_the_clock_is_a_clock(touches, frames):
    assert clock(touches, frames) == plain_clock(touches, frames)


@pytest.mark.parametrize("touches, hits", [([1, 2, 3, 1, 2, 3], 0), ([1, 1, 2, 1], 2), ([], 0)])
def test_two_frames_of_a_clock(touches, hits):
    assert clock(touches, 2) == hits
