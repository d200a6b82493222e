"""An arena in every life, for a test to hold them against each other: `python arena_lives.py SEED STEPS`.

It runs under the layout of an arena, which the environment gives. Each life has the block at the same address, does the
same operations, and has the same bytes then: the twin, LLVM's code, and gcc's where pointers are as wide as the
layout's references.
"""

from __future__ import annotations

import ctypes
import mmap
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from kernmalloc.build import apart
from kernmalloc.kernel.boot.arena import ARENA_SHIFT, SEVERAL, next_of
from kernmalloc.kernel.check.check import RECORDS
from kernmalloc.kernel.check.tally import MOST_EQUATIONS
from kernmalloc.kernel.core.kern import CACHES, LARGEST_CLASS, SIZE_CLASSES, Cpu
from kernmalloc.kernel.heap.bins import HeapPage, record_of
from kernmalloc.kernel.heap.caches import LARGEST_OBJECT
from kernmalloc.kernel.heap.slabs import MAX_SLAB_PAGES, Cache
from kernmalloc.lang import backend, c, frontend, shake, status, twin
from kernmalloc.lang.functions import PORTS, group
from kernmalloc.lang.layout import LAYOUT

BLOCK = 0x2000_0000  # where a Cortex-M has its RAM
PORT = """
define i64 @km_port_invalidate(i64 %va) { ret i64 0 }
define i64 @km_port_interrupts_save() { ret i64 0 }
define i64 @km_port_interrupts_restore(i64 %flags) { ret i64 0 }
"""
PORT_C = """
#include <string.h>
#include "kernmalloc.h"
int64_t km_port_zero(int64_t va, int64_t bytes) { memset((void *)(uintptr_t)va, 0, (size_t)bytes); return 0; }
int64_t km_port_copy(int64_t to, int64_t of, int64_t bytes)
{ memcpy((void *)(uintptr_t)to, (void *)(uintptr_t)of, (size_t)bytes); return 0; }
int64_t km_port_interrupts_save(void) { return 0; }
int64_t km_port_interrupts_restore(int64_t flags) { return flags & 0; }
"""


class Interpreted:
    """The twin, on bytes of its own."""

    def __init__(self, bytes: int, base: int = BLOCK) -> None:
        self.memory, self.base = bytearray(bytes), base
        view = memoryview(self.memory)
        self.views = {1: view.cast("B"), 2: view.cast("H"), 4: view.cast("I"), 8: view.cast("q")}
        self.machine = self
        self.calls = twin.compile(apart.entries())

    def call(self, name: str, *args: int) -> int:
        twin.use(self)
        return self.calls[name](*args)

    def at(self, addr: int, width: int) -> int:
        if not 0 <= addr - self.base <= len(self.memory) - width or addr % width:
            raise twin.TwinFault(f"{width} bytes at {addr:#x}")
        return (addr - self.base) // width

    def load(self, addr: int, width: int) -> int:
        return self.views[width][self.at(addr, width)]

    def store(self, addr: int, width: int, value: int) -> None:
        self.views[width][self.at(addr, width)] = value

    def km_port_zero(self, va: int, size: int) -> int:
        self.memory[va - self.base : va - self.base + size] = bytes(size)
        return 0

    def km_port_copy(self, to: int, of: int, size: int) -> int:
        self.memory[to - self.base : to - self.base + size] = self.memory[of - self.base : of - self.base + size]
        return 0

    def km_port_interrupts_save(self) -> int:
        return 0

    def km_port_interrupts_restore(self, flags: int) -> int:
        return 0


class Compiled:
    """Compiled code on memory at BLOCK, which it finds as it left it whenever it is called."""

    def __init__(self, bytes: int) -> None:
        self.memory = bytearray(bytes)
        self.arities = {function.__name__: function.__code__.co_argcount for function in apart.entries()}

    def call(self, name: str, *args: int) -> int:
        here = (ctypes.c_char * len(self.memory)).from_address(BLOCK)
        here.raw = bytes(self.memory)
        result = self.function(name)(*args)
        self.memory[:] = here.raw
        return int(result)

    def function(self, name: str) -> Any:
        kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * self.arities[name])
        return kind(self.address(f"km_call_{name}"))

    def address(self, symbol: str) -> int:
        raise NotImplementedError


class Llvm(Compiled):
    """LLVM's code."""

    def __init__(self, bytes: int) -> None:
        super().__init__(bytes)
        wanted = apart.entries()
        bare = [function for function in PORTS if group(function) == "bare"]
        groups = frontend.compile([*shake.reachable(wanted), *bare])
        data = backend.link(groups, "bare", backend.host(), PORT)
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine, use_lmm=True)
        self.engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(data))
        self.engine.finalize_object()

    def address(self, symbol: str) -> int:
        return int(self.engine.get_function_address(symbol))


class Gcc(Compiled):
    """gcc's code."""

    def __init__(self, bytes: int) -> None:
        super().__init__(bytes)
        self.folder = tempfile.TemporaryDirectory()
        work = Path(self.folder.name)
        for name, text in {**c.source(shake.reachable(apart.entries())), "port.c": PORT_C}.items():
            (work / name).write_text(text)
        flags = ("-std=c11", "-Os", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-DKM_CPUS=1")
        files = (work / "kernmalloc.c", work / "port.c")
        subprocess.run(["gcc", *flags, *files, "-o", work / "arena.so"], check=True)
        self.loaded = ctypes.CDLL(str(work / "arena.so"))

    def address(self, symbol: str) -> int:
        return ctypes.cast(getattr(self.loaded, symbol), ctypes.c_void_p).value or 0


def lives(bytes: int) -> list[Any]:
    """One of each."""
    gcc = [Gcc(bytes)] if LAYOUT.reference == 8 and shutil.which("gcc") else []
    return [Interpreted(bytes), Llvm(bytes), *gcc]


class Arena:
    """The arena in all lives, and what is allocated in it."""

    def __init__(self, bytes: int) -> None:
        self.lives = lives(bytes)
        self.cpu = 0
        self.blocks: list[int] = []
        self.objects: list[tuple[int, int]] = []
        if SEVERAL:
            self.cpu = self.call("arena_make", BLOCK, bytes // 2)
            for at, long, said in (
                (BLOCK - 64, 128, status.OVERLAP),
                (BLOCK + bytes // 2 + 100, bytes // 4, status.OK),
                (BLOCK + bytes // 2, bytes, status.OVERLAP),
                (BLOCK + bytes // 4 * 3 + 100, 200, status.TOO_SMALL),
            ):
                assert self.call("arena_add", at, long) == said
        else:
            self.cpu = self.call("arena_make", BLOCK, bytes)

    def call(self, name: str, *args: int) -> int:
        """A call, whose result is the same in all lives, and the memory then, too."""
        given = (self.cpu, *args) if self.cpu else args
        results = [life.call(name, *given) for life in self.lives]
        assert len(set(results)) == 1, (name, args, results)
        for life in self.lives[1:]:
            if life.memory != self.lives[0].memory:
                pairs = zip(self.lives[0].memory, life.memory, strict=True)
                at = next(index for index, (one, other) in enumerate(pairs) if one != other)
                raise AssertionError(f"{name}{args}: {type(life).__name__} differs at {BLOCK + at:#x}")
        return results[0]

    def checked(self) -> int:
        """Hold every invariant: how many there were."""
        found = self.call("check")
        twin.use(self.lives[0])
        tally = Cpu(self.cpu).kern.checked
        number, equation = divmod(tally.failed - 1, MOST_EQUATIONS)
        assert found == 0, (RECORDS[number].name, RECORDS[number].invariants[equation], hex(tally.culprit))
        return tally.asserted

    def step(self, at: random.Random) -> None:
        """One operation."""
        kind = at.randrange(12)
        if kind < 3 or not self.blocks:
            self.note(self.call("malloc", at.choice((at.randrange(1, LARGEST_CLASS), at.randrange(1, 9000)))))
        elif kind == 3:
            self.note(self.call("malloc_aligned", at.randrange(1, 5000), 1 << at.randrange(14)))
        elif kind == 4:
            self.note(self.call("calloc", at.randrange(1, 40), at.randrange(1, 100)))
        elif kind == 5:
            index = at.randrange(len(self.blocks))
            moved = self.call("realloc", self.blocks[index], at.randrange(1, 6000))
            self.blocks[index] = moved if moved > 0 else self.blocks[index]
        elif kind == 6:
            assert self.call("free", self.blocks[0] + 8) == status.INTERIOR
            assert self.call("free", at.randrange(-(1 << 40), 1 << 40)) < 0 or self.blocks.clear() is None
        elif kind < 10:
            block = self.blocks.pop(at.randrange(len(self.blocks)))
            assert self.call("free", block) == 0
            assert self.call("free", block) in (status.NOT_ALLOCATED, status.INTERIOR, status.BAD_ADDRESS)
        elif kind == 10 and self.objects:
            assert self.call("cache_put", *self.objects.pop(at.randrange(len(self.objects)))) == 0
        else:
            self.object(at)

    def note(self, va: int) -> None:
        """Remember a block, if it was given one."""
        assert va > 0 or va == status.NO_VA
        if va > 0:
            self.blocks.append(va)

    def object(self, at: random.Random) -> None:
        """Make an object, of a type that may be new."""
        id = at.randrange(SIZE_CLASSES, CACHES)
        va = self.call("cache_get", id)
        if va == status.BAD_CACHE:
            assert self.created(at.randrange(1, 2000) if at.randrange(4) else at.randrange(40000), at.randrange(1, 100))
        elif va > 0:
            self.objects.append((id, va))

    def created(self, bytes: int, limit: int) -> bool:
        """Make a type of objects, if there can be one; whether the kernel agrees."""
        twin.use(self.lives[0])
        most = min(LARGEST_OBJECT, MAX_SLAB_PAGES << Cpu(self.cpu).kern.page_shift)
        made = self.call("cache_create", bytes, limit)
        return made >= SIZE_CLASSES if 0 < bytes <= most else made == status.BAD_SIZE

    def emptied(self) -> None:
        """Give everything back: the heap is one run again."""
        for block in self.blocks:
            assert self.call("free", block) == 0
        for each in self.objects:
            assert self.call("cache_put", *each) == 0
        self.call("drain")
        self.checked()
        twin.use(self.lives[0])
        each = Cpu(self.cpu)
        while each != 0:
            kern = each.kern
            assert HeapPage(kern.heap_map.addr).pages == kern.heap_pages == kern.kept
            each = next_of(each)


def made_of_any_block(at: random.Random) -> None:
    """Whatever block it is: an arena that passes its check, or a refusal; and nothing outside of it is touched."""
    life = Interpreted(64 << 10)
    for _ in range(20):
        start, bytes = at.randrange(8 << 10), at.choice((at.randrange(-8, 6000), at.randrange(40000)))
        life.memory[:] = at.randbytes(len(life.memory))
        before = life.memory[:start], life.memory[start + max(bytes, 0) :]
        cpu = life.call("arena_make", BLOCK + start, bytes)
        assert cpu > 0 or (cpu in (status.TOO_SMALL, status.BAD_SIZE) and bytes < 8000 + (3 << ARENA_SHIFT)), (
            start,
            bytes,
            cpu,
        )
        if cpu > 0:
            assert life.call("check", cpu) == status.OK
            block = life.call("malloc", cpu, 16)
            assert BLOCK + start < block < BLOCK + start + bytes and life.call("free", cpu, block) == status.OK
        assert before == (life.memory[:start], life.memory[start + max(bytes, 0) :])
    for start, bytes in (
        (BLOCK, 1 << 62),
        (-64, 9000),
        (-9000, 8000),
        (BLOCK, -1),
        (0, 9000),
        ((1 << 63) - 9000, 9001),
    ):
        assert life.call("arena_make", start, bytes) == status.BAD_SIZE


def made_at_an_end(bytes: int, end: int) -> None:
    """An arena in the high half of 64 bits, whose addresses are negative, or at the end of 32."""
    life = Interpreted(bytes, end - bytes)
    cpu = life.call("arena_make", end - bytes, bytes)
    assert end - bytes <= cpu < end
    blocks = [life.call("malloc", cpu, 700) for _ in range(bytes // 700)]
    held = [block for block in blocks if block != status.NO_VA]
    assert 8 < len(held) < len(blocks) and all(end - bytes < block < end for block in held)
    assert life.call("check", cpu) == status.OK
    assert {life.call("free", cpu, block) for block in held} == {status.OK}
    assert life.call("check", cpu) == status.OK


def flipped(arena: Arena, at: random.Random) -> None:
    """A bit of the records that is wrong is found, or does no harm to the check: it ends, and reads nothing else."""
    life = arena.lives[0]
    twin.use(life)
    kern = Cpu(arena.cpu).kern
    end = twin.compile([record_of])["record_of"](kern.addr, kern.top) - BLOCK
    common = kern.caches.addr + Cache.offset("common") - BLOCK  # what lies before the first record is not read then
    found = 0
    for bit in (8 * common, *(at.randrange(8 * (arena.cpu - BLOCK), 8 * end) for _ in range(60))):
        life.memory[bit >> 3] ^= 1 << (bit & 7)
        found += life.call("check", arena.cpu) != status.OK
        life.memory[bit >> 3] ^= 1 << (bit & 7)
    assert found > 20, found
    arena.checked()


def main(seed: int, steps: int) -> None:
    bytes = max(96 << 10, 16 << ARENA_SHIFT)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x100000  # MAP_FIXED_NOREPLACE
    assert libc.mmap(BLOCK, bytes, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) == BLOCK
    at = random.Random(seed)
    made_of_any_block(at)
    made_at_an_end(bytes, (1 << 32) - 1024 if LAYOUT.reference == 4 else -(2 << 30))
    arena = Arena(bytes)
    held = arena.checked()
    for number in range(steps):
        arena.step(at)
        if number % 16 == 0:
            held = arena.checked()
    flipped(arena, at)
    while arena.blocks[-1:] != [status.NO_VA]:
        arena.blocks.append(arena.call("malloc", 3000))
    assert not SEVERAL or max(arena.blocks) > BLOCK + bytes // 2, "the second block was never needed"
    arena.blocks.pop()
    arena.emptied()
    print(held)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
