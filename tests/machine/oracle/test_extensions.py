"""Svnapot and Svpbmt, which Unicorn does not have: QEMU walks random tables, in Sv39 and in Sv48, and comes to what the
walker and the model of the manual come to, access by access, with the bits A and D as they are then. Rows E3, E17.

What QEMU 7.2 does not look at is not tried: bits 60:54 of an entry, and PBMT = 3, where it has these extensions. It
marks an entry whose N is wrong before it faults.
"""

import random
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy
import pytest
import walk_models
from flat_memory import FlatMemory

from kernmalloc.lang import twin
from kernmalloc.machine import walker
from kernmalloc.machine.arch import FORMATS

TOOLS = ("qemu-system-riscv64", "riscv64-linux-gnu-gcc", "riscv64-linux-gnu-objcopy")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
WALK = twin.compile([walker.walk_hardware])["walk_hardware"]

# physical memory of QEMU's machine virt
WALKED = 0x5000  # in the simulation, beside the records
RAM, REQUESTS, TABLES, DATA, END = 0x8000_0000, 0x8010_0000, 0x80C0_0000, 0x8100_0000, 0x8200_0000
NOWHERE = 1 << 45  # above that there is no memory, and no device
KINDS = ("read", "write", "execute")
SATP = {"riscv64-sv39-svpbmt": 8 << 60, "riscv64-sv48-svpbmt": 9 << 60}
FRAMES = 5  # of tables, for each format
TABLE_BYTES = len(SATP) * FRAMES << 12
NO_CAUSE = (1 << 64) - 1
ACCESS_FAULT, PAGE_FAULT, ECALL = (5, 7, 1), (13, 15, 12), (9, 8)  # table 3.6: by kind; from S, from U
DAY, NIGHT = 2000, 100_000

PROGRAM = f"""
.option norvc
.globl _start
_start:
    la t0, trapped
    csrw mtvec, t0
    li t0, -1
    csrw pmpaddr0, t0
    li t0, 0x1f
    csrw pmpcfg0, t0
    li t0, 1 << 62           # menvcfg.PBMTE
    csrs 0x30a, t0
    li t0, {DATA}            # each word says where it is, behind an ECALL
    li t1, {END}
fill:
    slli t2, t0, 29
    ori t2, t2, 0x73
    sd t2, 0(t0)
    addi t0, t0, 8
    bltu t0, t1, fill
    li s0, {REQUESTS}
    ld s1, 0(s0)
    addi s0, s0, 8
next:
    beqz s1, tell
    ld t0, 0(s0)
    csrw satp, t0
    sfence.vma
    ld a1, 8(s0)
    ld a2, 16(s0)
    li a4, -1
    li a5, 0
    li t1, 0x21800           # mstatus: MPRV, MPP
    csrc mstatus, t1
    andi t2, a2, 4
    bnez t2, user
    li t1, 0x800             # MPP: supervisor
    csrs mstatus, t1
user:
    li t1, 0x20000
    andi t2, a2, 3
    beqz t2, load
    addi t2, t2, -1
    bnez t2, execute
    csrs mstatus, t1
    sd a1, 0(a1)             # what is stored is the address
    csrc mstatus, t1
    j told
load:
    csrs mstatus, t1
    ld a5, 0(a1)
    csrc mstatus, t1
    j told
execute:
    csrw mepc, a1
    mret
.align 3
trapped:
    li t1, 0x20000
    csrc mstatus, t1
    csrr a4, mcause
    la t0, told
    csrw mepc, t0
    li t0, 0x1800
    csrs mstatus, t0
    mret
told:
    sd a4, 24(s0)
    sd a5, 32(s0)
    addi s0, s0, 40
    addi s1, s1, -1
    j next
tell:
    li a0, {REQUESTS + 8}
    mv a1, s0
    call write
    li a0, {TABLES}
    li a1, {TABLES + TABLE_BYTES}
    call write
    li t0, 0x100000
    li t1, 0x5555            # off
    sw t1, 0(t0)
    j .
write:
    li t0, 0x10000000
1:  lbu t1, 5(t0)
    andi t1, t1, 0x20
    beqz t1, 1b
    lbu t1, 0(a0)
    sb t1, 0(t0)
    addi a0, a0, 1
    bltu a0, a1, 1b
    ret
"""


class Request(NamedTuple):
    """An access, and what is expected of it: the cause of a trap, and what a load has."""

    satp: int
    va: int
    access: int
    cause: int
    value: int


class Memory:
    """RAM, as a simulation of the accesses leaves it."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.flat = FlatMemory(END - RAM + 0x1_0000)
        self.flat.top = len(self.flat.bytes)
        self.base = 0x8000  # where RAM begins in it
        self.records = {}
        places = numpy.arange(DATA, END, 8, dtype="u8")
        self.put(DATA, (places << numpy.uint64(29) | numpy.uint64(0x73)).tobytes())
        for number, name in enumerate(SATP):
            at = 0x1000 + number * 0x2000
            record = walker.hardware(FORMATS[name], sets_used=True).tobytes()
            self.flat.bytes[at : at + len(record)] = record
            self.records[name] = at
            self._fill(name, TABLES + (number * FRAMES << 12))
        self.requests: list[Request] = []
        self.counts: Counter[str] = Counter()

    def put(self, pa: int, data: bytes) -> None:
        at = self.base + pa - RAM
        self.flat.bytes[at : at + len(data)] = data

    def tables(self) -> bytes:
        """All of them, as they are now."""
        at = self.base + TABLES - RAM
        return bytes(self.flat.bytes[at : at + TABLE_BYTES])

    def get(self, pa: int, size: int) -> int:
        at = self.base + pa - RAM
        return int.from_bytes(self.flat.bytes[at : at + size], "little")

    def _fill(self, name: str, tables: int) -> None:
        """One table of each level, whose entries lead to the next, or map data; of some a bit is turned over."""
        format = FORMATS[name]
        for number, level in enumerate(format.levels):
            here = tables + (number << 12)
            for index in range(512):
                self.put(here + index * 8, self._entry(name, number, here + 4096).to_bytes(8, "little"))
            assert level.bits == 9

    def _entry(self, name: str, level: int, below: int) -> int:
        format, pick = FORMATS[name], self.pick
        leads = level < len(format.levels) - 1 and pick.random() < 0.6
        forms = [form for form in format.levels[level].forms if bool(form.page) != leads]
        form = pick.choice(forms)
        fields = dict(form.tells)
        for field in format.fields[form.kind]:
            if field.name != "address" and form.page:
                likely = field.name in "RWXAD" and pick.random() < 0.6
                fields.setdefault(field.name, 1 if likely else pick.getrandbits(field.width))
        if fields.get("PBMT") == 3:
            fields["PBMT"] = pick.randrange(3)
        pa = below
        if form.page:
            inside = pick.randrange(DATA, END)
            pa = (inside if pick.random() < 0.9 else NOWHERE | inside) >> form.page << form.page
        entry = format.encode(form.kind, pa, **fields)
        if pick.random() < 0.2:
            entry ^= 1 << pick.choice([*range(16), *range(19, 30), 63])
        return entry if pick.random() > 0.03 else 0

    def access(self) -> None:
        """One more access, as the model has it; what cannot be told apart in QEMU is left out."""
        pick = self.pick
        number = pick.randrange(len(SATP))
        name = list(SATP)[number]
        root = TABLES + (number * FRAMES << 12)
        kind, user = pick.choice(KINDS), pick.random() < 0.5
        va = pick.getrandbits(FORMATS[name].va_bits - 1) & -8
        if pick.random() < 0.5:
            va |= (1 << 64) - (1 << FORMATS[name].va_bits - 1)
        if pick.random() < 0.03:
            va ^= 1 << pick.randrange(38, 64)
        levels = len(FORMATS[name].levels)
        memory = walk_models.Memory(self._load, 1 << 56)
        try:
            pa, page = walk_models.riscv(memory, root, va, kind, user, levels=levels, extended=True, sets=True)
            said = ""
        except walk_models.Fault as fault:
            pa, page, said = -1, 0, str(fault)
        in_data = DATA <= pa < END
        word = self.get(pa, 8) if in_data else 0
        known = in_data or pa >= NOWHERE or (said and said != "no memory")
        if not known or (in_data and kind == "execute" and word & 0xFFFF_FFFF != 0x73):
            return
        self._same(name, root, va, kind, user, (said, pa, page))
        for at, entry in memory.marks.items():
            assert self.get(at, 8) == entry
        which = KINDS.index(kind)
        cause, value = NO_CAUSE, 0
        if said:
            cause = PAGE_FAULT[which]
        elif not in_data:
            cause = ACCESS_FAULT[which]
        elif kind == "execute":
            cause = ECALL[user]
        elif kind == "read":
            value = word
        else:
            self.put(pa, va.to_bytes(8, "little"))
        self.counts[said or f"pages of {1 << page - 10} KiB"] += 1
        self.requests.append(Request(SATP[name] | root >> 12, va, which | (4 if user else 0), cause, value))

    def _load(self, at: int, width: int) -> int:
        if not TABLES <= at < TABLES + TABLE_BYTES:
            raise walk_models.Fault("no memory")
        return self.get(at, width)

    def _same(self, name: str, root: int, va: int, kind: str, user: bool, expected: tuple[str, int, int]) -> None:
        """The walker comes to that, too, and marks what it used."""
        twin.use(self.flat)
        access = (walker.READ, walker.WRITE, walker.EXECUTE)[KINDS.index(kind)] | (walker.USER if user else 0)
        signed = va - (1 << 64) if va >> 63 else va
        fault = WALK(self.records[name], self.base - RAM, END, root, signed, access, WALKED)
        got = numpy.frombuffer(bytes(self.flat.bytes[WALKED : WALKED + walker.Walked.size]), walker.Walked.dtype)[0]
        said, pa, page = expected
        assert walker.FAULT_NAMES[fault] == said
        if not said:
            assert (got["pa"], got["page"]) == (pa, page)


def boot(folder: Path, parts: dict[int, bytes]) -> bytes:
    """Run the program in QEMU, with these parts of memory: what it tells on its serial line."""
    (folder / "walks.S").write_text(PROGRAM)
    flags = (
        "-march=rv64ima_zicsr",
        "-mabi=lp64",
        "-nostdlib",
        "-static",
        "-Wl,--build-id=none",
        f"-Wl,-Ttext={RAM:#x}",
    )
    subprocess.run(["riscv64-linux-gnu-gcc", *flags, "walks.S", "-o", "walks.elf"], cwd=folder, check=True)
    subprocess.run(["riscv64-linux-gnu-objcopy", "-O", "binary", "walks.elf", "walks.bin"], cwd=folder, check=True)
    words = ["-device", f"loader,file=walks.bin,addr={RAM:#x},force-raw=on"]
    for pa, data in parts.items():
        (folder / f"{pa:x}").write_bytes(data)
        words += ["-device", f"loader,file={pa:x},addr={pa:#x},force-raw=on"]
    machine = ("-M", "virt", "-m", "32", "-bios", "none", "-cpu", "rv64,svnapot=on,svpbmt=on")
    outside = ("-display", "none", "-monitor", "none", "-serial", "file:told")
    subprocess.run(["qemu-system-riscv64", *machine, *outside, *words], cwd=folder, check=True, timeout=300)
    return (folder / "told").read_bytes()


def marks(tables: bytes) -> list[int]:
    """Entries, but for A and D of those whose N is wrong, which QEMU marks before it faults."""
    words = []
    for number, word in enumerate(numpy.frombuffer(tables, "<u8").tolist()):
        which, level = divmod(number // 512, FRAMES)
        found = (
            FORMATS[list(SATP)[which]].decode(word, level) if level < len(FORMATS[list(SATP)[which]].levels) else None
        )
        wrong = word >> 63 and (found is None or found.reserved)
        words.append(word & ~0xC0 if wrong else word)
    return words


def compare(folder: Path, seed: int, accesses: int) -> Counter[str]:
    """So many accesses, which the simulation expects something of, in QEMU."""
    memory = Memory(seed)
    tables = memory.tables()
    while len(memory.requests) < accesses:
        memory.access()
    rows = numpy.zeros((len(memory.requests), 5), "<u8")
    rows[:, :3] = [(each.satp, each.va, each.access) for each in memory.requests]
    told = boot(folder, {TABLES: tables, REQUESTS: len(rows).to_bytes(8, "little") + rows.tobytes()})
    got = numpy.frombuffer(told[: rows.nbytes], "<u8").reshape(rows.shape)
    for each, (_, _, _, cause, value) in zip(memory.requests, got.tolist(), strict=True):
        assert (cause, value) == (each.cause, each.value), each
    after = memory.tables()
    assert marks(told[rows.nbytes :]) == marks(after) and after != tables
    assert all(memory.counts[f"pages of {size} KiB"] for size in (4, 64, 2048)), memory.counts
    return memory.counts


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_QEMU_makes_of_Svnapot_and_Svpbmt_what_the_walker_does_E3_E17(tmp_path: Path) -> None:
    print(dict(compare(tmp_path, 1, DAY)))


@pytest.mark.nightly
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_QEMU_does_so_a_hundred_thousand_times_E3_E17(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    for seed in range(2, 12):
        counts += compare(tmp_path, seed, NIGHT // 10)
    print(dict(counts))
