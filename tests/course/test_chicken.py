"""Exercise 1, solved with the numbers of its text alone."""

from exercises import lines, numbers, solved_as

from kernmalloc.course import Exercise
from kernmalloc.course.chicken import EVENTS

PAGE = 4096


def up(number: int, unit: int) -> int:
    return -(-number // unit)


def described(pages: int) -> int:
    """Frames of a heap of so many pages: pages, records of 64 bytes, and leaf tables of both."""
    records = up(pages * 64, PAGE)
    return pages + records + up(pages, 512) + up(records, 512)


def solve(asked: Exercise) -> list[int | str]:
    upper, lower = (numbers(line)[1:] for line in lines(asked)[1:3])
    pages, more = (up(frames * (16 + 16) + bitmaps, PAGE) for frames, bitmaps in (upper, lower))
    records = up(pages * 64, PAGE)
    donated = described(pages)
    listed = upper[0] - donated
    rest = described(pages + 1 + more) - donated
    event = next(event for event in EVENTS if event in asked.questions[-1].prompt)
    step = dict(zip(EVENTS, ("table", "list", "rest"), strict=True))[event]
    leaves = up(pages, 512) + up(records, 512)
    return [pages, records, leaves, donated, listed, rest, listed - rest + lower[0], step]


test_E32_to_E39_the_boot_by_hand = solved_as(1, solve)
