"""calloc, realloc, resize, free_sized and aligned caches, against a model of what blocks hold."""

import random

import pytest
from heap_model import LARGEST_SLOT, PAGE, HeapModel, altered, booted, effort, read, samples, write
from hypothesis import given
from hypothesis import strategies as st
from small_machines import MIB, conserved, poison

from kernmalloc.kernel.core.kern import FREE
from kernmalloc.kernel.heap.caches import FIRST_TYPE
from kernmalloc.lang import failed, status
from kernmalloc.lang.status import BAD_ALIGN, BAD_SIZE, NO_VA, OK
from kernmalloc.plan.plan import with_strategy

SIZES = st.one_of(
    st.integers(1, 600),
    st.integers(LARGEST_SLOT // 2, 2 * LARGEST_SLOT),
    st.integers(1, 40).map(lambda pages: pages * PAGE),
    st.integers(1, 2 * MIB),
)
PICK = st.integers(0, 1000)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("malloc"), SIZES),
        st.tuples(st.just("calloc"), st.integers(1, 300), st.integers(1, 300)),
        st.tuples(st.just("realloc"), PICK, SIZES),
        st.tuples(st.just("realloc"), PICK, SIZES),
        st.tuples(st.just("resize"), PICK, SIZES),
        st.tuples(st.just("free_sized"), PICK, st.integers(-1, 2)),
    ),
    max_size=40,
)


class Sized(HeapModel):
    """A heap whose blocks change their size, too."""

    def calloc(self, count: int, size: int) -> None:
        va = self.kernel.call("calloc", count, size)
        if failed(va):
            assert self.short(count * size, 16, va)
            return
        assert all(not any(read(self.kernel, va + at, n)) for at, n in samples(count * size))
        self.add(va, count * size)

    def change(self, entry: str, va: int, size: int) -> None:
        """realloc or resize: what fits of the contents is kept, and nothing changes where it is refused."""
        block = self.blocks[va]
        got = self.kernel.call(entry, va, size)
        if failed(got) or got == 0:
            assert got == 0 or self.short(size, 16, got)
            assert (got == 0) <= (entry == "resize")
            self.intact(va)
            return
        assert entry == "realloc" or got == va
        for offset, written in samples(block.size):
            if (n := min(written, size - offset)) > 0:
                assert read(self.kernel, got + offset, n) == block.content(offset, n)
        room = self.kernel.size_of(got)
        assert size <= room
        assert room <= 64 or size > room // 4 or size > room - PAGE, "no block is much too large"
        self.order.remove(va)
        del self.blocks[va]
        self.add(got, size)

    def free_sized(self, va: int, by: int) -> None:
        """By one of: less than nothing, a byte, all of it, a byte more than it holds."""
        room = self.blocks[va].room
        size = {-1: 0, 0: 1, 1: room, 2: room + 1}[by]
        good = 0 < size <= room
        self.intact(va)
        before = None if good else self.kernel.snapshot()
        assert self.kernel.call("free_sized", va, size) == (OK if good else BAD_SIZE)
        if good:
            self.order.remove(va)
            del self.blocks[va]
        else:
            assert self.kernel.snapshot() == before


@pytest.mark.parametrize("profile", ["eros2", "x86_64"])
@effort(0.2)
@given(operations=OPERATIONS)
def test_blocks_keep_what_they_hold(profile, operations):
    """Whatever is resized keeps its bytes, is large enough, overlaps nothing; all of it goes back."""
    with booted((0, 16 * MIB), profile=profile, prepare=poison, growth=64) as kernel:
        model = Sized(kernel)
        for name, *args in operations:
            if name == "malloc":
                model.malloc(*args)
            elif name == "calloc":
                model.calloc(*args)
            elif model.order:
                va = model.order[args[0] % len(model.order)]
                if name == "free_sized":
                    model.free_sized(va, args[1])
                else:
                    model.change(name, va, args[1])
            assert kernel.check()
        model.finish()


@pytest.mark.parametrize("mode", ["raw", "soft", "twin"])
def test_a_run_grows_and_shrinks_where_it_is(boot, mode):
    """Pages behind a run that are idle become its own; its last ones go back, and can be had again."""
    kernel = boot((0, 16 * MIB), mode=mode)
    first, second = kernel.malloc(10 * PAGE), kernel.malloc(10 * PAGE)
    write(kernel, first, b"first" * 8000)
    kernel.free(second)
    assert kernel.call("realloc", first, 14 * PAGE) == first and kernel.size_of(first) == 14 * PAGE
    assert kernel.call("resize", first, 1 << 29) == 0 and kernel.size_of(first) == 14 * PAGE
    assert kernel.call("realloc", first, 9 * PAGE + 1) == first and kernel.size_of(first) == 10 * PAGE
    assert read(kernel, first, 9 * PAGE)[:40000] == (b"first" * 8000)[: 9 * PAGE]
    assert kernel.call("resize", first, 20 * PAGE) == first, "what was cut off is idle, and joined with the rest"
    kernel.free(first)
    conserved(kernel)


@pytest.mark.parametrize("mode", ["raw", "soft", "twin"])
def test_a_run_grows_into_pages_without_frames(boot, mode):
    """Behind it there are idle pages, then bare ones, then the top: it takes all of them, where it is."""
    kernel = boot((0, 16 * MIB), mode=mode)
    first, gap, last = (kernel.malloc(100 * PAGE) for _ in range(3))
    assert (first + 100 * PAGE, gap + 100 * PAGE) == (gap, last)
    write(kernel, first, b"first" * 8000)
    kernel.free(gap)  # of it only a growth step stays idle
    assert 0 < kernel.view.kern["idle"] < 100
    backed = int(kernel.view.kern["backed"]) - int(kernel.view.kern["idle"])
    assert kernel.call("realloc", first, 200 * PAGE) == first and kernel.call("resize", first, 201 * PAGE) == 0
    assert int(kernel.view.kern["backed"]) - int(kernel.view.kern["idle"]) == backed + 100
    assert kernel.check()
    assert kernel.call("realloc", last, 500 * PAGE) == last, "there is nothing behind it but the top"
    assert read(kernel, first, 40_000) == b"first" * 8000
    kernel.free(first)
    kernel.free(last)
    conserved(kernel)


def test_a_run_that_cannot_grow_stays_as_it_is(boot):
    """Where frames are short, nothing changes: not the top, not what is wanted."""
    kernel = boot((0, 16 * MIB))
    block = kernel.malloc(10 * PAGE)
    before = kernel.snapshot()
    assert kernel.call("resize", block, 32 * MIB) == 0 and kernel.snapshot() == before
    kernel.free(block)
    conserved(kernel)


def test_a_run_of_a_direct_map_grows_into_free_frames():
    """Frames behind a run become its own where all of them are free, and not where one is another's."""
    profile = altered("guest", growth=16)
    with booted((0, 64 * MIB), profile=profile) as kernel:
        heap, fixed = (int(kernel.view.kern[name]) for name in ("heap", "fixed"))
        blocks = []
        while (block := kernel.malloc(64 * PAGE)) < heap + fixed * PAGE:
            blocks.append(block)
        grown = 64
        while kernel.call("resize", block, (grown + 1) * PAGE) == block:
            grown += 1
            assert grown < 64 * MIB // PAGE
        assert kernel.size_of(block) == grown * PAGE and kernel.check()
        behind = block + grown * PAGE
        end = heap + int(kernel.view.kern["heap_pages"]) * PAGE
        assert behind == end or kernel.call("frame_type", (behind - int(kernel.view.kern["base"])) // PAGE) != FREE
        for va in (*blocks, block):
            kernel.free(va)
        assert kernel.check()


@pytest.mark.parametrize("profile", ["eros2", "x86_64"])
def test_three_blocks_that_keep_growing(profile):
    """Page by page, in turn: they seldom move, and into what the others left."""
    with booted((0, 64 * MIB), profile=profile) as kernel:
        start = int(kernel.view.kern["backed"])
        blocks, most, moved = [kernel.malloc(16 * PAGE) for _ in range(3)], 0, 0
        for pages in range(17, 400):
            before = list(blocks)
            for i in range(3):
                blocks[i] = kernel.call("realloc", blocks[i], pages * PAGE)
                most = max(most, int(kernel.view.kern["backed"]) - start)
            moved += sum(va != was for va, was in zip(blocks, before, strict=True))
        assert moved < 60 and most <= 2 * 3 * 399
        for va in blocks:
            kernel.free(va)
        conserved(kernel)


def test_a_fixed_part_ends_where_it_ends():
    """C6: a run of the fixed part is not extended beyond it, whatever follows, and is given back whole."""
    with booted((0, 16 * MIB), profile=with_strategy(altered("eros2", growth=64), "hybrid")) as kernel:
        heap, fixed = (int(kernel.view.kern[name]) for name in ("heap", "fixed"))
        assert fixed > 0
        blocks = []
        while not blocks or blocks[-1] < heap + fixed * PAGE:
            blocks.append(kernel.malloc(9 * PAGE))
        last = max(va for va in blocks if va < heap + fixed * PAGE)
        most = heap + fixed * PAGE - last
        for size in (*range(9 * PAGE, most + 9 * PAGE, PAGE), 9 * PAGE):
            assert kernel.call("resize", last, size) == (last if size <= most else 0)
            assert kernel.check()
        for va in blocks:
            kernel.free(va)


@pytest.mark.parametrize("mode", ["raw", "twin"])
def test_what_is_refused(boot, mode):
    """E26: sizes that nothing has, products beyond 64 bits, blocks that are none: each with its status, unchanged."""
    kernel = boot((0, 16 * MIB), mode=mode)
    va, large = kernel.malloc(100), kernel.malloc(100_000)
    before = kernel.snapshot()
    far = 1 << 62
    assert [kernel.call("calloc", *pair) for pair in ((0, 1), (1, 0), (-1, 5), (5, -(1 << 63)))] == [BAD_SIZE] * 4
    assert [kernel.call("calloc", *pair) for pair in ((far, 2), (2, far), (1 << 32, 1 << 32), (far, far))] == [
        NO_VA
    ] * 4
    for block in (va, large):
        assert [kernel.call("realloc", block, size) for size in (0, -1, far)] == [BAD_SIZE, BAD_SIZE, NO_VA]
        for entry in ("realloc", "resize", "free_sized"):
            assert kernel.call(entry, block + 16, 10) == status.INTERIOR
            assert kernel.call(entry, 16, 10) == status.BAD_ADDRESS
    own = kernel.view.regions()[0]["area"]
    assert own and kernel.call("realloc", int(own), 10) == status.NOT_YOURS
    assert kernel.snapshot() == before
    kernel.free(va)
    for entry in ("realloc", "resize", "free_sized"):
        assert kernel.call(entry, va, 10) == status.NOT_ALLOCATED


def test_a_block_that_cannot_move_stays(boot):
    """Where no memory is left a block that gets smaller is what it was, and one that gets larger is refused."""
    kernel = boot((0, 4 * MIB), mode="soft")
    va, sizes = kernel.malloc(20_000), (5000, 800, 100, 16)
    write(kernel, va, b"here")
    while not failed(kernel.call("malloc", 4 * PAGE)):
        pass
    for size in sizes:
        while not failed(kernel.call("malloc", size)):
            pass
        assert kernel.call("realloc", va, size) == va
    assert kernel.call("realloc", va, 30_000) == status.NO_FRAMES
    assert read(kernel, va, 4) == b"here" and kernel.size_of(va) == 20_480
    assert kernel.check()


@pytest.mark.parametrize("mode", ["raw", "soft", "twin"])
def test_objects_are_aligned(boot, mode):
    """Every object of an aligned cache begins at a multiple of its alignment, on whatever slab it lies."""
    kernel = boot((0, 16 * MIB), mode=mode)
    chance = random.Random(7)
    for align in (1, 8, 16, 64, 256, 4096):
        size = chance.randrange(1, 3 * align + 40)
        id = kernel.call("cache_create_aligned", size, 60, align)
        assert id >= FIRST_TYPE
        objects = [kernel.call("cache_get", id) for _ in range(60)]
        assert len({*objects}) == 60 and all(va % align == 0 for va in objects)
        assert all(kernel.size_of(va) - size < max(align, 16) for va in objects)
        for va in objects:
            assert kernel.call("cache_put", id, va) == OK
    for align in (0, -1, 3, 24, 8192, 1 << 40, -(1 << 63)):
        assert kernel.call("cache_create_aligned", 100, 10, align) == BAD_ALIGN
    assert kernel.call("cache_create_aligned", 0, 10, 64) == BAD_SIZE
    conserved(kernel)
