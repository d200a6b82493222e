"""What holds for every format, and that the kernel's page-table code is arithmetic on its numbers, without a case.

`STRAIGHT` is that arithmetic. Every function of `mmu` answers the same, for every format and whatever an entry holds.
"""

import inspect
from collections.abc import Callable
from types import FunctionType

import numpy
import pytest
from flat_memory import FlatMemory
from hypothesis import assume, given
from hypothesis import strategies as st

from kernmalloc.lang import twin
from kernmalloc.lang.functions import REGISTRY
from kernmalloc.lang.status import BAD_BOOT
from kernmalloc.machine import mmu
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.arch.model import Format

EVERY = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
TABLED = {name: format for name, format in FORMATS.items() if format.has_tables}
WITH_TABLES = pytest.mark.parametrize("format", TABLED.values(), ids=TABLED)
FUNCTIONS = {f.__name__: f for f in REGISTRY if isinstance(f, FunctionType) and f.__module__ == mmu.__name__}
DO = twin.compile(FUNCTIONS.values())
WORDS = st.integers(-(1 << 63), (1 << 63) - 1)
TABLES = 9 << max(format.page_shift for format in FORMATS.values())  # bytes that tables may lie in, from 0
MEMORY = FlatMemory(TABLES + (1 << 12))
MEMORY.top = TABLES
RECORDS = {format.number: MEMORY.new(mmu.Format.size) for format in FORMATS.values()}
twin.use(MEMORY)
for number, at in RECORDS.items():
    DO["format_init"](at, number)


@EVERY
def test_the_kernel_has_the_numbers_of_the_format(format: Format) -> None:
    """Every field of the record is what `machine.arch` says, but for the ways to cache, which are a bit each."""
    twin.use(MEMORY)
    record = mmu.Format(RECORDS[format.number])
    for name in set(mmu.Format.fields) - {"attributes"}:
        assert getattr(record, name) == getattr(format, name), name
    assert [record.attributes >> i & 1 for i in range(32)] == [
        int(way is not None) for way in (*format.caching, *[None] * 28)
    ]


@given(WORDS)
def test_what_is_no_format_is_refused(number: int) -> None:
    assume(number not in RECORDS)
    twin.use(MEMORY)
    stores = MEMORY.stores
    assert DO["format_init"](TABLES - mmu.Format.size, number) == BAD_BOOT
    assert MEMORY.stores == stores


@WITH_TABLES
def test_bits_and_address_of_an_entry_are_apart(format: Format) -> None:
    words = (format.root, format.table, format.user_table, format.leaf, format.large, format.page)
    assert all(word & format.present_bit and not word & format.address for word in words)
    tested = (format.present_bit, format.write_bit, format.used_bit, format.large_bit)
    assert all(bit.bit_count() == 1 and not bit & format.address for bit in tested)
    assert format.address == (1 << format.phys_bits) - (1 << format.page_shift)


@WITH_TABLES
def test_what_an_entry_says_is_read_from_it(format: Format) -> None:
    assert not (format.table | format.user_table) & format.large_bit and format.large & format.large_bit
    assert format.leaf & format.write_bit and not format.page & format.write_bit
    assert not format.page & format.used_bit


@WITH_TABLES
def test_what_is_mapped_is_cached_until_told_otherwise(format: Format) -> None:
    ways = [way for way in format.cache if way is not None]
    assert len(set(ways)) == len(ways) and not any(way & ~format.cache_mask for way in ways)
    for word in (format.leaf, format.page):
        assert word & format.cache_mask == format.cache[0]


@WITH_TABLES
def test_tables_reach_every_address(format: Format) -> None:
    """A table fills a frame. The root covers all that a virtual address can say. The kernel's share is whole entries of
    the root."""
    assert (format.root_shift - format.page_shift) % format.index_bits == 0
    assert format.root_shift < format.va_bits <= format.root_shift + format.index_bits
    assert format.entry_shift >= 3 and format.large_page == 1 << format.page_shift << format.index_bits
    assert format.user_end % (1 << format.root_shift) == 0 and format.user_end < 1 << format.va_bits


def walk(f: Format, phys: int, root: int, va: int, large: bool = True, bytes: int = 1 << 62) -> tuple[int, int]:
    """(address of the entry, leaf entry) that the tables hold for va; zeros if none is present."""
    table = root
    for shift in range(f.root_shift, f.page_shift - 1, -f.index_bits):
        if table + (1 << f.page_shift) > bytes:
            return 0, 0
        at = phys + table + STRAIGHT["index_at"](f, va, shift)
        entry: int = MEMORY.load(at, 8)
        if not entry & f.present_bit:
            return 0, 0
        if large and f.page_shift < shift < f.root_shift and entry & f.large_bit:
            return at, STRAIGHT["page_inside"](f, entry, shift, va)
        table = entry & f.address
    return at, entry


def inside(f: Format, shift: int) -> int:
    return (1 << shift) - (1 << f.page_shift)


STRAIGHT: dict[str, Callable[..., int]] = {
    "index_at": lambda f, va, shift: (va >> shift & (1 << f.index_bits) - 1) << f.entry_shift,
    "root_entry": lambda f, pa: pa | f.root,
    "table_entry": lambda f, pa: pa | f.table,
    "user_table_entry": lambda f, pa: pa | f.user_table,
    "leaf_entry": lambda f, pa: pa | f.leaf,
    "large_entry": lambda f, pa: pa | f.large,
    "has_entries": lambda f: int(f.present_bit != 0),
    "executable": lambda f, entry: entry & (1 << 63) - 1 if f.no_execute == 63 else entry,
    "page_entry": lambda f, pa, write: pa | f.page | (f.write_bit if write else 0),
    "with_presence": lambda f, entry: entry | f.present_bit,
    "without_presence": lambda f, entry: entry & ~f.present_bit,
    "is_present": lambda f, entry: int(entry & f.present_bit != 0),
    "entry_pa": lambda f, entry: entry & f.address,
    "entry_moved": lambda f, entry, pa: entry & ~f.address | pa,
    "was_used": lambda f, entry: int(entry & f.used_bit != 0),
    "with_use": lambda f, entry: entry | f.used_bit,
    "without_use": lambda f, entry: entry & ~f.used_bit,
    "is_writable": lambda f, entry: int(entry & f.write_bit != 0),
    "without_write": lambda f, entry: entry & ~f.write_bit,
    "is_large": lambda f, entry: int(entry & f.large_bit != 0),
    "has_attribute": lambda f, attribute: int(0 <= attribute < 4 and f.caching[attribute] is not None),
    "page_inside": lambda f, entry, shift, va: (
        (entry & ~inside(f, shift) | va & inside(f, shift)) & ~(f.large & ~f.leaf) | f.leaf & ~f.large
    ),
    "walk": lambda f, phys, bytes, root, va: walk(f, phys, root, va, bytes=bytes)[1],
    "leaf_entry_at": lambda f, phys, root, va: walk(f, phys, root, va, large=False)[0],
}


def test_every_function_of_the_page_table_code_is_held() -> None:
    assert set(FUNCTIONS) == {"format_init", *STRAIGHT}


def values(format: Format, parameter: str) -> st.SearchStrategy[int]:
    """What a parameter of that name may be."""
    if parameter == "pa":
        return st.integers(0, format.address >> format.page_shift).map(lambda pfn: pfn << format.page_shift)
    if parameter == "shift":
        return st.sampled_from(range(format.root_shift, format.page_shift - 1, -format.index_bits))
    if parameter == "attribute":
        return st.one_of(st.integers(-5, 10), WORDS)
    return {"entry": WORDS, "va": WORDS, "write": st.integers(0, 2)}[parameter]


@WITH_TABLES
@pytest.mark.parametrize("function", sorted(set(STRAIGHT) - {"walk", "leaf_entry_at"}))
def test_the_page_table_code_is_straight_line_arithmetic(format: Format, function: str) -> None:
    _, *parameters = inspect.signature(FUNCTIONS[function]).parameters

    @given(st.tuples(*(values(format, parameter) for parameter in parameters)))
    def run(arguments: tuple[int, ...]) -> None:
        assert DO[function](RECORDS[format.number], *arguments) == STRAIGHT[function](format, *arguments)

    twin.use(MEMORY)
    run()


@WITH_TABLES
@given(st.integers(0, (1 << 32) - 1), WORDS, st.integers(0, 3))
def test_the_walk_is_straight_line_arithmetic(format: Format, seed: int, va: int, root: int) -> None:
    """Tables of whatever bits, in frames that lead to one another: with large pages, and without."""
    numbers = numpy.random.default_rng(seed)
    page, count = 1 << format.page_shift, 8 << format.page_shift - 3
    words = numbers.integers(-(1 << 63), (1 << 63) - 1, count) & ~format.address
    words |= numbers.integers(0, 8, count) << format.page_shift
    words |= numpy.where(numbers.random(count) < 0.9, format.present_bit, 0)
    MEMORY.bytes[page : 9 * page] = words.astype("<i8").tobytes()
    twin.use(MEMORY)
    for function, *arguments in (
        ("walk", page, 8 * page, root << format.page_shift, va),
        ("walk", page, 3 * page, root << format.page_shift, va),  # some tables lie beyond
        ("leaf_entry_at", page, root << format.page_shift, va),
    ):
        assert DO[function](RECORDS[format.number], *arguments) == STRAIGHT[function](format, *arguments)
