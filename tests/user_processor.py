"""Programs of processes: machine code of LLVM's, run with users' rights by a processor of `emulated`."""

import importlib
import io
import struct
from collections.abc import Callable
from typing import NamedTuple

import llvmlite.binding as llvm
from elftools.elf.elffile import ELFFile
from emulated import Emulated, _places

from kernmalloc.lang.backend import target_machine
from kernmalloc.lang.target import Target
from kernmalloc.machine.arch import TARGETS
from kernmalloc.machine.ram import Ram

PROGRAM = """
target triple = "{triple}"
define i32 @program({word} {inreg} %data, {word} {inreg} %pages, {word} {inreg} %passes) nounwind {{
begin:
 br label %pass
pass:
 %n = phi {word} [ 0, %begin ], [ %n.next, %pass.end ]
 %sum.pass = phi i32 [ 1, %begin ], [ %sum, %pass.end ]
 br label %page
page:
 %p = phi {word} [ 0, %pass ], [ %p.next, %page.end ]
 %at = phi {word} [ %data, %pass ], [ %at.next, %page.end ]
 %sum.page = phi i32 [ %sum.pass, %pass ], [ %sum, %page.end ]
 %odd = trunc {word} %p to i1
 br label %word
word:
 %i = phi {word} [ 0, %page ], [ %i.next, %word.end ]
 %sum.word = phi i32 [ %sum.page, %page ], [ %sum, %word.end ]
 %here = add {word} %at, %i
 %pointer = inttoptr {word} %here to ptr
 %value = load i32, ptr %pointer
 %mixed = xor i32 %sum.word, %value
 %sum = mul i32 %mixed, {prime}
 br i1 %odd, label %write, label %word.end
write:
 %new = add i32 %value, %sum
 store i32 %new, ptr %pointer
 br label %word.end
word.end:
 %i.next = add {word} %i, {step}
 %word.more = icmp ult {word} %i.next, {page}
 br i1 %word.more, label %word, label %page.end
page.end:
 %p.next = add {word} %p, 1
 %at.next = add {word} %at, {page}
 %page.more = icmp ult {word} %p.next, %pages
 br i1 %page.more, label %page, label %pass.end
pass.end:
 %n.next = add {word} %n, 1
 %pass.more = icmp ult {word} %n.next, %passes
 br i1 %pass.more, label %pass, label %end
end:
 ret i32 %sum
}}
"""
"""Sums the words at every `step` bytes of `pages` pages, `passes` times, and adds the sum to those of odd pages."""
PRIME, STEP = 16777619, 512


def machine_code(target: Target, page: int) -> bytes:
    """The program, for a target and a size of pages; it begins with its first instruction."""
    inreg = "inreg" if target.triple.startswith("i386") else ""
    word = f"i{target.pointer}"
    text = PROGRAM.format(triple=target.triple, word=word, inreg=inreg, prime=PRIME, step=STEP, page=page)
    made = target_machine(target).emit_object(llvm.parse_assembly(text))
    return bytes(ELFFile(io.BytesIO(made)).get_section_by_name(".text").data())


def summed(data: list[bytearray], passes: int) -> int:
    """What the program answers, and does to its data."""
    total = 1
    for _ in range(passes):
        for number, page in enumerate(data):
            for at in range(0, len(page), STEP):
                (value,) = struct.unpack_from("<I", page, at)
                total = (total ^ value) * PRIME & 0xFFFFFFFF
                if number % 2:
                    struct.pack_into("<I", page, at, value + total & 0xFFFFFFFF)
    return total


class Convention(NamedTuple):
    """How a program is called, and what it may change, by Unicorn's names; where a fault's status says that it was a
    write, or -1: its number does."""

    target: str
    arguments: tuple[str, str, str]
    result: str
    stack: str
    back: str  # the register with the address to return to; x86 finds it on the stack
    pc: str
    general: tuple[str, ...]  # what is put back when Unicorn's state is restored
    wrote: int
    behind: int = 0  # bytes by which Unicorn's pc is beyond the instruction that faulted


_X86 = ("AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP", "FLAGS", "IP")
CONVENTIONS = {
    ("X86", "32"): Convention(
        "i386", ("EAX", "EDX", "ECX"), "EAX", "ESP", "", "EIP", tuple(f"E{name}" for name in _X86), 1 << 1
    ),
    ("X86", "64"): Convention(
        "x86_64",
        ("RDI", "RSI", "RDX"),
        "EAX",
        "RSP",
        "",
        "RIP",
        ("EFLAGS", *(f"R{name}" for name in (*_X86[:8], "IP", *map(str, range(8, 16))))),
        1 << 1,
    ),
    ("ARM", "ARM"): Convention("armv7", ("R0", "R1", "R2"), "R0", "SP", "LR", "PC", (), 1 << 11),
    ("ARM64", "ARM"): Convention("aarch64", ("X0", "X1", "X2"), "W0", "SP", "X30", "PC", (), 1 << 6),
    ("RISCV", "RISCV32"): Convention("riscv32", ("A0", "A1", "A2"), "A0", "SP", "RA", "PC", (), -1, 4),
    ("RISCV", "RISCV64"): Convention("riscv64", ("A0", "A1", "A2"), "A0", "SP", "RA", "PC", (), -1, 4),
}
SV32 = Target("riscv32-unknown-none-elf", "generic-rv32", "+m,+a", "medium", pointer=32)
STORE_FAULT = 15  # RISC-V privileged ISA, table 3.6
DATA_ABORT = 4  # of Unicorn's, for ARM


class Fault(NamedTuple):
    """A page fault: of which address, whether by a write, and what else it says (`emulated`)."""

    va: int
    write: bool
    kind: str


class Processor(Emulated):
    """With users' rights, on the tables at `root`, and the kernel's at `kernel`."""

    def __init__(self, format: str, ram: Ram, kernel: int, root: int) -> None:
        super().__init__(format, [(0, ram.top, ram.address)], user=True)
        self.begin(kernel, root, 0)
        self.convention = CONVENTIONS[self.family.arch, self.family.mode]
        self._names = importlib.import_module(f"unicorn.{self.family.arch.lower()}_const")

    def __setitem__(self, name: str, value: int) -> None:
        self.uc.reg_write(getattr(self._names, f"UC_{self.family.arch}_REG_{name}"), value)

    def __getitem__(self, name: str) -> int:
        return int(self.uc.reg_read(getattr(self._names, f"UC_{self.family.arch}_REG_{name}")))

    @property
    def target(self) -> Target:
        """What programs are compiled for."""
        return SV32 if self.convention.target == "riscv32" else TARGETS[self.convention.target]

    def run(self, entry: int, until: int, stack: int, args: tuple[int, ...], fault: Callable[[Fault], None]) -> int:
        """Call the program at `entry`, which returns to `until`: what it answers. `fault` is called for each page
        fault; then the instruction is begun again."""
        for name, value in zip(self.convention.arguments, args, strict=True):
            self[name] = value
        self[self.convention.stack] = stack
        if self.convention.back:
            self[self.convention.back] = until
        at = entry
        while True:
            self._number, self._nowhere = -1, False
            self.uc.emu_start(at, until)
            if self._number < 0:
                assert self[self.convention.pc] == until
                return self[self.convention.result] & 0xFFFFFFFF
            at = self[self.convention.pc] - self.convention.behind
            fault(self.fault())
            self._again()

    def fault(self) -> Fault:
        """The fault that stopped the program."""
        state, places = self.state(), _places(self._format)
        status = int.from_bytes(state[places.status : places.status + 4], "little")
        va = int.from_bytes(state[places.va : places.va + self.family.word], "little")
        wrote = self.convention.wrote
        write = bool(status & wrote) if wrote > 0 else self._number == STORE_FAULT
        if self.family.arch.startswith("ARM") and self._number != DATA_ABORT:
            write = False  # the bit means something else for instructions
        return Fault(va, write, self.family.faults[self._number](status))

    def _again(self) -> None:
        """Go on where the program is: Unicorn would take a second fault on x86 for a double one."""
        if self.convention.general:
            kept = [(name, self[name]) for name in self.convention.general]
            self.uc.context_restore(self._start)
            for name, value in kept:
                self[name] = value
        self.forget()
