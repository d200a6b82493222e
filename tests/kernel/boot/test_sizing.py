"""Sizing functions, each of them off by one: what is used differs from what was planned, under every strategy (C7, C8).

The plan is made with the wrong function, all later steps of the boot with the right one. One byte more is seen on a
machine whose areas fill whole pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from inspect import unwrap
from types import FunctionType

import pytest
from msgspec.structs import replace
from small_machines import MIB, machine

from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.kernel import Kernel, _boot
from kernmalloc.facade.profile import STRATEGIES, Bank, Devices, Heap, ObjectType, Profile
from kernmalloc.kernel.core.kern import Kern
from kernmalloc.kernel.devices import CHUNK_FRAMES
from kernmalloc.kernel.frames.bitmap import bitmap_bytes
from kernmalloc.kernel.pages.pages import pages_bytes
from kernmalloc.lang import twin
from kernmalloc.lang.functions import REGISTRY
from kernmalloc.machine import lives
from kernmalloc.machine.lives import LifeError
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.plan import with_strategy

UPPER = 32 * MIB >> 12  # pfn
FRAMES = next(
    n for n in range(4000, 9000) if (32 * n + bitmap_bytes(UPPER, n)) % 4096 == 0
)  # their area fills whole pages
ALL = (
    "area_pages", "bitmap_bytes", "chunk_bytes", "chunks_for", "last_pages", "object_pages", "object_slabs",
    "pages_bytes", "pages_for", "reciprocal_of", "record_pages", "slab_pages", "slab_slots", "slot_bytes", "slots_in",
    "sum_count", "table_bytes", "word_count", "_heads_bytes", "_last_words", "_leaf_tables", "_spans",
)  # fmt: skip
# of a heap that grows while the boot describes memory
PAGE_BY_PAGE = ("affordable", "heap_frames", "map_pages", "_region_slab")
OBJECTS = ("objects_pages", "scaled")  # of a heap that holds all objects from the start
# what says where something lies, whether it can be, how a page table is made, or only adds up what the others say
DECIDE = {
    "plan", "range_at", "_boot_frames", "allocates", "area_cost", "block_in", "direct_end", "has_heap", "has_tables",
    "has_pages", "is_dense", "objects_scale", "origin_of", "record_shift", "shown_end", "span_pages", "writes_tables",
    "_block_donor", "_donor", "_growth", "_place", "_plan_affine", "_plan_carved", "_plan_fixed", "_plan_growing",
    "_plan_heap", "_plan_objects", "ranges_ok", "_type_at",
}  # fmt: skip


def profile(strategy: str) -> Profile:
    """A kernel whose reserve of chunks fills whole slabs, as some of its objects do."""
    return replace(
        with_strategy(Profile.load("eros2"), strategy),
        heap=Heap(excess=2 * MIB, growable=MIB, spare=64 << 10),
        devices=Devices(frames=30 * CHUNK_FRAMES, ranges=21, last_words=30 * CHUNK_FRAMES, last_ranges=21),
        bank=Bank(),
        objects=(
            ObjectType(name="node", size=560, count=63, last_words=14),
            ObjectType(name="depend", size=128, count=64, last_words=32),
        ),
    )


def hashed() -> Machine:
    """A machine whose page cache's hash fills whole pages."""
    with Kernel.load(machine((MIB, 10 * MIB)), profile("demand"), "twin") as kernel:
        lower = sum(end - first for first, end in kernel.placement.ram)
        twin.use(kernel.handle.life)
        kern = Kern(kernel.view.kern_va)
        upper = next(n for n in range(4000, 9000) if pages_bytes(kern, lower + n) % 4096 == 0)
    return machine((MIB, 10 * MIB), (UPPER << 12, upper << 12))


MACHINES = (
    machine((MIB, 10 * MIB), (UPPER << 12, FRAMES << 12)),
    machine((MIB, 13 * MIB), (UPPER << 12, 24 << 12)),  # the lower range is cut: the upper one cannot pay for it whole
    hashed(),
)


@cache
def reached() -> dict[str, dict[str, object]]:
    """The namespaces of the checked `plan` and of all that it calls, by function name."""
    Kernel.load(MACHINES[0], profile("demand"), "twin").close()
    names = {function.__name__ for function in REGISTRY}
    found, todo = {}, [unwrap(lives._functions["plan"])]
    while todo:
        function = todo.pop()
        if function.__name__ not in found:
            found[function.__name__] = function.__globals__
            todo += [
                value
                for value in function.__globals__.values()
                if isinstance(value, FunctionType) and value.__name__ in names
            ]
    return found


@contextmanager
def off_by(name: str, amount: int) -> Iterator[None]:
    """Whoever calls that function for a plan gets an answer that is off."""
    with pytest.MonkeyPatch.context() as patch:
        for space in reached().values():
            if name in space:
                patch.setitem(space, name, lambda *args, right=space[name]: right(*args) + amount)
        yield


def agrees(strategy: str, computer: object, name: str = "", amount: int = 0) -> bool:
    """Whether a boot uses what was planned, when the plan was made with a function that is off."""
    with Kernel.load(computer, profile(strategy), "twin") as kernel:
        try:
            with off_by(name, amount):
                kernel.call("boot_step")
            _boot(kernel, None)
        except (TooSmall, LifeError):
            return False  # the boot itself saw it
        return kernel.heap.used == kernel.heap.planned


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_right_plans_agree(strategy):
    assert all(agrees(strategy, computer) for computer in MACHINES)


@pytest.mark.parametrize("strategy, name", [
    (strategy, name)
    for strategy, asks in STRATEGIES.items()
    for name in ALL + (() if asks.affine else PAGE_BY_PAGE) + (OBJECTS if asks.static else ())
])  # fmt: skip
def test_C8_a_sizing_function_that_is_off_by_one_is_seen(strategy, name):
    """C7, C8: off by one byte, page, slot or chunk, and planned and used differ: check shares no code with the plan."""
    assert not all(agrees(strategy, computer, name, amount) for computer in MACHINES for amount in (1, -1))


def test_C8_no_function_of_the_plan_is_left_out():
    """C8: a new sizing function is named here, and so seen to be off, or it decides rather than sizes."""
    assert set(reached()) == {*ALL, *PAGE_BY_PAGE, *OBJECTS} | DECIDE


@pytest.mark.parametrize("strategy", [name for name, strategy in STRATEGIES.items() if strategy.affine])
def test_C8_an_affine_heap_keeps_room_for_malloc(strategy):
    """C8: as much as the profile says can be allocated after the boot, out of the fixed part."""
    kept = replace(profile(strategy), heap=Heap(excess=2 * MIB, growable=MIB, spare=MIB))
    with Kernel.boot(machine((MIB, 32 * MIB)), kept, "raw") as kernel:
        assert int(kernel.view.kern["plan"]["headroom"]) == MIB >> 12
        backed = kernel.heap.backed
        kernel.malloc(MIB)
        assert kernel.heap.backed == backed
        assert kernel.check().passed
