"""A kernel put through whatever it can be asked for, by chance but the same every time, wherever its window lies.

Every choice follows from the seed and from what the kernel answered before, addresses counted from the window. So two
kernels whose windows lie elsewhere are asked the same, and should answer the same (`answers`). The workload also asks
for what must be refused: addresses inside and outside of the window, from one end of 64 bits to the other.
"""

import random

from page_source import Source

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Bytes, Window
from kernmalloc.kernel.boot.added import PAGE_SPACE
from kernmalloc.kernel.core.kern import DEVICE_MEMORY, DMA, PAGE
from kernmalloc.kernel.devices import ANYONE, LAST_WORDS
from kernmalloc.kernel.heap.caches import FIRST_TYPE
from kernmalloc.lang import failed
from kernmalloc.lang.status import BUSY, OK, WOULD_BLOCK
from kernmalloc.machine.lives import LEAST, MOST

FRAME = 4096
DEVICES = 1 << 20  # pfn: where devices are
LATER = 1 << 15  # pfn: where RAM is added
USER = 0x40_0000  # where address spaces map their pages
SIZES = (1, 16, 100, 584, 5000, 32768, 60_000, 300_000)
WINDOWS = (-(1 << 47), -(1 << 46), -(1 << 31), 0xC000_0000)  # where those of the x86_64 format may lie
FAR = (
    LEAST,
    LEAST + 1,
    -(1 << 48),
    -(1 << 47),
    -(1 << 46),
    -(1 << 31),
    -FRAME,
    -1,
    0,
    1,
    FRAME,
    1 << 31,
    1 << 47,
    MOST,
)
MAKERS = {
    "malloc", "malloc_aligned", "malloc_zeroed", "cache_get", "window_open", "umap_make", "thread_make", "thread_next",
}  # fmt: skip
"""Entries whose answer is an address, if it is not 0 or a status."""


def window(base: int) -> Window:
    """A window of 1 GiB at an address, as the kernel has it: one of the high half is negative."""
    return Window(base=Bytes(base % (1 << 64)), size=Bytes(1 << 30), windows=Bytes(4 << 20))


class Workload:
    """One kernel, what is held of it, and what it answered."""

    def __init__(self, kernel: Kernel, seed: int) -> None:
        self.kernel, self.chance = kernel, random.Random(seed)
        self.window = kernel.handle.loaded.window
        self.reach = int(kernel.layout["window_bytes"])
        self.cpus = [kernel.cpu(number) for number in range(int(kernel.layout["cpus"]))]
        self.answers: list[tuple[str, int]] = []
        self.caches = range(FIRST_TYPE, int(kernel.view.kern["cache_count"]))
        self.source = Source(kernel)
        kernel.handle.life.reach((LATER + (1 << 13)) * FRAME)
        self.blocks: list[int] = []
        self.objects: list[tuple[int, int]] = []
        self.frames: list[int] = []
        self.ranges: list[tuple[int, int]] = []
        self.devices: list[int] = []
        self.spaces = [self.call("umap_make")]
        self.threads = [self.call("thread_make", cleaner) for cleaner in (0, 0, 1)]

    def call(self, entry: str, *args: int, cpu: int = 0) -> int:
        """Ask the kernel, and note what it answers."""
        answer = self.cpus[cpu].call(entry, *args)
        is_address = entry in MAKERS and answer != OK and not failed(answer)
        if is_address:
            assert self.window < answer < self.window + self.reach
        self.answers.append((entry, answer - self.window if is_address else answer))
        return answer

    def run(self, steps: int) -> None:
        """So many steps."""
        ways = (
            self.malloc, self.malloc, self.free, self.wrong, self.get, self.put, self.frame, self.unframe, self.range,
            self.window_on, self.parts, self.device, self.page, self.space, self.wait, self.tidy, self.ram,
        )  # fmt: skip
        for _ in range(steps):
            self.chance.choice(ways)()

    def finish(self) -> None:
        """Give all back: only what the kernel keeps ready is left, and then nothing."""
        for va in self.spaces:
            assert self.call("umap_free", va) == OK
        for va in self.threads:
            assert self.call("thread_free", va) == OK
        held_by = {
            self.free: self.blocks,
            self.put: self.objects,
            self.unframe: self.frames,
            self.unrange: self.ranges,
            self.undevice: self.devices,
        }
        for way, held in held_by.items():
            while held:
                way()
        self.settle()
        assert self.call("source_close") == OK
        for cpu in range(len(self.cpus)):
            assert self.call("drain", cpu=cpu) == OK
        assert self.call("check") == OK

    def cpu(self) -> int:
        return self.chance.randrange(len(self.cpus))

    def taken(self, held: list) -> object:
        """One of what is held, which is no longer."""
        return held.pop(self.chance.randrange(len(held)))

    def anywhere(self) -> int:
        """An address: of the window, beside it, or any of 64 bits."""
        kern, pick = self.kernel.view.kern, self.chance
        near = [int(kern[name]) for name in ("base", "tables", "heap_map", "heap", "windows")]
        near += [self.window + self.reach, *self.blocks[:3]]
        choices = (
            lambda: pick.choice(FAR),
            lambda: pick.choice(near) + pick.choice((-FRAME, -16, -1, 1, 8, FRAME)),
            lambda: self.window + pick.randrange(self.reach),
        )
        return max(LEAST, min(pick.choice(choices)(), MOST))

    # --- the heap

    def malloc(self) -> None:
        size, cpu = self.chance.choice(SIZES), self.cpu()
        entry = self.chance.choice(("malloc", "malloc", "malloc_aligned", "malloc_zeroed"))
        more = (1 << self.chance.randrange(23),) if entry == "malloc_aligned" else ()
        va = self.call(entry, size, *more, cpu=cpu)
        if not failed(va):
            assert not more or va % more[0] == 0
            assert self.call("size_of", va) >= size
            self.blocks.append(va)

    def free(self) -> None:
        if self.blocks:
            va = self.taken(self.blocks)
            assert self.call("free", va, cpu=self.cpu()) == OK
            assert failed(self.call("free", va))

    def wrong(self) -> None:
        """What is nobody's to give back is refused."""
        va = self.anywhere()
        if failed(self.call("size_of", va)):
            assert failed(self.call("free", va, cpu=self.cpu()))
        if va not in (each for _, each in self.objects):
            assert failed(self.call("cache_put", self.chance.choice(self.caches), va))
        assert failed(self.call("window_close", va))
        for entry, *more in (
            ("umap_free",),
            ("umap_unmap", USER),
            ("thread_free",),
            ("thread_limit", 1),
            ("thread_cancel",),
        ):
            if va not in (*self.spaces, *self.threads):
                assert failed(self.call(entry, va, *more))

    def get(self) -> None:
        id = self.chance.choice(self.caches)
        va = self.call("cache_get", id, cpu=self.cpu())
        if not failed(va):
            self.objects.append((id, va))

    def put(self) -> None:
        if self.objects:
            id, va = self.taken(self.objects)
            assert failed(self.call("cache_put", id, va + 8))
            assert self.call("cache_put", id, va, cpu=self.cpu()) == OK

    def tidy(self) -> None:
        entry = self.chance.choice(("drain", "release", "check"))
        assert not failed(self.call(entry, cpu=self.cpu()))

    # --- frames

    def frame(self) -> None:
        order = self.chance.choice((0, 0, 0, 3))
        entry = ("block_get", order) if order else ("frame_get",)
        pfn = self.call(*entry, self.chance.choice((PAGE, DMA)), cpu=self.cpu())
        if not failed(pfn):
            self.frames.append(pfn)

    def unframe(self) -> None:
        if self.frames:
            assert self.call("frame_put", self.taken(self.frames), cpu=self.cpu()) == OK

    def range(self) -> None:
        if self.ranges and self.chance.random() < 0.5:
            self.unrange()
            return
        frames = self.chance.choice((1, 3, 16))
        pfn = self.call("range_get", frames, 4, 0, 1 << 40, 0, DMA)
        if not failed(pfn):
            self.ranges.append((pfn, frames))

    def unrange(self) -> None:
        assert self.call("range_put", *self.taken(self.ranges)) == OK

    def window_on(self) -> None:
        if len(self.frames) > 1:
            one, other = self.chance.sample(self.frames, 2)
            cpu = self.cpu()
            va = self.call("window_open", one, cpu=cpu)
            assert self.call("zero_frame", one, cpu=cpu) == OK
            assert self.call("copy_frame", one, other, cpu=cpu) == OK
            assert self.call("window_close", va, cpu=cpu) == OK

    def parts(self) -> None:
        """Copies between a frame and the heap, and what only seems to be the heap."""
        if self.frames:
            pfn = self.chance.choice(self.frames)
            self.call("copyin", pfn, 0, self.anywhere() & -16, 0)
            for va in (
                *self.blocks[-1:],
                *(at for at in (self.chance.choice(FAR), self.window, self.window + self.reach)),
            ):
                entry, bytes = self.chance.choice(("copyin", "copyout")), self.chance.choice((1, 8, 16))
                done = self.call(entry, pfn, self.chance.randrange(FRAME), va, bytes)
                assert failed(done) or va in self.blocks

    # --- devices

    def device(self) -> None:
        if self.devices and self.chance.random() < 0.4:
            self.undevice()
            return
        base, count = DEVICES + self.chance.randrange(1 << 12), self.chance.choice((1, 33, 200))
        tier = self.chance.choice((ANYONE, ANYONE, LAST_WORDS))
        if self.call("publish", base, count, DEVICE_MEMORY, self.chance.randrange(count + 1), tier) == OK:
            self.devices.append(base)
            if self.call("device_get", base + count - 1, cpu=self.cpu()) == OK:
                assert self.call("withdraw", base) == BUSY
                assert self.call("device_put", base + count - 1) == OK

    def undevice(self) -> None:
        assert self.call("withdraw", self.taken(self.devices)) == OK

    # --- RAM that comes later

    def ram(self) -> None:
        """Now and then a little, or what overlaps, or too much."""
        if self.chance.random() < 0.2:
            base, count = LATER + self.chance.randrange(1 << 12), self.chance.choice((0, 1, 40, 300, 1 << 41))
            self.call("ram_add", base, count, PAGE_SPACE, cpu=self.cpu())

    # --- pages

    def settle(self) -> None:
        """The source answers whatever it is asked."""
        while self.source.poll():
            pass

    def page(self) -> None:
        oid, pfn = self.chance.randrange(40), WOULD_BLOCK
        for _ in range(2):
            pfn = self.call("page_get", oid, cpu=self.cpu())
            self.settle()
        if not failed(pfn):
            entry = self.chance.choice(("page_dirty", "page_clean", "page_discard", "page_pin"))
            if self.call(entry, pfn) == OK and entry == "page_pin":
                assert self.call("page_unpin", pfn) == OK
            self.settle()

    def space(self) -> None:
        space, va = self.chance.choice(self.spaces), self.chance.choice((USER, USER + FRAME, (1 << 47) - FRAME, *FAR))
        oid = self.chance.randrange(40)
        for _ in range(2):
            self.call("umap_map", space, va, oid, self.chance.randrange(2), cpu=self.cpu())
            self.settle()
        if self.chance.random() < 0.4:
            self.call("umap_unmap", space, va)
        if len(self.spaces) > 1 and self.chance.random() < 0.3:
            assert self.call("umap_free", self.taken(self.spaces)) == OK
        elif len(self.spaces) < 4 and self.chance.random() < 0.3:
            made = self.call("umap_make")
            if not failed(made):
                self.spaces.append(made)

    # --- threads

    def wait(self) -> None:
        """A thread asks for more than is free, and may have to wait: memory comes, its time is up, or it gives up."""
        thread, cpu = self.chance.choice(self.threads), self.cpu()
        assert self.call("thread_limit", thread, self.chance.choice((0, 1))) == OK
        assert self.call("thread_run", thread, cpu=cpu) == OK
        free = int(self.kernel.view.kern["free_frames"]) + self.chance.randrange(-8, 32)
        va = self.call("malloc", free * FRAME, cpu=cpu)
        assert not failed(self.call("thread_run", 0, cpu=cpu))
        self.chance.choice((self.free, self.unframe, self.settle, lambda: self.call("tick", 1)))()
        if va == WOULD_BLOCK and self.call("thread_next") == thread:
            if self.call("thread_run", thread, cpu=cpu) == OK:
                va = self.call("malloc", free * FRAME, cpu=cpu)
            assert self.call("thread_run", 0, cpu=cpu) == OK
        if not failed(va):
            assert self.call("free", va, cpu=cpu) == OK
        self.call("thread_cancel", thread)
