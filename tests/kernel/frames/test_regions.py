"""The region tree against a dictionary: whatever is added, split, merged, removed and looked up, in whatever order.

Rows E6 (every frame resolves to one region), E7 and E25 (regions come and go), E22 (any number of them), E3 (frames up
to the address limit), and the defects of the ancestors: bounds that wrap, an overlap check that fails on fragmented
ranges, a failed lookup that leaves something behind."""

import math
import random

import pytest
from flat_memory import FlatMemory
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.kernel.core.kern import CLASSES, MAX_PFN, RAM, Cpu, Kern
from kernmalloc.kernel.frames import regions
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.lang import twin
from kernmalloc.lang.functions import over_numbers
from kernmalloc.lang.status import BAD_FRAME, BUSY, OK, OVERLAP, WRAPS

LEAST, MOST = -(1 << 63), (1 << 63) - 1
LIMIT = 1 << 24  # frames: 64 GiB

FUNCTIONS = (
    regions.region_of,
    regions.next_region,
    regions.range_ok,
    regions.region_add,
    regions.region_remove,
    regions.region_split,
    regions.region_merge,
)


class World:
    """A region tree in memory, and what it should hold: {base: (count, kind, record)}."""

    def __init__(self, limit: int = LIMIT, size: int = 1 << 18, checked: bool = True) -> None:
        self.memory = FlatMemory(size)
        self.cpu = self.memory.new(Cpu.size)
        self.kern = self.memory.new(Kern.size)
        self.limit = limit
        self.model: dict[int, tuple[int, int, int]] = {}
        self.cut: set[int] = set()  # bases of those that were cut off the one below
        self.spare: list[int] = []
        self.do = twin.compile(FUNCTIONS) if checked else {f.__name__: over_numbers(f) for f in FUNCTIONS}
        twin.use(self.memory)
        Cpu(self.cpu).kern = Kern(self.kern)
        Kern(self.kern).max_pfn = limit

    def call(self, name: str, *args: int) -> int:
        return self.do[name](self.cpu, *args)

    def record(self) -> int:
        """A zeroed region record."""
        if not self.spare:
            return self.memory.new(Region.size)
        self.memory.clear(self.spare[-1], Region.size)
        return self.spare.pop()

    def state(self) -> bytes:
        """All memory but the note of the last region found, which a lookup may change at any time."""
        hit = self.kern + Kern.offset("hit")
        return bytes(self.memory.bytes[:hit] + self.memory.bytes[hit + 8 :])

    def overlaps(self, base: int, count: int) -> bool:
        return any(low < base + count and base < low + n for low, (n, _, _) in self.model.items())

    def holder(self, pfn: int) -> int:
        """Record of the region that holds a frame, 0 if none does."""
        return next((at for low, (n, _, at) in self.model.items() if low <= pfn < low + n), 0)

    def add(self, base: int, count: int, kind: int = RAM) -> int:
        """Add a range as callers do: `range_ok` first. The status is as the model says, a refusal changes nothing."""
        before = self.state()
        status = self.call("range_ok", base, count)
        assert self.state() == before
        if count <= 0 or base < 0 or base + count > self.limit:
            assert status == WRAPS
        elif self.overlaps(base, count):
            assert status == OVERLAP
        else:
            assert status == OK
            record = self.record()
            assert self.call("region_add", record, base, count, kind) == OK
            self.model[base] = count, kind, record
        return status

    def remove(self, base: int) -> None:
        _, _, record = self.model.pop(base)
        self.cut.discard(base)
        assert self.call("region_remove", record) == OK
        self.spare.append(record)

    def split(self, base: int, offset: int) -> None:
        count, kind, record = self.model[base]
        at = base + offset
        upper = self.record()
        before = self.state()
        status = self.call("region_split", record, upper, at)
        if base < at < base + count:
            assert status == OK
            self.model[base] = at - base, kind, record
            self.model[at] = base + count - at, kind, upper
            self.cut.add(at)
        else:
            assert status == BAD_FRAME
            assert self.state() == before
            self.spare.append(upper)

    def merge(self, base: int) -> None:
        count, kind, record = self.model[base]
        upper = self.model.get(base + count)
        before = self.state()
        freed = self.call("region_merge", record)
        if upper and upper[1] == kind and base + count in self.cut:
            self.cut.remove(base + count)
            assert freed == upper[2]
            del self.model[base + count]
            self.model[base] = count + upper[0], kind, record
            self.spare.append(freed)
        else:
            assert freed == 0
            assert self.state() == before

    def depth(self) -> int:
        """Length of the longest path from the root."""
        level, deepest = [self.root], 0
        while level:
            deepest += 1
            level = [
                child.node.addr for at in level for child in (Region(at).left, Region(at).right) if child.node != 0
            ]
        return deepest

    @property
    def root(self) -> int:
        return Kern(self.kern).regions.node.addr

    def verify(self) -> None:
        """The tree is a search tree of exactly the model's regions; visiting them in order gives the model in order."""
        seen = []

        def visit(at: int, low: int, high: int) -> None:
            if at:
                r = Region(at)
                assert low <= r.base and r.base + r.count <= high
                visit(r.left.node.addr, low, r.base)
                seen.append((r.base, (r.count, r.kind, at)))
                visit(r.right.node.addr, r.base + r.count, high)

        visit(self.root, 0, self.limit)
        assert seen == sorted(self.model.items())
        assert Kern(self.kern).region_count == len(self.model)
        visited, pfn = [], 0
        while (at := self.call("next_region", pfn)) != 0:
            visited.append(at)
            pfn = Region(at).base + Region(at).count
        assert visited == [record for _, (_, _, record) in sorted(self.model.items())]

    def find(self, pfn: int) -> None:
        assert self.call("region_of", pfn) == self.holder(pfn)


SMALL = st.integers(-2, 70)  # a universe of 64 frames, so that ranges meet
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), SMALL, st.integers(-1, 12), st.integers(1, CLASSES - 1)),
        st.tuples(st.just("remove"), st.integers(0)),
        st.tuples(st.just("split"), st.integers(0), st.integers(-1, 13)),  # so many frames from its base
        st.tuples(st.just("merge"), st.integers(0)),
        st.tuples(st.just("find"), SMALL),
    ),
    min_size=8,
    max_size=60,
)


@given(OPERATIONS)
def test_any_sequence_of_operations_agrees_with_a_dictionary_E6_E25(operations):
    """After every step the tree holds what the dictionary holds, and every frame is found in its region, or in none."""
    world = World(limit=64)
    for name, *arguments in operations:
        if name == "add":
            world.add(*arguments)
        elif name == "find":
            world.find(*arguments)
        elif world.model:
            bases = sorted(world.model)
            getattr(world, name)(bases[arguments[0] % len(bases)], *arguments[1:])
        world.verify()
    for pfn in (*range(-2, 67), LEAST, MOST):
        world.find(pfn)


@pytest.mark.parametrize("seed", range(20))
def test_long_sequences_agree_with_a_dictionary_E6_E25(seed):
    """The same, 150 steps in a universe that is always nearly full: most steps do something."""
    pick, world = random.Random(seed), World(limit=64)
    for _ in range(150):
        name = pick.choice(["add", "add", "remove", "split", "split", "merge", "merge", "find"])
        bases = sorted(world.model)
        if name == "add" or not bases:
            world.add(pick.randrange(64), pick.choice([1, 2, 3, 8]), pick.choice([1, 1, 4]))
        elif name == "find":
            world.find(pick.randrange(64))
        else:
            base = pick.choice(bases)
            getattr(world, name)(base, *([pick.randrange(world.model[base][0] + 1)] if name == "split" else []))
        world.verify()


@given(st.integers(LEAST, MOST), st.integers(LEAST, MOST), st.sampled_from([64, 1 << 24, MAX_PFN]))
def test_no_base_and_no_count_wraps(base, count, limit):
    """`bound - size` that wraps accepts what is too large: the twin sees every wrap, the model every wrong answer."""
    world = World(limit)
    world.add(base, count)
    world.verify()


@pytest.mark.parametrize("limit", [1, 64, 1 << 24, MAX_PFN])
def test_ranges_at_the_edges_of_what_exists_E3(limit):
    """The last frame below the address limit can be had, none beyond; sums beyond 2 ** 63 are refused."""
    world = World(limit)
    edges = [0, 1, limit - 1, limit, limit + 1, MAX_PFN - 1, MAX_PFN, MAX_PFN + 1, 1 << 62, MOST - 1, MOST]
    for base in [*edges, *(-edge for edge in edges), LEAST]:
        for count in [*edges, *(-edge for edge in edges), LEAST]:
            if world.add(base, count) == OK:
                world.find(base + count - 1)
                world.find(base + count)
                world.remove(base)
    assert world.add(limit - 1, 1) == OK


def test_overlap_with_fragmented_ranges_by_brute_force():
    """An overlap check with the wrong cursor passes on one region, not on many: ranges against 15 fragments."""
    world = World(limit=64)
    fragments = [
        (1, 1),
        (3, 2),
        (6, 1),
        (7, 3),
        (12, 1),
        (14, 6),
        (21, 1),
        (23, 1),
        (25, 7),
        (33, 1),
        (40, 4),
        (45, 5),
        (55, 1),
        (56, 2),
        (63, 1),
    ]
    random.Random(1).shuffle(fragments)
    for base, count in fragments:
        assert world.add(base, count) == OK
    for base in range(-1, 66):
        for count in range(66 - base):
            if base + count > 64 or base < 0 or count <= 0:
                expected = WRAPS
            else:
                expected = OVERLAP if world.overlaps(base, count) else OK
            assert world.call("range_ok", base, count) == expected, (base, count)


def test_a_failed_lookup_leaves_nothing_behind():
    """A lookup that finds nothing must not keep a lock, or anything: no store at all."""
    world = World()
    for base in range(0, 1000, 10):
        world.add(base, 5)
    stores = world.memory.stores
    for pfn in (7, 999, 5000, -1, LEAST, MOST):
        assert world.call("region_of", pfn) == 0
    assert world.memory.stores == stores


def test_regions_that_are_described_are_not_split_merged_or_removed():
    """What owns a core table keeps its frames: BUSY, and nothing changes."""
    world = World()
    world.add(0, 10)
    world.add(10, 10)
    low, high = world.model[0][2], world.model[10][2]
    for described in (low, high):
        Region(described).area = 0x1000
        spare = world.record()
        before = world.state()
        assert world.call("region_split", described, spare, Region(described).base + 5) == BUSY
        assert world.call("region_remove", described) == BUSY
        assert world.call("region_merge", low) == 0
        assert world.state() == before
        Region(described).area = 0
    world.verify()


def test_a_record_that_is_not_in_the_tree_cannot_be_removed():
    """Removing twice, or what never was there, is refused and changes nothing."""
    world = World()
    assert world.call("region_remove", world.record()) == BAD_FRAME, "from an empty tree"
    for base in range(0, 100, 10):
        world.add(base, 10)
    record = world.model[50][2]
    world.remove(50)
    before = world.state()
    assert world.call("region_remove", record) == BAD_FRAME
    assert world.state() == before
    world.verify()


def test_lookups_after_a_region_has_gone_do_not_find_it():
    """The note of the last region found must not outlive the region, also when it was merged away or has shrunk."""
    world = World()
    world.add(0, 20)
    world.split(0, 10)
    world.find(15)
    world.merge(0)
    world.find(15)
    world.split(0, 12)
    world.find(15)
    world.find(11)
    world.find(15)
    world.verify()
    world.remove(12)
    world.find(15)
    world.find(11)


COUNT = 10_000


def orders():
    ascending = list(range(COUNT))
    shuffled = ascending.copy()
    random.Random(7).shuffle(shuffled)
    outside_in = [i // 2 if i % 2 else COUNT - 1 - i // 2 for i in ascending]
    return {"ascending": ascending, "descending": ascending[::-1], "shuffled": shuffled, "outside-in": outside_in}


@pytest.mark.parametrize("order", orders())
def test_ten_thousand_regions_are_found_in_logarithmic_time_E22(order):
    """Any number of regions, in any order: loads per operation grow with the logarithm, 4 * log2(n) nodes at worst."""
    bound = 4 * math.ceil(math.log2(COUNT))  # nodes; a treap's expected depth is 2 ln n, its tail falls off quickly
    world = World(MAX_PFN, size=2 << 20, checked=False)
    memory = world.memory
    worst = 0
    for i in orders()[order]:
        memory.loads = 0
        assert world.call("range_ok", 3 * i, 2) == OK
        assert world.call("region_add", memory.new(Region.size), 3 * i, 2, RAM) == OK
        worst = max(worst, memory.loads)
    assert worst <= 8 * bound, "an insertion looks at a few fields of each node on its way"
    assert Kern(world.kern).region_count == COUNT
    assert world.depth() <= bound
    worst = 0
    for i in range(0, COUNT, 7):
        memory.loads = 0
        Kern(world.kern).hit = Region(0)
        at = world.call("region_of", 3 * i + 1)
        assert Region(at).base == 3 * i
        worst = max(worst, memory.loads)
        assert world.call("region_of", 3 * i + 2) == 0
    assert worst <= 5 * bound
    worst = 0
    for i in random.Random(3).sample(range(COUNT), 1000):
        at = world.call("region_of", 3 * i)
        memory.loads = 0
        assert world.call("region_remove", at) == OK
        worst = max(worst, memory.loads)
        assert world.call("region_of", 3 * i) == 0
    assert worst <= 8 * bound
    assert Kern(world.kern).region_count == COUNT - 1000


@pytest.mark.parametrize("shift", range(0, 31, 2))
def test_evenly_spaced_regions_are_not_a_list(shift):
    """Banks and device windows lie at multiples of powers of two: the hash of such bases must still spread."""
    count = min(500, MAX_PFN >> shift)
    world = World(MAX_PFN, size=1 << 18, checked=False)
    for i in range(count):
        assert world.call("region_add", world.memory.new(Region.size), i << shift, 1, RAM) == OK
    assert world.depth() <= 4 * math.ceil(math.log2(count))
