"""Device ranges: what a publication guarantees, what it costs, what it cuts out of firmware's regions, and that one
that is refused has changed nothing."""

from io import BytesIO

import pytest
from heap_model import effort
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from small_machines import MIB, MODES, conserved, machine

from kernmalloc import Kernel, Machine, Profile
from kernmalloc.facade.errors import BadAddress, BadRequest, Busy, OutOfMemory, Promised
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.inputs.facts import Range
from kernmalloc.kernel.devices import CHUNK_FRAMES, Chunk
from kernmalloc.kernel.heap.caches import LAST_REGION_CACHE
from kernmalloc.lang import status
from kernmalloc.plan.advice import tuned
from kernmalloc.plan.plan import with_strategy

GIB = 1 << 30
PAGE = 4096
FIRM = (0xE000_0000, 64 * PAGE)  # what firmware keeps
TOUCHING = (FIRM[0] + FIRM[1], 16 * PAGE)  # and another such range behind it, which is never joined to the first


def firmware(*ranges: tuple[int, int]) -> Machine:
    """A small machine whose firmware reserves these (base, bytes), no two of them of one name."""
    entries = tuple(Range(base, size, "reserved", f"firmware {i}") for i, (base, size) in enumerate(ranges))
    return replace(machine((MIB, 31 * MIB)), firmware=entries)


def eros2(strategy: str = "reserve", **settings: int) -> Profile:
    return tuned(
        with_strategy(Profile.load("eros2"), strategy), {name.replace("_", "-"): n for name, n in settings.items()}
    )


def state(kernel: Kernel) -> tuple:
    """What publications change and withdrawals give back: regions, slots in use, the heap's pages and the ledger."""
    return kernel.regions, kernel.view.used_slots(), kernel.heap.used, kernel.heap.backed, kernel.ledger


def chunk_of(kernel: Kernel, region, pfn: int) -> bool:
    """Whether a frame has an entry of its own: the chunk that describes it hangs in its region's tree."""
    at = int(region["chunks"])
    while at:
        chunk = kernel.view.read(Chunk, at)[0]
        if chunk["base"] == pfn // CHUNK_FRAMES:
            return True
        at = int(chunk["right"] if chunk["base"] < pfn // CHUNK_FRAMES else chunk["left"])
    return False


@effort(0.2)
@given(st.integers(0, 70), st.integers(1, 200), st.data())
def test_C10_every_frame_resolves_to_an_entry_or_to_its_extent(offset, frames, data):
    """C10, E6: of a range with a guarantee, the guaranteed frames can be used whatever else is asked for, each first
    use gives its frame an entry, and a frame without one is its region's. Beyond the guarantee a first use takes a
    chunk from what is left of the reserve, or is refused, typed, and nothing has changed."""
    guarantee = data.draw(st.integers(0, frames))
    base = GIB // PAGE + offset
    kernel = Kernel.boot(machine((MIB, 15 * MIB)), eros2(device_frames=64), "raw")
    with kernel:
        # everything but what is left of one slab is somebody's
        reserve = kernel.devices.reserve.free
        guaranteed = (
            -(-guarantee // CHUNK_FRAMES)
            if guarantee < frames
            else (base + frames - 1) // CHUNK_FRAMES - base // CHUNK_FRAMES + 1
        )
        before = kernel.snapshot()
        if guaranteed > reserve:
            with pytest.raises(OutOfMemory) as refused:
                kernel.devices.publish(base * PAGE, frames * PAGE, guarantee)
            assert refused.value.status == status.LIMIT
            assert kernel.snapshot() == before, "a refused publication changes no memory"
            return
        start = state(kernel)
        kernel.devices.publish(base * PAGE, frames * PAGE, guarantee)
        assert kernel.devices.reserve.free == reserve - guaranteed
        kernel.devices.publish(2 * GIB, 1 << 24, 0)
        spare = data.draw(st.integers(0, reserve - guaranteed))
        for i in range(reserve - guaranteed - spare):  # others use what nobody was guaranteed
            kernel.devices.get(2 * GIB // PAGE + i * CHUNK_FRAMES)
        used, free = set(), spare
        for pfn in data.draw(st.permutations(range(base, base + frames, 5))):
            fresh = pfn // CHUNK_FRAMES not in used
            region = kernel.view.region(pfn)
            assert region["base"] == base and region["count"] == frames, "the extent answers for every frame"
            assert chunk_of(kernel, region, pfn) == (not fresh)
            if fresh and len(used) >= guaranteed and not free:
                assert kernel.call("device_used", base) >= 0  # the note of the last region found is now this one's
                held = kernel.snapshot()
                with pytest.raises(OutOfMemory) as refused:
                    kernel.devices.get(pfn)
                assert refused.value.status == status.LIMIT
                assert kernel.snapshot() == held
                continue
            kernel.devices.get(pfn)
            free -= fresh and len(used) >= guaranteed
            used.add(pfn // CHUNK_FRAMES)
            assert chunk_of(kernel, kernel.view.region(pfn), pfn)
        assert kernel.check().passed
        held = [pfn for pfn in range(base, base + frames, 5) if pfn // CHUNK_FRAMES in used]
        if held:
            with pytest.raises(Busy, match=f"{len(held)} of its frames"):
                kernel.devices.withdraw(base * PAGE)
        for pfn in held:
            kernel.devices.put(pfn)
        for i in range(reserve - guaranteed - spare):
            kernel.devices.put(2 * GIB // PAGE + i * CHUNK_FRAMES)
        kernel.devices.withdraw(base * PAGE)
        kernel.devices.withdraw(2 * GIB)
        assert state(kernel) == start
        conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_C10_C21_an_extent_costs_a_record_whatever_its_size(mode):
    """C10, C21: 256 GiB and 4 KiB published by their extents touch the same pages, and take as many stores."""
    profile = replace(eros2(), phys_bits=40)
    with Kernel.boot(machine((MIB, 15 * MIB)), profile, mode) as kernel:
        start, changed = kernel.snapshot(), []
        for size in (PAGE, 256 * GIB):
            kernel.devices.publish(256 * GIB, size, 0)
            after = kernel.snapshot()
            changed.append({pa for pa in {*start, *after} if start.get(pa) != after.get(pa)})
            assert len(changed[-1]) <= 4
            assert kernel.devices.reserve.free == kernel.devices.reserve.chunks
            kernel.restore(start)
        assert changed[0] == changed[1]
        conserved(kernel)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_C15_a_refused_publication_changes_nothing(strategy):
    """C15, C16: for want of entries, of records, of frames or of room, at any size: drained, memory is what it was."""
    profile = eros2(strategy, device_ranges=4, **({"device_frames": 256} if STRATEGIES[strategy].devices else {}))
    profile = replace(profile, bank=replace(profile.bank, lenient=False))
    with Kernel.boot(machine((MIB, 31 * MIB)), profile) as kernel:
        base, refused = 4 * GIB, 0
        for frames in (1, 33, 300, 5000, 1 << 20, 40, 1, *[1] * 60):
            kernel.drain()
            before = kernel.snapshot()
            try:
                kernel.devices.publish(base, frames * PAGE)
            except (OutOfMemory, Promised):
                refused += 1
                assert kernel.snapshot() == before, frames
            base += frames * PAGE
        assert refused
        conserved(kernel)


@pytest.mark.parametrize("strategy", [name for name, s in STRATEGIES.items() if s.excess])
def test_C18_a_refusal_does_not_hold_release_back(strategy):
    """C15, C18: after publications that failed for want of room, as much is released as without them."""
    released = []
    for attempts in (0, 3):
        with Kernel.boot(machine((MIB, 127 * MIB)), eros2(strategy, excess=8 * MIB)) as kernel:
            for _ in range(attempts):
                with pytest.raises(OutOfMemory):
                    kernel.devices.publish(4 * GIB, 8 * GIB)
            released.append(kernel.release())
            conserved(kernel)
            with pytest.raises(OutOfMemory):  # what release took is gone for good: a clean refusal
                kernel.malloc(8 * MIB)
            with pytest.raises(OutOfMemory):
                kernel.devices.publish(4 * GIB, 8 * GIB)
            conserved(kernel)
    assert released[0] == released[1] > 0


RANGES = st.tuples(st.integers(-2, 82), st.integers(1, 24))


@pytest.mark.parametrize("last_words", [False, True])
@effort(0.5)
@given(
    st.lists(
        st.one_of(st.tuples(st.just("publish"), RANGES, st.booleans()), st.tuples(st.just("withdraw"), st.integers(0))),
        max_size=24,
    )
)
def test_C10_firmware_is_cut_and_joined(last_words, operations):
    """C10, E6, E25: a range inside one of firmware's regions is cut out of it, at the cost of a record per cut; any
    others that touch firmware are refused and change nothing; withdrawn in any order, firmware has its regions
    back."""
    with Kernel.boot(firmware(FIRM, TOUCHING), eros2(device_frames=640), "raw") as kernel:
        start = state(kernel)
        origin = FIRM[0] // PAGE
        spans = [(origin, origin + 64), (origin + 64, origin + 80)]
        live: list[tuple[int, int]] = []
        for name, *arguments in operations:
            if name == "withdraw":
                if live:
                    base, end = live.pop(arguments[0] % len(live))
                    kernel.devices.withdraw(base * PAGE)
                continue
            (offset, frames), tiered = arguments
            base, end = origin + offset, origin + offset + frames
            inside = any(low <= base and end <= high for low, high in spans)
            apart = all(end <= low or high <= base for low, high in spans)
            free = all(end <= low or high <= base for low, high in live)
            before, regions = kernel.snapshot(), len(kernel.regions)
            try:
                kernel.devices.publish(base * PAGE, frames * PAGE, last_words=tiered and last_words)
            except Busy:
                assert not (free and (inside or apart))
                assert kernel.snapshot() == before
            except OutOfMemory:
                assert tiered and last_words
                assert kernel.snapshot() == before
            else:
                assert free and (inside or apart)
                live.append((base, end))
                cuts = len(kernel.regions) - regions
                assert cuts == 1 if apart else 0 <= cuts <= 2
            owned = [pfn for low, high in [*spans, *live] for pfn in (low, high - 1)]
            for pfn in owned:
                expected = "device" if any(low <= pfn < high for low, high in live) else "reserved"
                region = kernel.view.region(pfn)
                assert ("", "ram", "rom", "nvram", "device", "reserved")[region["kind"]] == expected
        conserved(kernel)
        for base, _ in live:
            kernel.devices.withdraw(base * PAGE)
        conserved(kernel)
        assert state(kernel) == start


@pytest.mark.parametrize(("offset", "frames", "cuts"), [(0, 4, 1), (4, 4, 2)])
def test_C22_a_cut_takes_one_record_of_those_for_last_words(offset, frames, cuts):
    """C22, C10: while as many region records are left as there are cuts, a range is published; with one fewer it is
    refused."""
    for left in (cuts, cuts - 1):
        with Kernel.boot(firmware((FIRM[0], 128 * PAGE)), eros2(device_frames=640), "raw") as kernel:
            cache = kernel.view.cache(LAST_REGION_CACHE)
            taken = int(cache["slots"] * cache["limit"]) - left
            assert 0 < taken < 100
            for number in range(taken):
                kernel.devices.publish(FIRM[0] + number * PAGE, PAGE, 0, last_words=True)
            base, before = FIRM[0] + (taken + offset) * PAGE, kernel.snapshot()
            if left < cuts:
                with pytest.raises(OutOfMemory):
                    kernel.devices.publish(base, frames * PAGE, 0, last_words=True)
                assert kernel.snapshot() == before
            else:
                kernel.devices.publish(base, frames * PAGE, 0, last_words=True)
            conserved(kernel)


def test_C10_ram_is_never_cut():
    """C10, E6: RAM, the image, what the boot loader left, and RAM that firmware has reserved since stay refused."""
    text = "\n".join(
        [
            "BIOS-e820: [mem 0x0000000000100000-0x0000000001ffffff] usable",
            "BIOS-e820: [mem 0x0000000001000000-0x00000000010fffff] reserved",
            "BIOS-e820: [mem 0x00000000e0000000-0x00000000e00fffff] reserved",
            "pci 0000:00:02.0: reg 0x10: [mem 0x01000000-0x0100ffff]",
            "pci 0000:00:03.0: reg 0x10: [mem 0xe0010000-0xe001ffff]",
        ]
    )
    computer = Machine.read_stream(BytesIO(text.encode()))
    assert [d.status for d in computer.devices] == ["inside RAM", "assigned"]
    with Kernel.boot(computer, eros2()) as kernel:
        image = kernel.placement.image[0] * PAGE
        for base in (image, 24 * MIB):
            with pytest.raises(Busy):
                kernel.devices.publish(base, PAGE)
        kernel.devices.publish(0xE001_0000, 0x1_0000)
        with pytest.raises(BadRequest):
            kernel.devices.publish(0xE000_0001, PAGE)
        with pytest.raises(BadAddress):
            kernel.devices.withdraw(0xE000_0000)
        conserved(kernel)
