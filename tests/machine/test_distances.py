"""Reuse distances against TLBs of every size, each kept as a plain list."""

from flat_memory import FlatMemory
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.lang import twin
from kernmalloc.machine import distances
from kernmalloc.machine.distances import COUNTED, PLACES, Distances

DO = twin.compile([distances.distance_noted, distances.distances_dropped, distances.distances_cleared])
MEMORY = FlatMemory(1 << 18)
STATE = MEMORY.new(Distances.size)
LARGE = 9

spaces, pages = st.integers(0, 2), st.integers(0, 15)
accesses = st.tuples(st.just("access"), st.integers(0, COUNTED - 1), spaces, st.sampled_from((0, LARGE)), pages)
drops = st.tuples(st.just("drop"), st.just(0), spaces, st.sampled_from((0, 3)), pages)
clears = st.tuples(st.just("clear"), st.just(0), spaces, st.just(0), pages)


class Lru:
    """A fully associative TLB of so many entries: (address space, pages), the last used first; None was dropped."""

    def __init__(self, entries: int) -> None:
        self.held, self.misses = [None] * entries, [0] * COUNTED

    def access(self, what: int, entry: tuple[int, range]) -> None:
        if entry in self.held:
            self.held.remove(entry)
        else:
            self.misses[what] += 1
            if None in self.held:
                self.held.remove(None)
            else:
                self.held.pop()
        self.held.insert(0, entry)

    def keep(self, wanted) -> None:
        self.held = [entry if entry and wanted(*entry) else None for entry in self.held]


def counted() -> tuple[list[list[int]], list[int]]:
    """Hits by structure and place, and what was nowhere."""
    words, state = memoryview(MEMORY.bytes).cast("q"), Distances(STATE)
    near, far = state.near.addr >> 3, state.far.addr >> 3
    return [list(words[near + s * PLACES : near + (s + 1) * PLACES]) for s in range(COUNTED)], list(
        words[far : far + COUNTED]
    )


@given(st.lists(accesses | drops | accesses | clears, max_size=120), st.integers(-(1 << 36), 1 << 36))
def test_one_list_counts_the_misses_of_every_size(script, base):
    """C12: what the curve of misses against the size of a TLB says is what TLBs of these sizes do."""
    twin.use(MEMORY)
    MEMORY.clear(STATE, Distances.size)
    models = [Lru(entries) for entries in range(1, 34)]
    base = base >> LARGE << LARGE
    for what, structure, space, size, number in script:
        first = base + (number << size)
        mine = range(first, first + (1 << size))
        if what == "access":
            DO["distance_noted"](STATE, structure, space, first, size)
        elif what == "drop":
            DO["distances_dropped"](STATE, space, first, len(mine))
        else:
            DO["distances_cleared"](STATE, space)
        for model in models:
            if what == "access":
                model.access(structure, (space, mine))
            elif what == "drop":
                model.keep(lambda of, at, s=space, m=mine: of != s or at.stop <= m.start or m.stop <= at.start)
            else:
                model.keep(lambda of, at, s=space: of == s)
    near, far = counted()
    for model in models:
        found = [far[s] + sum(near[s][len(model.held) :]) for s in range(COUNTED)]
        assert found == model.misses, len(model.held)


def test_the_list_has_an_end_and_what_falls_off_it_is_far():
    twin.use(MEMORY)
    MEMORY.clear(STATE, Distances.size)
    for page in [*range(PLACES + 1), 0, 2]:
        DO["distance_noted"](STATE, 0, 0, page, 0)
    near, far = counted()
    assert Distances(STATE).used == PLACES and far[0] == PLACES + 2 and near[0][PLACES - 1] == 1
