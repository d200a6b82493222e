"""The bootstrap, sentence by sentence of the note: from no heap at all to a machine whose every frame is described."""

import contextlib
import random
import re
import struct
from contextlib import contextmanager
from functools import cache
from itertools import pairwise

import pytest
from heap_model import PAGE, altered, booted, effort
from hypothesis import event, given
from hypothesis import strategies as st
from msgspec.structs import replace
from small_machines import MIB, conserved, machine, own_bytes, poison, poke

from kernmalloc.facade.errors import OutOfMemory, Promised, TooSmall
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Devices, Profile
from kernmalloc.inputs.facts import Device, Range
from kernmalloc.kernel.core import kern as k
from kernmalloc.kernel.core.kern import Kern
from kernmalloc.lang import status

GIB = 1 << 30
LOW = (0, 16 * MIB)
TOP = (32 * MIB, 24 * MIB)


@contextmanager
def loaded(*ranges, profile="eros2", mode="soft", prepare=None):
    """A kernel that has been loaded, with paging on, and has not begun to boot: `boot_step` is the caller's."""
    with Kernel.load(machine(*ranges), Profile.load(profile), mode, prepare) as kernel:
        yield kernel


def step(kernel, stage):
    """One step, which must reach that stage."""
    assert kernel.call("boot_step") == stage


def patch(kernel, **fields):
    """Change fields of the kernel record."""
    for name, value in fields.items():
        poke(kernel.view, kernel.view.kern_va + Kern.offset(name), struct.pack("<q", value))


def entries(kernel, region):
    """Types by pfn, as the core table of a region says."""
    stride = kernel.profile.core.stride
    table = bytes(kernel.view.peek(int(region["entries"]), int(region["count"]) * stride))
    return {int(region["base"]) + i: table[i * stride] for i in range(int(region["count"]))}


MODES = pytest.mark.parametrize("mode", ["raw", "soft", "twin"])


@MODES
@pytest.mark.parametrize("prepare", [None, poison], ids=["fresh", "poisoned"])
def test_the_naive_order_fails(mode, prepare):
    """E32: malloc of the core table before any frame is donated finds no frames, because it would find them through the
    core table; it changes nothing. So it is with any other malloc, and with the donation taken away again."""
    with loaded(LOW, TOP, mode=mode, prepare=prepare) as kernel:
        table = kernel.handle.life.call("table_bytes", kernel.view.kern_va, TOP[0] // PAGE, TOP[1] // PAGE)
        before = kernel.snapshot()
        for call in ("malloc", "malloc_zeroed"):
            assert kernel.call(call, table) == status.NO_FRAMES
        assert kernel.call("malloc", 100) < 0
        assert kernel.snapshot() == before
        step(kernel, k.TABLE)
        patch(kernel, donation_frames=0, donation_maps=0)
        before = kernel.snapshot()
        for size in (1, 100, 5000, 40_000, table):
            assert kernel.call("malloc", size) == status.NO_FRAMES
            assert kernel.call("malloc_zeroed", size) == status.NO_FRAMES
        assert kernel.snapshot() == before
        assert kernel.call("boot_step") == status.NO_FRAMES
        assert kernel.call("frame_get", k.PAGE) == status.NO_FRAMES


@MODES
def test_the_donation_step_by_step(mode):
    """E33, E35, E36, E37, E38: first the donation is computed and set aside; then the table of the top region comes
    from malloc and uses it up; then exactly the donated frames' entries are marked by hand; the others go to the free
    list; and no frame is donated ever after."""
    with loaded(LOW, TOP, mode=mode) as kernel:
        assert kernel.donation.frames == 0

        step(kernel, k.TABLE)
        donation = kernel.donation
        first, end = donation.pfn, donation.pfn + donation.frames
        assert donation.frames > 0
        assert donation.heap == donation.maps == 0, "set aside, not used"
        assert TOP[0] // PAGE <= first < end <= (TOP[0] + TOP[1]) // PAGE, "of the highest region"
        assert kernel.heap.backed == 0

        step(kernel, k.MARK)
        assert kernel.donation.heap + kernel.donation.maps == donation.frames, "used up to the last frame"
        (region,) = kernel.view.regions()
        assert region["count"] == TOP[1] // PAGE
        assert own_bytes(kernel, int(region["area"])) > 0, "one allocation like any other"
        assert set(entries(kernel, region).values()) == {k.FREE}, "no entry is marked yet"
        assert region["free"] == 0

        step(kernel, k.LIST)
        (region,) = kernel.view.regions()
        marked = {pfn: type for pfn, type in entries(kernel, region).items() if type != k.FREE}
        assert set(marked) == set(range(first, end)), "the marked set is the donated set"
        assert sorted(marked.values()) == [k.HEAP] * kernel.donation.heap + [k.MAPPING] * kernel.donation.maps
        behind = {
            kernel.view.pa(int(region["area"]) + at) // PAGE
            for at in range(0, own_bytes(kernel, int(region["area"])), PAGE)
        }
        assert behind <= {pfn for pfn, type in marked.items() if type == k.HEAP}
        assert region["free"] == 0

        step(kernel, k.REST)
        frames = kernel.frames_by_type()
        (region,) = kernel.view.regions()
        assert region["free"] == frames["free"] == TOP[1] // PAGE - donation.frames
        assert frames["free"] + frames["heap"] + frames["mapping"] == region["count"]
        assert kernel.check().passed

        stage = k.REST
        while stage != k.UP:
            stage = kernel.call("boot_step")
            assert stage >= k.REST
            after = kernel.donation
            assert (after.pfn, after.frames, after.heap + after.maps) == (first, donation.frames, donation.frames)
        conserved(kernel)


@MODES
@pytest.mark.parametrize("part", ["heap", "maps"])
def test_the_donation_is_minimal(mode, part):
    """E35: with one donated frame less, for the heap or for its mapping tables, the table cannot be made; with the
    frames computed it can."""
    with loaded(LOW, TOP, mode=mode) as kernel:
        step(kernel, k.TABLE)
        kern = kernel.view.kern
        less = 1 if part == "maps" else 0
        patch(kernel, donation_frames=int(kern["donation_frames"]) - 1, donation_maps=int(kern["donation_maps"]) - less)
        assert kernel.call("boot_step") == status.NO_FRAMES
        assert kernel.heap.backed == 0, "and nothing was taken"
        assert kernel.donation.heap == kernel.donation.maps == 0
    with loaded(LOW, TOP, mode=mode) as kernel:
        step(kernel, k.TABLE)
        step(kernel, k.MARK)


@effort(0.3)
@given(st.integers(30, 30_000), st.integers(0, 600), st.sampled_from(["eros2", "eros", "coyotos-i386"]))
def test_the_donation_is_minimal_for_every_size(count, shift, profile):
    """E35, E37: so for top regions of any size and place: one frame less is too few, and what is marked is what was
    donated."""
    base = GIB // PAGE + shift
    with loaded((0, 32 * MIB), (base * PAGE, count * PAGE), profile=profile) as kernel:
        step(kernel, k.TABLE)
        donation = kernel.donation
        if donation.pfn < base:
            return  # too small to begin with
        before = kernel.snapshot()
        patch(kernel, donation_frames=donation.frames - 1)
        assert kernel.call("boot_step") == status.NO_FRAMES
        kernel.restore(before)
        step(kernel, k.MARK)
        step(kernel, k.LIST)
        (region,) = kernel.view.regions()
        marked = {pfn for pfn, type in entries(kernel, region).items() if type != k.FREE}
        assert marked == set(range(donation.pfn, donation.pfn + donation.frames))


@MODES
@pytest.mark.parametrize("prepare", [None, poison], ids=["fresh", "poisoned"])
def test_a_grand_page_space(boot, mode, prepare):
    """E28, E29, E38: right after bootstrap every frame that the kernel does not need is in page space: it can be had,
    once; and free + heap + mapping + reserved is the machine."""
    kernel = boot((0, 8 * MIB), (16 * MIB, 8 * MIB), mode=mode, prepare=prepare)
    frames = kernel.frames_by_type()
    assert sum(frames.values()) == 16 * MIB // PAGE
    assert frames["page"] == frames["dma"] == frames["device"] == 0
    assert frames["heap"] * PAGE == kernel.heap.backed
    assert frames["free"] > 16 * MIB // PAGE * 0.7
    taken = {kernel.frame_get() for _ in range(frames["free"])}
    assert len(taken) == frames["free"]
    with pytest.raises(OutOfMemory) as refusal:
        kernel.frame_get()
    assert refusal.value.status == status.NO_FRAMES
    reserved = {r.pfn + i for r in kernel.regions if r.kind == "carved" for i in range(r.frames)}
    assert not taken & reserved
    for pfn in taken:
        kernel.frame_put(pfn)


def test_later_regions_without_donation():
    """E39: the regions after the first are described with frames that the first one's table knows: the steps tell one
    donation, then no other, and their tables lie in scattered heap pages like all else."""
    told = []
    plan = machine((0, 8 * MIB), (16 * MIB, 8 * MIB), (32 * MIB, PAGE), (48 * MIB, 4 * MIB))
    with Kernel.boot(plan, Profile.load("eros2"), "soft", observe=told.append) as kernel:
        names = [step.name for step in told]
        assert names[:4] == ["donate", "table", "mark", "list"]
        assert set(names[4:-1]) == {"rest"}
        assert names[-1] == "objects"
        assert [step.stage for step in told] == sorted(step.stage for step in told)
        assert len({step.state["donated"] for step in told}) == 1
        assert [r.pfn for r in kernel.regions if r.kind == "ram"][-3:] == [
            16 * MIB // PAGE,
            32 * MIB // PAGE,
            48 * MIB // PAGE,
        ]
        donation = kernel.donation
        for region in kernel.regions[:-1]:
            if region.area:
                pfn = kernel.view.pa(region.area) // PAGE
                assert not donation.pfn <= pfn < donation.pfn + donation.frames
        assert list(kernel.steps) == told
        conserved(kernel)


@pytest.mark.parametrize("top", [64 * MIB, MIB, 32 * 4096])
@pytest.mark.parametrize("profile", ["eros2", "coyotos-i386"])
def test_regions_in_pieces(top, profile):
    """E39: where the free frames cannot pay for the next region's table at once it is described in pieces, the upper
    first, each paying for the next; together they are the region."""
    below = 16 * GIB
    with booted((0, below), (18 * GIB, top), mode="raw", profile=profile) as kernel:
        ram = [r for r in kernel.regions if r.kind == "ram"]
        pieces = [r for r in ram if 16 * MIB // PAGE < r.pfn + r.frames <= below // PAGE]
        assert len(pieces) >= (2 if top == 64 * MIB else 3)
        assert all(a.pfn + a.frames == b.pfn for a, b in pairwise(pieces))
        assert pieces[-1].pfn + pieces[-1].frames == below // PAGE
        assert kernel.donation.pfn >= 18 * GIB // PAGE
        sizes = [piece.frames for piece in reversed(pieces)]
        assert sizes[:-1] == sorted(sizes[:-1]), "each can pay for more than the one before"
        assert kernel.donation.frames < 600


@pytest.mark.parametrize("profile", ["eros2", "eros", "coyotos-i386"])
@pytest.mark.parametrize("growth", [1, 16])
def test_top_regions_of_every_small_size(profile, growth):
    """E33, E39: a top region of one frame up to a few hundred is no obstacle: it is described, by its own frames or by
    those of the region below, and the machine boots."""
    for frames in [*range(1, 75), 127, 128, 129, 255, 300]:
        with booted((0, 32 * MIB), (GIB, frames * PAGE), profile=profile, growth=growth) as kernel:
            top = kernel.regions[-1]
            assert (top.pfn, top.frames, top.kind) == (GIB // PAGE, frames, "ram")


@pytest.mark.parametrize("donor", [0, 20, 40, 60])
@pytest.mark.parametrize("count", [200, 500])
def test_many_regions(count, donor):
    """E6, E39: hundreds of regions of one frame each, with and without a small one on top that can hold its own
    table."""
    singles = [(GIB + i * 2 * PAGE, PAGE) for i in range(count)]
    top = [(2 * GIB, donor * PAGE)] if donor else []
    with booted((0, 32 * MIB), *singles, *top) as kernel:
        ram = [r for r in kernel.regions if r.kind == "ram"]
        assert len(ram) >= count + 1
        for base, _ in singles:
            assert kernel.frame_type(base // PAGE) in ("free", "heap", "mapping")


def table_frames(count, profile):
    """Frames that a table of `count` frames takes, at most, by plain arithmetic."""
    block = 512
    while block < count and block < 1 << 18:
        block *= 2
    bits = count + block + 512  # aligned down to a block, and up to a chunk
    pages = -(-(count * (profile.core.stride + profile.core.identity) + bits // 8 + bits // 256 + 64) // PAGE)
    records = -(-pages // 64)
    return pages + records + -(-pages // 512) + -(-records // 512)


@cache
def area_frames(name):
    """Frames of the boot area, which does not depend on how much RAM there is."""
    with Kernel.load(machine((0, 64 * MIB)), Profile.load(name), "twin") as kernel:
        return int(kernel.layout["area_bytes"]) // PAGE


def must_refuse(error, profile, pages, ranges):
    """Whether a refusal is true of RAM in (pfn, frames) pages: no range could have done what it says that none can."""
    counts = [count for _, count in pages]
    image = profile.image.size // PAGE
    if "the boot area" in error:
        area = area_frames(profile.name)
        # a range with room for both would do; where the image lies at 1 MiB what is below is lost to the area
        return not any(count >= image + area + 256 for count in counts)
    if "kernel image" in error:
        return max(counts, default=0) < image
    if "no RAM" in error:
        return not counts
    left = [count if count < image else count - image for count in counts]  # whichever of them has the image
    area = area_frames(profile.name)
    left_over = 8 + (2 * ranges + 8) // 16 + area  # records of regions
    if "can hold its own core table" in error:
        return all(count < table_frames(count, profile) + area for count in left)
    if "too few to describe" in error:
        return all(count < table_frames(count, profile) + left_over + area for count in left)
    if "half of the free frames" in error:
        slabs = sum(1 + -(-kind.size // PAGE) for kind in profile.objects)
        return sum(left) // 2 < 3 * slabs + left_over
    return False


layouts = st.lists(
    st.tuples(st.integers(0, 3000), st.one_of(st.integers(1, 40), st.integers(1, 3000), st.integers(500, 9000))),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("profile", ["eros2", "eros", "coyotos-i386"])
@effort(0.6)
@given(
    layout=layouts,
    kinds=st.lists(st.sampled_from(["ram", "ram", "ram", "reserved", "rom", "nvram"]), min_size=12, max_size=12),
    odd=st.integers(0, 4095),
    poisoned=st.booleans(),
)
def test_any_layout(profile, layout, kinds, odd, poisoned):
    """E6, E29, E39: any layout of RAM and other ranges boots with every invariant, every byte of RAM accounted for; or
    it is refused, on one line, and arithmetic that knows nothing of the kernel says that it had to be."""
    profile, at, ranges = Profile.load(profile), 0, []
    for (gap, frames), kind in zip(layout, kinds, strict=False):
        base = (at + gap) * PAGE + (odd if gap else 0)  # bytes, not only whole frames
        ranges.append(Range(base=base, size=frames * PAGE, kind=kind, name="", line=0))
        at += gap + frames + 1
    ram = tuple(r for r in ranges if r.kind == "ram")
    plan = replace(machine(LOW), ram=ram, firmware=tuple(r for r in ranges if r.kind != "ram"))
    pages, _, lost = plan.ram_pages(12, profile.phys_bits)
    try:
        kernel = Kernel.boot(plan, profile, "soft", prepare=poison if poisoned else None)
    except TooSmall as error:
        event(re.sub(r"[0-9.,]+", "N", str(error)))
        assert "\n" not in str(error)
        assert must_refuse(str(error), profile, pages, len(ranges)), f"{error}: {pages}"
        return
    with kernel:
        conserved(kernel)
        assert kernel.lost == lost
        described = {r.pfn + i for r in kernel.regions if r.kind in ("ram", "carved") for i in range(r.frames)}
        assert {pfn + i for pfn, count in pages for i in range(count)} <= described
        spans = sorted((r.pfn, r.pfn + r.frames) for r in kernel.regions)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
        kernel.free(kernel.malloc(1))


@pytest.mark.parametrize("profile", ["eros2", "eros", "coyotos-i386"])
@effort(0.6)
@given(first=st.integers(505, 640), others=st.lists(st.integers(1, 45), max_size=8))
def test_tight_machines(profile, first, others):
    """E34, E39: machines with a few frames beside image and boot area, and with ranges that can just or just not hold
    their own tables: each boots, or is refused and arithmetic confirms it."""
    profile = Profile.load(profile)
    ranges = [(0, first * PAGE), *((16 * MIB * (i + 1), frames * PAGE) for i, frames in enumerate(others))]
    try:
        with booted(*ranges, profile=profile) as kernel:
            assert sum(kernel.frames_by_type().values()) == first + sum(others)
    except TooSmall as error:
        event(re.sub(r"[0-9.,]+", "N", str(error)))
        pages = [(base // PAGE, size // PAGE) for base, size in ranges]
        assert must_refuse(str(error), profile, pages, len(ranges)), error


@pytest.mark.parametrize("mib", [1, 2])
def test_a_machine_without_room_for_the_image(mib):
    """A machine that cannot hold the image and the boot area is refused on one line that says so."""
    with pytest.raises(TooSmall, match=r"no range of RAM holds the (kernel image|boot area) of [0-9.]+ [KM]iB"):
        Kernel.boot(machine((0, mib * MIB)), Profile.load("eros2"), "soft")


def test_no_ram_below_the_limit():
    """E3, C21: RAM beyond the physical address limit only is a stated refusal, and what lies beyond is counted."""
    with pytest.raises(TooSmall, match="no RAM below the physical address limit of 4 GiB"):
        Kernel.boot(machine((8 * GIB, GIB)), Profile.load("eros"), "soft")
    with booted((0, 16 * MIB), (4 * GIB, 3 * MIB), profile="eros") as kernel:
        assert kernel.clipped == 3 * MIB
        assert sum(kernel.frames_by_type().values()) == 16 * MIB // PAGE


def test_ranges_that_cannot_hold_their_tables():
    """E34: no range but the kernel's own can hold a table: the refusal tells how many there are and how much memory."""
    plan = machine((MIB, 2 * MIB), (4 * MIB, MIB + 512 * 1024), (16 * MIB, 2 * PAGE), (17 * MIB, 3 * PAGE))
    with booted((0, 16 * MIB)) as kernel:
        area = int(kernel.handle.loaded.info["area_bytes"])
    plan = machine((MIB, 2 * MIB), (4 * MIB, area), (16 * MIB, 2 * PAGE), (17 * MIB, 3 * PAGE))
    with pytest.raises(TooSmall, match=r"none of the 2 ranges of RAM, 20 KiB in all, can hold its own core table"):
        Kernel.boot(plan, Profile.load("eros2"), "soft")


@pytest.mark.parametrize("profile", ["eros2", "coyotos-i386"])
def test_a_table_that_the_window_cannot_hold(profile):
    """E10, C1: RAM whose tables exceed the heap's bound is refused in figures, which are true: the largest machine that
    boots needs no more than the bound, and a little more RAM needs more."""
    profile = replace(altered(profile, window=64 * MIB, objects=()), devices=Devices(frames=0, ranges=0, last_words=0))
    per = profile.core.stride + profile.core.identity

    def refused(gib: float) -> str:
        try:
            Kernel.boot(machine((0, int(gib * GIB))), profile, "soft").close()
        except TooSmall as error:
            return str(error)
        return ""

    fits, not_ = 0.25, 16.0
    assert not refused(fits)
    while not_ - fits > 0.02:
        middle = (fits + not_) / 2
        if refused(middle):
            not_ = middle
        else:
            fits = middle
    message = refused(not_)
    bound = float(message.split("bound is ")[1].split()[0]) * MIB
    assert f"({per} bytes per frame" in message
    assert fits * GIB / PAGE * per <= bound
    assert not_ * GIB / PAGE * (per + 3.13) >= bound * 0.97


def test_devices_are_unknown_at_boot():
    """E5: with devices or without them, with windows of bridges or without, memory after boot is byte-identical."""
    device = Device(
        base=48 * MIB,
        size=16 * MIB,
        kind="device",
        name="00:02.0",
        bar=0,
        bits=32,
        prefetch=True,
        status="assigned",
        line=7,
    )
    card = replace(device, base=GIB, size=GIB, bits=64)
    plain = machine(LOW, TOP)
    window = Range(base=GIB, size=GIB, kind="window", name="PCI", line=3)
    for mode in ("soft", "raw"):
        memory = []
        for plan in (plain, replace(plain, devices=(device, card), windows=(window,))):
            with Kernel.boot(plan, Profile.load("eros2"), mode) as kernel:
                memory.append(kernel.snapshot())
        assert memory[0] == memory[1]


@pytest.mark.parametrize("profile", ["eros2", "eros", "x86_64"])
@pytest.mark.parametrize("mode", ["soft", "raw"])
def test_poison_makes_no_difference(profile, mode):
    """E28: memory that is known to be zero is only a saving: on poisoned RAM the kernel is the same but for frames that
    nobody has written: free ones, pages, and its own image. Also after use."""

    def run(prepare):
        with booted((0, 16 * MIB), (32 * MIB, 4 * MIB), profile=profile, mode=mode, prepare=prepare) as kernel:
            at_boot = kernel.snapshot()
            kept = [kernel.cache("node").get() for _ in range(50)]
            rng = random.Random(5)
            live = []
            for _ in range(300):
                if rng.random() < 0.6:
                    with contextlib.suppress(Promised):
                        live.append(kernel.malloc(rng.choice((16, 600, 5000, 40_000, 300_000))))
                elif live:
                    kernel.free(live.pop(rng.randrange(len(live))))
            used = kernel.snapshot()
            heap = {
                pfn
                for base, table in kernel.frames
                for pfn in range(base, base + len(table))
                if table[pfn - base]["type"] in (k.HEAP, k.MAPPING)
            }
            image = int(kernel.handle.loaded.info["image_pa"]) // PAGE
            image = set(range(image, image + int(kernel.handle.loaded.info["image_bytes"]) // PAGE))
            records = {
                kernel.view.pa(int(kernel.view.kern["heap_map"]) + at) // PAGE
                for at in range(0, int(kernel.view.kern["map_pages"]) * PAGE, PAGE)
            }
            state = bytes(kernel.view.peek(kernel.view.kern_va, Kern.size)), kernel.frames_by_type(), kept, live
            return at_boot, used, heap, records, image, state

    fresh, poisoned = run(None), run(poison)
    assert fresh[5] == poisoned[5]
    assert fresh[2:5] == poisoned[2:5]
    zeros = bytes(PAGE)
    for pfn in fresh[3] | {pa // PAGE for pa in fresh[1] if pa // PAGE not in fresh[2]} - fresh[4]:
        assert fresh[1].get(pfn * PAGE, zeros) == poisoned[1].get(pfn * PAGE, zeros), hex(pfn)


@MODES
def test_boot_in_one_call(mode):
    """E32: `boot` does all steps, and doing one more changes nothing."""
    with loaded(LOW, TOP, mode=mode) as kernel:
        assert kernel.call("boot") == k.UP
        before = kernel.snapshot()
        assert kernel.call("boot_step") == kernel.call("boot") == k.UP
        assert kernel.snapshot() == before
        conserved(kernel)


def test_E2_a_static_heap_grows_in_long_runs():
    """E2: what is allocated at boot lies in few runs of contiguous frames, of which a hosted kernel can hold 65,000."""
    profile = replace(Profile.load("eros2"), strategy="static")
    with Kernel.boot(machine((MIB, 255 * MIB)), profile) as kernel:
        va, pa, _ = kernel.view.backing()
        constants = va - pa
        assert len(va) > 10_000 and (constants[1:] != constants[:-1]).sum() < 64


def test_what_the_loader_told_is_what_the_kernel_knows():
    """Every number of the profile reaches the kernel record under its name."""
    profile = Profile.load("eros2")
    told = replace(profile, bank=replace(profile.bank, withheld=7, promised=100, cleaners=5))
    with Kernel.boot(machine(LOW), told, "raw", prepare=poison) as kernel:
        info, kern = kernel.layout, kernel.view.kern
        offsets = {"version", "bytes", "cpus", "directory", "root", "spans", "heap_pages", "ranges", "objects"}
        same = {name for name in info.dtype.names if name in kern.dtype.names} - offsets
        differ = {name for name in same if kern[name].dtype.names is None and int(kern[name]) != int(info[name])}
        assert not differ and len(same) > 15
        assert (int(kern["withheld"]), int(kern["promised"]), int(kern["asked"])) == (7, 100, 100)
        assert int(kern["stalls"]["reserve"]) == int(info["cleaner_frames"]) == 5
        conserved(kernel)
