"""RAM that comes after the boot is described with memory of the heap, and is page space then (E39); or it is refused,
and nothing has changed."""

import random
from itertools import pairwise

import pytest
from heap_model import PAGE, altered, effort
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from page_source import Source
from small_machines import MIB, MODES, conserved, machine, poison, poke

from kernmalloc import Kernel, Profile
from kernmalloc.facade.errors import BadRequest, Busy, OutOfMemory, TooLarge
from kernmalloc.facade.profile import STRATEGIES, Bank, Bytes
from kernmalloc.inputs.facts import Range
from kernmalloc.inputs.limits import raised
from kernmalloc.kernel.boot.added import PAGE_SPACE
from kernmalloc.kernel.boot.sizing import GO_ON
from kernmalloc.kernel.core.kern import Kern
from kernmalloc.lang.status import BUSY, NAMES, NO_FRAMES, NO_VA, OK, OVERLAP, TOO_SMALL, WOULD_BLOCK, WRAPS
from kernmalloc.machine.lives import LifeError
from kernmalloc.plan.plan import with_strategy

GIB = 1 << 30
LATER = 0x10000  # pfn: where RAM is added


def tuned(strategy: str = "demand", **bank: int | bool) -> Profile:
    """A small kernel under a strategy, whose heap may grow where that is declared."""
    profile = with_strategy(altered("eros2", window=64 * MIB), strategy)
    heap = replace(profile.heap, growable=Bytes(8 * MIB), excess=Bytes(4 * MIB), spare=Bytes(0))
    return replace(profile, heap=heap, bank=Bank(**bank), devices=replace(profile.devices, frames=64, ranges=4))


def memory(kernel: Kernel) -> dict[str, object]:
    """What an add that is refused leaves as it was: regions, frames by type, slots and heap pages in use, ledger."""
    return {
        "regions": [r for r in kernel.regions if r.pfn >= 0],
        "frames": kernel.frames_by_type(),
        "slots": kernel.view.used_slots(),
        "used": kernel.heap.used,
        "ledger": kernel.ledger,
        "hash": int(kernel.view.kern["pages"]["buckets"]),
    }


def described(kernel: Kernel) -> int:
    """Frames of heap and mapping tables, those apart that the heap keeps idle."""
    frames = kernel.frames_by_type()
    return frames["heap"] + frames["mapping"] - int(kernel.view.kern["idle"])


def refused(kernel: Kernel, base: int, count: int, *statuses: int) -> None:
    """Adding frames [base, base + count) is refused with one of the statuses, and nothing changes."""
    kernel.drain()
    before = memory(kernel)
    result = kernel.call("ram_add", base, count, PAGE_SPACE)
    assert result in statuses, NAMES.get(result, result)
    assert memory(kernel) == before
    conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_E39_added_ram_is_page_space(mode, boot):
    """E39, E33, E34: every frame that is added has an entry, in memory of the heap and without a donation; what that
    costs has gone from the frames that were there, and all that was added can be had."""
    kernel = boot((0, 8 * MIB), mode=mode)
    donation, before, backed = kernel.donation, kernel.frames_by_type(), kernel.heap.backed
    kernel.add_ram(GIB, 24 * MIB)
    after, added = kernel.frames_by_type(), kernel.regions[-1]
    assert (added.pfn, added.frames, added.kind) == (GIB // PAGE, 6144, "ram")
    assert added.area >= int(kernel.view.kern["heap"])
    assert kernel.donation == donation
    taken = after["heap"] + after["mapping"] - before["heap"] - before["mapping"]
    assert (kernel.heap.backed - backed) // PAGE + after["mapping"] - before["mapping"] == taken
    assert after["free"] == before["free"] + 6144 - taken
    assert added.area_bytes // PAGE <= taken < added.area_bytes // PAGE + 24 + 6144 * 3 // PAGE
    assert kernel.ledger.added == 6144
    conserved(kernel)
    got = {kernel.frame_get("page") for _ in range(after["free"])}
    assert set(range(GIB // PAGE, GIB // PAGE + 6144)) <= got
    for pfn in got:
        kernel.frame_put(pfn)


def test_E39_what_was_written_there_is_not_taken_for_zero(boot):
    """Nobody vouches for RAM that comes later: the heap that grows into it is zero all the same."""
    kernel = boot((0, 8 * MIB), mode="soft")
    kernel.handle.life.reach(GIB + 8 * MIB)
    kernel.view.ram.bytes[GIB : GIB + 8 * MIB] = b"\xa5" * (8 * MIB)
    kernel.add_ram(GIB, 8 * MIB)
    held = []
    while len(held) < 3600:
        held.append(kernel.call("malloc_zeroed", PAGE))
        if held[-1] < 0:
            held.pop()
            break
        assert kernel.view.peek(held[-1], PAGE) == bytes(PAGE)
    assert len(held) > 2000
    for va in held:
        kernel.free(va)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_E39_C1_under_every_strategy(strategy):
    """E39, C1: where the heap's bound leaves room for the core table RAM can be added, else nothing has changed; the
    bank has what it was promised, and what came."""
    with Kernel.boot(machine((MIB, 31 * MIB)), tuned(strategy)) as kernel:
        kern = kernel.view.kern
        room = int(kern["kept"] + kern["heap_pages"] - kern["top"]) * PAGE
        promised = kernel.ledger.promised
        count = 0
        for base in range(LATER, LATER + 40 * 4096, 4096):
            kernel.handle.life.reach((base + 4096) * PAGE)
            result = kernel.call("ram_add", base, 4096, PAGE_SPACE)
            if result != OK:
                assert result in (NO_VA, NO_FRAMES), NAMES[result]
                refused(kernel, base, 4096, NO_VA, NO_FRAMES)
                break
            count += 1
            conserved(kernel)
        assert count == 40 or STRATEGIES[strategy].affine
        assert (count > 0) == (room > 4096 * 33)
        ledger = kernel.ledger
        assert ledger.added == 4096 * count and not ledger.broken_by
        assert ledger.available == ledger.opening + ledger.added - ledger.heap - ledger.dma
        assert ledger.promised - promised == ledger.added - ledger.heap
        assert int(kernel.view.kern["top"]) <= int(kernel.view.kern["heap_pages"])


def test_E39_adds_that_touch_and_that_overlap(boot):
    """Two adds that touch are two regions; one that overlaps RAM, a device, what the firmware keeps or what is beyond
    the address limit is refused before anything changes."""
    kernel = boot((0, 8 * MIB), mode="soft")
    kernel.devices.publish(2 * GIB, 16 * PAGE)
    kernel.add_ram(GIB, 4 * MIB)
    kernel.add_ram(GIB + 4 * MIB, 4 * MIB)
    assert [r.pfn * PAGE for r in kernel.regions if r.kind == "ram"][-2:] == [GIB, GIB + 4 * MIB]
    limit = 1 << kernel.profile.phys_bits
    for base, size, wrong in (
        (GIB, 4 * MIB, OVERLAP), (GIB - MIB, 2 * MIB, OVERLAP), (GIB + 7 * MIB, 2 * MIB, OVERLAP),
        (0, 8 * MIB, OVERLAP), (7 * MIB, 4 * MIB, OVERLAP), (2 * GIB, PAGE, OVERLAP), (2 * GIB - MIB, 2 * MIB, OVERLAP),
        (GIB - MIB, 2 * GIB, OVERLAP), (limit, MIB, WRAPS), (limit - MIB, 2 * MIB, WRAPS), (-MIB, MIB, WRAPS),
    ):  # fmt: skip
        refused(kernel, base // PAGE, size // PAGE, wrong)
    for count in (0, -1, 1 << 41, (1 << 63) - 1):
        refused(kernel, LATER, count, WRAPS)


def test_E39_firmware_keeps_what_it_has():
    """Ranges of the memory map that are no RAM stay what they are."""
    firm = Range(GIB, MIB, "reserved", "", 0)
    with Kernel.boot(replace(machine((0, 8 * MIB)), firmware=(firm,)), tuned(), "soft") as kernel:
        for base, size in ((GIB, MIB), (GIB + PAGE, PAGE), (GIB - MIB, 3 * MIB)):
            refused(kernel, base // PAGE, size // PAGE, OVERLAP)


@pytest.mark.parametrize("part", ["all", "low end", "high end", "middle"])
def test_E39_a_loader_gives_memory_back(part):
    """E39: the ramdisk, or a part of it, becomes page space; image and boot area never do."""
    disk = Range(16 * MIB, 8 * MIB, "initrd", "", 0)
    with Kernel.boot(replace(machine((0, 32 * MIB)), carved=(disk,)), tuned(), "soft") as kernel:
        base, size = {
            "all": (disk.base, disk.size), "low end": (disk.base, 2 * MIB), "high end": (disk.end - 2 * MIB, 2 * MIB),
            "middle": (disk.base + 2 * MIB, 2 * MIB),
        }[part]  # fmt: skip
        before = kernel.frames_by_type()
        kernel.add_ram(base, size)
        after = kernel.frames_by_type()
        assert sum(after.values()) == sum(before.values())
        assert before["reserved"] - after["reserved"] == size // PAGE
        kinds = [(r.pfn * PAGE, r.kind) for r in kernel.regions if disk.base <= r.pfn * PAGE < disk.end]
        assert kinds == [
            (at, kind)
            for at, end, kind in (
                (disk.base, base, "carved"),
                (base, base + size, "ram"),
                (base + size, disk.end, "carved"),
            )
            if at < end
        ]
        conserved(kernel)
        refused(kernel, base // PAGE, size // PAGE, OVERLAP)
        own = [r for r in kernel.regions if r.kind == "carved" and r.pfn * PAGE < disk.base]
        assert own
        for region in own:
            refused(kernel, region.pfn, region.frames, BUSY)
            refused(kernel, region.pfn + region.frames - 1, 1, BUSY)
        if part == "middle":  # the rest, one after the other
            kernel.add_ram(disk.base, 2 * MIB)
            kernel.add_ram(base + size, disk.end - base - size)
            conserved(kernel)
            assert kernel.frames_by_type()["reserved"] == sum(r.frames for r in own)


@pytest.mark.parametrize("mode", ["raw", "soft"])
def test_E39_E28_what_is_left_pays_for_the_first_part(mode):
    """E39, E28: where free frames do not pay for the whole core table, the upper part is described first and pays for
    the rest; with too few for that it is refused."""
    with Kernel.boot(machine((0, 8 * MIB)), tuned(), mode) as kernel:
        kernel.drain()
        held = [kernel.frame_get() for _ in range(kernel.frames_by_type()["free"])]
        kernel.handle.life.reach(GIB)
        refused(kernel, LATER, 4096, WOULD_BLOCK)
        for pfn in held[: GO_ON + 2]:
            kernel.frame_put(pfn)
        kernel.drain()
        before = described(kernel)
        assert kernel.call("ram_add", LATER, 4096, PAGE_SPACE) == OK
        cost = int(kernel.view.kern["adding"]["cost"])
        assert cost - 2 <= described(kernel) - before <= cost  # pages without frames below the top cost less
        parts = [r for r in kernel.regions if r.pfn >= LATER]
        assert len(parts) > 1
        assert all(a.pfn + a.frames == b.pfn for a, b in pairwise(parts))
        assert parts[0].pfn == LATER and parts[-1].pfn + parts[-1].frames == LATER + 4096
        conserved(kernel)
        assert kernel.call("frame_put", held[-1]) == OK


def test_E39_ram_that_does_not_pay_for_itself(boot):
    """A frame or two cost as much as they bring."""
    kernel = boot((0, 8 * MIB), mode="soft")
    kernel.handle.life.reach(GIB)
    refused(kernel, LATER, 1, TOO_SMALL)
    with pytest.raises(BadRequest, match="core table"):
        kernel.add_ram(GIB, PAGE)


def test_E39_python_says_what_is_wrong(boot):
    """Bytes that are no whole pages, a range that is there, what the host keeps no addresses for."""
    kernel = boot((0, 64 * MIB), profile="x86_64", mode="soft")
    for base, size in ((GIB + 1, MIB), (GIB, MIB + 1), (GIB, 0), (GIB, -MIB)):
        with pytest.raises(BadRequest, match="whole pages"):
            kernel.add_ram(base, size)
    with pytest.raises(Busy, match="already covers"):
        kernel.add_ram(4 * MIB, MIB)
    with pytest.raises(Busy, match="address limit"):
        kernel.add_ram((1 << kernel.profile.phys_bits) - MIB, 2 * MIB)
    with pytest.raises(LifeError, match="keeps no addresses"):
        kernel.add_ram(4 << 40, MIB)
    kernel.add_ram(512 * GIB, 64 * MIB)
    conserved(kernel)


@pytest.mark.parametrize("asked", [0, 500, 1 << 20])
def test_C13_C14_the_bank_is_promised_what_comes(asked):
    """C13, C14, E39: what comes, less what describing it took, is promised, too, up to what the profile asks; and an
    add is no way to break a promise."""
    with Kernel.boot(machine((0, 8 * MIB)), tuned(promised=asked), "soft") as kernel:
        before = kernel.ledger
        kernel.add_ram(GIB, 16 * MIB)
        after = kernel.ledger
        gained = after.available - before.available
        assert 0 < gained < 4096
        assert after.promised == (before.promised if asked == 500 else before.promised + gained)
        assert not after.broken_by
        conserved(kernel)


def test_E26_E39_who_waits_for_frames_gets_those_that_come():
    """E26, E39: frames are short and threads wait in line: adding RAM does not have to, and ends their wait."""
    with Kernel.boot(machine((0, 8 * MIB)), tuned(lenient=True), "soft") as kernel:
        kernel.handle.life.reach(GIB)
        kernel.drain()
        held = [kernel.frame_get() for _ in range(kernel.frames_by_type()["free"] - 2 * GO_ON)]
        threads = [kernel.call("thread_make", 0) for _ in range(2)]
        kernel.call("thread_run", threads[0])
        assert kernel.call("malloc", 100 * PAGE) == WOULD_BLOCK
        assert kernel.call("thread_run", threads[1]) == OK
        assert kernel.call("ram_add", LATER, 4096, PAGE_SPACE) == OK
        assert kernel.call("thread_run", 0) == OK
        assert kernel.call("thread_next") == threads[0]
        kernel.call("thread_run", threads[0])
        va = kernel.call("malloc", 100 * PAGE)
        assert va > 0
        kernel.call("free", va)
        kernel.call("thread_run", 0)
        conserved(kernel)
        assert held


def test_E39_pages_are_found_as_fast_as_before():
    """E39, E30: with many times the frames the page cache has a longer hash, and every page is still found in it."""
    with Kernel.boot(machine((0, 8 * MIB)), tuned(lenient=True), "soft") as kernel:
        source = Source(kernel)
        oids = random.Random(1).sample(range(1 << 40), 200)
        where = {oid: source.call("page_get", oid) for oid in oids}
        buckets = int(kernel.view.kern["pages"]["buckets"])
        kernel.add_ram(GIB, 4 * MIB)
        assert int(kernel.view.kern["pages"]["buckets"]) == buckets
        kernel.add_ram(2 * GIB, 64 * MIB)
        now = int(kernel.view.kern["pages"]["buckets"])
        assert now == int(kernel.view.kern["frames"]) // 2 + 1
        assert {oid: kernel.call("page_get", oid) for oid in oids} == where
        conserved(kernel)


@effort(0.1)
@given(st.data())
def test_E39_any_add_in_any_state(data):
    """E39, E29: whatever is held and however full the machine is, an add takes no more than was reckoned and makes all
    its frames page space, or is refused for a reason and changes nothing."""
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
                va = kernel.call("malloc", chance.choice((40, 700, 5000, 70_000, 900_000)))
                blocks += [va] if va > 0 else []
        left = data.draw(st.sampled_from((None, 0, 3, GO_ON, GO_ON + 1, 12, 30, 100)))
        while left is not None and kernel.frames_by_type()["free"] > left and kernel.call("frame_get", 3) >= 0:
            pass
        for number in range(data.draw(st.integers(1, 4))):
            base = LATER + 20_000 * number + data.draw(st.integers(0, 600))
            count = data.draw(st.one_of(st.integers(1, 40), st.integers(1, 3000), st.integers(3000, 19_000)))
            before, used = kernel.frames_by_type(), kernel.heap.used
            state = memory(kernel)
            result = kernel.call("ram_add", base, count, PAGE_SPACE)
            conserved(kernel)
            if result != OK:
                assert result in (NO_FRAMES, WOULD_BLOCK, NO_VA, TOO_SMALL), NAMES[result]
                assert {**memory(kernel), "frames": 0, "ledger": 0} == {**state, "frames": 0, "ledger": 0}
                continue
            after, adding = kernel.frames_by_type(), kernel.view.kern["adding"]
            taken = after["heap"] + after["mapping"] - before["heap"] - before["mapping"]
            assert taken <= adding["cost"] < count
            assert kernel.heap.used - used <= adding["pages"] * PAGE
            described = [r for r in kernel.regions if base <= r.pfn < base + count]
            assert sum(r.frames for r in described) == count and {r.kind for r in described} == {"ram"}
            assert len(described) == adding["parts"]


def test_E39_refused_adds_leave_poisoned_memory_alone(boot):
    """A machine whose memory vouches for nothing, in pages of 8 KiB."""
    kernel = boot((0, 8 * MIB), profile="coyotos-coldfire", mode="soft", prepare=poison)
    kernel.handle.life.reach(64 * MIB)
    page = kernel.profile.page
    kernel.add_ram(16 * MIB, 32 * MIB)
    refused(kernel, 16 * MIB // page, 1, OVERLAP)
    with pytest.raises(OutOfMemory):
        for _ in range(100_000):
            kernel.frame_get()


def test_a_check_counts_the_core_tables_that_came():
    """What a check would read is refused where it is too much, RAM that came later included."""
    with Kernel.boot(machine((0, 8 * MIB)), tuned(), "soft") as kernel:
        kernel.add_ram(GIB, 24 * MIB)
        with raised(memory=6000 * 32), pytest.raises(TooLarge, match="core tables"):
            kernel.check()
        with raised(memory=8192 * 32):
            assert kernel.check().passed


def test_an_add_that_a_few_free_frames_do_not_pay_for_comes_to_an_end():
    """E26: whatever is left, the call is refused or done; it is not done again for frames that it had already."""
    with Kernel.boot(machine((0, 3 * MIB + 0x50000)), Profile.load("eros2"), "raw") as kernel:
        start = kernel.snapshot()
        for left in range(20):
            kernel.restore(start)
            while kernel.frames_by_type()["free"] > left:
                kernel.frame_get()
            for count in (1500, 300, 40, 1):
                added = kernel.call("ram_add", 2500, count, PAGE_SPACE)
                assert added in (OK, NO_FRAMES, WOULD_BLOCK, TOO_SMALL, OVERLAP)
                conserved(kernel)


@pytest.mark.parametrize("parts", [False, True])
def test_C1_E39_the_heap_grows_to_its_bound_for_an_add_and_not_beyond(parts, boot):
    """C1, E39: a bound that is reached exactly is enough, one page less is not; so it is if the RAM that comes is
    described in several parts."""
    top = []
    for less in (None, 1, 0):
        kernel = boot((0, 8 * MIB), mode="soft")
        kernel.handle.life.reach(2 * GIB)
        kernel.drain()
        if parts:
            for _ in range(kernel.frames_by_type()["free"] - GO_ON - 2):
                kernel.frame_get()
        kernel.drain()
        at = kernel.view.kern_va + Kern.offset("heap_pages")
        bound = kernel.view.peek(at, 8)
        if less is not None:
            poke(kernel.view, at, (top[0] - less).to_bytes(8, "little"))
        assert kernel.call("ram_add", LATER, 8192, PAGE_SPACE) == (NO_VA if less else OK)
        assert less or (len([r for r in kernel.regions if r.pfn >= LATER]) > 1) == parts
        top.append(int(kernel.view.kern["top"]))
        if less:  # else the kernel has sealed the bound that it was given
            poke(kernel.view, at, bytes(bound))
        conserved(kernel)


def test_E39_memory_beside_image_and_boot_area_is_not_the_kernels():
    """E39: frames that end where the image begins, or begin where the boot area ends, can be added."""

    def places(kernel: Kernel) -> tuple[int, int]:
        info = kernel.handle.loaded.info
        return int(info["image_pa"]), int(info["area_pa"]) + int(info["area_bytes"])

    with Kernel.load(machine((0, 32 * MIB)), tuned(), "soft") as kernel:
        start, end = places(kernel)
    below, above = Range(start - 64 * PAGE, 64 * PAGE, "initrd", "", 0), Range(end, 64 * PAGE, "initrd", "", 0)
    with Kernel.boot(replace(machine((0, 32 * MIB)), carved=(below, above)), tuned(), "soft") as kernel:
        assert places(kernel) == (start, end)
        kernel.add_ram(below.base, below.size)
        kernel.add_ram(above.base, above.size)
        conserved(kernel)
