"""Exercise 3, solved on the map of its text alone, by trying every place."""

import pytest
from exercises import found, lines, numbers, solved_as

from kernmalloc.course import Exercise
from kernmalloc.course.moving import ELSEWHERE, FIRST, FRAMES, FREE, PAGES, STAYS, Got, asked, laid

Place = tuple[int, int]  # pages to move, and where it begins in the map


def places(map: str, count: int, align: int, first: int) -> list[Place]:
    """Every place for a range."""
    return [
        (map[at : at + count].count(PAGES), at)
        for at in range(len(map) - count + 1)
        if (first + at) % align == 0 and STAYS not in map[at : at + count]
    ]


def solve(asked: Exercise) -> list[int | str]:
    rows = lines(asked)
    (first,) = numbers(rows[0])
    map = "".join(row.split(maxsplit=1)[1].replace(" ", "") for row in rows)
    (count,) = found("asks for # frames", asked.questions[1].prompt)
    count, align = found("asks for # frames that begin at a multiple of #", asked.questions[3].prompt)
    moved, start = min(places(map, count, 1, first))
    return [
        max(n for n in range(1, len(map)) if any(cost == 0 for cost, _ in places(map, n, 1, first))),
        moved,
        first + start,
        min(places(map, count, align, first))[0],
        max(n for n in range(1, len(map) + 1) if places(map, n, 1, first)),
    ]


test_E12_ranges_by_hand = solved_as(3, solve, examples=6)


def test_the_kernel_is_laid_out_as_the_map_says():
    map = (FREE + PAGES + STAYS + FREE * 3 + PAGES * 2) * 8
    with laid(map) as kernel:
        types = {FREE: "free", PAGES: "page", STAYS: "dma"}
        assert [kernel.frame_type(FIRST + at) for at in range(FRAMES)] == [types[what] for what in map]
        assert kernel.frames_by_type()["free"] == map.count(FREE) + ELSEWHERE
        before = kernel.snapshot()
        assert asked(kernel, 4) == Got(FIRST + 3, 1)
        assert asked(kernel, 8) is None
        assert kernel.snapshot() == before


@pytest.mark.parametrize("count, align", [(4, 1), (6, 2), (9, 4)])
def test_every_place_is_what_the_kernel_finds(count, align):
    map = (FREE * 2 + PAGES + FREE + PAGES * 3 + FREE * 2 + PAGES + FREE * 3 + PAGES + FREE + STAYS) * 4
    with laid(map) as kernel:
        moved, at = min(places(map, count, align, FIRST))
        assert asked(kernel, count, align) == Got(FIRST + at, moved)
