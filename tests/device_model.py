"""A kernel's whole life after boot as a plain Python model sees it: devices, heap, objects and frames, come and gone.

A sequence is random publishing, withdrawing, use of device frames, malloc, objects, frames, free, drain and release,
with the kernel's own `check` after every step. A refusal must be true, or at least leave everything as it was. When all
is withdrawn and freed, every counter is what it was at the start; what `release` gave back is gone to the frame.
"""

import random
from collections import Counter

from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.boot.added import PAGE_SPACE
from kernmalloc.kernel.core.kern import DEVICE_MEMORY, DMA, NVRAM, PAGE, RAM, ROM, Kern
from kernmalloc.kernel.devices import ANYONE, CHUNK_SHIFT, LAST_WORDS
from kernmalloc.kernel.heap.bins import LARGE
from kernmalloc.kernel.heap.caches import CHUNK_CACHE, LAST_CACHE, LAST_MAP_CACHE, LAST_REGION_CACHE, REGION_CACHE
from kernmalloc.kernel.heap.slabs import Cache
from kernmalloc.lang.status import (
    BAD_ADDRESS,
    BAD_FRAME,
    BAD_SIZE,
    BUSY,
    INTERIOR,
    LIMIT,
    NAMES,
    NO_FRAMES,
    NO_VA,
    NOT_ALLOCATED,
    OK,
    OVERLAP,
    PROMISED,
    TOO_SMALL,
    WOULD_BLOCK,
    WRAPS,
)  # fmt: skip

SHORT = {
    NO_FRAMES,
    NO_VA,
    WOULD_BLOCK,
    LIMIT,
    PROMISED,
}  # refusals for want of memory; the others are the caller's fault
RECORDS_SHIFT = 6  # log2 of the heap pages that one page of the heap map describes

# what says how the memory was used, not what it is: cursors, odometers, the order of free runs
PAST = {
    "waiting",
    "common",
    "hit",
    "stocked",
    "returned",
    "recycled",
    "peak",
    "wanted",
    "pages",
    "stalls",
    "supply",
    "bins",
    "bin_bits",
    "plan",
    "checked",
    "format",
    "adding",
}
COUNTERS = [name for name in Kern.fields if name not in PAST]

FIRST = 1 << 18  # pfn: where devices are
SIZES = (1, 1, 2, 31, 32, 33, 64, 100, 257, 1000)  # frames
FAR = 1 << 20
LATER = 1 << 15  # pfn: where RAM is added
HUGE = 1 << 16  # frames of a card that can only be published by its extent

OPERATIONS = {
    "publish": 12, "withdraw": 8, "use": 10, "let_go": 6, "malloc": 14, "free": 10, "get": 8, "put": 6, "frame": 5,
    "unframe": 4, "wrong": 4, "drain": 2, "release": 1,
}  # fmt: skip


class World:
    """One kernel, what is held of it, and what its counters were."""

    def __init__(self, kernel: Kernel, seed: int) -> None:
        self.kernel, self.random = kernel, random.Random(seed)
        self.steps = self.refused = self.released = self.releases = 0
        self.shortages: Counter[str] = Counter()
        self.log: list[tuple[str, tuple[int, ...], int]] = []
        kernel.handle.life.reach((LATER + 6000) << 12)
        kernel.drain()
        self.limit = int(kernel.view.kern["max_pfn"])
        self.caches = range(LAST_MAP_CACHE, int(kernel.view.kern["cache_count"]))
        self.memory = kernel.snapshot()
        self.begin()
        self.forget()

    def begin(self) -> None:
        """Nothing is held: what there is now is there when all is given back."""
        kernel = self.kernel
        self.boot = [(int(r["base"]), int(r["base"] + r["count"])) for r in kernel.view.regions()]
        self.boot_slots = kernel.view.used_slots()
        self.boot_large = self.large_pages()
        self.start = self.counters()
        self.released = 0

    def forget(self) -> None:
        """Nothing is held."""
        self.blocks: list[int] = []
        self.objects: list[tuple[int, int]] = []
        self.frames: list[int] = []
        self.ranges: dict[int, tuple[int, int, int]] = {}  # base: frames, chunks guaranteed, tier
        self.users: dict[int, int] = {}  # device frame: how often it is used

    def restart(self) -> None:
        """The machine as it was after boot."""
        self.kernel.restore(self.memory)
        self.begin()
        self.forget()

    # --- what must hold

    def counters(self) -> dict[str, object]:
        """Every counter of the kernel and of its caches, and the regions."""
        view = self.kernel.view
        kern = view.kern
        caches = view.read(Cache, int(kern["caches"]), int(kern["cache_count"]))
        return {
            **{name: int(kern[name]) for name in COUNTERS},
            **{f"{name}_frames": count for name, count in self.kernel.view.frames().items()},
            **{f"cache {name}": caches[name].tolist() for name in ("slabs", "kept", "limit")},
            "slots": view.used_slots(),
            "large": self.large_pages(),
            "ranges": [
                tuple(int(r[name]) for name in ("base", "count", "kind", "area", "tier")) for r in view.regions()
            ],
        }

    def large_pages(self) -> int:
        pages = self.kernel.view.heap_pages()
        return int(pages["pages"][pages["use"] == LARGE].sum())

    def expected(self) -> dict[str, object]:
        """The counters at the start, less what `release` gave back since."""
        want, gone = dict(self.start), self.released
        if gone:
            for name in ("heap_pages", "fixed", "top", "backed", "kept"):
                want[name] -= gone
            want["map_pages"] = -(-want["top"] >> RECORDS_SHIFT)
            want["heap_frames"] = want["backed"] + want["map_pages"]
            want["free_frames"] += self.start["heap_frames"] - want["heap_frames"]
            want["released"] += gone
        return want

    def call(self, name: str, *args: int) -> int:
        """One step: an entry, then `check`."""
        result = self.kernel.call(name, *args)
        self.log.append((name, args, result))
        self.checked(f"{name}{args}")
        return result

    def checked(self, what: str) -> None:
        """Every invariant of every record holds."""
        if self.kernel.call("check") != OK:
            raise AssertionError(f"{what}: {self.kernel.check().failure}")
        self.steps += 1

    def short(self, result: int, what: str) -> bool:
        """Whether a call was refused for want of memory; if so, what is held is all that is in use."""
        assert result >= 0 or result in SHORT, f"{what}: {NAMES[result]}"
        if result < 0:
            self.shortages[NAMES[result]] += 1
            self.held()
        return result < 0

    def held(self) -> None:
        """Slots and pages in use are those of the boot and those that are held."""
        slots = self.kernel.view.used_slots()
        for id in self.caches:
            assert slots.get(id, 0) - self.boot_slots.get(id, 0) == sum(1 for kind, _ in self.objects if kind == id)
        for id, tier in ((REGION_CACHE, ANYONE), (LAST_REGION_CACHE, LAST_WORDS)):
            records = sum(by == tier for _, _, by in self.ranges.values())
            assert slots.get(id, 0) - self.boot_slots.get(id, 0) == records
        for id, tier in ((CHUNK_CACHE, ANYONE), (LAST_CACHE, LAST_WORDS)):
            chunks = sum(
                max(guaranteed, len(self.live(base, count)))
                for base, (count, guaranteed, by) in self.ranges.items()
                if by == tier
            )
            assert slots.get(id, 0) - self.boot_slots.get(id, 0) == chunks
        small = sum(count - self.boot_slots.get(id, 0) for id, count in slots.items() if id < REGION_CACHE)
        sizes = [self.kernel.call("size_of", va) for va in self.blocks]
        assert small + sum(1 for pages in self.runs()) == len(sizes)
        assert self.large_pages() - self.boot_large == sum(self.runs())

    def runs(self) -> list[int]:
        """Pages of each block held that is a run of pages."""
        view = self.kernel.view
        pages, heap = view.heap_pages(), int(view.kern["heap"])
        at = [(va - heap) >> int(view.kern["page_shift"]) for va in self.blocks]
        return [int(pages["pages"][page]) for page in at if pages["use"][page] == LARGE]

    def live(self, base: int, count: int) -> set[int]:
        """Chunks of a range in which a frame is used."""
        return {pfn >> CHUNK_SHIFT for pfn in self.users if base <= pfn < base + count}

    # --- devices

    def publish(self) -> None:
        base, count = FIRST + self.random.randrange(2500), self.random.choice(SIZES)
        guarantee = self.random.choice((count, count, count, 0, self.random.randint(0, count)))
        kind = self.random.choice((DEVICE_MEMORY, DEVICE_MEMORY, ROM, NVRAM))
        tier = self.random.choice((ANYONE, ANYONE, ANYONE, LAST_WORDS))
        odd = self.random.randrange(24)
        if odd == 0:  # what no device can be
            base = self.random.choice((-1, 0, 300, self.limit - 1, self.limit, 1 << 62))
        elif odd == 1:
            count = self.random.choice((0, -1, 1 << 41, (1 << 63) - 1))
        elif odd == 2:
            guarantee = self.random.choice((-1, count + 1))
        elif odd == 3:
            kind = self.random.choice((RAM, 0, 9))
        elif odd in (4, 5):
            base, count, guarantee = FAR, HUGE, self.random.choice((0, 0, 40, HUGE))
        told = f"publish({base:#x}, {count}, {kind}, {guarantee}, {tier})"
        wrong = self.unpublishable(base, count, kind, guarantee)
        before = self.memory_now() if wrong != OK and self.sampled() else None
        result = self.kernel.call("publish", base, count, kind, guarantee, tier)
        self.log.append(("publish", (base, count, kind, guarantee, tier), result))
        assert before is None or self.memory_now() == before, told
        self.checked(told)
        if wrong != OK:
            assert result == wrong, f"{told}: {NAMES[result]}, not {NAMES[wrong]}"
            self.refused += 1
        elif not self.short(result, told):
            chunks = (
                (base + count - 1 >> CHUNK_SHIFT) - (base >> CHUNK_SHIFT) + 1
                if guarantee == count
                else -(-guarantee >> CHUNK_SHIFT)
            )
            self.ranges[base] = count, chunks, tier

    def unpublishable(self, base: int, count: int, kind: int, guarantee: int) -> int:
        """Why a range cannot be one, whatever memory there is."""
        if count <= 0 or base < 0 or base + count > self.limit:
            return WRAPS
        if any(
            low < base + count and base < end
            for low, end in [*self.boot, *((b, b + n) for b, (n, _, _) in self.ranges.items())]
        ):
            return OVERLAP
        return OK if kind in (DEVICE_MEMORY, ROM, NVRAM) and 0 <= guarantee <= count else BAD_SIZE

    def memory_now(self) -> dict[int, bytes]:
        """All memory, but for the note of the last region found, which a lookup may change."""
        view = self.kernel.view
        pages, note = self.kernel.snapshot(), view.pa(view.kern_va + Kern.offset("hit"))
        page = pages[note & -4096]
        pages[note & -4096] = page[: note % 4096] + bytes(8) + page[note % 4096 + 8 :]
        return pages

    def sampled(self) -> bool:
        """Once in a while: what takes long."""
        return self.random.randrange(16) == 0

    def withdraw(self) -> None:
        if not self.ranges:
            return
        base = self.random.choice(list(self.ranges))
        used = sum(1 for pfn in self.users if base <= pfn < base + self.ranges[base][0])
        assert self.kernel.call("device_used", base) == used
        if used:
            assert self.call("withdraw", base) == BUSY
            self.refused += 1
        else:
            assert self.call("withdraw", base) == OK
            del self.ranges[base]

    def use(self) -> None:
        if not self.ranges:
            return
        base = self.random.choice(list(self.ranges))
        count, guaranteed, _ = self.ranges[base]
        pfn = base + self.random.randrange(count)
        live = self.live(base, count)
        result = self.call("device_get", pfn)
        if pfn >> CHUNK_SHIFT in live or len(live) < guaranteed:
            assert result == OK, f"device_get({pfn:#x}) is guaranteed: {NAMES[result]}"
        if not self.short(result, f"device_get({pfn:#x})"):
            self.users[pfn] = self.users.get(pfn, 0) + 1

    def let_go(self) -> None:
        if self.users:
            pfn = self.random.choice(list(self.users))
            assert self.call("device_put", pfn) == OK
            self.users[pfn] -= 1
            if not self.users[pfn]:
                del self.users[pfn]

    # --- the heap

    def malloc(self) -> None:
        size = self.random.choice((
            self.random.randint(1, 600), self.random.randint(1, 40_000), self.random.randint(1, 300_000),
            4096, 32768, 32769, 1 << 21,
        ))  # fmt: skip
        how = self.random.randrange(4)
        if how == 0:
            result = self.call("malloc_zeroed", size)
        elif how == 1:
            result = self.call("malloc_aligned", size, 1 << self.random.randint(4, 18))
        else:
            result = self.call("malloc", size)
        if not self.short(result, f"malloc({size})"):
            self.blocks.append(result)

    def free(self) -> None:
        if self.blocks:
            assert self.call("free", self.pop(self.blocks)) == OK

    def get(self) -> None:
        id = self.random.choice(self.caches)
        result = self.call("cache_get", id)
        if not self.short(result, f"cache_get({id})"):
            self.objects.append((id, result))

    def put(self) -> None:
        if self.objects:
            assert self.call("cache_put", *self.pop(self.objects)) == OK

    def frame(self) -> None:
        order = self.random.choice((0, 0, 0, 1, 4, 8, 9))
        result = self.call("block_get", order, self.random.choice((PAGE, DMA)))
        if not self.short(result, f"block_get({order})"):
            self.frames.append(result)

    def unframe(self) -> None:
        if self.frames:
            assert self.call("frame_put", self.pop(self.frames)) == OK

    def pop(self, held: list):
        """One of those held, at random."""
        at = self.random.randrange(len(held))
        held[at], held[-1] = held[-1], held[at]
        return held.pop()

    def wrong(self) -> None:
        """What was never given out, was given back already, or lies within."""
        va = self.random.choice(self.blocks) + self.random.choice((1, 8, 1 << 40)) if self.blocks else 0
        name, args, statuses = self.random.choice((
            ("free", (va,), (BAD_ADDRESS, INTERIOR, NOT_ALLOCATED)),
            ("withdraw", (FIRST - 1,), (BAD_FRAME,)),
            ("withdraw", (self.boot[0][0],), (BAD_FRAME,)),
            ("device_get", (self.boot[0][0],), (BAD_FRAME,)),
            ("device_put", (FIRST - 1,), (BAD_FRAME,)),
            ("cache_put", (self.caches[0], va), (BAD_ADDRESS, INTERIOR, NOT_ALLOCATED)),
        ))  # fmt: skip
        assert self.call(name, *args) in statuses
        self.refused += 1

    def drain(self) -> None:
        assert self.call("drain") == OK

    def release(self) -> None:
        pages = self.call("release")
        assert pages >= 0 and pages % 512 == 0
        self.released += pages
        self.releases += pages > 0

    # --- RAM that comes later

    def plug(self) -> None:
        """Add RAM while nothing is held: all counters begin from there."""
        base, count = LATER + self.random.randrange(2000), self.random.choice((1, 40, 700, 3000))
        taken = any(low < base + count and base < end for low, end in self.boot)
        frames = self.kernel.frames_by_type()
        result = self.call("ram_add", base, count, PAGE_SPACE)
        if taken:
            assert result == OVERLAP
        if result != OK:
            assert taken or result in SHORT | {TOO_SMALL}, NAMES[result]
            return
        now, kern = self.kernel.frames_by_type(), self.kernel.view.kern
        gained = now["free"] - frames["free"]
        assert 0 < gained <= count and sum(now.values()) - sum(frames.values()) == count
        assert gained >= count - int(kern["adding"]["cost"])
        self.drain()
        self.begin()

    # --- a sequence

    def scarce(self) -> None:
        """Take frames as pages until only a few are free."""
        left = self.random.choice((0, 1, 2, 3, 5, 9, 20, 60))
        for order in range(9, -1, -1):
            while self.kernel.frames_by_type()["free"] >= left + (1 << order):
                pfn = self.kernel.call("block_get", order, PAGE)
                if pfn < 0:
                    break
                self.frames.append(pfn)

    def sequence(self, length: int) -> None:
        """So many random steps; then all is withdrawn and freed, in random order, and counters are as they were."""
        self.log.clear()
        names = list(OPERATIONS)
        if self.random.randrange(6) == 0 and not self.released:
            self.plug()
        if self.random.randrange(4) == 0:
            self.scarce()
        for name in self.random.choices(names, OPERATIONS.values(), k=length):
            getattr(self, name)()
        while self.users or self.ranges or self.blocks or self.objects or self.frames:
            self.random.choice((self.let_go, self.let_go, self.withdraw, self.free, self.put, self.unframe))()
        self.drain()
        now, want = self.counters(), self.expected()
        different = {name: (want[name], now[name]) for name in want if now[name] != want[name]}
        assert not different, f"(expected, found): {different}"
