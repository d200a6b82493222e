"""A processor in user mode, on the page tables of a process: Unicorn, which is QEMU's emulation, and machine code of
LLVM's. Nothing of the kernel's own walks or entries is used.

Unicorn 2.1.4 tells a fault by its number and delivers none: the program is stopped there, the kernel does what it does
for a fault, and the instruction is begun again. A first fault of a page is taken for a read, one of a page that the
process could read for a write. So a store to a new page faults twice, as on a processor that does not tell."""

import io
import struct
from collections.abc import Callable
from typing import Any, ClassVar

import llvmlite.binding as llvm
from unicorn import UC_ARCH_X86, UC_HOOK_INTR, UC_MODE_32, UC_MODE_64, UC_PROT_ALL, Uc
from unicorn import x86_const as x86

from kernmalloc.bench.emulator import link
from kernmalloc.lang.backend import target_machine
from kernmalloc.machine.arch import TARGETS
from kernmalloc.machine.ram import Ram

PROTECTED, WRITE_PROTECT, PAGING = 1 << 0, 1 << 16, 1 << 31  # CR0
PRIVILEGE = 3 << 45  # of a descriptor
RETURNED = 0x1000  # an address that is not executed
WORD_BITS = {"i386": 32, "x86_64": 64}

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


def machine_code(arch: str, page: int) -> bytes:
    """The program, for an architecture and a size of pages; it begins with its first instruction."""
    target = TARGETS[arch]
    inreg = "inreg" if arch == "i386" else ""
    word = f"i{WORD_BITS[arch]}"
    text = PROGRAM.format(triple=target.triple, word=word, inreg=inreg, prime=PRIME, step=STEP, page=page)
    made = target_machine(target).emit_object(llvm.parse_assembly(text))
    code, symbols = link(io.BytesIO(made), 0)
    assert symbols["program"] == 0
    return code


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


class Processor:
    """An x86 of 32 bits with PAE paging, or of 64 bits, at privilege level 3 on the tables at `root`: SDM volume 3A,
    3.4.5 (descriptors), 4.4 and 4.5 (paging), 4.6 (rights), 4.7 (faults)."""

    PAGE_FAULT: ClassVar = 14
    GENERAL: ClassVar = ("EAX", "EBX", "ECX", "EDX", "ESI", "EDI", "EBP", "ESP")
    MORE: ClassVar = ("R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15")

    def __init__(self, arch: str, ram: Ram, root: int) -> None:
        self.wide = arch == "x86_64"
        self.uc = Uc(UC_ARCH_X86, UC_MODE_64 if self.wide else UC_MODE_32)
        self.uc.mem_map_ptr(0, ram.top, UC_PROT_ALL, ram.address)
        self.uc.hook_add(UC_HOOK_INTR, self._stop)
        self._descend(ram.top)
        self.root = self["CR3"] = root
        self["CR4"] = 1 << 5  # PAE
        if self.wide:
            self["MSR"] = (0xC0000080, 1 << 8 | 1 << 10)  # IA32_EFER: LME, LMA
        self["CR0"] = PROTECTED | WRITE_PROTECT | PAGING
        names = self.GENERAL if not self.wide else (*(f"R{name[1:]}" for name in self.GENERAL), *self.MORE)
        self._registers = [*names, "EFLAGS", self.pc]
        self._fresh = self.uc.context_save()
        self.stopped: int | None = None

    @property
    def sp(self) -> str:
        return "RSP" if self.wide else "ESP"

    @property
    def pc(self) -> str:
        return "RIP" if self.wide else "EIP"

    def __setitem__(self, name: str, value: Any) -> None:
        self.uc.reg_write(getattr(x86, f"UC_X86_REG_{name}"), value)

    def __getitem__(self, name: str) -> int:
        return int(self.uc.reg_read(getattr(x86, f"UC_X86_REG_{name}")))

    def _descend(self, free: int) -> None:
        """Go to privilege level 3, as a kernel does: by an interrupt's return, from a page behind RAM."""
        code, data = (0x00AF if self.wide else 0x00CF) << 48 | 0xFB00_0000_FFFF, 0x00CF_F300_0000_FFFF
        self.uc.mem_map(free, 4096)
        self.uc.mem_write(
            free, struct.pack("<4Q", 0, code, data, data & ~PRIVILEGE) + bytes.fromhex("48cf" if self.wide else "90cf")
        )
        frame = (RETURNED, 8 | 3, 2, 0, 16 | 3)  # instruction, CS, EFLAGS, stack, SS
        stack = free + 2048
        self.uc.mem_write(stack, struct.pack("<5Q" if self.wide else "<5I", *frame))
        self["GDTR"] = (0, free, 31, 0)
        self["CR0"] = PROTECTED
        self["SS"] = 24
        self[self.sp] = stack
        self.uc.emu_start(free + 32, RETURNED)
        assert self["CS"] == 8 | 3 and self["SS"] == 16 | 3
        if not self.wide:
            self["DS"] = self["ES"] = 16 | 3

    def _stop(self, uc: Uc, number: int, _: object) -> None:
        self.stopped = number
        uc.emu_stop()

    def run(self, entry: int, until: int, stack: int, args: tuple[int, ...], fault: Callable[[int, bool], None]) -> int:
        """Call the program at `entry`, which returns to `until`: what it answers. `fault` is called for a page fault,
        with its address and whether the page could be read."""
        order = ("RDI", "RSI", "RDX") if self.wide else ("EAX", "EDX", "ECX")
        for name, value in zip(order, args, strict=True):
            self[name] = value
        self[self.sp] = stack
        at, before = entry, None
        while True:
            self.stopped = None
            self.uc.emu_start(at, until)
            if self.stopped is None:
                assert self[self.pc] == until
                return self["EAX"]
            assert self.stopped == self.PAGE_FAULT, self.stopped
            va, now = self["CR2"], [self[name] for name in self._registers]
            fault(va, before == (va, now))
            before = (va, now)
            self.uc.context_restore(self._fresh)  # Unicorn takes a second fault for a double one
            for name, value in zip(self._registers, now, strict=True):
                self[name] = value
            self["CR3"] = self.root  # forgets all translations
            at = self[self.pc]
