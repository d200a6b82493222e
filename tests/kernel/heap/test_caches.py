"""Typed object caches: one for each type, type-stable, limited by the profile's ratios and by the window."""

import itertools
import random

import pytest
from heap_model import PAGE, booted, effort, leave_free
from hypothesis import given
from hypothesis import strategies as st
from small_machines import MIB, conserved, poison

from kernmalloc.facade.errors import BadAddress, BadRequest, KernelError, OutOfMemory
from kernmalloc.facade.profile import ObjectType
from kernmalloc.kernel.core.kern import SIZE_CLASSES
from kernmalloc.lang import status

GIB = 1 << 30
ERAS = {"eros2": ("node", "depend", "process", "thread"), "eros": ("node", "depend", "process", "activity")}


@pytest.mark.parametrize("profile", ERAS)
def test_one_cache_per_type(boot, profile):
    """E19, E22: node, process, depend entry and thread have one typed cache each, named as in the profile, of its sizes
    and with the counts that its ratios ask for."""
    kernel = boot((0, 32 * MIB), profile=profile, mode="soft")
    frames = sum(kernel.frames_by_type().values())
    wanted = kernel.profile.wanted_counts(frames)
    assert frames == 32 * MIB // PAGE
    assert [cache.name for cache in kernel.caches] == ["region", *ERAS[profile]]
    assert len({cache.id for cache in kernel.caches}) == len(kernel.caches)
    for cache, kind in zip(kernel.caches[1:], kernel.profile.objects, strict=False):
        assert (cache.name, cache.size, cache.wanted) == (kind.name, kind.size, wanted[kind.name])
        assert cache.limit >= cache.wanted, "32 MiB are little for a window of a GiB"
        assert cache.limit - cache.wanted < int(cache.state["slots"]), "rounded up to whole slabs, no further"
    assert kernel.scale == 1


def test_the_static_division():
    """E2: under the static profile all objects of all types have their memory at boot, and keep it; under the demand
    profile none has."""
    with booted((0, 32 * MIB), profile="eros") as kernel:
        for cache in kernel.caches[1:]:
            assert cache.slots == cache.limit >= cache.wanted
            assert cache.used == 0
        backed = kernel.heap.backed
        objects = [(cache, cache.get()) for cache in kernel.caches[1:] for _ in range(cache.limit)]
        assert kernel.heap.backed == backed, "no frame is taken after boot"
        for cache in kernel.caches[1:]:
            assert cache.used == cache.limit
            with pytest.raises(OutOfMemory) as refusal:
                cache.get()
            assert refusal.value.status == status.LIMIT
        random.Random(2).shuffle(objects)
        for cache, va in objects:
            cache.put(va)
        kernel.drain()
        assert all(cache.slots == cache.limit for cache in kernel.caches[1:])
    with booted((0, 32 * MIB), profile="eros2") as kernel:
        assert all(cache.slots == 0 for cache in kernel.caches[1:])


def test_the_static_division_of_a_large_machine_leaves_frames():
    """E2, E4: co-equal spaces of a machine that the window could swallow whole: half of the frames stay page space."""
    with booted((0, 256 * MIB), profile="eros", objects=(ObjectType(name="node", size=4000, per_page=1.0),)) as kernel:
        assert 0 < kernel.scale < 1
        frames = kernel.frames_by_type()
        assert frames["free"] >= frames["heap"] * 0.9
        assert all(cache.slots == cache.limit for cache in kernel.caches[1:])


@pytest.mark.parametrize("gib", [16, 64])
def test_large_memory_in_a_small_window(gib):
    """E4, E3: 16 and 64 GiB of RAM boot under a kernel that has 1 GiB less small spaces; all that the caches may hold
    fits into what the window has left, in the ratio asked for, and the share achieved is told."""
    with booted((0, gib * GIB), mode="raw") as kernel:
        profile = kernel.profile
        assert profile.va.size <= GIB - 256 * MIB
        assert profile.va.base + profile.va.size <= 1 << 32
        frames = kernel.frames_by_type()
        assert sum(frames.values()) == gib * GIB // PAGE
        caches = kernel.caches[1:]
        pages = sum(int(cache.state["limit"]) * int(cache.state["pages"]) for cache in caches)
        kern = kernel.view.kern
        left = int(kern["heap_pages"] - kern["top"])
        assert pages <= left
        assert pages > left * 0.9, "the window is used"
        assert 0 < kernel.scale < 1
        for cache in caches:
            assert cache.limit / cache.wanted == pytest.approx(kernel.scale, rel=0.02)
        slots = 560 * 1 + 288 * 0.303 + 768 / 16 + 48 / 16 * 4  # bytes for each page of RAM, at what the ratios ask for
        tables = gib * GIB // PAGE * (16 + 16 + 0.127 + 3)  # entry, identity, bitmaps, the hash of the page cache
        share = (768 * MIB - 22 * MIB - tables) * 15 / 16 / (gib * GIB // PAGE * slots)
        assert kernel.scale == pytest.approx(share, rel=0.02)
        assert max(region.pfn + region.frames for region in kernel.regions) == gib * GIB // PAGE, "beyond 32 bits"


@pytest.mark.parametrize("mode", ["raw", "soft", "twin"])
def test_limits(boot, mode):
    """E26, C1: a cache gives out as many objects as its limit, in whole slabs, then says LIMIT and changes nothing."""
    kernel = boot((0, 16 * MIB), mode=mode)
    cache = kernel.cache("mapping", size=200, limit=50)
    assert cache.size == 200
    assert 50 <= cache.limit < 50 + int(cache.state["slots"])
    objects = [cache.get() for _ in range(cache.limit)]
    assert len(set(objects)) == cache.used == cache.limit
    before = kernel.snapshot()
    with pytest.raises(OutOfMemory) as refusal:
        cache.get()
    assert refusal.value.status == status.LIMIT
    assert kernel.snapshot() == before
    cache.put(objects[7])
    assert cache.get() == objects[7]
    for va in objects:
        cache.put(va)
    assert cache.used == 0


def test_what_is_put_must_be_of_the_type():
    """E22: an object of another type, a malloc'd block, an interior or a free address is refused with its status,
    unchanged."""
    with booted() as kernel:
        node, process = kernel.cache("node"), kernel.cache("process")
        mine, other, block = node.get(), process.get(), kernel.malloc(556)
        large = kernel.malloc(50_000)
        before = kernel.snapshot()
        wrong = {
            status.BAD_ADDRESS: [
                other,
                block,
                large,
                large + PAGE,
                0,
                -1,
                -(1 << 63),
                int(kernel.view.kern["heap_map"]),
            ],
            status.INTERIOR: [mine + 1, mine + 16, mine + 559],
            status.NOT_ALLOCATED: [mine + 560],
        }
        for code, addresses in wrong.items():
            for va in addresses:
                with pytest.raises(BadAddress) as refusal:
                    node.put(va)
                assert refusal.value.status == code, hex(va)
        for id in (-1, 0, SIZE_CLASSES - 1, int(kernel.view.kern["cache_count"]), 1 << 40, -(1 << 62)):
            assert kernel.call("cache_put", id, mine) == status.BAD_CACHE
            assert kernel.call("cache_get", id) == status.BAD_CACHE
        assert kernel.snapshot() == before
        node.put(mine)
        with pytest.raises(BadAddress) as refusal:
            node.put(mine)
        assert refusal.value.status == status.NOT_ALLOCATED


def test_creation_is_refused_by_name():
    """E22: a cache of no size, of too large a size or of no objects, and one more than there may be, changes
    nothing."""
    with booted((0, 8 * MIB)) as kernel:
        before = kernel.snapshot()
        for size, limit in ((0, 1), (-1, 1), (65537, 1), (1 << 62, 1), (16, -1), (16, -(1 << 63))):
            with pytest.raises(BadRequest):
                kernel.cache("x", size=size, limit=limit)
        with pytest.raises(KernelError):
            kernel.cache("no such type")
        assert kernel.snapshot() == before
        names = [f"type{n}" for n in range(128 - int(kernel.view.kern["cache_count"]))]
        for n, name in enumerate(names):
            kernel.cache(name, size=n * 512 + 1, limit=1 << 62 >> n)
        before = kernel.snapshot()
        with pytest.raises(BadRequest) as refusal:
            kernel.cache("one more", size=16, limit=1)
        assert refusal.value.status == status.BAD_CACHE
        assert kernel.snapshot() == before
        for name in names:
            cache = kernel.cache(name)
            assert kernel.size_of(cache.get()) >= cache.size
        conserved(kernel)


@pytest.mark.parametrize("prepare", [None, poison], ids=["fresh", "poisoned"])
@effort(0.5)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["get", "get", "put", "put", "malloc", "free", "drain", "wrong"]),
            st.integers(0, 4),
            st.integers(0, 999),
        ),
        max_size=150,
    )
)
def test_random_objects(prepare, ops):
    """E22: objects never share memory with anything else, a slab serves one type as long as it lives, and the counts of
    each cache are those of a model."""
    with booted((0, 16 * MIB), prepare=prepare) as kernel:
        caches = kernel.caches[1:]
        records = kernel.cache("region").used
        kinds = len(caches)
        live: list[list[int]] = [[] for _ in range(kinds + 1)]
        for op, which, pick in ops:
            kind = which % kinds
            if op == "get":
                live[kind].append(caches[kind].get())
            elif op == "put" and live[kind]:
                caches[kind].put(live[kind].pop(pick % len(live[kind])))
            elif op == "malloc":
                live[kinds].append(kernel.malloc(caches[kind].size))
            elif op == "free" and live[kinds]:
                kernel.free(live[kinds].pop(pick % len(live[kinds])))
            elif op == "drain":
                kernel.drain()
            elif op == "wrong" and live[kind]:
                va, before = live[kind][pick % len(live[kind])], kernel.snapshot()
                for other in {0, 1, 2, 3} - {kind}:
                    with pytest.raises(BadAddress):
                        caches[other].put(va)
                assert kernel.snapshot() == before
        spans = [(va, va + caches[kind].size) for kind in range(kinds) for va in live[kind]]
        spans += [(va, va + kernel.size_of(va)) for va in live[kinds]]
        spans.sort()
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
        page_kinds: dict[int, set[int]] = {}
        for kind in range(kinds):
            for va in live[kind]:
                page_kinds.setdefault(va // PAGE, set()).add(kind)
        assert all(len(kinds_there) == 1 for kinds_there in page_kinds.values())
        assert [cache.used for cache in caches] == [len(there) for there in live[:kinds]]
        assert kernel.cache("region").used == records


def test_no_frames_for_an_object():
    """E26: an object that would need a slab while page space is held says WOULD_BLOCK, changes nothing, and succeeds
    later."""
    with booted((0, 8 * MIB)) as kernel:
        held = leave_free(kernel, 0)
        before = kernel.snapshot()
        id = kernel.cache("process").id
        assert kernel.call("cache_get", id) == status.WOULD_BLOCK
        assert kernel.snapshot() == before
        for pfn in held[:8]:
            kernel.frame_put(pfn)
        kernel.cache("process").put(kernel.cache("process").get())


def test_ratios_beyond_reason():
    """E4: a profile may ask for more objects than there are numbers for; the window decides, and no product wraps."""
    counts = {"many": 1 << 62, "some": 1 << 50, "few": 5}
    objects = tuple(ObjectType(name=name, size=64, count=count) for name, count in counts.items())
    for mode in ("twin", "soft"):
        with booted((0, 32 * MIB), profile="eros2", objects=objects, mode=mode) as kernel:
            many, some, few = kernel.caches[1:]
            assert many.wanted == 1 << 62
            assert few.wanted == 5
            assert few.limit >= 1
            assert (many.limit + some.limit) * 64 > 500 * MIB
