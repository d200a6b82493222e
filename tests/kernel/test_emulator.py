"""A processor that is not ours walks the kernel's page tables: Unicorn (QEMU's x86), with PAE paging on.

Rows E3 (frames above 4 GiB behind 32-bit addresses), E14 and E16 (nothing else can be reached), E20 (scattered
frames)."""

import random

import pytest
from frame_model import FRAME
from page_walk import leaves
from small_machines import MIB, conserved, machine
from unicorn import UC_ARCH_X86, UC_MODE_32, Uc, UcError
from unicorn.x86_const import UC_X86_REG_CR0, UC_X86_REG_CR3, UC_X86_REG_CR4, UC_X86_REG_EAX, UC_X86_REG_EBX

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import PAGE

GIB = 1 << 30
PROTECTED, WRITE_PROTECT, PAGING = 1 << 0, 1 << 16, 1 << 31  # CR0
PAE = 1 << 5  # CR4
LOAD = bytes.fromhex("8b03")  # mov eax, [ebx]
STORE = bytes.fromhex("8903")  # mov [ebx], eax


class Processor:
    """A 32-bit processor on the kernel's memory; its code lies in the kernel image, which is the window's first
    page."""

    def __init__(self, kernel: Kernel) -> None:
        self.uc = Uc(UC_ARCH_X86, UC_MODE_32)
        loaded = kernel.handle.loaded
        for r in kernel.machine.ram:
            self.uc.mem_map(r.base, r.size)
        for pa, page in kernel.snapshot().items():
            self.uc.mem_write(pa, bytes(page))
        self.uc.mem_write(int(loaded.info["image_pa"]), LOAD + STORE)
        self.code = loaded.window
        self.uc.reg_write(UC_X86_REG_CR3, loaded.root)
        self.uc.reg_write(UC_X86_REG_CR4, PAE)
        self.uc.reg_write(UC_X86_REG_CR0, PROTECTED | WRITE_PROTECT | PAGING)
        self.start = self.uc.context_save()

    def run(self, offset: int, va: int, value: int = 0) -> int:
        self.uc.context_restore(self.start)
        self.uc.reg_write(UC_X86_REG_EBX, va)
        self.uc.reg_write(UC_X86_REG_EAX, value)
        self.uc.emu_start(self.code + offset, self.code + offset + 2)
        return self.uc.reg_read(UC_X86_REG_EAX)

    def load(self, va: int) -> int:
        return self.run(0, va)

    def store(self, va: int, value: int) -> None:
        self.run(2, va, value)

    def physical(self, pa: int) -> int:
        return int.from_bytes(self.uc.mem_read(pa, 4), "little")


@pytest.mark.parametrize(
    "shape", [((0, 12 * MIB),), ((0, 7 * MIB), (5 * GIB - 77 * FRAME, 8 * MIB), (63 * GIB, 2 * MIB))]
)
def test_another_processor_finds_what_the_kernel_mapped_E3_E14_E20(shape):
    """Every mapped page leads to its frame, also after frames were scattered; all other addresses fault."""
    pick = random.Random(1)
    with Kernel.boot(machine(*shape), Profile.load("eros2"), "raw") as kernel:
        pages, blocks = [], []
        for _ in range(60):
            blocks.append(kernel.malloc(pick.choice([100, 5000, 60_000])))
            pages.append(kernel.call("frame_get", PAGE))
            if pick.random() < 0.4:
                kernel.free(blocks.pop(pick.randrange(len(blocks))))
                kernel.frame_put(pages.pop(pick.randrange(len(pages))))
        conserved(kernel)
        loaded = kernel.handle.loaded
        mapped = {leaf.va: leaf.pa for leaf in leaves(kernel.handle.life.ram.bytes, "i386-pae", loaded.root, 36)}
        if len(shape) > 1:
            assert sum(pa >= 1 << 32 for pa in mapped.values()) > 100
        cpu = Processor(kernel)
        tables = int(loaded.info["tables"]), int(loaded.info["heap_map"])
        for va, pa in mapped.items():
            assert cpu.load(va + 64) == cpu.physical(pa + 64)
            if va >= tables[1]:  # heap and records: write, too
                cpu.store(va + 64, pa >> 12)
                assert cpu.physical(pa + 64) == pa >> 12
        for va in [*range(loaded.window, (1 << 32) - FRAME, 97 * FRAME), 0, FRAME, loaded.window - FRAME]:
            if va not in mapped:
                with pytest.raises(UcError):
                    cpu.load(va + 64)
