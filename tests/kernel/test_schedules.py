"""E26, E31, C11 with two processors: small scenarios in every schedule of a few preemptions, and others at random."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import unwrap
from types import FunctionType
from typing import Any

import pytest
from effort import EFFORT
from heap_model import altered, empty_stock
from schedules import Processors
from small_machines import MIB, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.core import locks
from kernmalloc.kernel.core.kern import DEVICE_MEMORY, DMA, FRAMES, PAGE, Cpu
from kernmalloc.lang.memory import use
from kernmalloc.lang.status import BROKEN, OK
from kernmalloc.machine import lives

PREEMPTIONS = 3
FEWER = 1 if EFFORT == 1 else 2  # where a processor fetches, which takes thousands of accesses
DEVICE = 0xE0000
FRAME = 4096

Programs = list[list[tuple[Any, ...]]]
SCENARIOS: dict[str, Callable[[Kernel, Kernel], Programs]] = {}


def scenario(make: Callable[[Kernel, Kernel], Programs]) -> Callable[[Kernel, Kernel], Programs]:
    """A function that prepares a kernel, through its two processors, and says what both do then."""
    SCENARIOS[make.__name__] = make
    return make


def leave(kernel: Kernel, count: int) -> list[int]:
    """Take frames until `count` are free and none is in a stock: the pfns taken."""
    kernel.drain()
    taken = []
    while kernel.frames_by_type()["free"] > count:
        taken.append(kernel.frame_get("dma"))
    return taken


@scenario
def malloc_and_malloc(a, b):
    return [[("malloc", 100)], [("malloc", 100)]]


@scenario
def malloc_of_two_sizes(a, b):
    return [[("malloc", 100), ("malloc", 100)], [("malloc", 3000)]]


@scenario
def malloc_and_free_of_its_neighbour(a, b):
    """A block is freed by another processor than the one that has claimed its slab."""
    va = [a.malloc(100) for _ in range(3)][1]
    return [[("malloc", 100)], [("free", va)]]


@scenario
def free_by_owner_and_by_another(a, b):
    first, second = a.malloc(100), a.malloc(100)
    return [[("free", first), ("malloc", 100)], [("free", second)]]


@scenario
def refill_and_free_of_a_slot_of_the_word_claimed(a, b):
    """The magazine runs empty while a slot of its word comes back from elsewhere."""
    blocks = [a.malloc(1024) for _ in range(4)]
    return [[("malloc", 1024)], [("free", blocks[0])]]


@scenario
def slots_come_back_while_their_owner_allocates(a, b):
    blocks = [a.malloc(1024) for _ in range(4)]
    return [[("malloc", 1024), ("free", blocks[3])], [("free", blocks[0]), ("free", blocks[2])]]


@scenario
def slab_emptied_from_both_sides(a, b):
    """The slab goes when its last slot comes back, whoever brings it."""
    blocks = [a.malloc(3072) for _ in range(8)]
    b.free(blocks.pop(0))
    return [[("free", blocks[5]), ("drain",)], [("free", blocks[2]), ("malloc", 3072)]]


@scenario
def two_refills_from_one_slab(a, b):
    """Two words are free in one slab, which nobody has claimed."""
    blocks = [a.malloc(16) for _ in range(256)]
    for va in (blocks[3], blocks[70]):
        a.free(va)
    a.drain()
    return [[("malloc", 16)], [("malloc", 16)]]


@scenario
def free_and_drain(a, b):
    va, _ = a.malloc(100), a.malloc(100)
    return [[("drain",)], [("free", va)]]


@scenario
def drain_and_drain(a, b):
    a.free(a.malloc(100))
    b.free(b.malloc(100))
    a.frame_put(a.frame_get())
    return [[("drain",)], [("drain",)]]


@scenario
def the_last_frame(a, b):
    leave(a, 1)
    return [[("frame_get", PAGE)], [("frame_get", PAGE)]]


@scenario
def the_last_frame_for_a_driver(a, b):
    leave(a, 1)
    return [[("frame_get", DMA)], [("frame_get", PAGE)]]


@scenario
def frame_put_and_frame_get(a, b):
    leave(a, 1)
    pfn = a.frame_get()
    return [[("frame_put", pfn)], [("frame_get", PAGE)]]


@scenario
def frames_pass_from_a_stock_that_overflows(a, b):
    """One processor's stock is full and spills; the other's is empty and draws."""
    pages = [a.frame_get() for _ in range(FRAMES + 1)]
    for pfn in pages[:-1]:
        a.frame_put(pfn)
    empty_stock(b)
    return [[("frame_put", pages[-1])], [("frame_get", PAGE)]]


@scenario
def frame_of_one_put_by_the_other(a, b):
    mine, yours = a.frame_get(), b.frame_get()
    return [[("frame_put", yours), ("frame_get", PAGE)], [("frame_put", mine), ("frame_get", PAGE)]]


@scenario
def block_and_frame_put(a, b):
    """A block is looked for while frames that would make it up are in the own stock, or come back."""
    pfn = a.frame_get()
    return [[("block_get", 3, DMA)], [("frame_put", pfn)]]


@scenario
def range_and_frame(a, b):
    return [[("range_get", 7, 1, 0, 1 << 40, 0, DMA)], [("frame_get", PAGE)]]


@scenario
def publish_and_publish_the_same(a, b):
    return [[("publish", DEVICE, 4, DEVICE_MEMORY, 4, 1)], [("publish", DEVICE + 2, 4, DEVICE_MEMORY, 4, 1)]]


@scenario
def publish_and_withdraw(a, b):
    a.devices.publish(DEVICE * FRAME, 64 * FRAME)
    return [[("publish", DEVICE + 64, 4, DEVICE_MEMORY, 4, 1)], [("withdraw", DEVICE)]]


@scenario
def use_and_withdraw(a, b):
    a.devices.publish(DEVICE * FRAME, 64 * FRAME)
    return [[("device_get", DEVICE + 3)], [("withdraw", DEVICE)]]


@scenario
def use_and_let_go_of_one_chunk(a, b):
    a.devices.publish(DEVICE * FRAME, 64 * FRAME)
    a.devices.get(DEVICE + 1)
    return [[("device_get", DEVICE + 3)], [("device_put", DEVICE + 1)]]


@scenario
def frames_while_a_region_that_was_looked_up_goes(a, b):
    """What a lookup remembers is a region that another processor withdraws."""
    pfn = a.frame_get()
    a.devices.publish(DEVICE * FRAME, 64 * FRAME)
    assert a.frame_type(DEVICE) == "device"
    return [[("frame_put", pfn), ("frame_type", DEVICE)], [("withdraw", DEVICE)]]


@scenario
def the_last_object(a, b):
    cache = a.cache("port", 2048, 2)
    while cache.used < cache.limit - 1:
        cache.get()
    return [[("cache_get", cache.id)], [("cache_get", cache.id)]]


@scenario
def object_put_and_object_got(a, b):
    cache = a.cache("port", 2048, 2)
    objects = [cache.get() for _ in range(cache.limit)]
    return [[("cache_put", cache.id, objects[0])], [("cache_get", cache.id)]]


@scenario
def runs_split_and_joined(a, b):
    blocks = [a.malloc(9 * FRAME) for _ in range(3)]
    a.free(blocks[0])
    return [[("malloc", 9 * FRAME)], [("free", blocks[1])]]


@scenario
def growth_and_the_frames_that_it_needs(a, b):
    leave(a, 12)
    return [[("malloc", 9 * FRAME)], [("frame_get", PAGE), ("frame_get", PAGE)]]


@scenario
def heap_shrinks_and_grows_over_other_frames(a, b):
    """The records that one processor reads are unmapped by the other, and come back on another frame."""
    below, va = a.malloc(100 * FRAME), a.malloc(9 * FRAME)
    shrink, grow = [("free", va), ("free", below), ("drain",)], [("malloc", 100 * FRAME), ("malloc", 9 * FRAME)]
    return [[*shrink, ("frame_get", DMA), *grow], [("size_of", va)]]


@scenario
def release_and_malloc(a, b):
    return [[("release",)], [("malloc", 9 * FRAME)]]


# what one processor fetches of what the other keeps idle

FETCHING: list[str] = []


def fetching(make: Callable[[Kernel, Kernel], Programs]) -> Callable[[Kernel, Kernel], Programs]:
    """A scenario in which frames or slabs of the second processor are fetched while that is at work."""
    FETCHING.append(make.__name__)
    return scenario(make)


def stocked(a: Kernel, b: Kernel) -> list[int]:
    """Two pages of the second processor, at whose stock its quick paths are aimed; what is free lies there: two more
    frames, and none is listed."""
    leave(a, 60)
    pages = [b.frame_get() for _ in range(2)]
    while a.view.kern["free_frames"] > a.view.kern["stocked"]:
        a.frame_get("dma")
    assert a.view.kern["stocked"] == 4
    return pages


@fetching
def frames_of_a_stock_are_fetched_while_it_is_used(a, b):
    held = stocked(a, b)
    return [[("frame_get", PAGE)], [("frame_put", held[0]), ("frame_get", PAGE)]]


@fetching
def all_frames_are_collected_while_one_comes(a, b):
    held = stocked(a, b)
    return [[("collect", 99)], [("frame_put", held[0])]]


@fetching
def a_driver_takes_frames_of_a_stock(a, b):
    held = stocked(a, b)
    return [[("frame_get", DMA), ("frame_get", DMA)], [("frame_get", PAGE), ("frame_put", held[0])]]


@fetching
def slabs_are_fetched_while_slots_come_and_go(a, b):
    """Slots of the second processor's slab are free, on its stack, and in use."""
    blocks = [b.malloc(2048) for _ in range(4)]
    b.free(blocks[0])
    leave(a, 0)
    b.free(blocks[1])
    return [[("collect", 99)], [("malloc", 2048), ("free", blocks[2])]]


@fetching
def the_last_slot_of_a_slab_comes_back_while_it_is_fetched(a, b):
    va = b.malloc(3000)
    b.free(b.malloc(3000))
    leave(a, 0)
    return [[("frame_get", PAGE)], [("free", va), ("malloc", 3000)]]


@fetching
def slots_that_the_other_gave_back_are_fetched(a, b):
    """Notes of the first processor lie with the second one."""
    blocks = [b.malloc(3000) for _ in range(2)]
    a.free(blocks[0])
    leave(a, 0)
    return [[("free", blocks[1]), ("collect", 99)], [("malloc", 3000)]]


@fetching
def both_fetch(a, b):
    leave(a, 2)
    mine, yours = a.frame_get(), b.frame_get()
    return [[("frame_put", mine), ("collect", 99)], [("frame_put", yours), ("collect", 99)]]


@fetching
def a_type_is_destroyed_while_it_is_used(a, b):
    """The second processor has a free object of the type at hand, and one in use."""
    cache = b.cache("port", 2048, 2)
    held = [cache.get() for _ in range(2)]
    cache.put(held[0])
    return [[("cache_destroy", cache.id)], [("cache_put", cache.id, held[1])]]


Base = tuple[Kernel, dict[int, bytes]]


@pytest.fixture(scope="module")
def base() -> Iterator[Base]:
    with Kernel.boot(machine((0, 4 * MIB)), altered("eros2", growth=8), "twin", cpus=2) as kernel:
        yield kernel, kernel.snapshot()


@contextmanager
def prepared(
    base: Base, name: str, kind: type[Processors] = Processors, **more: bool
) -> Iterator[tuple[Processors, Programs]]:
    """Processors of a kernel that a scenario has prepared, and what they do."""
    kernel, memory = base
    kernel.restore(memory)
    programs = SCENARIOS[name](kernel, kernel.cpu(1))
    processors = kind(kernel, **more)
    try:
        yield processors, programs
    finally:
        processors.close()


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_schedule_of_a_few_preemptions_E26_E31(base, name):
    """Whatever the schedule, results are those of one operation after the other, every invariant holds, no frame is
    lost, and nothing shared is stored outside the lock."""
    with prepared(base, name) as (processors, programs):
        explored = processors.explore(programs, FEWER if name in FETCHING else PREEMPTIONS)
        print(f"{name}: {explored} schedules, {len(processors.shared)} shared words")
        assert explored >= 2


@pytest.mark.parametrize("name", SCENARIOS)
def test_schedules_at_random_E26_E31(base, name):
    """The same where processors change at any load, store or atomic, as often as it happens."""
    with prepared(base, name, everywhere=True) as (processors, programs):
        processors.wander(programs, seed=1, runs=10 * EFFORT)


# what the exploration finds


@contextmanager
def without(*names: str) -> Iterator[None]:
    """The twin with functions that do nothing."""
    todo, seen = [unwrap(function) for function in lives._functions.values()], {}
    while todo:
        space = todo.pop().__globals__
        if id(space) not in seen:
            seen[id(space)] = space
            todo += [
                value for value in space.values() if isinstance(value, FunctionType) and "_add" in value.__globals__
            ]
    kept = [(space, name, space[name]) for space in seen.values() for name in names if name in space]
    assert kept
    for space, name, _ in kept:
        space[name] = lambda *_: 0
    try:
        yield
    finally:
        for space, name, function in kept:
            space[name] = function


BROKEN_WITHOUT = (
    "malloc_and_malloc",
    "the_last_frame_for_a_driver",
    "publish_and_withdraw",
    "drain_and_drain",
    "slab_emptied_from_both_sides",
)


@pytest.mark.parametrize("name", BROKEN_WITHOUT)
def test_without_the_lock_stores_are_seen(base, name):
    with (
        without("enter", "leave"),
        prepared(base, name) as (processors, programs),
        pytest.raises(AssertionError, match="outside the lock"),
    ):
        processors.explore(programs, 0)


@pytest.mark.parametrize("name", BROKEN_WITHOUT)
def test_without_the_lock_one_preemption_breaks_it(base, name):
    with (
        without("enter", "leave"),
        prepared(base, name, watch=False) as (processors, programs),
        pytest.raises(AssertionError, match=r"Schedule.*(is none of|does not hold|nothing maps)"),
    ):
        processors.explore(programs, 1)


def test_a_lock_that_is_not_given_back_is_a_deadlock(base):
    with (
        without("leave"),
        prepared(base, "malloc_and_malloc") as (processors, programs),
        pytest.raises(AssertionError, match="spins for ever"),
    ):
        processors.explore(programs, 0)


@pytest.mark.parametrize(
    "name", ["frames_of_a_stock_are_fetched_while_it_is_used", "slabs_are_fetched_while_slots_come_and_go"]
)
@pytest.mark.parametrize("step", ["until_quiet", "gate_shut"])
def test_without_a_step_of_fetching_it_breaks(base, name, step):
    """Nobody waits for a quick path that is under way, or a new one may begin: frames or slots are lost, or two own
    them."""
    with (
        without(step),
        prepared(base, name) as (processors, programs),
        pytest.raises(AssertionError, match=r"Schedule.*"),
    ):
        processors.explore(programs, 2)


class Torn(Processors):
    """Atomics that are not: another processor may come between their load and their store."""

    def atomically(self, step: Callable[[], int]) -> int:
        return step()

    def _access(self, word: int, kind: int) -> None:
        if word == self.lock >> 3 and self.running:
            self._point()
        else:
            super()._access(word, kind)


@pytest.mark.parametrize("name", ["malloc_and_malloc", "the_last_frame"])
def test_a_lock_that_is_not_atomic_is_found(base, name):
    with prepared(base, name, Torn) as (processors, programs), pytest.raises(AssertionError, match="Schedule"):
        processors.explore(programs, 2)


class Deaf(Processors):
    """A shootdown that no other processor hears."""

    def shootdown(self, va: int, pages: int) -> int:
        return self.flush(va, pages)


def test_a_shootdown_that_is_not_heard_is_found(base):
    with (
        prepared(base, "heap_shrinks_and_grows_over_other_frames", Deaf) as (processors, programs),
        pytest.raises(AssertionError, match="Schedule"),
    ):
        processors.explore(programs, PREEMPTIONS)


# the lock itself


@pytest.mark.parametrize("held", [0, 1, 2])
def test_only_who_is_inside_leaves(base, held):
    """`leave` without `enter`, or of another processor's, is refused and changes nothing."""
    kernel, memory = base
    kernel.restore(memory)
    first, second = Cpu(kernel.processor), Cpu(kernel.cpu(1).processor)
    use(kernel.handle.life)
    for depth in range(held):
        assert locks.enter(first) == depth + 1
    before = kernel.snapshot()
    assert locks.leave(second) == BROKEN
    assert kernel.snapshot() == before
    for _ in range(held):
        assert locks.leave(first) == OK
    assert locks.leave(first) == BROKEN
    assert kernel.snapshot() == memory
    conserved(kernel)
