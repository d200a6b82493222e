"""What a malloc and its free cost on each architecture: instructions of the build for guests, counted one by one.

Concepts
  1. A guest needs no page tables, so a processor with paging off runs it: Unicorn has one of each architecture. The
     machine code is that of the library, with its weak primitives; only its relocations are applied (`link`).
  2. Counted are a malloc and a free of a block that was used before, which take no lock: the usual case.

`python -m kernmalloc.bench.guests` prints the table of docs/porting.md.
"""

from __future__ import annotations

import importlib
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from kernmalloc.build import elf
from kernmalloc.build.freestanding import freestanding
from kernmalloc.build.modes import LAYOUTS
from kernmalloc.kernel.boot.config import LAYOUT_SHIFT, Config
from kernmalloc.kernel.core.kern import GUEST, ONLY_FRAMES, RAM, VERSION
from kernmalloc.lang import failed
from kernmalloc.lang.functions import CALL
from kernmalloc.machine.arch import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
CODE, TOLD, STACK, MEMORY, END = (MIB * place for place in (16, 24, 32, 32, 64))
"""Where everything is: code, what the loader tells, the end of the stack, and from there on the kernel's RAM."""
RETURN = STACK - 4096
SIZES = (16, 100, 1000, 8000)
NUMBER = 1 << 64


class Processor(NamedTuple):
    """How Unicorn calls an architecture and its registers: of arguments, of the result, and those that a call takes."""

    arch: str
    mode: str
    family: str
    arguments: tuple[str, ...]
    results: tuple[str, ...]
    stack: str
    back: str = ""  # the register with the return address; none: it lies on the stack
    wide: bool = True


PROCESSORS = {
    "x86_64": Processor("X86", "64", "x86", ("RDI", "RSI", "RDX"), ("RAX",), "RSP"),
    "i386": Processor("X86", "32", "x86", (), ("EAX", "EDX"), "ESP", wide=False),
    "aarch64": Processor("ARM64", "ARM", "arm64", ("X0", "X1", "X2"), ("X0",), "SP", "X30"),
    "armv7": Processor("ARM", "ARM", "arm", ("R0", "R1", "R2", "R3"), ("R0", "R1"), "SP", "LR", wide=False),
    "riscv64": Processor("RISCV", "RISCV64", "riscv", ("A0", "A1", "A2"), ("A0",), "SP", "RA"),
}


class Guest:
    """A booted guest on an emulated processor of an architecture, or frames alone. Needs Unicorn."""

    def __init__(self, architecture: str, mode: str = "guest") -> None:
        import unicorn

        self.how = PROCESSORS[architecture]
        self._constants = importlib.import_module(f"unicorn.{self.how.family}_const")
        self.uc: Any = unicorn.Uc(
            getattr(unicorn, f"UC_ARCH_{self.how.arch}"), getattr(unicorn, f"UC_MODE_{self.how.mode}")
        )
        self.uc.mem_map(0, END)
        code, self.symbols = link(freestanding(architecture, LAYOUTS[mode]), CODE)
        self.uc.mem_write(CODE, code)
        self.count = 0
        self._counted = unicorn.UC_HOOK_CODE
        self.cpu = self._boot(GUEST if mode == "guest" else ONLY_FRAMES)

    def _register(self, name: str) -> int:
        number: int = getattr(self._constants, f"UC_{self.how.arch}_REG_{name}")
        return number

    def _boot(self, mode: int) -> int:
        """Boot it: the address of the processor's record."""
        import numpy

        config = numpy.zeros((), Config.dtype)
        for name, value in {
            "version": VERSION << LAYOUT_SHIFT | Config.layout,
            "bytes": Config.size,
            "mode": mode,
            "arch": FORMATS["none"].number,
            "page_shift": 12,
            "direct_bytes": END,
            "area_pa": MEMORY,
            "area_room": 4 * MIB,
            "cpus": 1,
            "lenient": 1,
            "ranges": TOLD + Config.size,
            "range_count": 1,
        }.items():
            config[name] = value
        ram = ((MEMORY + 4 * MIB) >> 12, (END - MEMORY - 4 * MIB) >> 12, RAM)
        self.uc.mem_write(TOLD, config.tobytes() + struct.pack("<3q", *ram))
        for call, more in (("area_bytes", ()), ("init", (0,)), ("start", ())):
            answer = self.call(call, TOLD, *more)
            assert not failed(answer), f"{call}: status {answer}"
        return answer

    def call(self, name: str, record: int, *numbers: int) -> int:
        """Run a call to its return: the result."""
        words = [record, *numbers] if self.how.wide else [record, *_halves(numbers, self.how.arguments)]
        stack = STACK - 8192
        if not self.how.back:
            words, pushed = ([], words) if not self.how.wide else (words, [])
            size = 8 if self.how.wide else 4
            data = b"".join(word.to_bytes(size, "little") for word in (RETURN, *pushed))
            stack -= 8 if self.how.wide else 12  # as a call leaves it: aligned before
            self.uc.mem_write(stack, data)
        for register, word in zip(self.how.arguments, words, strict=False):
            self.uc.reg_write(self._register(register), word % NUMBER)
        self.uc.reg_write(self._register(self.how.stack), stack)
        if self.how.back:
            self.uc.reg_write(self._register(self.how.back), RETURN)
        self.uc.emu_start(self.symbols[CALL + name], RETURN)
        low, *high = (self.uc.reg_read(self._register(register)) for register in self.how.results)
        result = low | high[0] << 32 if high else low
        return int(result - NUMBER if result >> 63 else result)

    def counted(self, name: str, *numbers: int) -> tuple[int, int]:
        """Run a call of the booted kernel: the result, and how many instructions it took."""
        self.count = 0

        def tick(*_: Any) -> None:
            self.count += 1

        handle = self.uc.hook_add(self._counted, tick, begin=CODE, end=TOLD)
        result = self.call(name, self.cpu, *numbers)
        self.uc.hook_del(handle)
        return result, self.count


def _halves(numbers: tuple[int, ...], registers: tuple[str, ...]) -> Iterator[int]:
    """The words of numbers of 64 bits, each in an even register and the next where there are registers."""
    if registers and numbers:
        yield 0
    for number in numbers:
        yield number % (1 << 32)
        yield number % NUMBER >> 32


def link(data: bytes, base: int) -> tuple[bytes, dict[str, int]]:
    """The code of an object as it lies in memory from `base` on, and where its functions lie. KeyError: it has a
    relocation of another kind than these objects have."""
    every, table = elf.sections(data), elf.symbols(data)
    starts, memory = {elf.UNDEFINED: 0}, bytearray()
    for number, section in enumerate(every):
        if section.loaded and ".exidx" not in section.name:
            memory += bytes(-len(memory) % 64)
            starts[number] = base + len(memory)
            memory += data[section.start : section.start + section.size]
    (machine,) = struct.unpack_from("<H", data, 18)
    places = [starts.get(each.section, 0) + each.value for each in table]
    pairs: dict[int, int] = {}  # of RISC-V, where an instruction of a pair is, how far away its target
    for each in elf.relocations(data):
        if each.section in starts:
            at = starts[each.section] + each.offset
            far = places[each.symbol] - at
            _patch(memory, at - base, machine, each.kind, far, each.addend, pairs, places[each.symbol])
    return bytes(memory), {each.name: place for each, place in zip(table, places, strict=True) if each.name}


def _patch(
    memory: bytearray, at: int, machine: int, kind: int, far: int, addend: int | None, pairs: dict[int, int], of: int
) -> None:
    """Apply one relocation: every kind that these objects have leads to a place that is `far` away."""
    (word,) = struct.unpack_from("<I", memory, at)
    if (machine, kind) in ((62, 4), (62, 2)):  # psABI of AMD64: PLT32, PC32
        word = far + (addend or 0)
    elif (machine, kind) in ((3, 2), (3, 4)):  # of i386: PC32, PLT32, with the addend in place
        word += far
    elif (machine, kind) in ((183, 282), (183, 283)):  # ELF for AArch64: JUMP26, CALL26
        word |= (far + (addend or 0)) >> 2 & 0x3FFFFFF
    elif (machine, kind) in ((40, 28), (40, 29)):  # ELF for ARM: CALL, JUMP24, with the addend in place
        word = word & 0xFF000000 | ((word << 8 & 0xFFFFFFFF) // 256 + (far >> 2)) & 0xFFFFFF
    elif (machine, kind) == (243, 19):  # psABI of RISC-V: CALL_PLT, auipc and jalr
        far += addend or 0
        word |= (far + 0x800) & 0xFFFFF000
        (jump,) = struct.unpack_from("<I", memory, at + 4)
        struct.pack_into("<I", memory, at + 4, jump | (far & 0xFFF) << 20)
    elif (machine, kind) == (243, 23):  # PCREL_HI20
        pairs[at] = far + (addend or 0)
        word |= (pairs[at] + 0x800) & 0xFFFFF000
    elif (machine, kind) == (243, 24):  # PCREL_LO12_I: of the pair whose first is there
        word |= (pairs[of - CODE] & 0xFFF) << 20
    else:
        raise KeyError(f"relocation {kind} of machine {machine}")
    struct.pack_into("<I", memory, at, word % (1 << 32))


def costs(architecture: str) -> dict[int, tuple[int, int]]:
    """By size, instructions of a malloc and of the free of a block that was used before."""
    guest, found = Guest(architecture), {}
    for size in SIZES:
        for _ in range(3):
            va, took = guest.counted("malloc", size)
            status, gave = guest.counted("free", va)
            assert not failed(va) and status == 0, f"malloc {va}, free {status}"
        found[size] = took, gave
    assert guest.call("check", guest.cpu) == 0
    return found


def markdown(found: dict[str, dict[int, tuple[int, int]]]) -> str:
    """The table of a document."""
    head = " | ".join(f"{size} bytes" for size in SIZES)
    rows = [
        f"| {name} | {' | '.join(f'{took} + {gave}' for took, gave in row.values())} |" for name, row in found.items()
    ]
    return "\n".join([f"| malloc + free | {head} |", "|---" * (len(SIZES) + 1) + "|", *rows])


if __name__ == "__main__":
    print(markdown({name: costs(name) for name in sorted(PROCESSORS)}))
