"""The grand page space: all frames, from which everything else is made, wherever they lie.

Rows E3, E9, E20, E28-29, E38. Memory is poisoned, machines are filled to the last frame, and what is free is
scattered."""

import itertools
import random

import pytest
from frame_model import (
    FRAME,
    SHAPES,
    World,
    all_frames,
    boot_shape,
    frames_behind,
    of_type,
    read,
    types,
    write,
)
from heap_model import altered
from small_machines import MIB, MODES, conserved, machine, poison

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Bank, Profile
from kernmalloc.kernel.core.kern import DMA, HEAP, PAGE, TYPE_NAMES
from kernmalloc.lang.status import BAD_FRAME, NO_FRAMES, OK, PROMISED, WOULD_BLOCK


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", MODES)
def test_right_after_boot_all_available_frames_are_in_page_space_E28_E29(mode, shape):
    """The machine's frames are: taken before boot, heap, mapping tables, and page space, which has all the others,
    free."""
    with boot_shape(shape, mode) as kernel:
        counts = kernel.frames_by_type()
        now = types(kernel)
        by_type = {name: sum(type == number for type in now.values()) for number, name in enumerate(TYPE_NAMES)}
        by_type["reserved"] += sum(type == BAD_FRAME for type in now.values())
        assert counts == by_type
        assert counts["page"] == counts["dma"] == counts["device"] == 0
        available = len(now) - counts["reserved"]
        assert counts["free"] == available - counts["heap"] - counts["mapping"]
        taken = sum(high - low for low, high in kernel.handle.loaded.placement.reserved)
        assert counts["reserved"] == taken, "image and boot area, and nothing else"
        conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", ["odd", "crumbs"])
def test_filled_to_the_last_frame_and_emptied_in_random_order_E38(shape, mode):
    """Every free frame is handed out once; then there is none, for anyone; then all come back, in any order, and the
    heap can have them."""
    with boot_shape(shape, mode, prepare=poison) as kernel:
        world = World(kernel)
        for i in range(len(world.free)):
            world.own(kernel.call("frame_get", PAGE if i % 2 else DMA), 1, PAGE if i % 2 else DMA)
        assert not world.free
        world.verify()
        assert world.call("frame_get", PAGE) == NO_FRAMES
        assert world.call("block_get", 0, DMA) == NO_FRAMES
        assert world.call("range_get", 1, 1, 0, 1 << 52, 0, DMA) == NO_FRAMES
        before = world.state()
        assert kernel.call("malloc", 1_000_000) == WOULD_BLOCK
        assert world.state() == before
        pfns = sorted(world.owned)
        random.Random(1).shuffle(pfns)
        for pfn in pfns:
            assert kernel.call("frame_put", pfn) == OK
            world.drop(pfn)
        world.verify()
        assert types(kernel) == world.start
        va = kernel.malloc(len(pfns) * FRAME * 9 // 10)
        kernel.free(va)
        kernel.drain()
        conserved(kernel)


def lone(pfns: list[int], pick: random.Random) -> list[int]:
    """About a third of the frames, at random, no two of them neighbours: nothing contiguous is left."""
    chosen: set[int] = set()
    for pfn in pick.sample(pfns, len(pfns)):
        if len(chosen) < len(pfns) // 3 and not {pfn - 1, pfn + 1} & chosen:
            chosen.add(pfn)
    return sorted(chosen, key=lambda pfn: pick.random())


def scatter(kernel: Kernel, pick: random.Random) -> set[int]:
    """Fill the machine with pages, then give lone frames back, in random order: those that are free now."""
    while kernel.call("frame_get", PAGE) >= 0:
        pass
    loose = lone(sorted(of_type(kernel, PAGE)), pick)
    for pfn in loose:
        kernel.frame_put(pfn)
    return set(loose)


def pattern(va: int, size: int) -> bytes:
    return bytes((va >> 4) + 7 * i & 0xFF for i in range(256)) * (size // 256)


@pytest.mark.parametrize("prepare", [None, poison], ids=["fresh", "poisoned"])
@pytest.mark.parametrize("mode", MODES)
def test_the_heap_is_right_on_scattered_frames_E9_E20(mode, prepare):
    """Only lone frames are free. The heap grows over them: contiguous in virtual memory, anywhere in physical memory;
    what is written stays, while other blocks come and go."""
    pick = random.Random(5)
    with Kernel.boot(machine((0, 16 * MIB)), Profile.load("eros2"), mode, prepare=prepare) as kernel:
        before = types(kernel)
        loose = scatter(kernel, pick)
        assert kernel.call("block_get", 1, DMA) == NO_FRAMES, "no two neighbours are free"
        blocks: dict[int, int] = {}
        for _ in range(60):
            if blocks and pick.random() < 0.35:
                va = pick.choice(list(blocks))
                size = blocks.pop(va)
                assert read(kernel, va, size) == pattern(va, size), (
                    "what was written is still there when the block goes"
                )
                kernel.free(va)
                continue
            size = pick.choice([256, 1024, 4096, 12288, 131072, 524288])
            va = kernel.call("malloc", size)
            if va == WOULD_BLOCK:
                continue
            write(kernel, va, pattern(va, size))
            blocks[va] = size
        large = [va for va, size in blocks.items() if size > 32768]
        assert large, "some blocks have many frames"
        for va in large:
            behind = frames_behind(kernel, va, blocks[va])
            assert len(set(behind)) == len(behind) and set(behind) <= loose
            assert all(abs(a - b) != 1 for a, b in itertools.pairwise(behind)), "each frame is a lone one"
        for va, size in blocks.items():
            assert read(kernel, va, size) == pattern(va, size)
            kernel.free(va)
        kernel.drain()
        conserved(kernel)
        for pfn in of_type(kernel, PAGE):
            kernel.frame_put(pfn)
        assert types(kernel) == before, "every frame is back where it was"


@pytest.mark.parametrize("shape", ["high", "top"])
@pytest.mark.parametrize("mode", MODES)
def test_frames_above_four_gigabytes_E3(shape, mode):
    """A 32-bit kernel hands out, maps and gives back frames whose addresses have more than 32 bits, up to 2 ** 36."""
    with boot_shape(shape, mode) as kernel:
        above = {pfn for pfn in all_frames(kernel) if pfn >= 1 << 20}
        assert above
        world = World(kernel)
        got = [kernel.call("block_get", 2, DMA) for _ in range(4)]
        assert all(pfn in above for pfn in got), "the highest come first: low ones are what old devices need"
        va = kernel.malloc(100_000)
        behind = frames_behind(kernel, va, 100_000 // FRAME * FRAME)
        assert set(behind) <= above
        write(kernel, va, pattern(va, 98304))
        assert (
            kernel.handle.life.ram.bytes[behind[3] * FRAME : (behind[3] + 1) * FRAME]
            == pattern(va, 98304)[3 * FRAME : 4 * FRAME]
        )
        assert kernel.call("range_get", 3, 1, 0, 1 << 20, 0, DMA) < 1 << 20, "and low ones can be asked for"
        assert {pfn for pfn in above if kernel.call("frame_type", pfn) == HEAP} >= set(behind)
        assert kernel.call("frame_type", (5 if shape == "top" else 60) << 18) == BAD_FRAME, "there is no RAM there"
        conserved(kernel)
        assert world.total == sum(r.frames for r in kernel.regions if r.area)


def test_the_last_frame_below_the_limit_and_the_first_above_E3():
    """RAM up to 2 ** 36 is used to its last frame; what lies above is clipped and counted, and is no frame."""
    limit = 1 << 36
    with Kernel.boot(machine((0, 8 * MIB), (limit - 3 * MIB, 5 * MIB)), Profile.load("eros2"), "raw") as kernel:
        assert kernel.clipped == 2 * MIB
        last = (limit >> 12) - 1
        assert kernel.call("frame_type", last) >= 0
        assert kernel.call("frame_type", last + 1) == BAD_FRAME
        assert kernel.call("range_get", 1, 1, last, 1 << 52, 0, DMA) in (last, NO_FRAMES)
        conserved(kernel)


def test_who_asks_for_frames_leaves_the_bank_what_it_was_promised_C11():
    """The heap grows until one more frame would be one that was promised, and not further."""
    with Kernel.boot(machine((0, 16 * MIB)), altered("eros2", bank=Bank(promised=2000)), "raw") as kernel:
        kern = kernel.view.kern
        blocks = []
        while (va := kernel.call("malloc", 40_000)) > 0:
            blocks.append(va)
        assert va == PROMISED and blocks
        assert kern["free_frames"] + kern["page_frames"] >= kern["promised"] > 0
        for va in blocks:
            kernel.free(va)
        conserved(kernel)


@pytest.mark.parametrize("asked", [0, 100, 3000, 1 << 20])
def test_the_bank_is_promised_what_comes_later_C13(asked):
    """Without a wish every frame that comes; else until it has all that it asked for."""
    with Kernel.boot(machine((0, 16 * MIB)), altered("eros2", bank=Bank(promised=asked)), "raw") as kernel:
        kern = kernel.view.kern
        before, room = int(kern["promised"]), kernel.ledger.available
        kernel.add_ram(64 * MIB, 16 * MIB)
        kern = kernel.view.kern
        gained = kernel.ledger.available - room
        assert 0 < gained <= 4096
        assert kern["promised"] == (before + gained if not asked else max(before, min(asked, before + gained)))
        conserved(kernel)
