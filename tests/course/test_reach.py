"""Exercise 4, solved with the numbers of its text alone; and the same loop on a TLB of plain Python."""

from exercises import found, solved_as

from kernmalloc.course import Exercise
from kernmalloc.course.reach import PAGE, Loop, looped

LARGE = 1 << 20


def lru(entries: int, pages: int, others: int, rounds: int) -> int:
    """Misses of a block of so many pages, in a loop that uses others with each of them."""
    held: list[object] = []
    misses = 0
    for _ in range(rounds):
        for page in range(pages):
            for used in [page, *(("other", other) for other in range(others))]:
                misses += used not in held and used == page
                held = [used, *(each for each in held if each != used)][:entries]
    return misses


def solve(asked: Exercise) -> list[int | str]:
    own, kib, rounds = found(r"TLB has # entries.* has # KiB.* does so # times", asked.text)
    (others,) = found("touches # other pages", asked.text)
    used, spare = found(r"boot uses # KiB of this heap, # MiB more", asked.text)
    (va,) = (int(found, 16) for found in [asked.text.split("address 0x")[1].split(".")[0]])
    pages = kib * 1024 // PAGE
    (big,) = found("with # entries", asked.questions[1].prompt)
    (small,) = found("with # entries", asked.questions[2].prompt)
    enough = next(n for n in range(pages, 200) if lru(n, pages, others, 2) == pages)
    heap = -(-(used * 1024 + spare * LARGE) // LARGE)
    return [
        enough,
        lru(big, pages, others, rounds),
        lru(small, pages, others, rounds),
        (va + kib * 1024 - 1) // LARGE - va // LARGE + 1,
        own - heap,
    ]


test_C2_the_reach_by_hand = solved_as(4, solve, examples=3)


def test_C2_fixed_entries_miss_nothing():
    done = looped("reserve", 4, Loop(pages=20, rounds=3, before=PAGE), fixed=True)
    assert done.own.locked > 4
    assert done.own.by_structure["heap"].accesses == 60 and done.own.by_structure["heap"].misses == 0
