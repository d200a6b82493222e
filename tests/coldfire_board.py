"""A ColdFire board: Unicorn's CFV4E executes the exported C, and the model of its MMU translates every access.

Unicorn has that processor without its MMU. So each address goes to `coldfire_mmu`, unless an access control register
has it; what the model refuses becomes an access error with the stack frame that the manual tells (3.8.1), and is
executed by what the export has at vector 2.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from coldfire_mmu import ACC, CA, CAS, CNL, CR, EN, FETCH, OR, READ, WRITE, AccessError, Mmu
from elftools.elf.elffile import ELFFile

from kernmalloc.build import export
from kernmalloc.machine.arch import ARCHES

if TYPE_CHECKING:
    from collections.abc import Iterable

FLASH, FLASH_BYTES = 0xF000_0000, 4 << 20  # program and stack
MMUBAR = 0xFE00_0000
END = FLASH + FLASH_BYTES - 16  # where a program returns to
COMPILER = ARCHES["coldfire"].compilers[0]
WIDE = Path(__file__).parents[1] / "examples" / "kernels" / "coldfire" / "wide.c"
SUPERVISOR = 0x2000
RTE = 256  # as Unicorn calls it
MOVEC, ASID = 0x4E7B, 0x003


def needed() -> None:
    """Skip a test where there is no compiler or no emulator."""
    if shutil.which(COMPILER.command[0]) is None:
        pytest.skip("gcc-m68k-linux-gnu is not installed")
    pytest.importorskip("unicorn")


def built(folder: Path, program: str) -> Path:
    """The kernel, its port and a program, linked at FLASH."""
    export.export(folder / "export", ["coldfire"])
    (folder / "program.c").write_text(program)
    flags = ("-ffunction-sections", "-Wall", "-Wextra", "-Werror", "-I", str(folder / "export"))
    objects = []
    sources = [folder / "export" / name for name in ("kernmalloc.c", "port.c", "coldfire.c")]
    for source in (*sources, folder / "program.c", WIDE):
        objects.append(str(folder / f"{source.stem}.o"))
        command = (*export.build_command(COMPILER), *flags, str(source), "-o", objects[-1])
        subprocess.run(command, check=True)
    made = folder / "program.elf"
    linked = (
        "-nostdlib",
        "-static",
        "-Wl,--build-id=none,--gc-sections,-u,km_coldfire_error,-e,program",
        f"-Wl,-Ttext={FLASH + 0x10000:#x}",
    )
    subprocess.run((*COMPILER.command, *linked, *objects, "-o", str(made)), check=True)
    return made


class Board:
    """RAM at its physical addresses, the program in FLASH, and a processor."""

    def __init__(self, program: Path, ram: Iterable[tuple[int, int]]) -> None:
        import unicorn
        from unicorn import m68k_const as m68k

        self.m68k, self._error = m68k, unicorn.UcError
        self.mmu = Mmu()
        self.uc: Any = unicorn.Uc(unicorn.UC_ARCH_M68K, unicorn.UC_MODE_BIG_ENDIAN)
        self.uc.ctl_set_cpu_model(m68k.UC_CPU_M68K_CFV4E)
        self.untranslated = [*ram, (FLASH, FLASH_BYTES), (MMUBAR, 1 << 16)]
        for base, size in self.untranslated[:-1]:
            self.uc.mem_map(base, size)
        self.uc.mmio_map(MMUBAR, 1 << 16, self._read, None, self._write, None)
        self.symbols = self._load(program)
        self.uc.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
        self._kinds = {
            unicorn.UC_MEM_READ: (READ, 3),
            unicorn.UC_MEM_WRITE: (WRITE, 3),
            unicorn.UC_MEM_FETCH: (FETCH, 4),
        }
        self.uc.hook_add(unicorn.UC_HOOK_TLB_FILL, self._fill)
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        self._flush = unicorn.UC_CTL_TLB_FLUSH
        for name, hook in (
            ("km_coldfire_error", self._tick),
            ("km_call_coldfire_miss", self._tick),
            ("km_coldfire_on", self._step),
        ):
            start = self.symbols[name]
            self.uc.hook_add(unicorn.UC_HOOK_CODE, hook, begin=start, end=start + self.sizes[name] - 1)
        self.instructions: Counter[int] = Counter()
        """How many misses took so many instructions, from the exception to the return."""
        self.faults: list[tuple[int, int]] = []  # fault status and address of what the handler does not load
        self._pending: AccessError | None = None
        self._raised: int | None = None
        self._count = 0

    def _load(self, program: Path) -> dict[str, int]:
        with program.open("rb") as file:
            whole = ELFFile(file)
            for segment in whole.iter_segments("PT_LOAD"):
                self.uc.mem_write(segment["p_vaddr"], segment.data())
            table = whole.get_section_by_name(".symtab")
            self.sizes = {each.name: each["st_size"] for each in table.iter_symbols()}
            return {each.name: each["st_value"] for each in table.iter_symbols()}

    # memory

    def _read(self, _: object, offset: int, size: int, __: object) -> int:
        assert size == 4
        return self.mmu.read(offset)

    def _write(self, _: object, offset: int, size: int, value: int, __: object) -> None:
        assert size == 4
        self.mmu.write(offset, value)
        if offset == CR or (offset == OR and value & (ACC | CA | CNL | CAS)):
            self.uc.ctl(self._flush, 1)  # Unicorn's memory of what the model said

    def _fill(self, _: object, va: int, kind: int, result: Any, __: object) -> bool:
        access, rights = self._kinds[kind]
        result.perms = rights
        if not self.mmu.read(CR) & EN or any(base <= va < base + size for base, size in self.untranslated):
            result.paddr, result.perms = va & -4096, 7
            return True
        try:
            result.paddr = self.mmu.translate(va, access, self.supervisor) & -4096
        except AccessError as error:
            self._pending = error
            return False
        if access == READ:
            result.perms = 1  # a write asks again
        return True

    # the processor

    def register(self, name: str) -> int:
        value: int = self.uc.reg_read(getattr(self.m68k, f"UC_M68K_REG_{name}"))
        return value

    def set(self, name: str, value: int) -> None:
        self.uc.reg_write(getattr(self.m68k, f"UC_M68K_REG_{name}"), value)

    @property
    def supervisor(self) -> bool:
        return bool(self.register("SR") & SUPERVISOR)

    def _interrupt(self, _: object, number: int, __: object) -> None:
        self._raised = number
        self.uc.emu_stop()

    def _tick(self, *_: object) -> None:
        self._count += 1

    def _step(self, _: object, pc: int, *__: object) -> None:
        """Do what `movec` does to the number of the address space, which Unicorn's processor does not have."""
        first, second = struct.unpack(">HH", self.uc.mem_read(pc, 4))
        if first == MOVEC and second & 0xFFF == ASID:
            self.mmu.asid = self.register(f"D{second >> 12}") & 0xFF
            self.set("PC", pc + 4)

    def run(self, entry: str, limit: int = 100_000) -> int:
        """Run a function of the program to its return: its result. A supervisor runs it."""
        self.uc.reg_write(self.m68k.UC_M68K_REG_SR, SUPERVISOR | 0x700)
        self.set("A7", END - 4)
        self.uc.mem_write(END - 4, struct.pack(">I", END))
        pc, inside = self.symbols[entry], 0
        for _ in range(limit):
            self._pending = self._raised = None
            try:
                self.uc.emu_start(pc, END)
            except self._error:
                if self._pending is None:
                    raise
                assert not inside, "a miss within the miss handler"
                inside = self._count or 1
                pc = self._access_error(self._pending)
                continue
            if self._raised is None:
                return self.register("D0")
            assert self._raised == RTE, f"exception {self._raised} at {self.register('PC'):#x}"
            if inside:
                inside = 0
                self.instructions[self._count] += 1
            pc = self._return()
        raise AssertionError("it does not end")

    def _access_error(self, error: AccessError) -> int:
        """Push the stack frame of vector 2: where its handler begins."""
        fs, stack = error.status, self.register("A7")
        assert stack & 3 == 0
        first = 4 << 28 | fs >> 2 << 26 | 2 << 18 | (fs & 3) << 16 | self.register("SR")
        self.uc.mem_write(stack - 8, struct.pack(">II", first, self.register("PC")))
        self.set("A7", stack - 8)
        self.set("SR", self.register("SR") | SUPERVISOR)
        self._count = 0
        if error.status not in (0b0101, 0b0110, 0b1010, 0b1110):
            self.faults.append((fs, self.mmu.read(0x10)))
        return self.symbols["km_coldfire_error"]

    def _return(self) -> int:
        """What `rte` does: the address to go on at."""
        stack = self.register("A7")
        first, pc = struct.unpack(">II", self.uc.mem_read(stack, 8))
        self.set("A7", stack + 8)
        self.set("SR", first & 0xFFFF)
        address: int = pc
        return address
