"""Many objects in one call: as many as asked for, or none; in every life the same ones."""

from contextlib import ExitStack

import numpy
import pytest
from heap_model import altered, effort, write
from hypothesis import given
from hypothesis import strategies as st
from small_machines import MIB, MODES, conserved, machine

from kernmalloc.facade.errors import BadAddress, BadRequest, OutOfMemory
from kernmalloc.facade.kernel import Kernel
from kernmalloc.lang.status import (
    BAD_ADDRESS,
    BAD_CACHE,
    BAD_SIZE,
    INTERIOR,
    LIMIT,
    NOT_ALLOCATED,
    NOT_YOURS,
    OK,
)

ROOM = 1000  # of the array
LIMITED = 300  # objects that there may be


class Bulk:
    """A kernel for two processors, a type of objects, an array in its heap, and the objects that callers have."""

    def __init__(self, mode: str, size: int) -> None:
        self.kernel = Kernel.boot(machine((0, 16 * MIB)), altered("eros2"), mode, cpus=2)
        self.cache, self.array = self.kernel.cache("some", size, LIMITED), self.kernel.malloc(ROOM * 8)
        self.most, self.objects, self.answers = self.cache.limit, list[int](), list[object]()

    def get(self, cpu: int, count: int) -> int:
        answer = self.kernel.cpu(cpu).call("cache_get_bulk", self.cache.id, count, self.array)
        self.answers.append(answer)
        if answer >= 0:
            got = numpy.frombuffer(self.kernel.view.peek(self.array, count * 8), numpy.int64).tolist()
            self.answers.append(got)
            assert answer == count == len({*got}) and not {*got} & {*self.objects}, "handed out twice"
            self.objects += got
        return answer

    def put(self, cpu: int, objects: list[int]) -> int:
        """Put them; where that is refused no byte changes but the array's and what only this processor looks at."""
        write(self.kernel, self.array, numpy.array(objects, numpy.int64).tobytes())
        used = self.cache.used
        answer = self.kernel.cpu(cpu).call("cache_put_bulk", self.cache.id, len(objects), self.array)
        self.answers.append(answer)
        if answer == OK:
            self.objects = [va for va in self.objects if va not in {*objects}]
        assert self.cache.used == used - (len(objects) if answer == OK else 0) == len(self.objects)
        return answer

    def some(self, seed: int, count: int) -> list[int]:
        every = list(self.objects)
        return [every.pop((seed + i * 7919) % len(every)) for i in range(min(count, len(every)))]

    def do(self, cpu: int, what: str, count: int, seed: int) -> None:
        some = self.some(seed, count)
        if what == "get":
            answer = self.get(cpu, count)
            assert answer in (count, LIMIT) and (answer == LIMIT or len(self.objects) <= self.most)
        elif what == "put":
            assert self.put(cpu, some) == (OK if some else BAD_SIZE)
        elif what == "twice" and some:
            assert self.put(cpu, [*some, some[seed % len(some)]]) == NOT_ALLOCATED
        elif what == "inside" and some:
            assert self.put(cpu, [*some[1:], some[0] + 1 + seed % (self.cache.size - 1)]) == INTERIOR
        elif what == "one":
            va = self.kernel.cpu(cpu).call("cache_get", self.cache.id)
            self.objects += [va] if va >= 0 else []
        elif what == "drain":
            self.kernel.cpu(cpu).drain()

    def finish(self) -> None:
        conserved(self.kernel)
        assert not self.objects or self.put(0, list(self.objects)) == OK
        for cpu in (0, 1):
            self.kernel.cpu(cpu).drain()
        assert self.cache.slots == 0
        self.kernel.free(self.array)
        conserved(self.kernel)


def made(stack: ExitStack, mode: str, size: int) -> Bulk:
    """A kernel that is closed with the stack."""
    bulk = Bulk(mode, size)
    stack.callback(bulk.kernel.close)
    return bulk


OPERATIONS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["get", "get", "put", "put", "twice", "inside", "one", "drain"]),
        st.one_of(st.integers(1, 100), st.integers(100, LIMITED)),
        st.integers(0, 1 << 30),
    ),
    max_size=20,
)
SIZES = st.sampled_from([16, 48, 256, 600, 5000])


@effort(0.3)
@given(OPERATIONS, SIZES)
def test_all_of_them_or_none(operations, size):
    """E19, E26: gets and puts of many objects by two processors, each other's too, with single ones between them."""
    with ExitStack() as stack:
        bulk = made(stack, "raw", size)
        for operation in operations:
            bulk.do(*operation)
            conserved(bulk.kernel)
        bulk.finish()


@effort(0.03)
@given(OPERATIONS, SIZES)
def test_every_life_gives_the_same_objects_and_leaves_the_same_memory(operations, size):
    with ExitStack() as stack:
        first, *others = lives = [made(stack, mode, size) for mode in MODES]
        for operation in operations:
            for bulk in lives:
                bulk.do(*operation)
        for bulk in others:
            assert bulk.answers == first.answers
            assert bulk.kernel.snapshot() == first.kernel.snapshot()
        for bulk in lives:
            bulk.finish()


@pytest.mark.parametrize("mode", MODES)
def test_what_is_refused_changes_nothing(mode):
    with ExitStack() as stack:
        bulk = made(stack, mode, 100)
        kernel, id = bulk.kernel, bulk.cache.id
        assert bulk.get(0, 40) == 40
        block = kernel.malloc(100)
        before = kernel.snapshot()
        for count in (0, -1, -(1 << 63), (1 << 63) - 1, (1 << 16) + 1):
            assert bulk.get(0, count) == BAD_SIZE == kernel.call("cache_put_bulk", id, count, bulk.array)
        assert bulk.get(0, bulk.most) == LIMIT
        for call in ("cache_get_bulk", "cache_put_bulk"):
            assert kernel.call(call, id + 1, 3, bulk.array) == BAD_CACHE == kernel.call(call, 5, 3, bulk.array)
            assert kernel.call(call, kernel.cache("region").id, 3, bulk.array) == NOT_YOURS
        assert kernel.snapshot() == before
        assert bulk.put(0, [*bulk.objects, block]) == BAD_ADDRESS == bulk.put(1, [*bulk.objects, block])
        assert bulk.put(1, bulk.objects[:10]) == OK
        assert bulk.get(0, bulk.most - 30) == bulk.most - 30, "what another one gave back serves again"
        bulk.finish()


def test_python_has_lists_of_them():
    with Kernel.boot(machine((0, 16 * MIB)), altered("eros2")) as kernel:
        cache = kernel.cache("some", 64, 400)
        objects = cache.get_bulk(300)
        assert len(set(objects)) == 300 == cache.used
        with pytest.raises(BadAddress):
            cache.put_bulk([*objects, objects[7]])
        assert cache.used == 300
        cache.put_bulk(objects)
        assert cache.used == 0
        for wrong in (lambda: cache.get_bulk(0), lambda: cache.put_bulk([])):
            with pytest.raises(BadRequest):
                wrong()
        with pytest.raises(OutOfMemory):
            cache.get_bulk(cache.limit + 1)
        conserved(kernel)
