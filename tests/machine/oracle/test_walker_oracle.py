"""The walker against processors that are not ours, on random tables: entries of every form, with any rights.

Rows E3 (frames above 4 GiB), E17 (what the kernel thinks of tables is what a processor makes of them).

Left out is what Unicorn makes otherwise than the manuals say. i386: bits 13 to 20 of a large page's entry are more of
the address (PSE-36). PAE: bits of the root's entries below the address may be set. ARM: a domain is checked before the
second level is read; of short descriptors domain and XN count before the access flag; bit 16 of a block entry is part
of the address. RISC-V: entries that lead to tables may have U, A and D, and bits from 54 on are part of the address."""

import ctypes
import mmap
import random
from collections import Counter

import pytest
from emulated import NOWHERE, PROCESSORS, SPARE, Emulated, Outcome
from oracle import REACH, Physical, Walks, told

from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.arch.model import ADDRESS, LARGE, LEAF, ROOT
from kernmalloc.machine.walker import EXECUTE, READ, USER, WRITE

KNOWN = [name for name in FORMATS if name in PROCESSORS]
FRAMES = 64  # for tables; the last has the instructions
DATA, ABOVE, ROOM = 1 << 30, 5 << 30, 1 << 21  # where pages are, at the start of a page of any size
DAY, NIGHT = 600, 100_000


class Wild:
    """Tables that come to be where somebody walks."""

    def __init__(self, format: str, seed: int) -> None:
        self.format, self.arch, self.pick = format, FORMATS[format], random.Random(seed)
        self.page, self.width = 1 << self.arch.page_shift, 1 << self.arch.word_shift
        self.words = 4 if self.arch.va_bits == 32 else 8
        self.tables, self.data = mmap.mmap(-1, FRAMES * self.page), mmap.mmap(-1, ROOM)
        self.places = [DATA, ABOVE] if min(self.arch.phys_bits, REACH.get(format, 64)) > 32 else [DATA]
        self.walks = Walks(format, Physical(self.tables), len(self.tables))
        self.root, self.free = 4 * self.page, 8  # a root may be four frames; at 0 there is none
        self.made: dict[int, int] = {}  # level of the table, by the address of an entry
        self.fixed: set[int] = set()
        self.below: dict[int, list[int]] = {level: [] for level in range(1, len(self.arch.levels))}
        self.cpus = [self.processor(user) for user in (False, True)]
        self.counts: Counter[str] = Counter()

    def processor(self, user: bool) -> Emulated:
        """One that finds its instructions."""
        memory = [(0, self.tables), *((pa, self.data) for pa in self.places)]
        ram = [(pa, len(part), ctypes.addressof(ctypes.c_char.from_buffer(part))) for pa, part in memory]
        cpu = Emulated(self.format, ram, user)
        made, code = self.arch.made, FRAMES - 1
        self.tables[code * self.page : code * self.page + len(cpu.instructions)] = cpu.instructions
        kinds = (made.user_root, made.user_table) if user else (made.root, made.table)
        leaf = {**made.page, self.arch.meaning.used: 1} if user else made.leaf
        indexes = [1 if user else (1 << level.bits) - 1 for level in self.arch.levels]
        table = self.root
        for number, level in enumerate(self.arch.levels):
            at = table + indexes[number] * self.width
            self.fixed.add(at)
            if number + 1 == len(self.arch.levels):
                self.put(at, LEAF, leaf, code * self.page)
            else:
                table = self.new(number + 1)
                self.put(at, level.forms[0].kind, kinds[number > 0], table)
        cpu.begin(self.root, self.root, self.address(indexes, 0))
        return cpu

    def put(self, at: int, kind: str, recipe: dict[str, int], pa: int) -> None:
        address = self.arch.field(kind, ADDRESS).mask
        self.write(at, self.arch.word(kind, recipe) | pa >> self.arch.pa_shift & address)

    def write(self, at: int, word: int) -> None:
        self.tables[at : at + self.width] = word.to_bytes(self.width, "little")

    def new(self, level: int) -> int:
        """A table of a level: mostly one that there is already."""
        there = self.below[level]
        if self.free < FRAMES - 1 and (len(there) < 3 or self.pick.random() < 0.1):
            there.append(self.free * self.page)
            self.free += 1
        return self.pick.choice(there)

    def address(self, indexes: list[int], offset: int) -> int:
        """The virtual address with these indexes."""
        va = offset + sum(index << level.shift for index, level in zip(indexes, self.arch.levels, strict=True))
        if self.arch.va_bits == 32:
            return va
        top = self.pick.random() < 0.5 if PROCESSORS[self.format].split else va >> self.arch.va_bits - 1
        return va | (1 << 64) - (1 << self.arch.va_bits) if top else va

    def somewhere(self) -> int:
        """An address, with entries on the way."""
        indexes = [self.pick.choice((0, 1, 2, (1 << level.bits) - 1)) for level in self.arch.levels]
        table, tell = self.root, self.arch.field(self.arch.levels[0].forms[0].kind, ADDRESS)
        for number, index in enumerate(indexes):
            at = table + index * self.width
            if at not in self.fixed and (at not in self.made or self.pick.random() < 0.1):
                self.made[at] = number
                self.write(at, self.entry(number))
            table = (int.from_bytes(self.tables[at : at + self.width], "little") & tell.mask) << self.arch.pa_shift
            if table not in self.below.get(number + 1, ()):
                break
        va = self.address(indexes, self.pick.randrange(0, self.page - 7, self.words))
        return va ^ 1 << self.pick.randrange(63) if self.pick.random() < 0.02 and self.words == 8 else va

    def entry(self, number: int) -> int:
        """An entry of a level."""
        arch, made = self.arch, self.arch.made
        forms = arch.levels[number].forms
        form = self.pick.choice([*forms, *(form for form in forms if not form.page)])
        if form.page:
            leaf = {**made.page, arch.meaning.used: 1}
            given = self.pick.choice((made.leaf, leaf) if form.kind == LEAF else (made.large, made.user_large))
            pa = self.pick.choice(self.places) & -(1 << form.page)
        else:
            given = self.pick.choice((made.user_root, made.root) if number == 0 else (made.user_table, made.table))
            pa = self.new(number + 1)
        fields = {name: value for name, value in given.items() if arch.has(form.kind, name)} | form.tells
        unknown = ("nT",) if form.page else ("domain", "U", "A", "D")
        for field in arch.fields[form.kind]:
            if field.name not in (ADDRESS, *form.tells, *unknown) and self.pick.random() < 0.1:
                fields[field.name] = self.pick.getrandbits(field.width)
        word = arch.word(form.kind, fields) | pa >> arch.pa_shift & arch.field(form.kind, ADDRESS).mask
        if self.pick.random() < 0.1 and (reserved := self.reserved(form.kind)):
            word |= 1 << self.pick.choice(reserved)
        return 0 if self.pick.random() < 0.03 else word

    def reserved(self, kind: str) -> list[int]:
        """Numbers of the bits of an entry that must be 0, in as far as the emulator looks at them."""
        family = self.cpus[0].family.arch
        maps, address = kind in (LARGE, LEAF), self.arch.field(kind, ADDRESS).mask
        known = self.arch.mask(kind, [field.name for field in self.arch.fields[kind]]) & ~address
        if family == "X86":
            known |= address & (1 << REACH.get(self.format, 32)) - 1
            known |= 0x3F_E000 if self.format == "i386" else 0
            known |= 0xFFF if (self.format, kind) == ("i386-pae", ROOT) else 0
        elif family == "RISCV" and maps:
            known |= address | -1 << 54
        else:
            known = -1
        return [bit for bit in range(8 * self.width) if not known >> bit & 1]

    def access(self) -> None:
        va, user = self.somewhere(), self.pick.random() < 0.5
        kind, number = self.pick.choice((READ, WRITE, EXECUTE)), self.pick.getrandbits(11)
        cpu, access = self.cpus[user], kind | (USER if user else 0)
        if kind == EXECUTE:
            va &= -8
        fault, found = self.walks(self.root, va, access)
        pa = int(found["pa"])
        here = pa % (1 << 30)
        there = any(place <= pa < place + ROOM for place in self.places)
        if not fault and pa < len(self.tables) + SPARE:
            return  # instructions and tables
        if self.format == "armv7" and fault == "not used":
            return
        if fault:
            expected = told(cpu, fault, va, access)
        elif not there:
            expected = Outcome(-1 if kind == EXECUTE else pa, fault=NOWHERE)
        else:
            expected = Outcome(-1 if kind == EXECUTE else pa, number)
            code = cpu.constant(number).ljust(8, b"\0") if kind == EXECUTE else number.to_bytes(8, "little")
            if kind != WRITE:
                self.data[here : here + 8] = code
        before = self.walks.entries()
        cpu.forget()
        outcome = cpu.load(va) if kind == READ else cpu.store(va, number) if kind == WRITE else cpu.execute(va)
        if outcome.fault == NOWHERE and kind == EXECUTE:
            outcome = outcome._replace(pa=-1)
        way = [hex(e) for e in before]
        assert outcome == expected, f"{va:#x}, access {access}: {outcome}, and not {expected}; {fault}; {way}"
        if not fault and there:
            assert self.walks.entries() == self.walks.marked, way
        self.counts[fault or ("arrived" if there else NOWHERE)] += 1


def oracle(format: str, accesses: int) -> None:
    wild = Wild(format, accesses)
    for number in range(accesses):
        if number % 2000 == 1999:
            counts, wild = wild.counts, Wild(format, number)
            wild.counts += counts
        wild.access()
    print(f"{format}: {dict(wild.counts)}")
    assert wild.counts["arrived"] > accesses // 12 and wild.counts["no right"] > accesses // 10


@pytest.mark.parametrize("format", KNOWN)
def test_a_processor_makes_of_random_tables_what_the_walker_does_E3_E17(format: str) -> None:
    oracle(format, DAY)


@pytest.mark.nightly
@pytest.mark.parametrize("format", KNOWN)
def test_a_processor_makes_of_many_random_tables_what_the_walker_does_E3_E17(format: str) -> None:
    oracle(format, NIGHT)
