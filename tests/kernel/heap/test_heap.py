"""malloc and free against a model: what is given out, what is in it, what is refused, and what the machine has left."""

import pytest
from heap_model import LARGEST_SLOT, PAGE, HeapModel, booted, effort, leave_free, read, write
from hypothesis import given
from hypothesis import strategies as st
from small_machines import MIB, conserved, poison

from kernmalloc.facade.errors import BadAddress, BadRequest, OutOfMemory
from kernmalloc.lang import status

GIB = 1 << 30

sizes = st.one_of(
    st.integers(1, 300),
    st.integers(1, LARGEST_SLOT),
    st.integers(LARGEST_SLOT - 40, LARGEST_SLOT + 40),
    st.integers(LARGEST_SLOT + 1, 300_000),
    st.integers(1, 60).map(lambda pages: pages * PAGE),
    st.integers(1, 3 * MIB),
)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("malloc"), sizes),
        st.tuples(st.just("aligned"), sizes, st.integers(0, 22)),
        st.tuples(st.just("zeroed"), sizes),
        st.tuples(st.just("free"), st.integers(0, 1000)),
        st.tuples(st.just("free"), st.integers(0, 1000)),
        st.tuples(st.just("wrong"), st.integers(0, 1000), st.integers(-2 * PAGE, 80 * PAGE)),
        st.tuples(st.just("drain")),
        st.tuples(st.just("page")),
    ),
    max_size=60,
)


def perform(model, ops):
    """Run the operations; returns the page frames still held."""
    kernel, held = model.kernel, []
    for op, *args in ops:
        if op == "malloc":
            model.malloc(args[0])
        elif op == "aligned":
            model.malloc(args[0], 1 << args[1])
        elif op == "zeroed":
            model.malloc(args[0], zeroed=True)
        elif op == "free" and model.order:
            model.free(model.order[args[0] % len(model.order)])
        elif op == "wrong" and model.order:
            model.wrong_free(model.order[args[0] % len(model.order)] + args[1])
        elif op == "drain":
            kernel.drain()
        elif op == "page" and kernel.frames_by_type()["free"]:
            held.append(kernel.frame_get())
            pa = held[-1] * PAGE
            kernel.view.ram.bytes[pa : pa + PAGE] = (
                b"\xee" * PAGE
            )  # page space is in use, and not zero when it comes back
    return held


@pytest.mark.parametrize("mode", ["soft", "raw"])
@pytest.mark.parametrize("prepare", [None, poison], ids=["fresh", "poisoned"])
@effort(0.5)
@given(ops=operations, ram=st.sampled_from([6, 8, 24]), growth=st.sampled_from([1, 16, 50]))
def test_random_use(mode, prepare, ops, ram, growth):
    """E9, E20, E28: no block overlaps another, all are aligned, what is written in them survives, zeroed memory is
    zero, and every wrong free is refused and changes nothing; on fresh and poisoned RAM, and when memory runs out. In
    the end all frames are where they were (C11)."""
    with booted((0, ram * MIB), mode=mode, prepare=prepare, growth=growth) as kernel:
        kernel.drain()
        before = kernel.frames_by_type()
        model = HeapModel(kernel)
        held = perform(model, ops)
        conserved(kernel)
        for va in model.blocks:
            model.intact(va)
        model.finish()
        for pfn in held:
            kernel.frame_put(pfn)
        kernel.drain()
        assert kernel.frames_by_type() == before


@effort(0.12)
@given(operations)
def test_random_use_interpreted(ops):
    """E9, E20: the same with every overflow, shift and access checked."""
    with booted((0, 8 * MIB), mode="twin") as kernel:
        model = HeapModel(kernel)
        perform(model, ops[:25])
        model.finish()


@effort(0.3)
@given(operations, st.integers(0, 400), st.integers(0, 1000))
def test_random_use_of_a_full_machine(ops, free, seed):
    """E20, E26: the same where only a few frames are free, no matter which."""
    with booted((0, 8 * MIB)) as kernel:
        model = HeapModel(kernel)
        leave_free(kernel, free, seed)
        perform(model, ops)
        model.finish()


def test_hundreds_of_mebibytes():
    """E21, C11: blocks of hundreds of MiB at their true addresses: written at both ends and in between, and given
    back."""
    with booted((0, GIB), (4 * GIB, GIB), mode="raw") as kernel:
        kernel.drain()
        before = kernel.heap.backed
        model = HeapModel(kernel)
        first = model.malloc(300 * MIB)
        model.malloc(1)
        second = model.malloc(123 * MIB + 1, align=4 * MIB)
        assert kernel.size_of(second) == 123 * MIB + PAGE
        assert kernel.heap.backed >= 423 * MIB
        model.free(first)
        model.malloc(200 * MIB)
        with pytest.raises(OutOfMemory) as refusal:
            kernel.malloc(700 * MIB)  # the window is 768 MiB
        assert refusal.value.status == status.NO_VA
        model.finish()
        kernel.drain()
        assert kernel.heap.backed == before


@pytest.mark.parametrize("mode", ["raw", "soft", "twin"])
@pytest.mark.parametrize("prepare", [None, poison], ids=["fresh", "poisoned"])
def test_zeroed_memory_is_zero(boot, mode, prepare):
    """E32: memory that the kernel takes for zero is zero: on poisoned RAM, after reuse, and after page space had it."""
    kernel = boot((0, 8 * MIB), mode=mode, prepare=prepare)
    for size in (1, PAGE, 200_000):
        va = kernel.call("malloc_zeroed", size)
        room = kernel.size_of(va)
        assert room >= size
        assert not any(read(kernel, va, room))
        write(kernel, va, b"\xff" * room)
        kernel.free(va)
    for pfn in [kernel.frame_get() for _ in range(kernel.frames_by_type()["free"])]:
        kernel.view.ram.bytes[pfn * PAGE : (pfn + 1) * PAGE] = b"\xdd" * PAGE
        kernel.frame_put(pfn)
    va = kernel.call("malloc_zeroed", 3 * MIB)
    assert not any(read(kernel, va, 3 * MIB))
    conserved(kernel)
    kernel.free(va)


HUGE = [1 << 31, 1 << 32, 1 << 40, 1 << 62, (1 << 63) - 1, (1 << 63) - PAGE]


@pytest.mark.parametrize("mode", ["raw", "soft", "twin"])
def test_sizes_and_alignments_that_cannot_be(boot, mode):
    """C1: sizes of nothing, below nothing and beyond the window, and alignments that are none, are refused by name; no
    product or sum of them wraps; nothing changes."""
    kernel = boot((0, 8 * MIB), mode=mode)
    before = kernel.snapshot()
    for call in ("malloc", "malloc_zeroed"):
        for size in (0, -1, -PAGE, -(1 << 63)):
            assert kernel.call(call, size) == status.BAD_SIZE
        for size in HUGE:
            assert kernel.call(call, size) == status.NO_VA
    for align in (0, -1, 3, 48, -16, (1 << 30) + 1, 1 << 31, 1 << 62, -(1 << 63)):
        for size in (1, 40_000):
            assert kernel.call("malloc_aligned", size, align) == status.BAD_ALIGN
    for size in (0, -5, -(1 << 63)):
        assert kernel.call("malloc_aligned", size, 64) == status.BAD_SIZE
    for size in HUGE:
        for align in (16, PAGE, 2 * PAGE, GIB):
            assert kernel.call("malloc_aligned", size, align) == status.NO_VA
    assert kernel.call("malloc_aligned", 1, GIB) == status.NO_VA  # no multiple of 1 GiB lies in this window
    assert kernel.snapshot() == before
    for refused in (lambda: kernel.malloc(0), lambda: kernel.malloc(1, align=3)):
        with pytest.raises(BadRequest):
            refused()


@pytest.mark.parametrize("shift", range(23))
def test_alignments(boot, shift):
    """Alignments from a byte to 4 MiB, in blocks smaller and larger than they are; each can hold what was asked for."""
    kernel = boot((0, 64 * MIB), mode="soft")
    model = HeapModel(kernel)
    for size in (1, 17, (1 << shift) - 1 or 1, 1 << shift, (1 << shift) + 1, 33_000, 70_000):
        assert model.malloc(size, 1 << shift) is not None
    model.finish()


@pytest.mark.parametrize("mode", ["raw", "soft", "twin"])
def test_wrong_frees(boot, mode):
    """Every kind of wrong free has its own status, and memory is byte for byte as it was."""
    kernel = boot((0, 16 * MIB), mode=mode)
    pages = 11
    run, below, slot = kernel.malloc(pages * PAGE), kernel.malloc(9 * PAGE), kernel.malloc(100)
    above = kernel.malloc(9 * PAGE)
    slots = [kernel.malloc(3000) for _ in range(10)]
    kernel.free(slots[3])
    kern = kernel.view.kern
    top = int(kern["heap"] + kern["top"] * PAGE)
    end = int(kern["heap"] + kern["heap_pages"] * PAGE)
    wrong = {
        status.BAD_ADDRESS: [0, 1, -1, -16, (1 << 63) - 1, -(1 << 63), int(kern["base"]), int(kern["heap"]) - 16,
                             int(kern["heap_map"]), int(kern["tables"]), top, top + 16, end - 16, end, end + PAGE,
                             kernel.view.kern_va, run + (1 << 40)],
        status.INTERIOR: [run + 1, run + 16, *(run + i * PAGE for i in range(1, pages)), run + pages * PAGE - 1,
                          below + 8 * PAGE, above + PAGE + 8, slot + 1, slot + 16, slot + kernel.size_of(slot) - 1,
                          slots[0] + 1504],
        status.NOT_ALLOCATED: [slots[3]],
    }  # fmt: skip
    if mode == "twin":
        wrong[status.INTERIOR] = wrong[status.INTERIOR][::3]
    before = kernel.snapshot()
    for code, addresses in wrong.items():
        for va in addresses:
            assert kernel.call("free", va) == code, hex(va)
            assert kernel.call("size_of", va) == code, hex(va)
            with pytest.raises(BadAddress) as refusal:
                kernel.free(va)
            assert refusal.value.status == code
    assert kernel.snapshot() == before

    kernel.free(below)  # a hole, with neighbours that live
    before = kernel.snapshot()
    for va in (below, below + 1, below + PAGE, below + 9 * PAGE - 1):
        assert kernel.call("free", va) == status.NOT_ALLOCATED
    kernel.free(run)  # which joins it
    after = kernel.snapshot()
    for va in (run, run + 5 * PAGE, below, below + PAGE):
        assert kernel.call("free", va) == status.NOT_ALLOCATED
    assert kernel.snapshot() == after != before
    kernel.drain()  # the hole has no frames any more
    after = kernel.snapshot()
    for va in (run, run + 5 * PAGE, below, below + PAGE):
        assert kernel.call("free", va) == status.NOT_ALLOCATED
    assert kernel.snapshot() == after


def test_freeing_a_described_kernel_object_is_refused_inside():
    """E22: an address inside a typed object is interior to it, one inside the core table the kernel's own."""
    with booted() as kernel:
        node = kernel.cache("node").get()
        area = next(region.area for region in kernel.regions if region.area)
        before = kernel.snapshot()
        for va in (node + 16, node + 1, node + 559):
            assert kernel.call("free", va) == status.INTERIOR
        for va in (area, area + 16, area + PAGE):
            assert kernel.call("free", va) == status.NOT_YOURS
        assert kernel.snapshot() == before
        kernel.cache("node").put(node)
        assert kernel.call("free", node) == status.NOT_ALLOCATED


def test_slots_of_one_size_reuse_the_last(boot):
    """E21: what was freed last is used next, and a machine of 8 MiB can allocate and free for ever."""
    kernel = boot((0, 8 * MIB), mode="soft")
    va = kernel.malloc(100)
    for _ in range(2000):
        kernel.free(va)
        assert kernel.malloc(100) == va
    for _ in range(200):
        kernel.free(kernel.malloc(2 * MIB))
    kernel.free(va)


def test_the_core_table_and_objects_come_from_the_heap(boot):
    """E1, E19, E22: every kernel structure that is made after the first step lies in the heap: core tables, region
    records, objects; there is no other allocation path."""
    kernel = boot((0, 16 * MIB), (32 * MIB, 16 * MIB), mode="soft")
    kern = kernel.view.kern
    low, high = int(kern["heap"]), int(kern["heap"] + kern["top"] * PAGE)
    for region in kernel.view.regions():
        if region["area"]:
            assert low <= region["area"] < high
            assert low < region["area"] + kernel._region(region).area_bytes <= high
    for cache in (cache for cache in kernel.caches if not cache.own):
        va = cache.get()
        assert low <= va < int(kern["heap"] + kern["heap_pages"] * PAGE)
        assert kernel.size_of(va) >= cache.size
        cache.put(va)
