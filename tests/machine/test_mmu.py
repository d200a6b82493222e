"""Page-table entries against the manual, and the kernel's walk against a processor's.

Intel SDM volume 3A, 4.4.1 and tables 4-8 to 4-11 (PAE paging), 4.5 and tables 4-15 to 4-20 (4-level paging). Rows E3
(frames up to 52 bits), E17."""

import random
from collections.abc import Callable

import pytest
from flat_memory import FlatMemory
from hypothesis import given
from hypothesis import strategies as st
from page_walk import coldfire, leaves

from kernmalloc.lang import twin
from kernmalloc.machine import mmu
from kernmalloc.machine.arch import FORMATS

MADE: list[Callable[..., int]] = [
    mmu.root_entry,
    mmu.table_entry,
    mmu.user_table_entry,
    mmu.leaf_entry,
    mmu.large_entry,
    mmu.page_entry,
]
ASKED: list[Callable[..., int]] = [
    mmu.is_large,
    mmu.is_present,
    mmu.is_writable,
    mmu.was_used,
    mmu.entry_pa,
    mmu.has_attribute,
    mmu.walk,
]
DO = twin.compile([mmu.format_init, mmu.without_presence, *MADE, *ASKED])
I386_PAE, X86_64, COLDFIRE = (FORMATS[name].number for name in ("i386-pae", "x86_64", "coldfire"))
ARCHES = {I386_PAE: "i386-pae", X86_64: "x86_64"}
MEMORY = FlatMemory(1 << 14)
FORMAT = {number: MEMORY.new(mmu.Format.size) for number in (I386_PAE, X86_64, COLDFIRE)}
twin.use(MEMORY)
for number, at in FORMAT.items():
    DO["format_init"](at, number)
FRAMES = st.integers(0, (1 << 40) - 1).map(lambda pfn: pfn << 12)


def do(name: str, arch: int, *arguments: int) -> int:
    """What a function answers that reads nothing but the format."""
    twin.use(MEMORY)
    return DO[name](FORMAT[arch], *arguments)


def bits(entry: int) -> set[int]:
    return {i for i in range(64) if entry >> i & 1}


@given(st.sampled_from(list(ARCHES)), FRAMES)
def test_entries_have_the_bits_of_the_manual_E3(arch: int, pa: int) -> None:
    """P 0, R/W 1, U/S 2, PWT 3, PCD 4, A 5, D 6, PS or PAT 7, G 8; address 12 to 51; XD 63. For the kernel: writable,
    not for users, cached."""
    frame = bits(pa)
    assert bits(do("leaf_entry", arch, pa)) == {0, 1, 5, 6, 8} | frame
    assert bits(do("large_entry", arch, pa)) == {0, 1, 5, 6, 7, 8} | frame
    assert bits(do("table_entry", arch, pa)) == {0, 1, 5} | frame, "leads on: not a large page"
    assert bits(do("user_table_entry", arch, pa, 21)) == {0, 1, 2, 5} | frame
    assert bits(do("page_entry", arch, pa, 0)) == {0, 2} | frame
    assert bits(do("page_entry", arch, pa, 1)) == {0, 1, 2} | frame
    if arch == I386_PAE:
        assert bits(do("root_entry", arch, pa)) == {0} | frame, "bits 2:1 and 8:5 of a PDPTE are reserved"
        assert bits(do("user_table_entry", arch, pa, 30)) == {0} | frame, "nor are there rights of users"
    else:
        assert bits(do("root_entry", arch, pa)) == {0, 1, 5} | frame
        assert bits(do("user_table_entry", arch, pa, 39)) == {0, 1, 2, 5} | frame
    for make in ("leaf_entry", "table_entry", "root_entry"):
        entry = do(make, arch, pa)
        assert do("entry_pa", arch, entry) == pa
        assert do("is_present", arch, entry) == 1
        gone = do("without_presence", arch, entry)
        assert do("is_present", arch, gone) == 0
        assert do("entry_pa", arch, gone) == pa, "whoever gives the frame back still finds it"
        assert gone == entry & ~1
    assert do("is_present", arch, 0) == 0


EVERYWHERE = {mmu.WRITE_BACK, mmu.WRITE_THROUGH, mmu.UNCACHED}


@given(st.sampled_from([*ARCHES, COLDFIRE]), st.one_of(st.integers(-5, 10), st.integers(-(1 << 63), (1 << 63) - 1)))
def test_there_are_four_ways_to_cache_E11(arch: int, attribute: int) -> None:
    """Nothing combines writes on ColdFire."""
    ways = EVERYWHERE if arch == COLDFIRE else EVERYWHERE | {mmu.WRITE_COMBINING}
    assert do("has_attribute", arch, attribute) == (attribute in ways)
    assert len(EVERYWHERE) + 1 == mmu.ATTRIBUTES


@given(st.sampled_from(list(ARCHES)), st.integers(-(1 << 63), (1 << 63) - 1))
def test_whatever_rights_an_entry_has_its_address_is_found(arch: int, entry: int) -> None:
    """Bits 12 to 51 and no others: execute-disable, protection keys and the available bits are not part of it."""
    assert do("entry_pa", arch, entry) == entry & 0x000F_FFFF_FFFF_F000
    assert do("is_present", arch, entry) == entry & 1


class Tables:
    """Page tables built by hand, with tables and pages anywhere in memory: an entry is what the manual says."""

    def __init__(self, arch: int, pick: random.Random) -> None:
        self.arch, self.pick = arch, pick
        self.memory = FlatMemory(1 << 20)
        self.memory.top = len(self.memory.bytes)
        self.free = list(range(1, 255))
        self.format = 255 << 12
        pick.shuffle(self.free)
        self.root = self.table()
        twin.use(self.memory)
        DO["format_init"](self.format, arch)

    def table(self) -> int:
        return self.free.pop() << 12

    def entry(self, table: int, index: int) -> int:
        return int(self.memory.views[8][table // 8 + index]) & (1 << 64) - 1

    def put(self, table: int, index: int, entry: int) -> None:
        self.memory.views[8][table // 8 + index] = entry - (1 << 64 if entry >> 63 else 0)

    def shifts(self) -> list[int]:
        return [30, 21, 12] if self.arch == I386_PAE else [39, 30, 21, 12]

    def map(self, va: int, pa: int, rights: int) -> None:
        """Lead to pa from va, through tables that are made as they are needed."""
        table = self.root
        for shift in self.shifts()[:-1]:
            index = va >> shift & (3 if self.arch == I386_PAE and shift == 30 else 511)
            if not self.entry(table, index) & 1:
                self.put(table, index, self.table() | (1 if self.arch == I386_PAE and shift == 30 else 0x7))
            table = self.entry(table, index) & 0x000F_FFFF_FFFF_F000
        self.put(table, va >> 12 & 511, pa | rights)

    def walk(self, va: int) -> int:
        """The kernel's walk, of tables that lie at an offset."""
        signed = va - (1 << 64) if va >> 63 else va
        return int(DO["walk"](self.format, 0, len(self.memory.bytes), self.root, signed))


def addresses(arch: int) -> st.SearchStrategy[int]:
    if arch == I386_PAE:
        return st.integers(0, (1 << 20) - 1).map(lambda page: page << 12)
    near = st.integers(0, 1 << 11).map(lambda page: page << 12)
    low = st.sampled_from([0, 0x7FFF_FF00_0000, 0x1000_0000_0000]).flatmap(lambda base: near.map(lambda at: base + at))
    high = st.sampled_from([0xFFFF_8000_0000_0000, 0xFFFF_8880_3FF0_0000, 0xFFFF_FFFF_FF00_0000])
    return st.one_of(low, high.flatmap(lambda base: near.map(lambda at: base + at)))


RIGHTS = st.sampled_from([0x1, 0x3, 0x7, 0x163, 0x1 | 1 << 63, 0xFFF & ~0x80, 0x1E3 & ~0x80])


@pytest.mark.parametrize("arch", ARCHES, ids=ARCHES.get)
def test_the_walk_is_a_processors(arch: int) -> None:
    """Random tables, both formats, low and high halves: the same pages, frames and rights; nothing else."""

    @given(st.data(), st.integers(0, 999).map(random.Random))
    def run(data: st.DataObject, pick: random.Random) -> None:
        tables = Tables(arch, pick)
        mapped = data.draw(st.dictionaries(addresses(arch), st.tuples(FRAMES, RIGHTS), max_size=12))
        for va, (pa, rights) in mapped.items():
            tables.map(va, pa, rights)
        for va, (pa, rights) in mapped.items():
            entry = tables.walk(va) & (1 << 64) - 1
            assert entry == pa | rights
            assert tables.walk(va | data.draw(st.integers(0, 4095))) & (1 << 64) - 1 == entry, "any byte of the page"
            for other in (va + 4096, va - 4096, va ^ 1 << 21, va ^ 1 << 30):
                if other not in mapped and 0 <= other < 1 << (32 if arch == I386_PAE else 64):
                    assert tables.walk(other) == 0
        seen = {leaf.va & (1 << 64) - 1: leaf.entry for leaf in leaves(tables.memory.bytes, ARCHES[arch], tables.root)}
        assert seen == {va: pa | rights for va, (pa, rights) in mapped.items()}

    run()


@pytest.mark.parametrize("arch", ARCHES, ids=ARCHES.get)
@given(
    st.integers(0, (1 << 21) - 1), st.integers(0, (1 << 31) - 1), st.booleans(), st.integers(0, 999).map(random.Random)
)
def test_a_large_page_is_walked_to_the_page_inside_it(
    arch: int, offset: int, number: int, pat: bool, pick: random.Random
) -> None:
    """A 2 MiB page's entry has its frame in bits 21 to 51 and PAT in bit 12, which is not part of the address (tables
    4-9 and 4-18)."""
    tables = Tables(arch, pick)
    va = 0xC040_0000
    tables.map(va, 0x1000, 1)
    pa = number << 21
    directory = tables.root
    for shift in tables.shifts()[:-2]:
        directory = tables.entry(directory, va >> shift & (3 if arch == I386_PAE and shift == 30 else 511)) & ~0xFFF
    tables.put(directory, va >> 21 & 511, pa | 0x80 | 0x63 | (1 << 12 if pat else 0))
    entry = tables.walk(va + offset)
    assert entry & 0x000F_FFFF_FFFF_F000 == pa + (offset & ~0xFFF)
    assert entry & 0x63 == 0x63 and not entry & 0x80


def test_tables_may_lie_where_a_host_has_them() -> None:
    """`phys` is where physical address 0 can be read: a hosted machine's RAM lies anywhere. Of a table that reaches
    beyond its end nothing is read."""
    tables = Tables(X86_64, random.Random(1))
    tables.map(0xFFFF_8880_0000_0000, 0x12_3456_7000, 3)

    class Elsewhere:
        machine = None
        shift = 0x7000_0000_0000

        def load(self, addr: int, width: int) -> int:
            return int(tables.memory.load(addr - self.shift, width))

        def store(self, addr: int, width: int, value: int) -> None:
            raise AssertionError("a walk stores nothing")

    twin.use(Elsewhere())
    va = 0xFFFF_8880_0000_0000 - (1 << 64)
    format, made = Elsewhere.shift + tables.format, set(range(1, 255)) - set(tables.free)
    end = max(made) + 1 << 12
    assert len(made) == 4
    assert DO["walk"](format, Elsewhere.shift, end, tables.root, va) == 0x12_3456_7003
    assert DO["walk"](format, Elsewhere.shift, end - 1, tables.root, va) == 0


def test_pages_and_tables_have_the_architectures_sizes() -> None:
    """A table fills a frame, whatever it is made of; ColdFire's large page is 1 MiB, the others' 2 MiB."""
    twin.use(MEMORY)
    for arch, page, large in ((I386_PAE, 4 << 10, 2 << 20), (X86_64, 4 << 10, 2 << 20), (COLDFIRE, 8 << 10, 1 << 20)):
        format = mmu.Format(FORMAT[arch])
        assert 1 << format.page_shift == page and page << format.index_bits == large
        assert 1 << format.entry_shift + format.index_bits == page


@given(st.integers(0, (1 << 19) - 1).map(lambda pfn: pfn << 13))
def test_coldfires_entries_are_words_for_its_TLB(pa: int) -> None:
    """MMUDR: X 2, W 3, R 4, SP 5, copy back 6, 8 KiB 9; it does not use bit 0, there is one, and 10, it was used."""
    frame = bits(pa)
    assert bits(do("leaf_entry", COLDFIRE, pa)) == {0, 2, 3, 4, 5, 6, 9, 10} | frame
    for make in ("table_entry", "root_entry"):
        assert bits(do(make, COLDFIRE, pa)) == {0} | frame
    assert do("is_large", COLDFIRE, do("table_entry", COLDFIRE, pa)) == 0
    assert all(bits(do("user_table_entry", COLDFIRE, pa, shift)) == {0} | frame for shift in (27, 20))
    for write in (0, 1):
        page = do("page_entry", COLDFIRE, pa, write)
        assert bits(page) == ({0, 2, 3, 4, 6, 9} if write else {0, 2, 4, 6, 9}) | frame
        assert (do("is_writable", COLDFIRE, page), do("was_used", COLDFIRE, page)) == (write, 0)
        assert do("was_used", COLDFIRE, page | 1 << 10) == 1, "the miss handler's note"
    start = pa & -(1 << 20)
    large = do("large_entry", COLDFIRE, start)
    assert bits(large) == {0, 2, 3, 4, 5, 6, 10} | bits(start) and do("is_large", COLDFIRE, large) == 1
    for make in ("leaf_entry", "table_entry", "root_entry"):
        entry = do(make, COLDFIRE, pa)
        gone = do("without_presence", COLDFIRE, entry)
        assert (do("is_present", COLDFIRE, entry), do("is_present", COLDFIRE, gone)) == (1, 0)
        assert do("entry_pa", COLDFIRE, entry) == do("entry_pa", COLDFIRE, gone) == pa


@given(
    st.dictionaries(
        st.integers(0, 4095),
        st.one_of(st.none(), st.dictionaries(st.integers(0, 127), st.integers(0, 1 << 18), max_size=4)),
        max_size=6,
    ),
    st.integers(0, (1 << 20) - 1),
)
def test_the_walk_of_coldfires_tables(slots: dict[int, dict[int, int] | None], offset: int) -> None:
    """Slots of 1 MiB, mapped whole or by some of their pages: the walk finds what the words in the tables say."""
    memory = FlatMemory(1 << 20)
    memory.top = len(memory.bytes)
    twin.use(memory)
    free = iter(range(1, 127))
    root = next(free) << 13
    format = 127 << 13
    DO["format_init"](format, COLDFIRE)

    def below(table: int, index: int) -> int:
        at = (table + 64 * index) // 8
        if not memory.views[8][at]:
            memory.views[8][at] = next(free) << 13 | 1
        return int(memory.views[8][at]) & 0xFFFF_E000

    wanted: dict[int, int] = {}
    for slot, pages in slots.items():
        directory = below(root, slot >> 7)
        if pages is None:
            memory.views[8][(directory + 64 * (slot & 127)) // 8] = (slot ^ 5) << 20 | 0x47D
            wanted |= {(slot << 20) + (i << 13): ((slot ^ 5) << 20) + (i << 13) for i in range(128)}
            continue
        leaf_table = below(directory, slot & 127)
        for i, pfn in pages.items():
            memory.views[8][(leaf_table + 64 * i) // 8] = pfn << 13 | 0x67D
            wanted[(slot << 20) + (i << 13)] = pfn << 13
    seen = {t.va + at: t.pa + at for t in coldfire(memory.bytes, root) for at in range(0, t.size, 1 << 13)}
    assert seen == wanted
    for slot in (*slots, 77):
        for va in range(slot << 20, slot + 1 << 20, 1 << 13):
            entry = DO["walk"](format, 0, len(memory.bytes), root, va + offset % (1 << 13))
            assert entry == (wanted[va] | 0x67D if va in wanted else 0)
