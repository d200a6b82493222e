"""Kernels of every format of page tables, to be held against an emulated processor, and their own idea of their map."""

import random
from collections import Counter
from types import TracebackType

from emulated import ABSENT, Emulated, Outcome
from msgspec.structs import replace
from small_machines import MIB, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Address, Bytes, Image, Profile, Window
from kernmalloc.lang import twin
from kernmalloc.lang.status import OK
from kernmalloc.machine import mmu
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.ram import HIGHEST, Ram

REACH = {"i386-pae": 40, "x86_64": 40, "x86_64-la57": 40, "riscv32-sv32": 32}
"""Bits of a physical address of the emulated processor, where these are fewer than the format has."""

DO = twin.compile([mmu.walk, mmu.entry_pa, mmu.is_writable, mmu.was_used])
SIGN = 1 << 63


def phys_bits(format: str) -> int:
    """Physical addresses that are tried: all that the format, the emulator, and this process have."""
    return min(FORMATS[format].phys_bits, REACH.get(format, 64), HIGHEST.bit_length() - 2)


def profile(format: str, strategy: str) -> Profile:
    """A kernel with a window that crosses the reach of a directory, somewhere in the upper half."""
    arch = FORMATS[format]
    base, size = 0xD000_0000, 768 * MIB
    if arch.va_bits > 32:
        directory = arch.large_page << arch.index_bits
        half = 1 << arch.va_bits - 1
        base, size = (1 << 64) - half + (5 * directory - 7 * arch.large_page) % half, 64 * arch.large_page
    return replace(
        Profile.load("eros2"),
        name="oracle",
        arch=format,
        phys_bits=phys_bits(format),
        va=Window(base=Address(base), size=Bytes(size), windows=Bytes(arch.large_page)),
        image=Image(base=Bytes(4 * MIB), size=Bytes(MIB)),
        strategy=strategy,
    )


def booted(format: str, strategy: str) -> Kernel:
    """On RAM at the bottom, at the top, and below and above 4 GiB, if the format has as much."""
    large, page, top = FORMATS[format].large_page, 1 << FORMATS[format].page_shift, 1 << phys_bits(format)
    low = 24 * MIB if strategy == "demand" else 24 * MIB + 4 * large
    middle = min(5 << 30, top - 64 * MIB) - 77 * page
    ranges = ((0, low), (middle, 128 * page + 8 * MIB), (top - 32 * page, 32 * page))
    return Kernel.boot(machine(*ranges), profile(format, strategy), "soft")


class Physical:
    """RAM by physical address, for kernel functions that the twin runs."""

    def __init__(self, ram: Ram) -> None:
        view = memoryview(ram.bytes)
        self.machine = None
        self.views = {1: view, 2: view.cast("H"), 4: view.cast("I"), 8: view.cast("q")}

    def load(self, addr: int, width: int) -> int:
        return self.views[width][addr // width]

    def store(self, addr: int, width: int, value: int) -> None:
        self.views[width][addr // width] = value

    def close(self) -> None:
        for view in self.views.values():
            view.release()


class Tables:
    """A kernel that has done something, and a processor that walks its tables. Every invariant holds at the end, and
    nothing in memory has changed but by the kernel."""

    def __init__(self, format: str, strategy: str, seed: int) -> None:
        self.format, self.arch, self.pick = format, FORMATS[format], random.Random(seed)
        self.kernel = booted(format, strategy)
        self.loaded, self.ram = self.kernel.handle.loaded, self.kernel.view.ram
        self.page, self.words = self.kernel.profile.page, 4 if self.arch.va_bits == 32 else 8
        self.base, self.end = self.loaded.target, self.loaded.target + self.loaded.window_bytes
        self.physical = Physical(self.ram)
        self.windows: list[int] = []
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> "Tables":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            for window in reversed(self.windows):
                assert self.kernel.call("window_close", window) == OK
            conserved(self.kernel)
        self.physical.close()
        self.kernel.close()

    def emulated(self, user: bool = False) -> Emulated:
        """A processor on this RAM."""
        return Emulated(
            self.format, [(r.base, r.size, self.ram.address + r.base) for r in self.kernel.machine.ram], user
        )

    def use(self) -> None:
        """Let the heap grow, scatter and shrink, and open windows."""
        blocks: list[int] = []
        for _ in range(60):
            blocks.append(self.kernel.malloc(self.pick.choice([100, 5000, 60_000])))
            if self.pick.random() < 0.5:
                self.kernel.free(blocks.pop(self.pick.randrange(len(blocks))))
        self.windows = [self.kernel.call("window_open", self.kernel.frame_get()) for _ in range(3)]

    def address(self) -> int:
        """Where to access memory: any word in what may be mapped, at its edges, or anywhere."""
        kern, page = self.kernel.view.kern, self.page
        heap, top = int(kern["heap"]), int(kern["heap"]) + int(kern["top"]) * page
        spans = self.loaded.window_bytes >> int(kern["span_shift"])
        parts = (
            (self.base, int(self.loaded.info["image_bytes"] + self.loaded.info["area_bytes"]) + page),
            (int(kern["tables"]), spans * page),
            (int(kern["heap_map"]), (top - heap) // page * 64 + 2 * page),
            (heap, top - heap + 2 * page),
            (int(kern["windows"]), 8 * page),
            (self.base - 2 * page, 4 * page),
            (self.end - 2 * page, page),
            (self.base, self.end - self.base),
            (0, 1 << self.arch.va_bits),
            (-SIGN, 1 << 64),
        )
        start, size = self.pick.choices(parts, (3, 2, 2, 6, 2, 1, 1, 1, 1, 1))[0]
        va = start + self.pick.randrange(size // self.words) * self.words
        return va % (1 << 8 * self.words)

    def own_idea(self, va: int) -> Outcome:
        """Where the kernel thinks an address leads."""
        signed = va - (1 << 64) if va >= SIGN else va
        twin.use(self.physical)
        entry = DO["walk"](self.loaded.format_pa, 0, self.ram.top, self.loaded.root, signed) if self.has(va) else 0
        try:
            pa = self.kernel.view.pa(signed)
        except KeyError:
            pa = -1
        if entry == 0:
            assert pa < 0 or not self.has(va)
            return Outcome(fault=ABSENT, va=va)
        assert pa == DO["entry_pa"](self.loaded.format_pa, entry) + va % self.page
        return Outcome(pa)

    def has(self, va: int) -> bool:
        """Whether the processor has such an address."""
        bits = self.arch.va_bits
        return bits == 32 or va >> bits - 1 in (0, (1 << 65 - bits) - 1)
