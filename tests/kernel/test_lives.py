"""One source, three lives: the same operations leave the same bytes in raw, soft and twin."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_machines import MIB, MODES, conserved, guest, machine, poison

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.boot.added import ITSELF, PAGE_SPACE
from kernmalloc.kernel.core.kern import DMA, PAGE
from kernmalloc.kernel.heap.caches import LAST_MAP_CACHE
from kernmalloc.lang import failed

LENGTH = 50

SHORT = "a short direct map"
MACHINES = {
    "one range": ([(0, 6 * MIB)], "eros2", None),
    "four ranges, poisoned": (
        [(0x1000, 0x9E000), (MIB, 3 * MIB), (5 * MIB + 0x3000, 2 * MIB), (8 * MIB, 0x1000)],
        "eros2",
        poison,
    ),
    "static": ([(0, 8 * MIB)], "eros", None),
    "pages of 8 KiB": ([(0, 6 * MIB)], "coyotos-coldfire", poison),
    "two levels": ([(0, 6 * MIB)], "i386", poison),
    "tables by four": ([(0, 6 * MIB)], "armv7", poison),
    "nearly full": ([(0, 3 * MIB + 0x50000)], "eros2", poison),
    "a direct map": ([(0, MIB), (2 * MIB, 5 * MIB)], guest(), poison),
    "frames alone": ([(0, MIB), (2 * MIB, 5 * MIB)], guest(name="frames"), poison),
    SHORT: ([(0, 5 * MIB), (8 * MIB, 3 * MIB)], guest(4 * MIB), None),
}

SIZES = st.one_of(
    st.integers(1, 600),
    st.integers(1, 40_000),
    st.integers(1, 600_000),
    st.sampled_from([0, -1, 4096, 32768, 32769, 1 << 40, 1 << 62]),
)
ANY = st.integers(0, 1 << 16)
HOSTS = st.sampled_from([PAGE_SPACE, PAGE_SPACE, ITSELF, 2])
OPERATIONS = st.one_of(
    st.tuples(st.just("malloc"), SIZES),
    st.tuples(st.just("malloc_aligned"), SIZES, st.sampled_from([1, 16, 64, 256, 4096, 8192, 1 << 21, 3, 1 << 31])),
    st.tuples(st.just("malloc_zeroed"), SIZES),
    st.tuples(st.just("free"), ANY, st.sampled_from([0, 0, 0, 0, 0, 1, 16, 4096, -4096])),
    st.tuples(st.just("size_of"), ANY, st.sampled_from([0, 0, 8, 4096])),
    st.tuples(st.just("calloc"), st.integers(0, 300), st.integers(0, 200)),
    st.tuples(st.just("realloc"), ANY, SIZES),
    st.tuples(st.just("resize"), ANY, SIZES),
    st.tuples(st.just("free_sized"), ANY, SIZES),
    st.tuples(st.just("cache_get"), st.integers(LAST_MAP_CACHE - 2, LAST_MAP_CACHE + 6)),
    st.tuples(st.just("cache_put"), ANY, st.sampled_from([0, 0, 0, 0, 1]), st.sampled_from([0, 0, 0, 8])),
    st.tuples(st.just("cache_create"), st.sampled_from([8, 100, 5000, 0, 40_000]), st.integers(0, 300)),
    st.tuples(st.just("cache_create_aligned"), st.sampled_from([8, 100, 5000]), st.just(50), st.sampled_from([64, 9])),
    st.tuples(st.just("frame_get"), st.sampled_from([PAGE, DMA, 1])),
    st.tuples(st.just("block_get"), st.integers(-1, 11), st.sampled_from([PAGE, DMA])),
    st.tuples(
        st.just("range_get"),
        st.integers(0, 700),
        st.sampled_from([1, 2, 16, 512, 3]),
        st.sampled_from([0, 0, 300, 2000]),
        st.sampled_from([1 << 40, 1 << 40, 1600, 700]),
        st.sampled_from([0, 0, 64]),
        st.just(DMA),
    ),
    st.tuples(st.just("frame_put"), ANY, st.sampled_from([0, 0, 0, 1])),
    st.tuples(st.just("range_put"), ANY, st.integers(0, 40)),
    st.tuples(st.just("frame_type"), st.integers(-1, 2100)),
    st.tuples(st.just("ram_add"), st.sampled_from([0, 500, 2048, 2500, 4000]), st.integers(-1, 1500), HOSTS),
    st.tuples(st.just("drain")),
)


class Replay:
    """Resolves an operation's references to earlier results, alike in every life: they return the same values."""

    def __init__(self) -> None:
        self.blocks: list[int] = []
        self.objects: list[tuple[int, int]] = []
        self.frames: list[int] = []
        self.ranges: list[tuple[int, int]] = []

    def arguments(self, operation: tuple) -> tuple[str, tuple[int, ...]]:
        name, *args = operation
        pick = {"free": self.blocks, "size_of": self.blocks, "frame_put": self.frames}.get(name)
        if pick is not None:
            return name, ((pick[args[0] % len(pick)] if pick else args[0]) + args[1],)
        if name in ("realloc", "resize", "free_sized"):
            return name, (self.blocks[args[0] % len(self.blocks)] if self.blocks else args[0], args[1])
        if name == "cache_put":
            id, va = self.objects[args[0] % len(self.objects)] if self.objects else (LAST_MAP_CACHE, args[0])
            return name, (id + args[1], va + args[2])
        if name == "range_put":
            pfn, count = self.ranges[args[0] % len(self.ranges)] if self.ranges else (args[0], 1)
            return name, (pfn, count if args[1] < 30 else args[1])
        return name, tuple(args)

    def note(self, name: str, args: tuple[int, ...], result: int) -> None:
        if failed(result):
            return
        if name.startswith("malloc") or name in ("calloc", "realloc"):
            self.blocks.append(result)
        elif name == "cache_get":
            self.objects.append((args[0], result))
        elif name in ("frame_get", "block_get"):
            self.frames.append(result)
        elif name == "range_get":
            self.ranges.append((result, args[0]))


def in_every_mode(name: str) -> list[Kernel]:
    """One of `MACHINES` booted in each mode, with addresses for RAM that comes later."""
    ranges, profile, prepare = MACHINES[name]
    profile = Profile.load(profile) if isinstance(profile, str) else profile
    kernels = [Kernel.boot(machine(*ranges), profile, mode, prepare=prepare) for mode in MODES]
    for kernel in kernels:
        kernel.handle.life.reach(64 * MIB)
    return kernels


@pytest.fixture(
    scope="module",
    params=[*(name for name in MACHINES if name != SHORT), pytest.param(SHORT, marks=pytest.mark.nightly)],
)
def trio(request) -> Iterator[tuple[list[Kernel], list[dict]]]:
    """The same machine booted in each life, and the memory after boot."""
    kernels = in_every_mode(request.param)
    for kernel in kernels:
        while request.param == "nearly full" and kernel.frames_by_type()["free"] > 12:
            kernel.frame_get()
    yield kernels, [kernel.snapshot() for kernel in kernels]
    for kernel in kernels:
        kernel.close()


def differing(a: dict[int, bytes], b: dict[int, bytes]) -> list[str]:
    """Physical pages that two memories do not agree on."""
    return [hex(pa) for pa in sorted(a.keys() | b.keys()) if a.get(pa) != b.get(pa)]


def test_same_memory_after_boot(trio):
    """E36, E37: the bootstrap writes the same bytes however it is executed."""
    _, memories = trio
    assert differing(memories[0], memories[1]) == []
    assert differing(memories[0], memories[2]) == []


@settings(
    max_examples=settings.default.max_examples // 2,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(operations=st.lists(OPERATIONS, min_size=LENGTH, max_size=LENGTH))
def test_same_operations_same_memory(trio, operations):
    """Equal results, byte-identical memory, every invariant, no frame lost; 250 sequences over the machines by day."""
    kernels, memories = trio
    replay = Replay()
    for kernel, memory in zip(kernels, memories, strict=True):
        kernel.restore(memory)
    for operation in operations:
        name, args = replay.arguments(operation)
        results = [kernel.call(name, *args) for kernel in kernels]
        assert results[0] == results[1] == results[2], (name, args, results)
        replay.note(name, args, results[0])
    for kernel in kernels:
        conserved(kernel)
    raw, soft, twin = (kernel.snapshot() for kernel in kernels)
    assert differing(raw, soft) == []
    assert differing(raw, twin) == []
