"""Devices after boot: what publishing takes and what it leaves alone, growth and release beside it.

What comes of random lives under every strategy is in `test_sequences`."""

import random
from collections.abc import Iterator
from contextlib import suppress

import pytest
from device_model import FIRST, World
from heap_model import altered, booted, effort
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from small_machines import MIB, machine

from kernmalloc.facade.errors import BadRequest, OutOfMemory
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import STRATEGIES, Bank, Devices, Heap, Profile
from kernmalloc.kernel.core.kern import DEVICE, DEVICE_MEMORY, NVRAM, ROM
from kernmalloc.kernel.devices import ANYONE, CHUNK_FRAMES
from kernmalloc.kernel.heap.bins import LARGE as RUN
from kernmalloc.kernel.heap.bins import SLAB
from kernmalloc.kernel.heap.caches import CHUNK_CACHE, REGION_CACHE
from kernmalloc.lang.status import BAD_FRAME, BAD_SIZE, BUSY, OK
from kernmalloc.machine.mmu import ATTRIBUTES, UNCACHED, WRITE_BACK, WRITE_COMBINING, WRITE_THROUGH
from kernmalloc.plan.plan import with_strategy

PAGE = 4096
LARGE = 512  # pages
AFFINE = [name for name, strategy in STRATEGIES.items() if strategy.affine]


def small(strategy: str, growable: int = 0, spare: int = MIB, excess: int = 4 * MIB) -> Profile:
    """A kernel for a machine of a few MiB."""
    return replace(
        with_strategy(altered("eros2", window=64 * MIB), strategy), objects=(), bank=Bank(withheld=64),
        devices=Devices(frames=256, ranges=4),
        heap=Heap(growth_frames=4, growable=growable, spare=spare, excess=excess),
    )  # fmt: skip


def publish(kernel: Kernel, base: int, count: int, guarantee: int) -> int:
    return kernel.call("publish", base, count, DEVICE_MEMORY, guarantee, ANYONE)


def mallocs(kernel: Kernel, sizes: list[int]) -> list[int]:
    """A block of each size that there is room for."""
    blocks = []
    for size in sizes:
        with suppress(OutOfMemory):
            blocks.append(kernel.malloc(size))
    return blocks


@effort(0.2)
@given(base=st.integers(FIRST, FIRST + 200), count=st.integers(1, 300), extra=st.integers(0, 1 << 20))
def test_E6_E7_C10_publishing_allocates_the_entries(base, count, extra):
    """E6, E7, C10: after the boot a range gets an entry for each frame, in as many chunks as it touches and no more; no
    frame shares its entry with another, and those next to the range have none."""
    with booted() as kernel:
        kernel.drain()
        before = kernel.view.used_slots()
        assert publish(kernel, base, count, count) == OK
        assert publish(kernel, base + count + extra, 1, 0) == OK  # an extent
        chunks = (base + count - 1) // CHUNK_FRAMES - base // CHUNK_FRAMES + 1
        after = kernel.view.used_slots()
        assert after[CHUNK_CACHE] - before.get(CHUNK_CACHE, 0) == chunks
        assert after[REGION_CACHE] - before[REGION_CACHE] == 2
        for pfn in range(base, base + count):
            assert kernel.call("frame_type", pfn) == DEVICE
            assert kernel.call("device_get", pfn) == OK
        assert kernel.call("device_used", base) == count == int(kernel.view.kern["device_frames"])
        assert kernel.view.used_slots()[CHUNK_CACHE] == after[CHUNK_CACHE]
        assert kernel.call("device_get", base - 1) == BAD_FRAME and kernel.call("frame_type", base - 1) == BAD_FRAME
        assert kernel.call("withdraw", base) == BUSY
        for pfn in range(base, base + count):
            assert kernel.call("device_put", pfn) == OK
        assert kernel.call("withdraw", base) == kernel.call("withdraw", base + count + extra) == OK
        kernel.drain()
        assert kernel.view.used_slots() == before


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_E11_publishing_maps_nothing(strategy):
    """E11: no entry of the kernel's tables leads to a device, however its frames are used; whoever maps them does
    that himself."""
    with Kernel.boot(machine((0, 16 * MIB)), small(strategy)) as kernel:
        before = set(mappings(kernel))
        assert publish(kernel, FIRST, 200, 200) == OK
        for pfn in range(FIRST, FIRST + 200):
            assert kernel.call("device_get", pfn) == OK
        frames = {pfn for _, pfn in mappings(kernel)}
        assert frames and not any(FIRST <= pfn < FIRST + 200 for pfn in frames)
        if STRATEGIES[strategy].affine:
            assert set(mappings(kernel)) == before


def mappings(kernel: Kernel) -> Iterator[tuple[int, int]]:
    """Every address of the kernel's window that an entry maps, large or small, and the frame behind it: by the tables
    in memory."""
    kern = kernel.view.kern
    base, slot, page = int(kern["base"]), int(kern["span_shift"]), int(kern["page_shift"])
    for i in range(int(kern["bytes"]) >> slot):
        for at in range(1 << slot - page):
            try:
                pa = kernel.view.pa(base + (i << slot) + (at << page))
            except KeyError:
                continue
            yield (i << slot) + (at << page), pa >> page


class Audited(World):
    """A random life under which the ledger and the TLB are read after every step."""

    def __init__(self, kernel: Kernel, seed: int) -> None:
        super().__init__(kernel, seed)
        self.boot_tlb = kernel.mappings

    def begin(self) -> None:
        super().begin()
        self.ledger = self.kernel.ledger

    def checked(self, what: str) -> None:
        super().checked(what)
        ledger, before, first, now = self.kernel.ledger, self.ledger, self.boot_tlb, self.kernel.mappings
        assert ledger.opening + ledger.added - ledger.heap - ledger.dma == ledger.available, what
        name, args, result = self.log[-1]
        came = args[1] if name == "ram_add" and result == OK else 0
        assert ledger.added == before.added + came, what
        gained = ledger.available - before.available if came else 0
        assert ledger.promised == before.promised + gained and (ledger.lenient or ledger.broken_by == 0), what
        assert (ledger.opening, ledger.withheld) == (before.opening, before.withheld), what
        self.ledger = ledger
        assert now.large <= first.large, what
        if not STRATEGIES[self.kernel.profile.strategy].grows and first.large:
            assert now.small <= first.small, what


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_C12_C13_C14_the_ledger_and_the_tlb_after_every_step(strategy):
    """C13, C14: every frame that moves is a debit or a credit, and what was promised stays; of RAM that comes later the
    bank is promised all that page space gains. C12: after boot an affine heap takes no new TLB entry, whatever the
    kernel does; a hybrid one none of large pages."""
    for seed in range(effort(0.05).max_examples):
        with Kernel.boot(
            machine((0, 16 * MIB)),
            replace(small(strategy, MIB, 64 << 10, 2 * MIB), objects=Profile.load("eros2").objects),
        ) as kernel:
            world = Audited(kernel, seed)
            for _ in range(4):
                world.sequence(40)
                world.restart()


@effort(0.3)
@given(
    growable=st.integers(8, 300),
    sizes=st.lists(st.integers(1, 300_000), min_size=1, max_size=60),
    order=st.randoms(use_true_random=False),
)
def test_C17_hybrid_grows_outside_its_fixed_part(growable, sizes, order):
    """C17, C1, C11: what the fixed part cannot hold lies behind it, in single pages, at most as many as may be; each
    is a debit; freed, they are given back, the fixed part never."""
    with Kernel.boot(machine((0, 16 * MIB)), small("hybrid", growable * PAGE, spare=0), "soft") as kernel:
        kern, tlb = kernel.view.kern, kernel.mappings
        assert int(kern["growable"]) == growable and int(kern["top"]) == int(kern["fixed"])
        end = int(kern["heap"]) + int(kern["fixed"]) * PAGE
        blocks = mallocs(kernel, sizes)
        now = kernel.view.kern
        assert int(now["fixed"]) == int(kern["fixed"]) and kernel.mappings.large == tlb.large
        assert int(now["backed"]) - int(now["fixed"]) <= growable and int(now["top"]) <= int(now["fixed"]) + growable
        assert kernel.ledger.heap >= int(now["backed"]) - int(now["fixed"])
        assert kernel.ledger.heap > 0 or all(va < end for va in blocks)
        assert kernel.ledger.broken_by == 0
        assert kernel.check().passed
        order.shuffle(blocks)
        for va in blocks:
            kernel.free(va)
        kernel.drain()
        assert kernel.ledger.heap == 0 and kernel.mappings == tlb
        assert kernel.check().passed


@pytest.mark.parametrize("strategy", AFFINE)
def test_C18_release_gives_back_whole_large_pages(strategy):
    """C18: exactly the large pages at the end of the fixed part in which nothing is in use, never a part of one; the
    bound goes down, the ledger gets the frames, and they are never taken again."""
    chance = random.Random(strategy)
    for _ in range(effort(0.1).max_examples):
        with Kernel.boot(machine((0, 32 * MIB)), small(strategy, spare=chance.choice((0, 5 * MIB)))) as kernel:
            blocks = mallocs(kernel, [chance.randint(1, 60) * PAGE + 32769 for _ in range(chance.randrange(24))])
            for va in chance.sample(blocks, len(blocks) // 2):
                kernel.free(va)
                blocks.remove(va)
            kernel.drain()
            before, tlb, ledger = kernel.view.kern, kernel.mappings, kernel.ledger
            used = [i for i, page in enumerate(_in_use(kernel)) if page]
            keep = -(-(used[-1] + 1) // LARGE) * LARGE
            pages = kernel.release() // PAGE
            after = kernel.view.kern
            assert pages == int(before["fixed"]) - keep
            assert int(after["fixed"]) == keep and int(after["heap_pages"]) == int(before["heap_pages"]) - pages
            assert kernel.mappings.large == tlb.large - pages // LARGE and kernel.mappings.small <= tlb.small
            assert kernel.ledger.available - ledger.available >= pages
            assert kernel.release() == 0 and kernel.check().passed
            assert all(kernel.size_of(va) > 32768 for va in blocks)
            with pytest.raises(OutOfMemory):
                while True:
                    blocks.append(kernel.malloc(PAGE * 9))
            assert int(kernel.view.kern["backed"]) <= int(after["heap_pages"]) and kernel.check().passed


def _in_use(kernel: Kernel) -> list[bool]:
    """Of each heap page below the top, whether it is part of an allocation or of a slab."""
    pages, found, at = kernel.view.heap_pages(), [], 0
    while at < len(pages):
        found += [pages["use"][at] in (SLAB, RUN)] * int(pages["pages"][at])
        at = len(found)
    return found


@pytest.mark.parametrize("profile", ["eros2", "coyotos-coldfire"])
def test_all_who_map_a_device_agree_on_how_it_is_cached_E11(profile):
    """Devices are uncached, ROM and NVRAM written through, unless the range is said to bear more; that changes only
    while no frame of it is in use, and is forgotten when the range is withdrawn."""
    with Kernel.boot(machine((0, 16 * MIB)), Profile.load(profile), "soft") as kernel:
        first = 1 << 18
        for kind, default in ((DEVICE_MEMORY, UNCACHED), (ROM, WRITE_THROUGH), (NVRAM, WRITE_THROUGH)):
            assert kernel.call("device_attribute", first) == BAD_FRAME
            assert kernel.call("publish", first, 40, kind, 40, ANYONE) == OK
            assert {kernel.call("device_attribute", pfn) for pfn in range(first, first + 40)} == {default}
            for attribute in (-1, ATTRIBUTES, 1 << 40):
                assert kernel.call("device_cache", first, attribute) == BAD_SIZE
            assert (
                kernel.call("device_cache", first + 1, UNCACHED)
                == kernel.call("device_cache", 0, UNCACHED)
                == BAD_FRAME
            )
            combines = kernel.profile.arch != "coldfire"
            assert kernel.call("device_cache", first, WRITE_COMBINING) == (OK if combines else BAD_SIZE)
            assert kernel.call("device_attribute", first + 39) == (WRITE_COMBINING if combines else default)
            assert kernel.call("device_get", first + 7) == OK
            assert kernel.call("device_cache", first, WRITE_BACK) == BUSY
            assert kernel.call("device_put", first + 7) == OK
            kernel.devices.cache(first * kernel.profile.page, "write-back")
            assert kernel.call("device_attribute", first) == WRITE_BACK
            with pytest.raises(BadRequest):
                kernel.devices.cache(first * kernel.profile.page, "warm")
            assert kernel.check().passed
            assert kernel.call("withdraw", first) == OK
        assert kernel.check().passed
