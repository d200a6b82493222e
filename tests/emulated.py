"""Processors that are not ours walk page tables: Unicorn, which is QEMU 5's, with its MMU on.

Concepts
  1. A processor has memory of this process as its own, control registers that lead to roots, and executes one real
     instruction at a time: a load, a store, or one that does nothing. What comes of it is where in physical memory the
     access arrived, or the fault.
  2. `PROCESSORS` has one for each format of page tables: what goes into its control registers, and a few entries by
     hand. A `Family` has what these share: instructions, registers, and how faults are told.
  3. Unicorn delivers no exceptions, so status registers stay as they were. What would be put there lies in the state
     that Unicorn saves. Where, is found by faults of which the manual says what they are: see `_places`.

What Unicorn cannot: RISC-V of 32 bits reaches nothing above 4 GiB; RISC-V makes nothing of bits 54 to 63 of an entry,
ARM of address bits above those that it has. An x86 here has 40 bits of address, and refuses those above as reserved.
"""

import ctypes
import functools
import importlib
import mmap
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import unicorn

from kernmalloc.machine.arch import ARCHES

# what a fault says, in the words of `machine/walker`
ABSENT, PERMISSION, RESERVED, UNUSED = "not present", "no right", "reserved", "not used"
PAGE = "page"  # a page fault, and no more than that
GENERAL = "no address"
NOWHERE = "no memory"  # translated, and there is none

SPARE = 0x1_0000  # bytes behind the first part of RAM, for code that runs with the MMU off
Registers = list[tuple[str, Any]]


class Outcome(NamedTuple):
    """What came of an access: where it arrived and what was loaded, or what the fault says, and of which address."""

    pa: int = -1
    value: int = 0
    fault: str = ""
    va: int = 0


class Family(NamedTuple):
    """What the processors of one instruction set share, by Unicorn's names."""

    arch: str
    mode: str
    word: int  # bytes that a load or store has
    load: bytes  # to `value`, from where `address` says
    store: bytes
    constant: Callable[[int], int]  # the instruction, as a number, that makes `value` one below 2048
    address: str
    value: str
    faults: dict[int, Callable[[int], str]]  # what the exceptions say, by their numbers, from the fault's status
    forget: bytes = bytes.fromhex("0f013b")  # INVLPG: the translation of a page, whose address is in `address`, or else
    # in `value`: code of `machine/arch`, which has a call's argument there
    forgets_upper: str = "all"  # of the entries that lead to tables, what that forgets, too: "all", those on the "way",
    # or "none"
    sets_used: bool = True  # in the entries that it uses; else these are refused until somebody has
    user: Callable[[unicorn.Uc, int], None] | None = None  # leave the kernel's rights, by way of a page of RAM
    last: Registers = []  # noqa: RUF012 (nobody changes it) for a process, behind the control registers
    known: tuple[int, int, int] | None = None
    """That status, if there is one: of a load and a store of what is absent, and of a store to what is read only."""


def _x86_status(code: int) -> str:
    """SDM 3A, 4.7: the error code of a page fault."""
    return ABSENT if not code & 1 else RESERVED if code & 8 else PERMISSION


def _long_status(code: int) -> str:
    """ARMv8-A D17.2.37 (ESR), ARMv7-A B4.1.52 (DFSR): the status code of descriptors of 8 bytes."""
    return (RESERVED, ABSENT, UNUSED, PERMISSION)[(code & 0x3F) >> 2]


def _arm_status(code: int) -> str:
    """ARMv7-A B4.1.52 (DFSR): of descriptors of 4 bytes, where bit 9 does not say that they have 8."""
    domain, right = {9: PERMISSION, 11: PERMISSION}, {13: PERMISSION, 15: PERMISSION}
    short = {5: ABSENT, 7: ABSENT, 3: UNUSED, 6: UNUSED, **domain, **right}
    return _long_status(code) if code & 1 << 9 else short[code & 0x40F]


def _x86_user(leave: str, registers: Callable[[int], Registers]) -> Callable[[unicorn.Uc, int], None]:
    """SDM 2B: the fast way back from a system call needs no segment descriptors in memory."""

    def user(uc: unicorn.Uc, page: int) -> None:
        code = bytes.fromhex(leave)
        before = uc.mem_read(page, len(code))
        uc.mem_write(page, code)
        _write(uc, "X86", registers(page + len(code)))
        uc.emu_start(page, page + len(code))
        uc.mem_write(page, bytes(before))

    return user


def _write(uc: unicorn.Uc, arch: str, registers: Registers) -> None:
    constants = importlib.import_module(f"unicorn.{arch.lower()}_const")
    for name, value in registers:
        uc.reg_write(getattr(constants, f"UC_{arch}_REG_{name}"), value)


def _forgetting(arch: str) -> bytes:
    """The machine code of the primitive, but for its last instruction, which returns."""
    words = re.search(r"@km_port_invalidate_code = .*?\] \[(.*?)\]", ARCHES[arch].instructions)
    assert words is not None
    return b"".join(int(word.split()[1]).to_bytes(4, "little") for word in words[1].split(", ")[:-1])


def _register(arch: str, name: str, value: int) -> Callable[[unicorn.Uc, int], None]:
    return lambda uc, page: _write(uc, arch, [(name, value)])


_X86_FAULTS: dict[int, Callable[[int], str]] = {14: _x86_status, 13: lambda _: GENERAL}
_RISCV_FAULTS: dict[int, Callable[[int], str]] = dict.fromkeys((12, 13, 15), lambda _: PAGE)  # table 3.6


def _riscv(bits: int, load: str, store: str) -> Family:
    return Family(
        arch="RISCV",
        mode=f"RISCV{bits}",
        word=bits // 8,
        load=bytes.fromhex(load),
        store=bytes.fromhex(store),
        constant=lambda n: 0x513 | n << 20,  # addi a0, zero, n
        address="A1",
        value="A0",
        forget=(forget := _forgetting("riscv64")),
        forgets_upper="none" if forget[1] & 0x80 or forget[2] & 0xF else "all",  # rs1: 4.2.1
        last=[("PRIV", 0)],  # SATP is the supervisor's to write
        faults=_RISCV_FAULTS,
    )


I386 = Family(
    arch="X86",
    mode="32",
    word=4,
    load=bytes.fromhex("8b03"),
    store=bytes.fromhex("8903"),
    constant=lambda n: 0xB8 | n << 8,
    address="EBX",
    value="EAX",
    user=_x86_user("0f35", lambda end: [("MSR", (0x174, 8)), ("CR0", 1), ("EDX", end), ("ECX", end)]),  # SYSEXIT
    faults=_X86_FAULTS,
    known=(0, 2, 3),
)
X86_64 = I386._replace(
    mode="64",
    word=8,
    load=bytes.fromhex("488b03"),
    store=bytes.fromhex("488903"),
    address="RBX",
    value="RAX",
    user=_x86_user(
        "480f07",  # SYSRET
        lambda end: [("MSR", (0xC000_0081, 8 << 48)), ("MSR", (0xC000_0080, 0x501)), ("RCX", end), ("R11", 2)],
    ),
)
ARM = Family(
    arch="ARM",
    mode="ARM",
    word=4,
    load=bytes.fromhex("000091e5"),
    store=bytes.fromhex("000081e5"),
    constant=lambda n: 0xE300_0000 | n >> 12 << 16 | n & 0xFFF,  # movw r0, n
    address="R1",
    value="R0",
    user=_register("ARM", "CPSR", 0x1D0),
    faults={3: _arm_status, 4: _arm_status},
    forget=_forgetting("armv7"),
    forgets_upper="way",
    sets_used=False,
    known=(0x7, 0x807, 0x80F),
)
AARCH64 = Family(
    arch="ARM64",
    mode="ARM",
    word=8,
    load=bytes.fromhex("200040f9"),
    store=bytes.fromhex("200000f9"),
    constant=lambda n: 0xD280_0000 | n << 5,  # mov x0, n
    address="X1",
    value="X0",
    user=_register("ARM64", "PSTATE", 0x3C0),
    faults={3: _long_status, 4: _long_status},
    forget=_forgetting("aarch64"),
    forgets_upper="way",
    sets_used=False,
    known=(0x9600_0007, 0x9600_0047, 0x9600_004F),
)
RISCV32 = _riscv(32, "03a50500", "23a0a500")
RISCV64 = _riscv(64, "03b50500", "23b0a500")


class Hand(NamedTuple):
    """Entries by hand, from the manual: how to map a page of code, and a page that is only read."""

    shifts: tuple[int, ...]  # of the indexes, from the root's on
    bits: tuple[int, ...]  # of the indexes
    word: int  # bytes of an entry
    root: int  # the bits of an entry that leads on, in the root
    table: int
    leaf: int
    read_only: int
    pa_shift: int = 0
    va: int = 0  # where in what the root translates

    def written(self, memory: mmap.mmap) -> int:
        """Put tables into memory that begins at physical address 0: where the root is. See `CODE`."""
        root, free = TABLES, TABLES
        for page, leaf in ((1, self.leaf), (2, self.read_only)):
            va, table = self.va + (page << self.shifts[-1]), root
            for shift, bits in zip(self.shifts, self.bits, strict=True):
                at = table + (va >> shift & (1 << bits) - 1) * self.word
                entry = int.from_bytes(memory[at : at + self.word], "little")
                if shift == self.shifts[-1]:
                    entry = CODE >> self.pa_shift | leaf
                elif not entry:
                    free += ALIGN
                    entry = free >> self.pa_shift | (self.root if table == root else self.table)
                memory[at : at + self.word] = entry.to_bytes(self.word, "little")
                table = (entry & -(1 << self.table_shift)) << self.pa_shift
        return root

    @property
    def table_shift(self) -> int:
        """Below it an entry that leads to a table has other bits than those of the address."""
        return 10 if self.word == 4 else 12 - self.pa_shift


class Processor(NamedTuple):
    """One format's: what it is given to walk."""

    family: Family
    control: Callable[[int, int], Registers]  # of the kernel's root and of a process's: in this order
    hand: Hand
    model: str | None = None
    split: bool = False  # the kernel's root leads on beside that of a process


def _x86_control(cr4: int, efer: int) -> Callable[[int, int], Registers]:
    """SDM 3A, 4.1.1. One root has the addresses of both; a process's is loaded in its place."""

    def control(kernel: int, process: int) -> Registers:
        ring0 = [("CR3", process or kernel), ("CR4", cr4), ("MSR", (0xC000_0080, efer))]
        return [*ring0, ("CR0", 1 << 0 | 1 << 16 | 1 << 31)]  # PE, WP, PG

    return control


def _cp15(crn: int, crm: int, opc1: int, opc2: int, value: int, wide: int = 0) -> tuple[str, Any]:
    return "CP_REG", (15, wide, 0, crn, crm, opc1, opc2, value)


def _arm_control(kernel: int, process: int) -> Registers:
    """ARMv7-A B3.5.4: the lowest GiB is a process's (TTBCR.N = 2); SCTLR.AFE: AP0 says whether a page was used."""
    ttbr = [_cp15(2, 0, 0, 0, process), _cp15(2, 0, 0, 1, kernel), _cp15(2, 0, 0, 2, 2)]
    regions = [_cp15(10, 2, 0, 0, 0xFF0F_00A9), _cp15(10, 2, 0, 1, 0x0060_0060)]  # PRRR, NMRR
    domain = _cp15(3, 0, 0, 0, 1)  # DACR: rights of domain 0 are checked
    return [*ttbr, *regions, domain, _cp15(1, 0, 0, 0, 1 << 0 | 1 << 23 | 1 << 28 | 1 << 29)]  # SCTLR.M, 1, TRE, AFE


def _lpae_control(kernel: int, process: int) -> Registers:
    """ARMv7-A B3.6.4: either half has two of the four entries of a root (TTBCR.EAE, T0SZ = T1SZ = 1)."""
    ttbcr = _cp15(2, 0, 0, 2, 1 << 31 | 1 << 16 | 1)
    ttbr = [_cp15(0, 2, 0, 0, process or kernel, wide=1), _cp15(0, 2, 1, 0, kernel + 16, wide=1)]
    return [ttbcr, *ttbr, _cp15(10, 2, 0, 0, 0x4404_BBFF), _cp15(1, 0, 0, 0, 1 << 0)]  # MAIR0, SCTLR.M


def _aarch64_control(va_bits: int, tg0: int, tg1: int) -> Callable[[int, int], Registers]:
    """ARMv8-A D17.2.131 (TCR_EL1): so many bits of an address are translated, in either half."""

    def control(kernel: int, process: int) -> Registers:
        size = 64 - va_bits
        return [
            ("CP_REG", (1, 1, 3, 6, 0, 1 << 10 | 1)),  # SCR_EL3.RW, NS: EL1 has 64 bits
            ("CP_REG", (1, 1, 3, 4, 0, 1 << 31)),  # HCR_EL2.RW
            ("CP_REG", (10, 2, 3, 0, 0, 0x4404_BBFF)),  # MAIR_EL1
            ("CP_REG", (2, 0, 3, 0, 2, size | size << 16 | tg0 << 14 | tg1 << 30 | 5 << 32)),
            ("CP_REG", (2, 0, 3, 0, 0, process)),  # TTBR0_EL1
            ("CP_REG", (2, 0, 3, 0, 1, kernel)),
            ("CP_REG", (1, 0, 3, 0, 0, 1 << 0 | 1 << 16 | 1 << 18)),  # SCTLR_EL1.M; nTWI: Unicorn stops by a WFI
        ]

    return control


def _satp(mode: int) -> Callable[[int, int], Registers]:
    """Privileged ISA 4.1.11. One root has the addresses of both."""
    return lambda kernel, process: [("PRIV", 1), ("SATP", mode | (process or kernel) >> 12)]


_X86_HAND = {"word": 8, "table": 3, "leaf": 0x63, "read_only": 0x61}
_ARM_HAND = {"word": 8, "root": 3, "table": 3, "leaf": 0x403, "read_only": 0x483}
_RISCV_HAND = {"root": 1, "table": 1, "leaf": 0xCF, "read_only": 0xCB, "pa_shift": 2}

PROCESSORS: dict[str, Processor] = {
    "i386": Processor(I386, _x86_control(1 << 4, 0), Hand((22, 12), (10, 10), 4, 3, 3, 0x63, 0x61)),
    "i386-pae": Processor(I386, _x86_control(1 << 5, 0x800), Hand((30, 21, 12), (2, 9, 9), root=1, **_X86_HAND)),
    "x86_64": Processor(X86_64, _x86_control(1 << 5, 0x900), Hand((39, 30, 21, 12), (9, 9, 9, 9), root=3, **_X86_HAND)),
    "x86_64-la57": Processor(
        X86_64,
        _x86_control(1 << 5 | 1 << 12, 0x900),
        Hand((48, 39, 30, 21, 12), (9, 9, 9, 9, 9), root=3, **_X86_HAND),
    ),
    "armv7": Processor(
        ARM, _arm_control, Hand((20, 12), (12, 8), 4, 1, 1, 0x12, 0x212, va=0xC000_0000), "CORTEX_A7", True
    ),
    "armv7-lpae": Processor(
        ARM._replace(known=(0x207, 0xA07, 0xA0F)),
        _lpae_control,
        Hand((30, 21, 12), (2, 9, 9), **_ARM_HAND),
        "CORTEX_A7",
        True,
    ),
    "aarch64": Processor(
        AARCH64,
        _aarch64_control(48, 0, 2),
        Hand((39, 30, 21, 12), (9, 9, 9, 9), va=(1 << 64) - (1 << 48), **_ARM_HAND),
        "A72",
        True,
    ),
    "aarch64-16k": Processor(
        AARCH64,
        _aarch64_control(47, 2, 1),
        Hand((36, 25, 14), (11, 11, 11), va=(1 << 64) - (1 << 47), **_ARM_HAND),
        "A72",
        True,
    ),
    "aarch64-64k": Processor(
        AARCH64,
        _aarch64_control(42, 1, 3),
        Hand((29, 16), (13, 13), va=(1 << 64) - (1 << 42), **_ARM_HAND),
        "A72",
        True,
    ),
    "riscv32-sv32": Processor(RISCV32, _satp(1 << 31), Hand((22, 12), (10, 10), word=4, **_RISCV_HAND)),
    "riscv64-sv39": Processor(RISCV64, _satp(8 << 60), Hand((30, 21, 12), (9, 9, 9), word=8, **_RISCV_HAND)),
    "riscv64-sv48": Processor(RISCV64, _satp(9 << 60), Hand((39, 30, 21, 12), (9, 9, 9, 9), word=8, **_RISCV_HAND)),
}


class Emulated:
    """A processor of one format of page tables. `ram`: physical address, bytes, and where they are in this process."""

    def __init__(self, format: str, ram: Iterable[tuple[int, int, int]], user: bool = False) -> None:
        self.processor = PROCESSORS[format]
        family = self.family = self.processor.family
        constants = importlib.import_module(f"unicorn.{family.arch.lower()}_const")
        self.uc = unicorn.Uc(getattr(unicorn, f"UC_ARCH_{family.arch}"), getattr(unicorn, f"UC_MODE_{family.mode}"))
        if self.processor.model:
            self.uc.ctl_set_cpu_model(getattr(constants, f"UC_CPU_{family.arch}_{self.processor.model}"))
        parts = list(ram)
        for part in parts:
            self.uc.mem_map_ptr(part[0], part[1], unicorn.UC_PROT_ALL, part[2])
        self._address, self._value = (
            getattr(constants, f"UC_{family.arch}_REG_{n}") for n in (family.address, family.value)
        )
        self._format = format
        self._number, self._pa, self._nowhere = -1, -1, False
        self.uc.hook_add(unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, self._arrives)
        self.uc.hook_add(unicorn.UC_HOOK_MEM_UNMAPPED, self._arrives_nowhere)
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._exception)
        self._spare = parts[0][0] + parts[0][1]
        self.uc.mem_map(self._spare, SPARE)
        self.uc.mem_write(self._spare, family.forget)
        self._supervisor = self._off = self.uc.context_save()
        self._user = user
        if user and family.user is not None:
            family.user(self.uc, parts[0][0])
        self._fresh = self.uc.context_save()

    def _arrives(self, uc: unicorn.Uc, kind: int, pa: int, size: int, value: int, data: object) -> None:
        self._pa = pa

    def _arrives_nowhere(self, uc: unicorn.Uc, kind: int, pa: int, size: int, value: int, data: object) -> bool:
        self._pa, self._nowhere = pa, True
        return False

    def _exception(self, uc: unicorn.Uc, number: int, data: object) -> None:
        self._number = number
        uc.emu_stop()

    @property
    def instructions(self) -> bytes:
        """What must lie where the code is, for `load` and `store`."""
        return self.family.load + self.family.store

    def begin(self, kernel: int, process: int, code: int) -> None:
        """Turn the MMU on, with roots at these physical addresses; the instructions lie at the address `code`."""
        registers = self.processor.control(kernel, process)
        self.uc.context_restore(self._supervisor)
        _write(self.uc, self.family.arch, registers[:-1])  # all but that which turns it on
        self._off = self.uc.context_save()
        self.uc.context_restore(self._fresh)  # one that met an exception would meet a double fault
        _write(self.uc, self.family.arch, registers + self.family.last if self._user else registers)
        self._code = code
        self._start = self.uc.context_save()

    def forget(self) -> None:
        """Drop every translation: entries were changed."""
        self.uc.ctl(unicorn.UC_CTL_TLB_FLUSH, unicorn.UC_CTL_IO_WRITE)

    def invalidate(self, va: int) -> None:
        """Forget the translation of a page, by the instructions that the kernel has for that."""
        self.uc.context_restore(self._off)
        self.uc.reg_write(self._address, va)
        self.uc.reg_write(self._value, va)
        self.uc.emu_start(self._spare, self._spare + len(self.family.forget))

    def load(self, va: int) -> Outcome:
        return self._run(self._code, self.family.load, va, 0)

    def store(self, va: int, value: int) -> Outcome:
        return self._run(self._code + len(self.family.load), self.family.store, va, value)

    def constant(self, n: int) -> bytes:
        """An instruction that makes `value` n, which is below 2048."""
        return self.family.constant(n).to_bytes(5 if self.family.arch == "X86" else 4, "little")

    def execute(self, va: int) -> Outcome:
        """Execute what somebody has put there, `constant(n)`: its value is n. It is not told where that lies, and a
        fault tells no address."""
        self.uc.ctl_flush_tb()
        outcome = self._run(va, self.constant(0), 0, 0)._replace(va=0)
        refused = outcome.fault not in ("", GENERAL, NOWHERE)
        return outcome._replace(fault=PAGE) if refused and not self.tells(execution=True) else outcome

    def tells(self, execution: bool) -> bool:
        """Whether a page fault says more than that it is one. Of x86 Unicorn loses the error code of execution."""
        return self.family.known is not None and not (execution and self.family.arch == "X86")

    def _run(self, at: int, code: bytes, address: int, value: int) -> Outcome:
        self.attempt(at, len(code), address, value)
        if self._nowhere:
            return Outcome(self._pa, fault=NOWHERE)
        if self._number < 0:
            return Outcome(self._pa, self.uc.reg_read(self._value))
        if self._number not in self.family.faults:
            return Outcome(fault=f"exception {self._number}")
        state, places = self.state(), _places(self._format)
        status = int.from_bytes(state[places.status : places.status + 4], "little")
        va = int.from_bytes(state[places.va : places.va + self.family.word], "little")
        fault = self.family.faults[self._number](status)
        return Outcome(fault=fault, va=0 if fault == GENERAL else va)

    def attempt(self, at: int, size: int, address: int, value: int) -> None:
        """Execute the instruction there."""
        uc = self.uc
        self._number, self._pa, self._nowhere = -1, -1, False
        uc.context_restore(self._start)
        uc.reg_write(self._address, address)
        uc.reg_write(self._value, value)
        try:
            uc.emu_start(at, at + size)
        except unicorn.UcError:
            if not self._nowhere:
                raise

    def state(self) -> bytes:
        """The processor's, as Unicorn saves it."""
        return bytes(self.uc.context_save())


# physical memory for entries by hand
TABLES, ALIGN, CODE, HAND = 0x1_0000, 0x1_0000, 0x8_0000, 0x10_0000


def by_hand(format: str, user: bool = False) -> tuple[Emulated, mmap.mmap]:
    """A processor on its entries by hand, in memory from physical address 0 on: its first page is absent, the next has
    the code, which lies at CODE, and may be written to, and the third is the same and read only."""
    hand = PROCESSORS[format].hand
    memory = mmap.mmap(-1, HAND)
    cpu = Emulated(format, [(0, HAND, ctypes.addressof(ctypes.c_char.from_buffer(memory)))], user)
    root = hand.written(memory)
    memory[CODE : CODE + len(cpu.instructions)] = cpu.instructions
    cpu.begin(root, 0, hand.va + (1 << hand.shifts[-1]))
    return cpu, memory


class Places(NamedTuple):
    """Where in the state that Unicorn saves are a fault's status, as far as there is one, and its address."""

    status: int
    va: int


@functools.cache
def _places(format: str) -> Places:
    cpu, _ = by_hand(format)
    family, hand = cpu.family, cpu.processor.hand
    code, page = hand.va + (1 << hand.shifts[-1]), 1 << hand.shifts[-1]
    store = code + len(family.load)

    def places(word: int, size: int) -> set[int]:
        state = cpu.state()
        return {i for i in range(0, len(state) - size, 4) if int.from_bytes(state[i : i + size], "little") == word}

    cpu.attempt(code, len(family.load), code, 0)
    ruled_out = places(code, family.word)  # the register with the address
    status, address = [], []
    for number, (at, va) in enumerate(((code, hand.va + 24), (store, hand.va + 32), (store, code + page + 40))):
        cpu.attempt(at, len(family.store), va, 0)
        address.append(places(va, family.word) - ruled_out)
        status.append(places(family.known[number], 4) if family.known else {-4})
    (found,), (where,) = set.intersection(*status), set.intersection(*address)
    return Places(found, where)
