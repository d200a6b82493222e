"""The freestanding object on a processor that is not ours: Unicorn, which is QEMU's x86-64.

Concepts
  1. The machine code is `build.freestanding`'s for x86_64, byte for byte; only its relocations are applied. It is one
     more life of the kernel, "bare": the facade boots it, calls it and checks it like the others.
  2. The kernel's window lies at its true address, by default the profile's, in the high half. The code is linked where
     the image lies in RAM and stays there, so that it runs before paging is on and after: the processor is given tables
     of the loader's, which lead to the image and to the kernel's own tables (`enter`). In the image, behind a page for
     the loader: code, counts, those tables, a stack, and the rest for whoever drives the kernel in a loop (`ROOM`).
  3. In its window the processor walks the page tables that the kernel wrote. Nothing of this computer's stands in
     between: mapping a page is what it is on a machine, a store to an entry and `invlpg`.
  4. Every instruction of the kernel's is counted as it is executed, exactly: before each, Unicorn calls a function that
     is compiled here. A string instruction is one, however often it is repeated. Two kinds are counted beside: `cli`,
     which is executed where the kernel lock is taken, and `invlpg`, of which there is one for each page that is mapped
     or unmapped.
"""

import ctypes
import io
import struct
from functools import cache
from typing import BinaryIO, NamedTuple

import llvmlite.binding as llvm
import msgspec

from kernmalloc.build.freestanding import freestanding
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Bytes, Image, Profile, Window
from kernmalloc.inputs.facts import Range
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.lives import LEAST, LIVES, MOST, Fault, LifeError, Paging
from kernmalloc.machine.memory_map import Machine
from kernmalloc.machine.ram import PAGE, Ram

MIB = 1 << 20
BASE = 64 * MIB  # of the image
IMAGE = 32 * MIB
CODE = BASE + PAGE  # the loader talks to the kernel in the page before
CODE_END = BASE + MIB
COUNTS = CODE_END
STACK = BASE + 2 * MIB  # its end
ROOM = STACK  # for drivers, up to the image's end
RETURN = COUNTS + PAGE  # where calls return to: nothing is executed there
TABLES = RETURN + PAGE  # root, the table below it, and a directory

ENTRIES = 512  # of a page table
LARGE_PAGE = 2 * MIB

PROTECTED, WRITE_PROTECT, PAGING = 1 << 0, 1 << 16, 1 << 31  # CR0
PAE = 1 << 5  # CR4
EFER, LONG_MODE = 0xC0000080, 1 << 8

STACKS, STACK_BYTES = ROOM + MIB, 1 << 14  # of processors that take turns, one behind the other
PROCESSORS = 64  # that may take turns (`turns`)
PORT = {"km_port_reach": PROCESSORS, "km_port_barrier": 1}
"""What these functions answer where processors take turns: there is one TLB, and what one stores all see."""
ANSWER, RETURNS = b"\xb8", b"\xc3"  # mov eax, a number; ret

ABSOLUTE = {1: 8, 10: 4, 11: 4}  # R_X86_64_64, _32, _32S: bytes
RELATIVE = {2: 4, 4: 4}  # R_X86_64_PC32, _PLT32

CLI = 0xFA
REPEAT = 0xF3
INVLPG = 0x010F  # its first two bytes: no other of their group is the kernel's
_COUNT = """
define void @count(ptr %uc, i64 %address, i32 %size, ptr %data) {{
 %host = add i64 %address, {ram}
 %code = inttoptr i64 %host to ptr
 %instructions = inttoptr i64 {counts} to ptr
 %locks = getelementptr i64, ptr %instructions, i64 1
 %pages = getelementptr i64, ptr %instructions, i64 2
 %last = getelementptr i64, ptr %instructions, i64 3
 %bytes = load i16, ptr %code
 %first = trunc i16 %bytes to i8
 %is_cli = icmp eq i8 %first, {cli}
 %is_invlpg = icmp eq i16 %bytes, {invlpg}
 %is_repeated = icmp eq i8 %first, {repeat}
 %was = load i64, ptr %last
 %is_same = icmp eq i64 %was, %address
 %goes_on = and i1 %is_repeated, %is_same
 store i64 %address, ptr %last
 %one = select i1 %goes_on, i64 0, i64 1
 %one_lock = zext i1 %is_cli to i64
 %one_page = zext i1 %is_invlpg to i64
 %n = load i64, ptr %instructions
 %n1 = add i64 %n, %one
 store i64 %n1, ptr %instructions
 %l = load i64, ptr %locks
 %l1 = add i64 %l, %one_lock
 store i64 %l1, ptr %locks
 %p = load i64, ptr %pages
 %p1 = add i64 %p, %one_page
 store i64 %p1, ptr %pages
 ret void
}}
"""


class Missing(LifeError):
    """What emulates is not installed: one line, with what to do."""


class Counts(NamedTuple):
    """What has been executed: instructions, how often the lock was taken, pages whose mapping was changed."""

    instructions: int
    locks: int
    pages: int


class Bare:
    """Machine code for a bare machine, executed by an emulated processor. Missing."""

    phys = 0

    def __init__(self, ram: Ram) -> None:
        try:
            import unicorn
            from unicorn import x86_const as x86

            code, self.symbols = kernel_code()
        except ModuleNotFoundError as error:
            raise Missing(f"counting instructions needs {error.name}: pip install 'kernmalloc[bench]'") from None
        self.ram, self.error = ram, unicorn.UcError
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self._all = unicorn.UC_PROT_ALL
        self._forget = unicorn.UC_CTL_TLB_FLUSH, unicorn.UC_CTL_IO_WRITE
        self.uc.mem_map_ptr(0, ram.top, self._all, ram.address)
        self._compiled: list[llvm.ExecutionEngine] = []
        self.write(CODE, code)  # a tenth of the room
        for name, answer in PORT.items():
            self.write(self.symbols[name], ANSWER + answer.to_bytes(4, "little") + RETURNS)
        self._counts = (ctypes.c_int64 * len(Counts._fields)).from_address(ram.address + COUNTS)
        text = _COUNT.format(
            ram=ram.address, counts=ram.address + COUNTS, cli=CLI - 256, invlpg=INVLPG, repeat=REPEAT - 256
        )
        self.hook(unicorn.UC_HOOK_CODE, text, "count", 0, CODE, CODE_END - 1)
        self._registers = [getattr(x86, f"UC_X86_REG_{name}") for name in ("RDI", "RSI", "RDX", "RCX", "R8", "R9")]
        self._rsp, self._rax, self._rip = x86.UC_X86_REG_RSP, x86.UC_X86_REG_RAX, x86.UC_X86_REG_RIP
        self._cr0, self._cr3, self._cr4, self._msr = (
            x86.UC_X86_REG_CR0,
            x86.UC_X86_REG_CR3,
            x86.UC_X86_REG_CR4,
            x86.UC_X86_REG_MSR,
        )

    def hook(self, kinds: int, text: str, name: str, data: int, first: int = 1, last: int = 0) -> int:
        """Have a compiled function called at what happens between two addresses, or anywhere: the hook's number.

        `text` is LLVM's form of it; it is given `data`."""
        import unicorn
        from unicorn.unicorn_py3.unicorn import uclib

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        target = llvm.Target.from_default_triple().create_target_machine(jit=True)
        self._compiled.append(llvm.create_mcjit_compiler(llvm.parse_assembly(text), target))
        self._compiled[-1].finalize_object()
        handle, function = ctypes.c_size_t(), ctypes.c_void_p(self._compiled[-1].get_function_address(name))
        emulated = self.uc._uch  # noqa: SLF001 (its Python methods cannot add a compiled function)
        bounds = ctypes.c_uint64(first), ctypes.c_uint64(last)
        status = uclib.uc_hook_add(emulated, ctypes.byref(handle), kinds, function, ctypes.c_void_p(data), *bounds)
        if status != unicorn.UC_ERR_OK:
            raise unicorn.UcError(status)
        self.uc.ctl_flush_tb()  # what was translated before would not call it
        return handle.value

    def unhook(self, number: int) -> None:
        """Have the function of a hook called no more."""
        from unicorn.unicorn_py3.unicorn import uclib

        uclib.uc_hook_del(self.uc._uch, ctypes.c_size_t(number))  # noqa: SLF001 (as above)

    @property
    def counts(self) -> Counts:
        """What the kernel's code has executed so far."""
        return Counts(*self._counts)

    def write(self, pa: int, data: bytes) -> None:
        """Put bytes into RAM."""
        ctypes.memmove(self.ram.address + pa, data, len(data))

    def read(self, pa: int, size: int) -> bytes:
        """What lies in RAM."""
        return ctypes.string_at(self.ram.address + pa, size)

    def call(self, name: str, *args: int) -> int:
        """Run the entry `name`; its result. Fault: the processor met an exception."""
        return self.run(self.symbols[f"km_call_{name}"], *args)

    def run(self, function: int, *args: int) -> int:
        """Call what lies at an address by C's convention."""
        for argument in args:
            if not LEAST <= argument <= MOST:
                raise OverflowError(f"{argument:#x} does not fit 64 bits")
        for register, argument in zip(self._registers, args, strict=False):
            self.uc.reg_write(register, argument)
        words = [RETURN, *args[len(self._registers) :]]
        stack = (STACK - 8 * len(words)) & -16
        stack -= 8  # as a call leaves it
        self.write(stack, b"".join(word.to_bytes(8, "little", signed=True) for word in words))
        self.uc.reg_write(self._rsp, stack)
        try:
            self.uc.emu_start(function, RETURN)
        except self.error as error:
            raise Fault(f"{self._name(self.uc.reg_read(self._rip))}: {error}") from None
        result: int = self.uc.reg_read(self._rax)
        return result - (1 << 64) if result >> 63 else result

    def _name(self, address: int) -> str:
        """The function that an address lies in."""
        return max((place, name) for name, place in self.symbols.items() if place <= address)[1]

    def enter(self, paging: Paging) -> None:
        """Turn paging on, with tables that map what the kernel's do, and the image at its physical address."""
        root, upper, directory = (TABLES + i * PAGE for i in range(3))
        top = self._table(paging.root)
        form = FORMATS["x86_64"]
        below = self._table(top[0] & form.address) if top[0] & form.present else [0] * ENTRIES
        top[0], below[0] = upper | form.table, directory | form.table
        image = [0] * ENTRIES
        for pa in range(BASE, BASE + IMAGE, LARGE_PAGE):
            image[pa // LARGE_PAGE] = pa | form.large
        for pa, entries in ((root, top), (upper, below), (directory, image)):
            self.write(pa, struct.pack(f"<{ENTRIES}q", *entries))
        self.uc.reg_write(self._cr3, root)
        self.uc.reg_write(self._cr4, PAE)
        self.uc.reg_write(self._msr, (EFER, LONG_MODE))
        self.uc.reg_write(self._cr0, PROTECTED | WRITE_PROTECT | PAGING)

    def _table(self, pa: int) -> list[int]:
        """The entries of a page table."""
        return list(struct.unpack(f"<{ENTRIES}q", self.read(pa, PAGE)))

    def processors(self, count: int) -> int:
        """There is none but the kernel's own."""
        raise LifeError("processes run compiled for this computer: use mode raw or soft")

    def refresh(self) -> None:
        self.uc.ctl(*self._forget)

    def reach(self, top: int) -> None:
        self.uc.mem_unmap(0, self.ram.top)
        self.ram.top = max(self.ram.top, top)
        self.uc.mem_map_ptr(0, self.ram.top, self._all, self.ram.address)

    def close(self) -> None:
        self.uc.mem_unmap(0, self.ram.top)


LIVES["bare"] = Bare


def link(file: BinaryIO, base: int) -> tuple[bytes, dict[str, int]]:
    """The sections of a relocatable object that are loaded, as they lie in memory from `base` on, and where its
    functions lie. KeyError for a relocation of another kind than these objects have."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.relocation import RelocationSection
    from elftools.elf.sections import SymbolTableSection

    elf = ELFFile(file)
    starts, memory = {}, bytearray()
    for index, section in enumerate(elf.iter_sections()):
        if section["sh_flags"] & 2:  # SHF_ALLOC
            memory += bytes(-len(memory) % max(section["sh_addralign"], 16))
            starts[index] = base + len(memory)
            memory += section.data()
    table = elf.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    values = [starts.get(s["st_shndx"], 0) + s["st_value"] for s in table.iter_symbols()]
    for section in elf.iter_sections():
        if isinstance(section, RelocationSection) and section["sh_info"] in starts:
            for r in section.iter_relocations():
                at, kind = starts[section["sh_info"]] + r["r_offset"], r["r_info_type"]
                value = values[r["r_info_sym"]] + r["r_addend"] - (at if kind in RELATIVE else 0)
                size = RELATIVE[kind] if kind in RELATIVE else ABSOLUTE[kind]
                memory[at - base : at - base + size] = value.to_bytes(size, "little", signed=True)
    return bytes(memory), {s.name: value for s, value in zip(table.iter_symbols(), values, strict=True)}


@cache
def kernel_code() -> tuple[bytes, dict[str, int]]:
    """The object as it lies from `CODE` on, and where its functions lie. Modules that it needs may be missing."""
    return link(io.BytesIO(freestanding("x86_64")), CODE)


def machine(ram: int) -> Machine:
    """One with so many bytes of RAM, and nothing else."""
    return Machine(name="emulated", file="", ram=(Range(base=0, size=ram, kind="ram", name="", line=0),))


def placed(profile: Profile) -> Profile:
    """A profile whose image lies where the code is linked."""
    return msgspec.structs.replace(profile, image=Image(base=Bytes(BASE), size=Bytes(IMAGE)))


def boot(ram: int, window: Window | None = None) -> Kernel:
    """A kernel on so many bytes of RAM, run by the emulator. Missing.

    The profile is x86_64 but for two things: where the image lies, and that idle frames are given back at once, so that
    growing and shrinking is counted, too. `window` replaces the profile's; it must lie above the first GiB."""
    profile = Profile.load("x86_64")
    heap = msgspec.structs.replace(profile.heap, idle_frames=None)
    profile = msgspec.structs.replace(profile, va=window or profile.va, heap=heap)
    return Kernel.boot(machine(ram), placed(profile), "bare")


def processor(kernel: Kernel) -> Bare:
    """The processor that runs a kernel which `boot` made."""
    life = kernel.handle.life
    assert isinstance(life, Bare)
    return life
