"""Stocks: single frames and chunks of several processors, held against a set of what is owned."""

import pytest
from heap_model import effort
from hypothesis import given
from hypothesis import strategies as st
from small_machines import MIB, MODES, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import DMA, FRAMES, HEAP, PAGE
from kernmalloc.kernel.frames.bitmap import CHUNK, CHUNK_ORDER
from kernmalloc.lang.status import BAD_FRAME, INTERIOR, NO_FRAMES, NOT_ALLOCATED, OK

FRAME = 4096
EDGE = 40 * MIB + 21 * FRAME  # two regions meet inside a word of both their bitmaps
SHAPE = ((0, EDGE), (EDGE, 24 * MIB), (128 * MIB, 5 * MIB))


def boot(mode: str = "raw", shape=SHAPE, cpus: int = 2) -> Kernel:
    return Kernel.boot(machine(*shape), Profile.load("eros2"), mode, cpus=cpus)


def drained(kernel: Kernel) -> None:
    """Every stock is empty, and every invariant holds."""
    conserved(kernel)
    for number in range(len(kernel.view.cpus())):
        kernel.cpu(number).drain()
        conserved(kernel)
    assert not kernel.view.stocks().any()


OPERATIONS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["frame", "chunk", "put", "put chunk", "wrong", "drain"]),
        st.integers(1, 300),
        st.integers(0, 1 << 30),
    ),
    max_size=25,
)


@effort(0.5)
@given(OPERATIONS)
def test_stocks_agree_with_a_set_of_what_is_owned(operations):
    """E28, E29: two processors get and put single frames and chunks, each other's too: nothing is handed out twice,
    wrong puts are refused, whatever is in a stock, and every frame comes back."""
    with boot() as kernel:
        free = kernel.frames_by_type()["free"]
        owned: dict[int, int] = {}  # first pfn -> order
        taken: set[int] = set()
        for number, what, count, seed in operations:
            cpu = kernel.cpu(number)
            for i in range(count if what in ("frame", "put") else min(count, 12)):
                if what in ("frame", "chunk"):
                    order = 0 if what == "frame" else CHUNK_ORDER
                    pfn = cpu.call("frame_get", PAGE) if order == 0 else cpu.call("block_get", order, PAGE)
                    if pfn == NO_FRAMES:
                        break
                    got = set(range(pfn, pfn + (1 << order)))
                    assert pfn >= 0 and pfn % (1 << order) == 0 and not got & taken
                    taken |= got
                    owned[pfn] = order
                elif what == "drain":
                    cpu.drain()
                elif what == "wrong":
                    pfn = (seed + i * 997) % (EDGE // FRAME)
                    if pfn not in owned:
                        assert cpu.call("frame_put", pfn) in (
                            (INTERIOR,) if pfn in taken else (NOT_ALLOCATED, BAD_FRAME, INTERIOR)
                        )
                else:
                    order = 0 if what == "put" else CHUNK_ORDER
                    mine = [pfn for pfn, size in owned.items() if size == order]
                    if not mine:
                        break
                    pfn = mine[(seed + i * 7919) % len(mine)]
                    assert cpu.call("frame_put", pfn) == OK
                    assert cpu.call("frame_put", pfn) == NOT_ALLOCATED
                    taken -= set(range(pfn, pfn + (1 << order)))
                    del owned[pfn]
            conserved(kernel)
        for pfn in owned:
            assert kernel.call("frame_put", pfn) == OK
        drained(kernel)
        assert kernel.frames_by_type()["free"] == free


@pytest.mark.parametrize("mode", MODES)
def test_chunks_come_from_a_stock_and_go_back_there(mode):
    """E28: a chunk that was put is got next; another one was drawn with the first; the inside of one is refused."""
    with boot(mode, ((0, 80 * MIB),)) as kernel:
        first = kernel.call("block_get", CHUNK_ORDER, PAGE)
        drawn = int(kernel.view.stocks()[0, 1])
        assert drawn > 0 and drawn % CHUNK == 0 and kernel.view.cpus()["drawn"][0] == drawn + CHUNK
        assert kernel.call("frame_put", first + 1) == INTERIOR
        assert kernel.call("frame_put", first) == OK and int(kernel.view.stocks()[0, 1]) == drawn + CHUNK
        assert kernel.call("frame_put", first) == NOT_ALLOCATED and kernel.call("frame_type", first + 5) == 0
        assert kernel.call("block_get", CHUNK_ORDER, PAGE) == first
        other = kernel.call("block_get", CHUNK_ORDER, DMA)
        assert other >= 0 and int(kernel.view.stocks()[0, 1]) == drawn, "what is lent to devices is taken for itself"
        assert kernel.call("frame_put", first) == OK and kernel.call("frame_put", other) == OK
        drained(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_a_stock_takes_what_chunks_there_are(mode):
    """Fewer are whole than half a stock: those are drawn, and found; the rest of memory is as good as before."""
    with boot(mode, ((0, 80 * MIB),)) as kernel:
        chunks = []
        while (pfn := kernel.call("block_get", CHUNK_ORDER, DMA)) >= 0:
            chunks.append(pfn)
        broken = [chunks.pop() for _ in range(len(chunks) - 1)]
        for pfn in broken:  # free again, but for one frame of each
            assert kernel.call("frame_put", pfn) == OK
        pins = [kernel.call("range_get", 1, 1, pfn + 7, pfn + 8, 0, DMA) for pfn in broken]
        assert min(pins) >= 0 and kernel.call("frame_put", chunks[0]) == OK
        assert kernel.call("block_get", CHUNK_ORDER, PAGE) == chunks[0]
        assert kernel.call("block_get", CHUNK_ORDER, PAGE) == NO_FRAMES
        for pfn in (*pins, chunks[0]):
            assert kernel.call("frame_put", pfn) == OK
        drained(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_a_group_of_two_regions(mode):
    """Frames of two regions in one word are put into one group, got from it, and each is listed in its own bitmap."""
    with boot(mode) as kernel:
        edge = EDGE // FRAME
        pair = [kernel.call("range_get", 1, 1, pfn, pfn + 1, 0, PAGE) for pfn in (edge - 1, edge)]
        assert pair == [edge - 1, edge]
        kernel.drain()
        for pfn in pair:
            assert kernel.call("frame_put", pfn) == OK
        assert kernel.view.stocks()[0].tolist() == [2, 0]
        assert sorted(kernel.frame_get() for _ in range(2)) == pair
        for pfn in pair:
            assert kernel.call("frame_put", pfn) == OK
        drained(kernel)


def test_a_full_stock_keeps_what_was_put_last():
    """Frames of one group more than there is room for: the older half is listed, the rest got back in turn."""
    with boot(shape=((0, 400 * MIB),)) as kernel:
        pages = [kernel.frame_get() for _ in range(64 * (FRAMES + 70))]
        kernel.drain()
        spread = {pfn >> 6: pfn for pfn in pages}
        mine = [spread[word] for word in sorted(spread)[: FRAMES + 1]]
        for pfn in mine:
            kernel.frame_put(pfn)
        assert kernel.view.stocks()[0].tolist() == [FRAMES // 2 + 1, 0]
        assert [kernel.frame_get() for _ in range(FRAMES // 2 + 1)] == mine[: FRAMES // 2 - 1 : -1]
        for pfn in set(pages) - set(mine[: FRAMES // 2]):
            kernel.frame_put(pfn)
        drained(kernel)


def test_what_comes_back_by_way_of_a_stock_is_not_vouched_for():
    """E9: frames that their owner wrote to and put back are zeroed before the heap maps them."""
    with boot(cpus=1) as kernel:
        ram = kernel.handle.life.ram.bytes
        owned = [kernel.frame_get() for _ in range(64)]
        for pfn in owned:
            ram[pfn * FRAME : (pfn + 1) * FRAME] = b"\xff" * FRAME
        for pfn in owned:
            kernel.frame_put(pfn)
        kernel.drain()
        blocks = []
        while (va := kernel.call("malloc", MIB)) > 0:
            blocks.append(va)
        behind = [pfn for pfn in owned if kernel.call("frame_type", pfn) == HEAP]
        assert behind, "the heap has grown over them"
        assert not any(any(ram[pfn * FRAME : (pfn + 1) * FRAME]) for pfn in behind)
        for va in blocks:
            kernel.free(va)
        conserved(kernel)
