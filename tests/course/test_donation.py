"""Exercise 2, solved with the numbers of its text alone."""

from itertools import count

from exercises import found, solved_as

from kernmalloc.course import Exercise, exercise
from kernmalloc.course.donation import starved
from kernmalloc.course.machines import booted

PAGE = 4096


def up(number: int, unit: int) -> int:
    return -(-number // unit)


def bitmaps(frames: int) -> int:
    """Bytes, as the text tells how they come about."""
    words = up(frames, 512) * 8
    sums = up(words, 64)
    return 8 * (words + sums + up(sums, 64) + up(words // 8, 64))


def donation(frames: int, stride: int) -> tuple[int, int]:
    """Frames donated, and of these leaf tables."""
    pages = up(frames * (stride + 16) + bitmaps(frames), PAGE)
    records = up(pages, 64)
    leaves = up(pages, 512) + up(records, 512)
    return pages + records + leaves, leaves


def solve(asked: Exercise) -> list[int | str]:
    (frames,) = found("has # frames", asked.text)
    (stride,) = found("entries of # bytes", asked.text)
    assert bitmaps(frames) == found("take # bytes; they are four", asked.text)[0]
    donated, leaves = donation(frames, stride)
    (larger,) = found("had # bytes", asked.questions[2].prompt)
    (given,) = found("donation of # frames", asked.questions[5].prompt)
    return [
        donated,
        leaves,
        donation(frames, larger)[0],
        next(n for n in count(1) if donation(frames + n, stride)[0] > donated),
        "NO_FRAMES",
        next(n for n in count(1) if donation(n + 1, stride)[0] > given),
    ]


test_E35_the_donation_by_hand = solved_as(2, solve)


def test_E35_one_frame_less_is_refused_and_as_many_as_computed_are_enough():
    asked = exercise(2, 3)
    assert starved(asked.machine, asked.profile) == "NO_FRAMES"
    with booted(asked.machine, asked.profile) as kernel:
        assert kernel.donation.frames == kernel.donation.heap + kernel.donation.maps == asked.questions[0].answer


def test_seeds_differ_in_leaf_tables():
    assert len({exercise(2, seed).questions[1].answer for seed in range(8)}) > 1
