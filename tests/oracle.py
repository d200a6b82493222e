"""Kernels of every format of page tables, to be held against an emulated processor, and what they and the walker think
of their map."""

import random
from collections import Counter
from functools import partial
from mmap import mmap
from types import TracebackType

import numpy
import pytest
from emulated import ABSENT, GENERAL, PAGE, PROCESSORS, Emulated, Outcome
from msgspec.structs import replace
from small_machines import MIB, conserved, machine

from kernmalloc.facade import loader
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Address, Bytes, Image, Profile, Window
from kernmalloc.lang import twin
from kernmalloc.lang.status import OK
from kernmalloc.machine import mmu, walker
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.ram import Ram

REACH = {"i386-pae": 40, "x86_64": 40, "x86_64-la57": 40, "riscv32-sv32": 32}
"""Bits of a physical address of the emulated processor, where these are fewer than the format has."""

DO = twin.compile([mmu.walk, mmu.index_at, mmu.entry_pa, walker.walk_hardware])
SIGN = 1 << 63


def phys_bits(format: str) -> int:
    """Physical addresses that are tried: all that the format and the emulator have, and the page cache names."""
    return min(FORMATS[format].phys_bits, REACH.get(format, 64), 43)


def profile(format: str, strategy: str) -> Profile:
    """A kernel with a window that crosses the reach of a directory, somewhere in the upper half."""
    arch = FORMATS[format]
    base, size = 0xD000_0000, 768 * MIB
    if arch.va_bits > 32:
        directory = arch.large_page << arch.index_bits
        half = 1 << arch.va_bits - 1
        offset = 5 * directory - 7 * arch.large_page if 6 * directory < half else half // 2
        base, size = (1 << 64) - half + offset, 64 * arch.large_page
    return replace(
        Profile.load("eros2"),
        name="oracle",
        arch=format,
        phys_bits=phys_bits(format),
        va=Window(base=Address(base), size=Bytes(size), windows=Bytes(arch.large_page)),
        image=Image(base=Bytes(4 * MIB), size=Bytes(MIB)),
        strategy=strategy,
    )


CLIENT = 0x1_0000
"""Physical address of the root of a kernel that has tables already; 1 MiB is none of RAM then."""

DEVICE = 1 << 31
"""Physical address of a device, of two large pages."""


def client_page(format: str) -> tuple[int, int]:
    """What that kernel maps: an address, which leads through tables that the window needs too, and a physical one."""
    arch = FORMATS[format]
    return int(profile(format, "demand").va.base) - (arch.large_page << arch.index_bits), 8 * CLIENT


def hang(format: str, ram: Ram) -> None:
    """Write that kernel's tables."""
    arch, (va, pa) = FORMATS[format], client_page(format)
    table, size = CLIENT, 1 << arch.word_shift
    for number, level in enumerate(arch.levels):
        at = table + (va >> level.shift & (1 << level.bits) - 1) * size
        table += CLIENT
        bits = arch.leaf if number + 1 == len(arch.levels) else arch.table if number else arch.root
        entry = bits | (pa if number + 1 == len(arch.levels) else table) >> arch.pa_shift
        ram.bytes[at : at + size] = entry.to_bytes(size, "little")


def booted(format: str, strategy: str, mode: str, guarded: bool, hung: bool) -> Kernel:
    """On RAM at the bottom, at the top, and below and above 4 GiB, if the format has as much. `guarded`: but for the
    image nothing can be executed. `hung`: in tables that are there already."""
    told = loader.configuration

    def configuration(profile: Profile, frames: int) -> numpy.void:
        info = told(profile, frames)
        info["no_execute"], info["upper"] = guarded, CLIENT if hung else 0
        return info

    large, page, top = FORMATS[format].large_page, 1 << FORMATS[format].page_shift, 1 << phys_bits(format)
    middle = min(5 << 30, top - 64 * MIB) - 77 * page
    size = 8 * MIB + 128 * page + (2 if strategy == "demand" else 5) * large
    low = MIB if hung else 0
    ranges = ((low, 24 * MIB - low), (middle, size), (top - 32 * page, 32 * page))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "configuration", configuration)
        prepare = partial(hang, format) if hung else None
        return Kernel.boot(machine(*ranges), profile(format, strategy), mode, prepare=prepare)


class Physical:
    """RAM by physical address, and a page of records elsewhere, for kernel functions that the twin runs."""

    RECORDS = 1 << 62

    def __init__(self, ram: mmap) -> None:
        self.machine = None
        self.undo: dict[int, int] = {}  # words of RAM, as they were before they were stored to
        self.records = bytearray(8192)
        self._parts = [
            {1: part, 2: part.cast("H"), 4: part.cast("I"), 8: part.cast("q")}
            for part in (memoryview(ram), memoryview(self.records))
        ]

    def load(self, addr: int, width: int) -> int:
        return int(self._parts[addr >> 62][width][addr % self.RECORDS // width])

    def store(self, addr: int, width: int, value: int) -> None:
        if addr < self.RECORDS:
            self.undo.setdefault(addr, self.load(addr, width))
        self._parts[addr >> 62][width][addr % self.RECORDS // width] = value

    def close(self) -> None:
        for part in self._parts:
            for view in part.values():
                view.release()


class Walks:
    """The walker, on a format and a memory. What it marks in tables is noted, and taken back."""

    def __init__(self, format: str, memory: Physical, bytes: int) -> None:
        arch, processor = FORMATS[format], PROCESSORS[format]
        record = walker.hardware(arch, phys_bits=REACH.get(format, 0), sets_used=processor.family.sets_used).tobytes()
        self.memory, self.bytes, self.width = memory, bytes, 1 << arch.word_shift
        self._walked = Physical.RECORDS + len(record)
        memory.records[: len(record)] = record

    def __call__(self, root: int, va: int, access: int) -> tuple[str, numpy.void]:
        """The fault, if it is one, and what was found."""
        twin.use(self.memory)
        self.memory.undo.clear()
        signed = va - (1 << 64) if va >= SIGN else va
        fault = DO["walk_hardware"](Physical.RECORDS, 0, self.bytes, root, signed, access, self._walked)
        found = self._walked % Physical.RECORDS
        walked = numpy.frombuffer(bytes(self.memory.records[found : found + walker.Walked.size]), walker.Walked.dtype)[
            0
        ]
        self.way = [int(at) for at in walked["steps"][: walked["number"] + 1]] if walked["at"] else []
        self.marked = self.entries()
        for at, value in self.memory.undo.items():
            self.memory.store(at, self.width, value)
        return walker.FAULT_NAMES[fault], walked

    def entries(self) -> list[int]:
        """The entries on the way of the last walk, as they are now; `marked` has them as the walk left them."""
        return [self.memory.load(at, self.width) for at in self.way]


class Tables:
    """A kernel that has done something, and a processor that walks its tables. Every invariant holds at the end."""

    def __init__(
        self, format: str, strategy: str, seed: int, mode: str = "soft", guarded: bool = False, hung: bool = False
    ) -> None:
        self.format, self.arch, self.pick = format, FORMATS[format], random.Random(seed)
        self.kernel = booted(format, strategy, mode, guarded and self.arch.execute_mask != 0, hung)
        self.client = client_page(format)[0] if hung else 0
        self.loaded, self.ram = self.kernel.handle.loaded, self.kernel.view.ram
        self.page, self.words = self.kernel.profile.page, 4 if self.arch.va_bits == 32 else 8
        self.base, self.end = self.loaded.target, self.loaded.target + self.loaded.window_bytes
        self.physical = Physical(self.ram.bytes)
        self.walks = Walks(format, self.physical, self.ram.top)
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
        """A processor on this RAM, what lies below it, and a device."""
        ranges = [(r.base, r.size) for r in self.kernel.machine.ram[1:]] + [(DEVICE, 2 * self.arch.large_page)]
        return Emulated(self.format, [(pa, size, self.ram.address + pa) for pa, size in ((0, 24 * MIB), *ranges)], user)

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
            (self.client, self.page),
        )
        start, size = self.pick.choices(parts, (3, 2, 2, 6, 2, 1, 1, 1, 1, 1, 1))[0]
        va = start + self.pick.randrange(size // self.words) * self.words
        return va % (1 << 8 * self.words)

    def idea(self, root: int, va: int) -> int:
        """The physical address behind one, as the kernel thinks of tables; -1: there is none."""
        twin.use(self.physical)
        signed = va - (1 << 64) if va >= SIGN else va
        entry = DO["walk"](self.loaded.format_pa, 0, self.ram.top, root, signed)
        if root == self.loaded.root:
            try:
                pa = self.kernel.view.pa(signed)
            except KeyError:
                pa = -1
            assert pa == (DO["entry_pa"](self.loaded.format_pa, entry) + va % self.page if entry else -1)
        return DO["entry_pa"](self.loaded.format_pa, entry) + va % self.page if entry else -1

    def expected(self, cpu: Emulated, root: int, va: int, access: int) -> Outcome:
        """What the processor should say of an access, by the walker; the kernel thinks that it leads there, too."""
        if cpu.processor.split and va >= self.arch.user_end:
            root = self.loaded.root
        fault, found = self.walks(root, va, access)
        pa, idea = int(found["pa"]), self.idea(root, va)
        if fault in ("", "no right", "not used"):
            assert pa == idea, f"{va:#x}: the walker finds {pa:#x}, the kernel thinks of {idea:#x}"
        elif fault != GENERAL:
            assert idea < 0, f"{va:#x}: {fault}, and the kernel thinks of {idea:#x}"
        self.counts[fault or ("in a page" if found["page"] == self.arch.page_shift else "in a large page")] += 1
        return Outcome(pa) if not fault else told(cpu, fault, va, access)

    def access(self, cpu: Emulated, root: int, va: int, access: int) -> Outcome:
        """One access: it arrives where it should, or is refused as it should be, and the entries on the way are marked
        as they should be. What it stored is taken back. What should come of it."""
        kind, number, memory = access & ~walker.USER, self.pick.getrandbits(11), self.ram.bytes
        size = 8 if kind == walker.EXECUTE else self.words
        va &= -size
        expected = self.expected(cpu, root, va, access)
        pa = expected.pa
        before = bytes(memory[pa : pa + size]) if pa >= 0 else b""
        if kind == walker.WRITE:
            outcome = cpu.store(va, number)
            assert pa < 0 or int.from_bytes(memory[pa : pa + size], "little") == number
        elif kind == walker.EXECUTE:
            if pa >= 0:
                memory[pa : pa + size] = cpu.constant(number).ljust(size, b"\0")
            outcome = cpu.execute(va)._replace(pa=pa)
        else:
            outcome = cpu.load(va)
            number = int.from_bytes(before, "little")
        if pa >= 0:
            memory[pa : pa + size] = before
            expected = Outcome(pa, number)
        assert outcome == expected, f"{va:#x}: {outcome}, and not {expected}"
        assert self.walks.entries() == self.walks.marked, f"{va:#x}"
        self.counts["accesses"] += 1
        self.counts["above 4 GiB"] += pa >= 1 << 32
        return expected

    def leaf_at(self, root: int, va: int) -> int:
        """The physical address of the leaf entry of an address of a process; 0: it maps nothing there."""
        twin.use(self.physical)
        table = root
        for shift in range(self.arch.root_shift, self.arch.page_shift - 1, -self.arch.index_bits):
            at = table + DO["index_at"](self.loaded.format_pa, va, shift)
            entry = self.entry(at)
            if not entry & self.arch.present:
                return 0
            table = self.arch.pa(entry)
        return at

    def entry(self, at: int) -> int:
        """A leaf entry."""
        return int.from_bytes(self.ram.bytes[at : at + (1 << self.arch.word_shift)], "little")

    def put_entry(self, at: int, entry: int) -> None:
        """Change it, as a processor may."""
        size = 1 << self.arch.word_shift
        self.ram.bytes[at : at + size] = entry.to_bytes(size, "little")


def told(cpu: Emulated, fault: str, va: int, access: int) -> Outcome:
    """How a processor tells a fault that the walker found."""
    execution = access & walker.EXECUTE != 0
    if fault == GENERAL and cpu.family.arch == "X86":
        return Outcome(fault=GENERAL)
    fault = (fault if fault != GENERAL else ABSENT) if cpu.tells(execution) else PAGE
    return Outcome(fault=fault, va=0 if execution else va)
