"""RAM that comes after the boot may be described in its own first frames: nothing that was there is needed for it, and
every frame is marked as what it is (E33 to E39); or it is refused, and nothing has changed."""

import random

import numpy as np
import pytest
from heap_model import PAGE, altered, effort
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from page_source import Source
from small_machines import DIRECT, MIB, MODES, conserved, guest, machine, poke

from kernmalloc import Kernel, Profile
from kernmalloc.facade.errors import BadRequest
from kernmalloc.facade.profile import STRATEGIES, Bank, Bytes
from kernmalloc.inputs.facts import Range
from kernmalloc.kernel.boot.added import ITSELF, PAGE_SPACE
from kernmalloc.kernel.boot.sizing import GO_ON
from kernmalloc.kernel.core.kern import FREE, HEAP, Kern
from kernmalloc.lang.status import BAD_SIZE, NAMES, NO_FRAMES, NO_VA, OK, OVERLAP, TOO_SMALL, WOULD_BLOCK, WRAPS
from kernmalloc.plan.plan import with_strategy

GIB = 1 << 30
LATER = 0x10000  # pfn: where RAM is added


def tuned(strategy: str = "demand", **bank: int | bool) -> Profile:
    """A small kernel under a strategy, whose heap may grow where that is declared."""
    profile = with_strategy(altered("eros2", window=64 * MIB), strategy)
    heap = replace(profile.heap, growable=Bytes(8 * MIB), excess=Bytes(4 * MIB), spare=Bytes(0))
    return replace(profile, heap=heap, bank=Bank(**bank), devices=replace(profile.devices, frames=64, ranges=4))


def memory(kernel: Kernel) -> dict[str, object]:
    """What an add that is refused leaves as it was."""
    kern = kernel.view.kern
    return {
        "regions": [r for r in kernel.regions if r.pfn >= 0],
        "frames": kernel.frames_by_type(),
        "slots": kernel.view.used_slots(),
        "used": kernel.heap.used,
        "ledger": kernel.ledger,
        **{name: int(kern[name]) for name in ("top", "map_pages", "backed", "kept", "returned", "promised", "added")},
        "hash": int(kern["pages"]["buckets"]),
    }


def refused(kernel: Kernel, base: int, count: int, *statuses: int, host: int = ITSELF) -> None:
    """Adding frames [base, base + count) is refused with one of the statuses, and nothing changes."""
    kernel.drain()
    before = memory(kernel)
    result = kernel.call("ram_add", base, count, host)
    assert result in statuses, NAMES.get(result, result)
    assert memory(kernel) == before
    conserved(kernel)


def hosted(kernel: Kernel, base: int, count: int) -> int:
    """How many of frames [base, base + count) hold what describes them: the first ones, but for a few."""
    (types,) = (entries["type"] for first, entries in kernel.frames if first == base and len(entries) == count)
    marked = np.flatnonzero(types != FREE)
    told = int(kernel.view.kern["adding"]["hosted"])
    assert len(marked) == told and marked[-1] < told + GO_ON
    return told


@pytest.mark.parametrize("mode", MODES)
def test_a_machine_without_a_free_frame_takes_memory_that_describes_itself(mode, boot):
    """E33 to E38 once more: not one frame is free, so that E39's way is barred; the range's own first frames hold its
    core table, and every other frame of it can be had."""
    count = 900
    kernel = boot((0, 4 * MIB), mode=mode)
    kernel.handle.life.reach(GIB)
    kernel.drain()
    held = [kernel.frame_get() for _ in range(kernel.frames_by_type()["free"])]
    refused(kernel, LATER, count, WOULD_BLOCK, NO_FRAMES, host=PAGE_SPACE)
    before, donation = kernel.frames_by_type(), kernel.donation
    assert before["free"] == 0
    own = kernel.add_ram(LATER * PAGE, count * PAGE, self_hosted=True)
    after = kernel.frames_by_type()
    assert kernel.donation == donation
    assert own == hosted(kernel, LATER, count) >= kernel.regions[-1].area_bytes // PAGE
    old = before["heap"] + before["mapping"]
    given_back = old + own - after["heap"] - after["mapping"]  # the hash of the page cache is a new one
    assert 0 <= given_back < 8
    assert after["free"] == count - own + given_back
    assert kernel.ledger.added == count
    conserved(kernel)
    got = [kernel.frame_get() for _ in range(after["free"])]
    assert len(set(got) & set(range(LATER, LATER + count))) == count - own and not set(got) & set(held)


def test_what_was_written_there_is_not_taken_for_zero(boot):
    """Nobody vouches for RAM that comes later: the core table in it is zero all the same, and so is what is had."""
    kernel = boot((0, 8 * MIB), mode="soft")
    kernel.handle.life.reach(GIB + 8 * MIB)
    kernel.view.ram.bytes[GIB : GIB + 8 * MIB] = b"\xa5" * (8 * MIB)
    kernel.add_ram(GIB, 8 * MIB, self_hosted=True)
    conserved(kernel)
    held = []
    while (va := kernel.call("malloc_zeroed", PAGE)) > 0:
        held.append(va)
        assert kernel.view.peek(va, PAGE) == bytes(PAGE)
    assert len(held) > 3000


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_C1_under_every_strategy(strategy):
    """C1: the heap grows into what comes, up to its bound, and never takes of its fixed part; a heap that does not grow
    refuses. The bank is promised what the range does not need itself."""
    with Kernel.boot(machine((MIB, 31 * MIB)), tuned(strategy)) as kernel:
        kern = kernel.view.kern
        kept, opening = int(kern["kept"]), kernel.ledger
        grows = int(kern["heap_pages"] - kern["top"]) > 33 + GO_ON
        count = 0
        for base in range(LATER, LATER + 40 * 4096, 4096):
            kernel.handle.life.reach((base + 4096) * PAGE)
            free = kernel.ledger.available
            if kernel.call("ram_add", base, 4096, ITSELF) != OK:
                refused(kernel, base, 4096, NO_VA)
                break
            count += 1
            assert kernel.ledger.available >= free + 4096 - hosted(kernel, base, 4096)
            conserved(kernel)
        assert (count > 0) == grows
        assert int(kernel.view.kern["kept"]) >= kept - 1  # a slab of region records
        ledger = kernel.ledger
        assert ledger.available == ledger.opening + ledger.added - ledger.heap - ledger.dma
        assert ledger.promised - opening.promised == ledger.added - ledger.heap
        assert not ledger.broken_by


def test_what_refuses_changes_nothing(boot):
    """Overlap, addresses that there are not, no such host, and so few frames that they do not bring more than they
    take."""
    kernel = boot((0, 8 * MIB), mode="soft")
    kernel.handle.life.reach(2 * GIB)
    limit = (1 << kernel.profile.phys_bits) // PAGE
    kernel.add_ram(GIB, 4 * MIB, self_hosted=True)
    base = GIB // PAGE
    for first, count in ((base, 1024), (base + 1023, 2000), (base - 10, 20), (0, 2048)):
        refused(kernel, first, count, OVERLAP)
    for first, count in ((limit - 100, 200), (LATER, 0), (LATER, -1), (-5, 100)):
        refused(kernel, first, count, WRAPS)
    for host in (-1, 2, 1 << 40):
        refused(kernel, LATER + 4096, 4096, BAD_SIZE, host=host)
    for count in range(1, GO_ON + 2):
        refused(kernel, LATER + 4096, count, TOO_SMALL)
    with pytest.raises(BadRequest, match="core table"):
        kernel.add_ram(2 * GIB - MIB, 4 * PAGE, self_hosted=True)
    assert kernel.call("ram_add", LATER + 4096, 16, ITSELF) == OK
    conserved(kernel)


def test_C1_the_bound_is_reached_exactly_and_not_passed(boot):
    """C1: with a heap page less than it takes it is refused."""
    top = []
    for less in (None, 1, 0):
        kernel = boot((0, 8 * MIB), mode="soft")
        kernel.handle.life.reach(2 * GIB)
        kernel.drain()
        at = kernel.view.kern_va + Kern.offset("heap_pages")
        bound = kernel.view.peek(at, 8)
        if less is not None:
            poke(kernel.view, at, (top[0] - less).to_bytes(8, "little"))
        assert kernel.call("ram_add", LATER, 8192, ITSELF) == (NO_VA if less else OK)
        top.append(int(kernel.view.kern["top"]))
        if less:  # else the kernel has sealed the bound that it was given
            poke(kernel.view, at, bytes(bound))
        conserved(kernel)


@pytest.mark.parametrize("part", [(0, 8), (0, 2), (6, 2), (2, 2)])
def test_a_loader_gives_memory_back(part):
    """The ramdisk, or a part of it, holds what describes it."""
    disk = Range(16 * MIB, 8 * MIB, "initrd", "", 0)
    with Kernel.boot(replace(machine((0, 32 * MIB)), carved=(disk,)), tuned(), "soft") as kernel:
        base, size = disk.base + part[0] * MIB, part[1] * MIB
        before = kernel.frames_by_type()
        assert kernel.add_ram(base, size, self_hosted=True) == hosted(kernel, base // PAGE, size // PAGE)
        after = kernel.frames_by_type()
        assert before["reserved"] - after["reserved"] == size // PAGE
        kinds = {r.pfn * PAGE: r.kind for r in kernel.regions if disk.base <= r.pfn * PAGE < disk.end}
        assert kinds.pop(base) == "ram"
        assert set(kinds.values()) <= {"carved"} and len(kinds) == (part[0] > 0) + (sum(part) < 8)
        conserved(kernel)


def test_pages_are_found_as_fast_as_before():
    """E30: the longer hash of the page cache lies in the frames that came, and every page is found in it."""
    with Kernel.boot(machine((0, 8 * MIB)), tuned(lenient=True), "soft") as kernel:
        source = Source(kernel)
        oids = random.Random(1).sample(range(1 << 40), 200)
        where = {oid: source.call("page_get", oid) for oid in oids}
        kernel.handle.life.reach(2 * GIB)
        assert kernel.call("ram_add", LATER, 16384, ITSELF) == OK
        kern = kernel.view.kern
        assert int(kern["pages"]["buckets"]) == int(kern["frames"]) // 2 + 1
        assert LATER <= kernel.view.pa(int(kern["pages"]["heads"])) // PAGE < LATER + hosted(kernel, LATER, 16384)
        assert {oid: kernel.call("page_get", oid) for oid in oids} == where
        conserved(kernel)


def test_who_waits_for_frames_gets_those_that_come():
    """E26: threads wait, and no frame is free: RAM that holds what describes it ends their wait."""
    with Kernel.boot(machine((0, 8 * MIB)), tuned(lenient=True), "soft") as kernel:
        kernel.handle.life.reach(GIB)
        thread = kernel.call("thread_make", 0)
        kernel.drain()
        held = [kernel.frame_get() for _ in range(kernel.frames_by_type()["free"])]
        assert kernel.call("thread_run", thread) == OK
        assert kernel.call("malloc", 1000 * PAGE) == WOULD_BLOCK
        kernel.call("thread_run", 0)
        assert kernel.call("ram_add", LATER, 16384, ITSELF) == OK
        assert kernel.call("thread_next") == thread
        assert kernel.call("thread_run", thread) == OK
        assert kernel.call("malloc", 1000 * PAGE) > 0
        kernel.call("thread_run", 0)
        conserved(kernel)
        assert held


@effort(0.1)
@given(st.data())
def test_any_add_in_any_state(data):
    """E29: whatever is held and however full the machine is: a range takes no frame that was there, but for a slab of
    region records in what the heap has, and no more of its own than was reckoned; or it is refused as it must be."""
    strategy = data.draw(st.sampled_from(sorted(STRATEGIES)))
    lenient, withheld = data.draw(st.booleans()), data.draw(st.sampled_from((0, 100)))
    with Kernel.boot(machine((MIB, 23 * MIB)), tuned(strategy, lenient=lenient, withheld=withheld), "raw") as kernel:
        kernel.handle.life.reach((LATER + 8 * 20_000) * PAGE)
        chance = random.Random(data.draw(st.integers(0, 1 << 20)))
        blocks = []
        for _ in range(data.draw(st.integers(0, 60))):
            if blocks and chance.random() < 0.4:
                kernel.call("free", blocks.pop(chance.randrange(len(blocks))))
            else:
                va = kernel.call("malloc", chance.choice((40, 700, 5000, 70_000, 900_000, 3_000_000)))
                blocks += [va] if va > 0 else []
        left = data.draw(st.sampled_from((None, 0, 3, 30)))
        for _ in range(max(kernel.frames_by_type()["free"] - left, 0) if left is not None else 0):
            kernel.call("frame_get", 3)
        for number in range(data.draw(st.integers(1, 4))):
            base = LATER + 20_000 * number + data.draw(st.integers(0, 600))
            count = data.draw(st.one_of(st.integers(1, 40), st.integers(1, 3000), st.integers(3000, 19_000)))
            host = data.draw(st.sampled_from((ITSELF, ITSELF, PAGE_SPACE)))
            before, ledger, state = kernel.frames_by_type(), kernel.ledger, memory(kernel)
            result = kernel.call("ram_add", base, count, host)
            conserved(kernel)
            if result != OK:
                own = {NO_VA} | ({TOO_SMALL} if count < 600 else set())
                assert result in (own if host == ITSELF else {NO_FRAMES, WOULD_BLOCK, NO_VA, TOO_SMALL}), NAMES[result]
                assert host == PAGE_SPACE or memory(kernel) == state
                continue
            if host == ITSELF:
                taken = hosted(kernel, base, count)
                assert taken <= kernel.view.kern["adding"]["cost"] + GO_ON < count
                assert kernel.ledger.available >= ledger.available + count - taken
                assert kernel.frames_by_type()["free"] >= before["free"] + count - taken
                assert len([r for r in kernel.regions if base <= r.pfn < base + count]) == 1


# --- in a direct map


@pytest.mark.parametrize("mode", MODES)
def test_in_a_direct_map_the_core_table_lies_at_the_ranges_own_addresses(mode):
    """E10: VA = PA + constant, far beyond where the heap can grow; the heap gives no page, and page space no frame."""
    with Kernel.boot(machine((0, 5 * MIB)), guest(), mode) as kernel:
        kernel.handle.life.reach(4 * GIB)
        kernel.view.ram.bytes[GIB : GIB + MIB] = b"\xa5" * MIB
        before, used, ledger = kernel.frames_by_type(), kernel.heap.used, kernel.ledger
        own = kernel.add_ram(GIB, 2 * MIB, self_hosted=True)
        after, region = kernel.frames_by_type(), kernel.regions[-1]
        assert region.area == DIRECT + GIB and own == -(-region.area_bytes // PAGE)
        assert {kernel.frame_type(GIB // PAGE + number) for number in range(own)} == {"reserved"}
        assert kernel.frame_type(GIB // PAGE + own) == "free"
        assert after == {**before, "free": before["free"] + 512 - own, "reserved": before["reserved"] + own}
        assert kernel.heap.used == used
        now = kernel.ledger
        assert (now.heap - ledger.heap, now.promised - ledger.promised) == (own, 512 - own)
        assert now.available == now.opening + now.added - now.heap - now.dma
        conserved(kernel)
        kernel.add_ram(2 * GIB, MIB)
        entry = bytes(kernel.view.peek(DIRECT + GIB, 1))
        poke(kernel.view, DIRECT + GIB, bytes([HEAP]))
        assert not kernel.check().passed
        poke(kernel.view, DIRECT + GIB, entry)
        conserved(kernel)


def test_in_a_direct_map_that_does_not_reach_it_is_refused():
    """The memory manager cannot look into what the map does not reach; partly beyond, only the core table matters."""
    with Kernel.boot(machine((0, 5 * MIB)), guest(16 * MIB), "soft") as kernel:
        kernel.handle.life.reach(GIB)
        refused(kernel, 32 * MIB // PAGE, 1024, NO_VA)
        refused(kernel, 16 * MIB // PAGE - 1, 1024, NO_VA)
        assert kernel.call("ram_add", 15 * MIB // PAGE, 1024, ITSELF) == OK
        conserved(kernel)
        got = [kernel.frame_get() for _ in range(kernel.frames_by_type()["free"])]
        assert max(got) == 19 * MIB // PAGE - 1


def test_where_there_is_no_heap_there_is_no_place_for_a_region():
    with Kernel.boot(machine((0, 5 * MIB)), guest(name="frames"), "soft") as kernel:
        kernel.handle.life.reach(GIB)
        assert kernel.call("ram_add", LATER, 1024, ITSELF) == NO_VA
        conserved(kernel)
