"""Whatever can be short is made short, everywhere, once and in pairs: the call succeeds without it, or leaves all as
it was.

Rows E26 (an abandoned call loses no frame), C1 (at the bound a typed error), C15 (a refused publication is rolled
back). What may differ after a refusal: pages that were evicted, and write-backs that were asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import unwrap

import pytest
from page_source import Source
from small_machines import MIB, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.boot.added import PAGE_SPACE
from kernmalloc.kernel.core.kern import DEVICE_MEMORY, DMA, PAGE, Kern
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.lang.status import LIMIT, NO_FRAMES, NO_VA, PROMISED, WOULD_BLOCK
from kernmalloc.machine import lives

# what can be short: by name, the function that says so, and what it then says
SHORT = {
    "frames": ("space_ask", NO_FRAMES), "frames that will come": ("space_ask", WOULD_BLOCK),
    "the promise": ("space_ask", PROMISED),
    "free frames": ("supply", Region(0)), "listed frames": ("frames_left", 0), "VA": ("grow", NO_VA),
    "the reserve": ("pages_ask", NO_VA), "slabs": ("slab_new", LIMIT),
    "objects": ("slot_take", LIMIT), "the ring": ("ring_room", 0), "windows": ("windows_left", 0),
}  # fmt: skip
ASKS = {
    "supply": {"block_take", "stock_draw", "_read_in"},
    "frames_left": {"range_get"},
}  # elsewhere they have been asked before
SURE = {"slot_take": {"publish", "_record", "_records"}}  # where slots have been made sure of
HISTORY = {
    "bin_bits", "bins", "checked", "hit", "pages", "plan", "returned", "recycled", "stocked", "supply", "common",
    "wanted", "peak",
    "idle", "backed", "top", "map_pages", "moved", "adding",
    "format",  # constant; its arrays cannot be compared as lists
}  # fmt: skip
COUNTED = {"free_frames", "page_frames", "heap_frames", "mapping_frames"}  # `room` and `held` say what they must be
REGION = ("base", "count", "live", "ready_count", "used")
NODE = 0xE0000


class World:
    """A kernel in the twin with something of everything, little memory, and the calls to try on it."""

    def __init__(self) -> None:
        self.kernel = kernel = Kernel.boot(machine((0, 8 * MIB)), Profile.load("eros2"), "twin")
        kernel.handle.life.reach(128 * MIB)
        self.source = source = Source(kernel)
        self.umap = source.call("umap_make")
        for oid in range(12):
            assert source.call("umap_map", self.umap, oid << 12, oid, oid & 1) == 0
        kernel.call("publish", NODE, 100, DEVICE_MEMORY, 33, 1)
        for pfn in (NODE, NODE + 32):
            assert kernel.call("device_get", pfn) == 0
        self.node = kernel.cache("node").id
        array = kernel.malloc(160)
        held = [kernel.frame_get() for _ in range(kernel.frames_by_type()["free"] - 40)]
        kernel.frame_put(held[7])
        kernel.drain()
        self.snapshot = kernel.snapshot()
        self.calls = {
            "malloc": (24,), "malloc of pages": (9 * 4096,), "malloc_aligned": (8192, 1 << 14),
            "malloc_zeroed": (5000,),
            "cache_get": (self.node,), "frame_get": (PAGE,), "frames_get": (20, array), "block_get": (1, DMA),
            "range_get": (12, 4, 0, 1 << 40, 0, DMA),
            "publish": (0xF0000, 700, DEVICE_MEMORY, 700, 1), "device_get": (NODE + 99,), "umap_make": (),
            "ram_add": (0x4000, 900, PAGE_SPACE),
            "page_get": (77,),
            "umap_map_device": (self.umap, 3 << 29, NODE + 60, 10, 1),
            "umap_map": (self.umap, 1 << 31, 3, 1), "umap_map of a page to be read": (self.umap, 1 << 30, 99, 0),
        }  # fmt: skip

    def state(self) -> dict[str, object]:
        """What a refused call must leave as it was: counts, objects, frames and who has them, runs in use, regions."""
        view = self.kernel.view
        kern = view.kern
        pages = view.heap_pages()
        used = (pages["use"] > 3) & (pages["pages"] > 0)
        cached = int(kern["pages"]["counts"].sum())
        frames = self.kernel.frames_by_type()
        return {
            **{name: kern[name].tolist() for name in Kern.fields if name not in HISTORY | COUNTED},
            "held": frames["page"] - cached, "room": frames["free"] + cached + frames["heap"] + frames["mapping"],
            "dma": frames["dma"], "tables": int(kern["pages"]["tables"]), "slots": view.used_slots(),
            "large": sorted(pages["pages"][used & (pages["use"] == 5)].tolist()),
            "regions": [[int(r[name]) for name in REGION] for r in view.regions()],
        }  # fmt: skip

    def restore(self) -> None:
        self.kernel.restore(self.snapshot)


@contextmanager
def short(fails: dict[int, int | None], seen: list[str]) -> Iterator[None]:
    """The functions that may say that something is short: their calls are counted in `seen`, and the nth says so if n
    is in `fails`."""
    by_name: dict[str, list[int]] = {}
    for name, answer in SHORT.values():
        by_name.setdefault(name, []).append(answer)

    def wrapped(name, right):
        def call(*args):
            number = len(seen)
            seen.append(name)
            return by_name[name][fails[number] % len(by_name[name])] if number in fails else right(*args)

        return call

    with pytest.MonkeyPatch.context() as patch:
        spaces, todo = {}, [unwrap(function) for function in lives._functions.values()]
        while todo:
            function = todo.pop()
            if id(function.__globals__) not in spaces:
                spaces[id(function.__globals__)] = function
                todo += [
                    value
                    for value in function.__globals__.values()
                    if hasattr(value, "__globals__") and value.__module__.startswith("kernmalloc.kernel")
                ]
        for function in spaces.values():
            space = function.__globals__
            for name in by_name:
                if name in space and function.__name__ in ASKS.get(name, {function.__name__}) - SURE.get(name, set()):
                    patch.setitem(space, name, wrapped(name, space[name]))
        yield


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    yield made
    made.restore()
    for pfn in (NODE, NODE + 32):
        made.kernel.call("device_put", pfn)
    conserved(made.kernel)
    made.kernel.close()


def attempt(world: World, name: str, fails: dict[int, int]) -> int:
    """One call with those failures: how many times something could have been short. All is as it was if it was
    refused."""
    world.restore()
    before, seen = world.state(), []
    with short(fails, seen):
        result = world.kernel.call(name.split()[0], *world.calls[name])
    if result < 0:
        after = world.state()
        if result == WOULD_BLOCK and name.endswith(("page_get", "read")):
            return len(seen)  # the page is being read: that is the call's doing
        assert after == before, {key: (before[key], after[key]) for key in before if before[key] != after[key]}
    check = world.kernel.check()
    assert check.passed, check.failure
    return len(seen)


CALLS = (
    "malloc", "malloc of pages", "malloc_aligned", "malloc_zeroed", "cache_get", "frame_get", "frames_get",
    "block_get", "range_get", "publish",
    "device_get", "umap_make", "umap_map_device", "page_get", "umap_map", "umap_map of a page to be read", "ram_add",
)  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_E26_C1_C15_a_call_that_lacks_anything_leaves_all_as_it_was(world, name):
    """E26: each thing that a call asks for is refused, once each and in pairs, with every status that it can be
    refused with."""
    places = attempt(world, name, {})
    assert places > 0, "the call needs something"
    tried = 0
    for first in range(places):
        for status in range(3):
            reached = attempt(world, name, {first: status})
            tried += 1
            if status == 0:
                for second in range(first + 1, reached):
                    attempt(world, name, {first: status, second: status})
                    tried += 1
    assert tried >= 3
