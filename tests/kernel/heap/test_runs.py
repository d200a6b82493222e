"""Heap pages: runs that split, join, grow over scattered frames and shrink, against what a plain model says."""

import itertools
import random
from pathlib import Path

import pytest
from heap_model import PAGE, HeapModel, booted, effort, empty_stock, leave_free, read, write
from hypothesis import given
from hypothesis import strategies as st
from small_machines import MIB, conserved, machine, poison

from kernmalloc.facade.errors import OutOfMemory, WouldBlock
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import BINS
from kernmalloc.kernel.heap.bins import BARE, IDLE, LARGE, OWN, SLAB, bin_holding, bin_of
from kernmalloc.kernel.heap.runs import pages_ask
from kernmalloc.lang import status, twin
from kernmalloc.machine.tlb import NONE
from kernmalloc.plan.plan import with_strategy

SMALL_WINDOW = 16 * MIB  # image, tables, heap map and windows leave 4 MiB of it to the heap


def runs(kernel):
    """(use, first page, pages) of every run of the heap, from its records."""
    pages = kernel.view.heap_pages()
    found, at = [], 0
    while at < len(pages):
        found.append((int(pages[at]["use"]), at, int(pages[at]["pages"])))
        at += found[-1][2]
    assert at == len(pages)
    return found


def test_bins_hold_what_they_say():
    """C1: a run is filed where every run is at least as long as a search from `bin_holding` promises, and no bin is
    missing."""
    lengths = [
        *range(1, 5000),
        *(1 << n for n in range(13, 28)),
        *((1 << n) - 1 for n in range(13, 28)),
        *((1 << n) + 1 for n in range(13, 28)),
    ]
    shortest = {}
    for pages in sorted(lengths):
        shortest.setdefault(bin_of(pages), pages)
    assert list(shortest) == sorted(shortest)
    assert max(shortest) < BINS
    for pages in lengths:
        assert all(first >= pages for bin, first in shortest.items() if bin >= bin_holding(pages))
        assert bin_of(pages) <= bin_holding(pages) <= bin_of(pages) + 1


page_ops = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "give", "give", "drain"]), st.integers(9, 70), st.integers(0, 100)
    ),
    max_size=120,
)


@effort(0.6)
@given(page_ops, st.sampled_from([1, 3, 16, 64]), st.booleans())
def test_random_runs(ops, growth, poisoned):
    """E21, C11: after every take and give all invariants hold, backed pages are those in use and at most one growth
    step of idle ones, neighbours that are free alike have joined, and the top is where the last page with a frame
    is."""
    with booted(growth=growth, prepare=poison if poisoned else None) as kernel:
        used: dict[int, int] = {}
        for op, pages, which in ops:
            if op == "take":
                used[kernel.malloc(pages * PAGE)] = pages
            elif op == "give" and used:
                va = sorted(used)[which % len(used)]
                kernel.free(va)
                del used[va]
            elif op == "drain":
                kernel.drain()
            kern = kernel.view.kern
            found = runs(kernel)
            taken = {int(kern["heap"]) + at * PAGE: pages for use, at, pages in found if use == LARGE}
            assert used.items() <= taken.items()
            in_use = sum(pages for use, _, pages in found if use in (LARGE, OWN, SLAB))
            assert in_use <= kern["backed"] <= in_use + growth
            if op == "drain":
                assert kern["backed"] == in_use
            assert all(a[0] != b[0] for a, b in itertools.pairwise(found) if a[0] in (IDLE, BARE))
            assert found[-1][0] != BARE
            conserved(kernel)


def test_growth_joins_the_idle_run_behind_it():
    """E20: a growth step that fills the gap before an idle run makes one run of both, not two neighbours."""
    with booted(growth=64) as kernel:

        def free_runs():
            return [(use, pages) for use, _, pages in runs(kernel) if use in (IDLE, BARE)]

        kernel.drain()
        for _, pages in free_runs():
            kernel.malloc(pages * PAGE)
        gap, idle, _ = (kernel.malloc(pages * PAGE) for pages in (64 + 54, 10, 20))
        kernel.drain()
        kernel.free(gap)  # 64 of its pages stay idle, 54 go
        kernel.malloc(64 * PAGE)
        kernel.free(idle)
        assert free_runs() == [(BARE, 54), (IDLE, 10)]
        kernel.malloc(20 * PAGE)  # grows by a step, 54 pages, of which 34 stay idle
        assert free_runs() == [(IDLE, 44)]


@pytest.mark.parametrize("mode", ["raw", "soft", "twin"])
def test_shrinks_to_where_it_was(boot, mode):
    """C11, E21: when all is freed and drained, backed bytes, mapping frames and top are those after boot; the frames
    are in page space again."""
    kernel = boot((0, 32 * MIB), mode=mode)
    kernel.drain()
    kept = ("backed", "map_pages", "top", "idle", "free_frames", "heap_frames", "mapping_frames")
    before = [int(kernel.view.kern[name]) for name in kept]
    rng = random.Random(11)
    blocks = [kernel.malloc(size) for size in (5 * MIB, 100, 40_000, 3 * MIB, 32_768, 9 * MIB, 70_000, 16)]
    assert kernel.heap.backed > 17 * MIB
    assert kernel.view.kern["mapping_frames"] > before[-1]
    rng.shuffle(blocks)
    for va in blocks:
        kernel.free(va)
    kernel.drain()
    assert [int(kernel.view.kern[name]) for name in kept] == before


@pytest.mark.parametrize("prepare", [None, poison], ids=["fresh", "poisoned"])
@pytest.mark.parametrize("mode", ["raw", "soft", "twin"])
def test_grows_from_scattered_frames(boot, mode, prepare):
    """E9, E20: with no two free frames side by side the heap grows as well, and keeps what is written in it."""
    kernel = boot((0, 8 * MIB), mode=mode, prepare=prepare)
    kernel.drain()
    taken = sorted(kernel.frame_get() for _ in range(kernel.frames_by_type()["free"]))
    order = taken[::2]
    random.Random(20).shuffle(order)
    for pfn in order:
        kernel.frame_put(pfn)
    free = set(order)
    assert not any(pfn + 1 in free for pfn in free)
    model = HeapModel(kernel)
    blocks = [model.malloc(size) for size in (300_000, 100, 5000, 600_000, 33_000)]
    assert all(blocks)
    pfns = [kernel.view.pa(blocks[0] + at) // PAGE for at in range(0, 300_000, PAGE)]
    assert len(set(pfns)) == len(pfns)
    assert free.issuperset(pfns)
    assert not any(b == a + 1 for a, b in itertools.pairwise(pfns))
    model.finish()


REQUESTS = [
    (16, 16),
    (600, 16),
    (30_000, 16),
    (PAGE, PAGE),
    (40_000, 16),
    (40_000, 64 * 1024),
    (40_000, 4 * MIB),
    (2_200_000, 16),
]


@pytest.mark.parametrize(("size", "align"), REQUESTS)
@pytest.mark.parametrize("seed", [0, 1])
def test_growth_with_every_number_of_free_frames(size, align, seed):
    """E26, E20: whatever number of frames is free, malloc succeeds or leaves every byte of the machine as it was; once
    it succeeds with n frames it does with more, and freeing gives all of them back (C11)."""
    with booted((0, 8 * MIB)) as kernel:
        if seed:  # a heap with holes and a partly filled slab
            kept = [kernel.malloc(n) for n in (50_000, 16, 600, 90_000, 16, 40_000)]
            kernel.free(kept[0])
            kernel.free(kept[3])
        pages = -(-size // PAGE)
        most = 8 + pages + align // PAGE // 64 + 32
        held = leave_free(kernel, 0, seed)
        enough = None
        for free in range(most):
            if free:
                kernel.frame_put(held.pop())
            assert kernel.frames_by_type()["free"] == free
            empty_stock(kernel)
            before = kernel.snapshot()
            got = kernel.call("malloc_aligned", size, align)
            if got < 0:
                assert got == status.WOULD_BLOCK
                assert kernel.snapshot() == before
                assert enough is None, f"{enough} frames were enough, {free} are not"
                continue
            enough = free if enough is None else enough
            conserved(kernel)
            kernel.free(got)
            kernel.drain()
            assert kernel.frames_by_type()["free"] >= free
            held += leave_free(kernel, 0, seed)
            for _ in range(free):
                kernel.frame_put(held.pop())
        assert enough is not None
        cost = pages + -(-(pages + align // PAGE) // 64) + 4
        assert enough <= max(cost, 32), "a slab has at most 32 pages, a run costs its pages, records and leaf tables"


@pytest.mark.parametrize("mode", ["raw", "soft"])
def test_the_bound_is_hard(mode):
    """C1: at the bound malloc says NO_VA, what is backed never passes it, and after a free there is room again."""
    with booted((0, 64 * MIB), mode=mode, window=SMALL_WINDOW, objects=()) as kernel:
        bound = kernel.heap.bound
        assert bound < SMALL_WINDOW
        blocks = []
        for size in (MIB, 100_000, 40_000, 30_000, 5000, 100, 16):
            while True:
                try:
                    blocks.append(kernel.malloc(size))
                except OutOfMemory as error:
                    assert error.status == status.NO_VA
                    break
                assert kernel.heap.used <= kernel.heap.backed <= bound
        conserved(kernel)
        assert kernel.view.kern["backed"] == kernel.view.kern["heap_pages"], "the heap was used to its last page"
        assert kernel.frames_by_type()["free"] > 1000, "it was not for want of frames"
        assert kernel.heap.bound == bound
        kernel.free(blocks[0])
        blocks[0] = kernel.malloc(MIB)
        with pytest.raises(OutOfMemory):
            kernel.malloc(MIB)
        for va in blocks:
            kernel.free(va)
        kernel.drain()
        kernel.free(kernel.malloc(MIB))


@effort(0.4)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 900_000), st.integers(4, 17)), max_size=60))
def test_random_use_at_the_bound(ops):
    """C1: in a window that is far too small for what is asked, no run passes the bound and nothing breaks."""
    with booted((0, 16 * MIB), window=SMALL_WINDOW, objects=()) as kernel:
        model = HeapModel(kernel)
        for op, size, shift in ops:
            if op == 0 and model.order:
                model.free(model.order[size % len(model.order)])
            elif op == 1:
                model.malloc(size, 1 << shift)
            else:
                model.malloc(size)
            heap = kernel.heap
            assert heap.used <= heap.backed <= heap.bound
            kern = kernel.view.kern
            end = kern["heap"] + kern["heap_pages"] * PAGE
            assert all(va + block.room <= end for va, block in model.blocks.items())
        conserved(kernel)
        model.finish()


@pytest.mark.parametrize("call", ["malloc", "malloc_zeroed"])
def test_idle_pages_serve_when_no_frame_is_free(call):
    """E21: what the heap keeps idle is used before a request is refused, by every kind of malloc."""
    with booted((0, 8 * MIB), growth=64) as kernel:
        kernel.drain()
        hold = kernel.malloc(40_000)
        held = [kernel.frame_get() for _ in range(kernel.frames_by_type()["free"])]
        assert kernel.view.kern["idle"] > 16
        va = kernel.call(call, 40_000)
        assert va > 0
        kernel.free(va)
        kernel.free(hold)
        for pfn in held:
            kernel.frame_put(pfn)


@pytest.mark.parametrize("type", ["page", "dma"])
def test_would_block_and_no_frames(type):
    """E26: where frames that someone holds would do, malloc says WOULD_BLOCK and changes nothing; when they come back
    the same call succeeds. Where even those would not do it says NO_FRAMES."""
    with booted((0, 8 * MIB)) as kernel:
        kernel.drain()
        held = [kernel.frame_get(type) for _ in range(kernel.frames_by_type()["free"])]
        before = kernel.snapshot()
        with pytest.raises(WouldBlock) as refusal:
            kernel.malloc(100_000)
        assert refusal.value.status == status.WOULD_BLOCK
        with pytest.raises(OutOfMemory) as refusal:
            kernel.malloc((len(held) + 1) * PAGE)
        assert refusal.value.status == status.NO_FRAMES
        assert kernel.snapshot() == before
        for pfn in held[:30]:
            kernel.frame_put(pfn)
        kernel.free(kernel.malloc(100_000))


@pytest.mark.parametrize("size", [100_000, 2 * MIB])
def test_a_refusal_with_idle_pages(size):
    """E26, E21: a malloc that must wait may give idle pages back to page space, and changes nothing that anybody
    holds."""
    with booted((0, 8 * MIB), growth=16) as kernel:
        model = HeapModel(kernel)
        for block in (40_000, 16, 3000, 70_000, 600):
            model.malloc(block)
        kernel.free(kernel.malloc(50_000))
        held = [kernel.frame_get() for _ in range(kernel.frames_by_type()["free"])]
        idle = int(kernel.view.kern["idle"])
        assert idle > 0
        with pytest.raises(WouldBlock):
            kernel.malloc(size)
        frames = kernel.frames_by_type()
        assert frames["page"] == len(held)
        assert idle <= frames["free"] <= idle + 2, "with a page of the heap map and a leaf table at most"
        for va in model.blocks:
            model.intact(va)
        conserved(kernel)
        for pfn in held:
            kernel.frame_put(pfn)
        kernel.free(kernel.malloc(size))
        model.finish()


def translated(kernel):
    """Pages of which this processor has a translation."""
    if kernel.mode == "twin":
        return set(kernel.handle.life.pages)
    if kernel.mode == "soft":
        slots = kernel.handle.life.cores.slots
        held = slots[slots["page"] != NONE]
        return {int(each["page"]) + i for each in held for i in range(1 << int(each["size"]))}
    found = set()
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(end, 16) for end in line.split()[0].split("-"))
        if (
            "kernmalloc" in line
            and low >= kernel.handle.loaded.window
            and high <= kernel.handle.loaded.window + kernel.handle.loaded.window_bytes
        ):
            found |= set(range(low // PAGE, high // PAGE))
    return found


@pytest.mark.parametrize("mode", ["raw", "soft", "twin"])
def test_no_translation_outlives_its_frame(boot, mode):
    """C11: pages and leaf tables that the heap has given up cannot be reached any more, by whatever way this machine
    translates."""
    kernel = boot((0, 16 * MIB), mode=mode, prepare=poison)
    kernel.drain()
    va = kernel.malloc(3 * MIB)  # the kernel itself zeroes its pages
    kern = kernel.view.kern
    pages = set(range(va // PAGE, (va + 3 * MIB) // PAGE))
    first = int(kern["tables"]) // PAGE + ((va + 2 * MIB - int(kern["base"])) >> 21)
    assert len(pages & translated(kernel)) > 200
    kernel.free(va)
    kernel.drain()
    assert not pages & translated(kernel)
    assert first not in translated(kernel), "its leaf table is gone"


def test_frames_change_owner_after_the_shootdown(boot, monkeypatch):
    """C11: while the processors are told to forget pages, the frames behind them are the heap's still, and no entry
    maps them."""
    kernel = boot((0, 16 * MIB), mode="twin")
    told = []
    shootdown = kernel.handle.life.km_port_shootdown

    def observed(va, pages):
        kern = kernel.view.kern
        for at in range(va, va + pages * PAGE, PAGE):
            if kern["heap"] <= at < kern["heap"] + kern["heap_pages"] * PAGE and pages < 512:
                told.append(at)
                assert kernel.view.kern["heap_frames"] == owned, "no frame has left the heap yet"
                with pytest.raises(KeyError):
                    kernel.view.pa(at)
        return shootdown(va, pages)

    va = kernel.malloc(200 * PAGE)
    kernel.drain()
    owned = int(kernel.view.kern["heap_frames"])
    monkeypatch.setattr(kernel.handle.life, "km_port_shootdown", observed)
    kernel.free(va)
    assert len(told) == 200 - 16
    assert set(told) <= set(range(va, va + 200 * PAGE, PAGE))
    monkeypatch.undo()


@pytest.mark.parametrize("mode", ["raw", "soft"])
def test_release_keeps_the_large_page_that_is_partly_in_use_C18(mode):
    """A block at the end of what is in use stays readable, and its large page is the heap's."""
    profile = with_strategy(Profile.load("eros2"), "reserve+release")
    with Kernel.boot(machine((0, 64 * MIB)), profile, mode) as kernel:
        blocks = [kernel.malloc(300_000) for _ in range(4)]
        for number, va in enumerate(blocks):
            write(kernel, va, bytes([number + 1]) * 300_000)
        used = kernel.view.kern["top"]
        assert kernel.release() > 0
        assert kernel.view.kern["fixed"] * PAGE % (2 * MIB) == 0 and used
        for number, va in enumerate(blocks):
            assert read(kernel, va, 300_000) == bytes([number + 1]) * 300_000
            kernel.free(va)
        conserved(kernel)


@pytest.mark.parametrize("behind", [-1, 0, 1])
def test_release_takes_a_free_run_from_any_page_on_C18(behind):
    """The free run at the end begins a page before a large page, with it, or behind: what is left of it is filed,
    and a second release finds nothing and changes nothing."""
    large = 2 * MIB // PAGE
    profile = with_strategy(Profile.load("eros2"), "reserve+release")
    with Kernel.boot(machine((0, 64 * MIB)), profile, "raw") as kernel:
        _, start, pages = runs(kernel)[-1]
        boundary = -(-(start + 9 - behind) // large) * large
        assert boundary + behind + large < start + pages
        va = kernel.malloc((boundary + behind - start) * PAGE)
        assert (va - int(kernel.view.kern["heap"])) // PAGE == start
        fixed = int(kernel.view.kern["fixed"])
        assert kernel.release() == (fixed - boundary - (large if behind > 0 else 0)) * PAGE
        conserved(kernel)
        before = kernel.snapshot()
        assert kernel.release() == 0 and kernel.snapshot() == before
        kernel.free(va)
        conserved(kernel)


def test_pages_are_asked_for_up_to_the_bound_C1():
    """As many pages as the bound leaves can be had, what is idle included; one more cannot, and nothing changes."""
    with booted((0, 64 * MIB), mode="twin", window=SMALL_WINDOW, objects=()) as kernel:
        held = [kernel.malloc(200_000) for _ in range(3)]
        kernel.free(held.pop())
        ask, kern = twin.compile([pages_ask])["pages_ask"], kernel.view.kern
        left = int(kern["heap_pages"] - kern["backed"] + kern["idle"] + kern["kept"])
        assert int(kern["idle"]) > 0
        twin.use(kernel.handle.life)
        assert ask(kernel.handle.loaded.cpu, left) == status.OK
        before = kernel.snapshot()
        assert ask(kernel.handle.loaded.cpu, left + 1) == status.NO_VA
        assert kernel.snapshot() == before
        kernel.free(held.pop())
