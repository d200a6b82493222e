"""Many frames in one call: as many as asked for, or none; in every life the same ones."""

from contextlib import ExitStack

import numpy
import pytest
from frame_model import write
from heap_model import effort
from hypothesis import given
from hypothesis import strategies as st
from small_machines import MIB, MODES, conserved, machine

from kernmalloc.facade.errors import BadAddress, BadRequest, OutOfMemory
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import DMA, PAGE
from kernmalloc.lang.status import BAD_FRAME, BAD_SIZE, INTERIOR, NO_FRAMES, NOT_ALLOCATED, OK, WOULD_BLOCK

FRAME = 4096
EDGE = 6 * MIB + 21 * FRAME  # two regions meet inside a word of both their bitmaps
SHAPE = ((0, EDGE), (EDGE, 3 * MIB), (16 * MIB, 2 * MIB))
ROOM = 4096  # of the array


class Bulk:
    """A kernel for two processors, an array in its heap, and what callers own."""

    def __init__(self, mode: str, cpus: int = 2) -> None:
        self.kernel = Kernel.boot(machine(*SHAPE), Profile.load("eros2"), mode, cpus=cpus)
        self.array = self.kernel.malloc(ROOM * 8)
        self.owned: dict[int, int] = {}  # first pfn -> frames
        self.answers: list[object] = []

    def numbers(self, count: int) -> list[int]:
        return numpy.frombuffer(self.kernel.view.peek(self.array, count * 8), numpy.int64).tolist()

    def get(self, cpu: int, count: int) -> int:
        answer = self.kernel.cpu(cpu).call("frames_get", count, self.array)
        self.answers.append(answer)
        if answer >= 0:
            got = self.numbers(count)
            self.answers.append(got)
            assert answer == count == len(set(got)) and not self.taken() & set(got), "handed out twice"
            assert all(self.kernel.call("frame_type", pfn) == PAGE for pfn in got)
            self.owned |= dict.fromkeys(got, 1)
        return answer

    def put(self, cpu: int, pfns: list[int]) -> int:
        """Put them; where that is refused no type of a frame has changed."""
        write(self.kernel, self.array, numpy.array(pfns, numpy.int64).tobytes())
        answer = self.kernel.cpu(cpu).call("frames_put", len(pfns), self.array)
        self.answers.append(answer)
        if answer == OK:
            for pfn in pfns:
                del self.owned[pfn]
        for pfn in self.owned:
            assert self.kernel.call("frame_type", pfn) in (PAGE, DMA)
        return answer

    def one(self, cpu: int, order: int, type: int) -> None:
        pfn = self.kernel.cpu(cpu).call("block_get", order, type)
        self.answers.append(pfn)
        if pfn >= 0:
            self.owned[pfn] = 1 << order

    def taken(self) -> set[int]:
        return {at for pfn, count in self.owned.items() for at in range(pfn, pfn + count)}

    def some(self, seed: int, count: int) -> list[int]:
        every = list(self.owned)
        return [every.pop((seed + i * 7919) % len(every)) for i in range(min(count, len(every)))]

    def do(self, cpu: int, what: str, count: int, seed: int) -> None:
        if what == "get":
            self.get(cpu, count)
        elif what == "put":
            pfns = self.some(seed, count)
            assert self.put(cpu, pfns) == (OK if pfns else BAD_SIZE)
        elif what == "run":
            pfns = sorted(self.owned)[:count]
            assert self.put(cpu, pfns) == (OK if pfns else BAD_SIZE)
        elif what == "twice":
            if pfns := self.some(seed, count):
                assert self.put(cpu, [*pfns, pfns[seed % len(pfns)]]) == NOT_ALLOCATED
        elif what == "wrong":
            pfn = seed % (18 * MIB // FRAME)
            if pfn not in self.owned:
                pfns = self.some(seed, count)
                expected = (INTERIOR,) if pfn in self.taken() else (NOT_ALLOCATED, BAD_FRAME)
                assert self.put(cpu, [*pfns[: count // 2], pfn, *pfns[count // 2 :]]) in expected
        elif what == "block":
            self.one(cpu, seed % 4, (PAGE, DMA)[seed // 4 % 2])
        else:
            self.kernel.cpu(cpu).drain()

    def finish(self) -> None:
        conserved(self.kernel)
        while self.owned:
            assert self.put(0, self.some(1, ROOM)) == OK
        self.kernel.free(self.array)
        conserved(self.kernel)


def made(stack: ExitStack, mode: str, cpus: int = 2) -> Bulk:
    """A kernel that is closed with the stack."""
    bulk = Bulk(mode, cpus)
    stack.callback(bulk.kernel.close)
    return bulk


OPERATIONS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["get", "get", "put", "run", "twice", "wrong", "block", "drain"]),
        st.one_of(st.integers(1, 200), st.integers(200, ROOM - 1)),
        st.integers(0, 1 << 30),
    ),
    max_size=20,
)


@effort(0.4)
@given(OPERATIONS, st.integers(1, 2))
def test_all_of_them_or_none(operations, cpus):
    """E28: gets and puts of many frames by two processors, each other's too, with single blocks between them."""
    with ExitStack() as stack:
        bulk = made(stack, "raw", cpus)
        bulk.kernel.drain()
        free = bulk.kernel.frames_by_type()["free"]
        for cpu, *operation in operations:
            bulk.do(cpu % cpus, *operation)
            conserved(bulk.kernel)
        while bulk.owned:
            assert bulk.put(0, bulk.some(1, 1000)) == OK
        bulk.kernel.drain()
        assert bulk.kernel.frames_by_type()["free"] == free
        bulk.finish()


@effort(0.03)
@given(OPERATIONS)
def test_every_life_gives_the_same_frames_and_leaves_the_same_memory(operations):
    with ExitStack() as stack:
        first, *others = lives = [made(stack, mode) for mode in MODES]
        for cpu, what, count, seed in operations:
            for bulk in lives:
                bulk.do(cpu, what, min(count, 150), seed)
        for bulk in others:
            assert bulk.answers == first.answers
            assert bulk.kernel.snapshot() == first.kernel.snapshot()
        for bulk in lives:
            bulk.finish()


@pytest.mark.parametrize("mode", MODES)
def test_what_is_refused_changes_nothing(mode):
    with ExitStack() as stack:
        bulk = made(stack, mode)
        kernel = bulk.kernel
        free = kernel.frames_by_type()["free"]
        for count in (0, -1, -(1 << 63), (1 << 63) - 1, int(kernel.view.kern["frames"]) + 1):
            assert bulk.get(0, count) == BAD_SIZE
            assert kernel.call("frames_put", count, bulk.array) == BAD_SIZE
        assert bulk.get(0, free + 1) in (NO_FRAMES, WOULD_BLOCK) and kernel.frames_by_type()["free"] == free
        assert bulk.get(0, 100) == 100
        pinned, block = kernel.block_get(0, "dma"), kernel.block_get(3, "page")
        bulk.owned |= {pinned: 1, block: 8}
        pages = [pfn for pfn in bulk.owned if pfn not in (pinned, block)]
        assert bulk.put(0, [*pages, block + 1]) == INTERIOR
        assert bulk.put(0, [*pages, 1 << 50]) == BAD_FRAME == bulk.put(0, [*pages, -1])
        assert bulk.put(0, [*pages, block, pinned, block]) == NOT_ALLOCATED
        assert bulk.put(0, [*pages, block, pinned]) == OK and bulk.put(0, pages) == NOT_ALLOCATED
        bulk.finish()


def test_all_that_is_free_is_got_whoever_has_it_in_stock():
    """E26: what other processors keep is fetched before a call says that there are too few."""
    with Kernel.boot(machine(*SHAPE), Profile.load("eros2"), cpus=2) as kernel:
        array = kernel.malloc(ROOM * 8)
        kernel.cpu(1).frame_put(kernel.cpu(1).frame_get())
        kernel.drain()
        assert kernel.view.stocks()[1, 0] > 0
        free = kernel.frames_by_type()["free"]
        assert free < ROOM and kernel.call("frames_get", free, array) == free
        assert kernel.frames_by_type()["free"] == 0 and kernel.call("frames_get", 1, array) in (NO_FRAMES, WOULD_BLOCK)
        assert kernel.call("frames_put", free, array) == OK
        conserved(kernel)


def test_python_has_lists_of_them():
    with Kernel.boot(machine(*SHAPE), Profile.load("eros2")) as kernel:
        pfns = kernel.frames_get(300)
        assert len(set(pfns)) == 300 and {kernel.frame_type(pfn) for pfn in pfns} == {"page"}
        with pytest.raises(BadAddress):
            kernel.frames_put([*pfns, pfns[7]])
        assert {kernel.frame_type(pfn) for pfn in pfns} == {"page"}
        kernel.frames_put(pfns)
        assert kernel.frame_type(pfns[0]) == "free"
        for wrong in (lambda: kernel.frames_get(0), lambda: kernel.frames_put([])):
            with pytest.raises(BadRequest):
                wrong()
        with pytest.raises(OutOfMemory):
            kernel.frames_get(int(kernel.view.kern["frames"]))
        conserved(kernel)
