"""Exercise 8, solved with the numbers of its text alone."""

from exercises import found, lines, numbers, solved_as

from kernmalloc.course import Exercise
from kernmalloc.course.resolutions import GIB, Card, said

PAGE = 4096


def solve(asked: Exercise) -> list[int | str]:
    (gib,) = found("card with # GiB", asked.text)
    (per,) = found("the entries of # frames", asked.text)
    pages, slots, reserve = found("slabs of # heap pages, # in each. At boot a reserve of # chunks", asked.text)
    (guarantee,) = found("guaranteed, here #", asked.text)
    used = [frame for line in lines(asked) for frame in numbers(line)]
    chunks, taken = gib * GIB // PAGE // per, -(-guarantee // per)
    needed = len({frame // per for frame in used})
    return [chunks, -(-chunks // slots) * pages, taken, reserve - max(needed, taken), reserve // taken]


test_C10_C15_two_resolutions_by_hand = solved_as(8, solve)


def test_C21_a_card_of_256_gib_takes_what_a_small_one_takes():
    small, large = (said(Card(size, 100, [0, 33, 64]), 1600) for size in (16 * GIB, 256 * GIB))
    assert (small.taken, small.left, small.cards) == (large.taken, large.left, large.cards) == (4, 56, 15)
    assert large.pages > 15 * small.pages
