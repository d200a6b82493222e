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

from kernmalloc.lang import element, twin
from kernmalloc.lang.functions import REGISTRY
from kernmalloc.lang.status import BAD_BOOT
from kernmalloc.machine import mmu
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.arch.entries import ADDRESS, LARGE
from kernmalloc.machine.arch.model import Format

EVERY = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
TABLED = {name: format for name, format in FORMATS.items() if format.has_tables}
WITH_TABLES = pytest.mark.parametrize("format", TABLED.values(), ids=TABLED)
FUNCTIONS = {f.__name__: f for f in REGISTRY if isinstance(f, FunctionType) and f.__module__ == mmu.__name__}
DO = twin.compile(FUNCTIONS.values())
WORDS = st.integers(-(1 << 63), (1 << 63) - 1)
TABLES = 9 << max(format.page_shift for format in FORMATS.values())  # bytes that tables may lie in, from 0
MEMORY = FlatMemory(TABLES + len(FORMATS) * -(-mmu.Format.size // 64) * 64)
MEMORY.top = TABLES
RECORDS = {format.number: MEMORY.new(mmu.Format.size) for format in FORMATS.values()}
twin.use(MEMORY)
for number, at in RECORDS.items():
    DO["format_init"](at, number)


def signed(word: int) -> int:
    """A word of 64 bits as the kernel has it."""
    return (word + (1 << 63) & (1 << 64) - 1) - (1 << 63)


@EVERY
def test_the_kernel_has_the_numbers_of_the_format(format: Format) -> None:
    """Every field of the record is what `machine.arch` says."""
    twin.use(MEMORY)
    record = mmu.Format(RECORDS[format.number])
    ways = ("cache", "large_cache")
    for name in set(mmu.Format.fields) - {*ways}:
        assert getattr(record, name) == signed(int(getattr(format, name))), name
    for name in ways:
        first = getattr(record, name)
        told = [signed(way or 0) for way in getattr(format, name)]
        assert [element(first, i).bits for i in range(mmu.ATTRIBUTES)] == told
    assert format.attributes == sum(1 << i for i, way in enumerate(format.caching) if way is not None)


@given(WORDS)
def test_what_is_no_format_is_refused(number: int) -> None:
    assume(number not in RECORDS)
    twin.use(MEMORY)
    stores = MEMORY.stores
    assert DO["format_init"](TABLES - mmu.Format.size, number) == BAD_BOOT
    assert MEMORY.stores == stores


@WITH_TABLES
def test_bits_and_address_of_an_entry_are_apart(format: Format) -> None:
    words = (format.root, format.table, format.user_root, format.user_table, format.leaf, format.page)
    assert all(word & format.present and not word & format.address for word in words)
    assert format.large & format.present and not format.large & format.mask(LARGE, [ADDRESS])
    tested = (format.present, format.write_mask, format.used)
    assert all(bits and not bits & format.address for bits in tested)
    assert format.pa(format.address) == (1 << format.phys_bits) - (1 << format.page_shift)


@WITH_TABLES
def test_what_an_entry_says_is_read_from_it(format: Format) -> None:
    assert format.is_large(format.large) and format.is_large(format.user_large)
    assert not any(map(format.is_large, (format.table, format.user_table)))
    assert format.leaf & format.write_mask == format.write_mask ^ format.read_only
    assert format.page & format.write_mask == format.read_only
    assert not format.page & format.used


@WITH_TABLES
def test_what_is_mapped_is_cached_until_told_otherwise(format: Format) -> None:
    ways = [way for way in format.cache if way is not None]
    assert not any(way & ~format.cache_mask for way in ways)
    assert len(set(ways)) == len(ways) or not format.cache_mask, "or the physical address says it"
    for word in (format.leaf, format.page):
        assert word & format.cache_mask == format.cache[mmu.WRITE_BACK]


@WITH_TABLES
def test_tables_reach_every_address(format: Format) -> None:
    """A table fills a frame. The root covers all that a virtual address can say. The kernel's share is whole entries of
    the root."""
    assert (format.root_shift - format.page_shift) % format.index_bits == 0
    assert format.root_shift + format.root_bits == format.va_bits
    assert format.index_bits + format.entry_shift == format.page_shift
    assert format.large_page == 1 << format.page_shift << format.index_bits
    assert format.user_end % (1 << format.root_shift) == 0 and format.user_end <= 1 << format.va_bits
    root = 1 << format.root_bits + format.upper_entry_shift
    assert format.root_pages == max(root >> format.page_shift, 1)
    assert (format.user_end >> format.root_shift) << format.upper_entry_shift <= 1 << format.page_shift, "of a process"
    assert 1 << format.upper_entry_shift >= format.group << format.word_shift


def load(f: Format, at: int) -> int:
    entry: int = MEMORY.load(at, 1 << f.word_shift)
    return entry


def step(f: Format, entry: int) -> int:
    """From one word of an upper entry to the next."""
    return (f.large_step if f.is_large(entry) else f.table_step) if entry & f.present else 0


def walk(f: Format, phys: int, root: int, va: int, bytes: int) -> int:
    """The leaf entry that the tables hold for va; 0 if none is present."""
    table = root
    for shift in range(f.root_shift, f.page_shift - 1, -f.index_bits):
        if table < 0 or table + (1 << f.page_shift) > bytes:
            return 0
        entry = load(f, phys + table + STRAIGHT["index_at"](f, va, shift))
        if not entry & f.present:
            return 0
        if f.page_shift < shift and f.is_large(entry):
            return STRAIGHT["page_inside"](f, entry, shift, va)
        table = f.pa(entry)
    return entry


def inside(f: Format, shift: int) -> int:
    return (1 << shift) - (1 << f.page_shift)


def other(f: Format, entry: int, mask: int, value: int) -> int:
    return signed(entry & ~mask | value)


def stride(f: Format, shift: int) -> int:
    return f.upper_entry_shift if shift > f.page_shift else f.entry_shift


STRAIGHT: dict[str, Callable[..., int]] = {
    "stride_at": stride,
    "span_shift": lambda f: f.page_shift + f.index_bits,
    "index_at": lambda f, va, shift: (
        (va >> shift & (1 << (f.root_bits if shift == f.root_shift else f.index_bits)) - 1) << stride(f, shift)
    ),
    "root_entry": lambda f, pa: pa >> f.pa_shift | f.root,
    "table_entry": lambda f, pa: pa >> f.pa_shift | f.table,
    "user_table_entry": lambda f, pa, shift: (
        pa >> f.pa_shift | (f.user_root if shift == f.root_shift else f.user_table)
    ),
    "leaf_entry": lambda f, pa: pa >> f.pa_shift | f.leaf,
    "large_entry": lambda f, pa: pa >> f.pa_shift | f.large,
    "has_entries": lambda f: int(f.present != 0),
    "executable": lambda f, entry: other(f, entry, f.execute_mask, f.execute_value),
    "page_entry": lambda f, pa, write: (
        pa >> f.pa_shift | (f.page ^ f.write_mask if write else f.page)  # all bits of write_mask are the other way
    ),
    "device_entry": lambda f, pa, write, way: other(
        f, STRAIGHT["page_entry"](f, pa, write) | f.used, f.cache_mask, f.cache[way] or 0
    ),
    "user_large_entry": lambda f, pa, write, way: signed(
        pa >> f.pa_shift
        | (f.user_large ^ (f.large_write_mask if write else 0)) & ~f.large_cache_mask
        | (f.large_cache[way] or 0)
    ),
    "with_attribute": lambda f, entry, way: other(f, entry, f.cache_mask, f.cache[way] or 0),
    "with_presence": lambda f, entry: entry | f.page & f.present,
    "without_presence": lambda f, entry: entry & ~f.present,
    "is_present": lambda f, entry: int(entry & f.present != 0),
    "entry_pa": lambda f, entry: (entry & f.address) << f.pa_shift,
    "large_pa": lambda f, entry: ((entry & f.address) << f.pa_shift) // f.large_page * f.large_page,
    "entry_moved": lambda f, entry, pa: entry & ~f.address | pa >> f.pa_shift,
    "was_used": lambda f, entry: int(entry & f.used != 0),
    "with_use": lambda f, entry: entry | f.used,
    "without_use": lambda f, entry: entry & ~f.used,
    "is_writable": lambda f, entry: int((entry ^ f.read_only) & f.write_mask == f.write_mask),
    "with_write": lambda f, entry: other(f, entry, f.write_mask, f.write_mask ^ f.read_only),
    "without_write": lambda f, entry: other(f, entry, f.write_mask, f.read_only),
    "is_large": lambda f, entry: int(f.is_large(entry)),
    "has_attribute": lambda f, attribute: int(0 <= attribute < 4 and f.cache[attribute] is not None),
    "word_step": step,
    "page_inside": lambda f, entry, shift, va: (
        (entry & ~(inside(f, shift) >> f.pa_shift) | (va & inside(f, shift)) >> f.pa_shift) & ~(f.large & ~f.leaf)
        | f.leaf & ~f.large
    ),
    "walk": lambda f, phys, bytes, root, va: walk(f, phys, root, va, bytes),
}
IN_MEMORY = {"walk"}
STORING = {"load_entry", "store_entry", "swap_entry", "store_upper", "is_upper"}


def test_every_function_of_the_page_table_code_is_held() -> None:
    assert set(FUNCTIONS) == {"format_init", *STRAIGHT, *STORING}


def values(format: Format, function: str, parameter: str) -> st.SearchStrategy[int]:
    """What a parameter of that name may be."""
    if parameter == "pa":
        most = format.pa(format.address) >> format.page_shift
        return st.integers(0, most).map(lambda pfn: pfn << format.page_shift)
    if parameter == "shift":
        return st.sampled_from(range(format.root_shift, format.page_shift - 1, -format.index_bits))
    if parameter == "attribute" and function != "has_attribute":
        return st.integers(0, 3)
    if parameter == "attribute":
        return st.one_of(st.integers(-5, 10), WORDS)
    return {"entry": WORDS, "va": WORDS, "write": st.integers(0, 2)}[parameter]


@pytest.mark.parametrize("function", sorted(set(STRAIGHT) - IN_MEMORY))
def test_the_page_table_code_is_straight_line_arithmetic(function: str) -> None:
    """In every format."""
    _, *parameters = inspect.signature(FUNCTIONS[function]).parameters

    @given(st.data())
    def run(data: st.DataObject) -> None:
        for name, format in TABLED.items():
            arguments = [data.draw(values(format, function, each), label=f"{name}: {each}") for each in parameters]
            assert DO[function](RECORDS[format.number], *arguments) == STRAIGHT[function](format, *arguments)

    twin.use(MEMORY)
    run()


@WITH_TABLES
@given(st.integers(0, (1 << 32) - 1), WORDS, st.integers(0, 3))
def test_the_walk_is_straight_line_arithmetic(format: Format, seed: int, va: int, root: int) -> None:
    """Tables of whatever bits, in frames that lead to one another: with large pages, and without."""
    numbers = numpy.random.default_rng(seed)
    page, count = 1 << format.page_shift, 8 << format.page_shift - 3
    words = numbers.integers(-(1 << 63), (1 << 63) - 1, count)
    if format.word_shift == mmu.NARROW:
        words = numbers.integers(0, 1 << 32, 2 * count)
    words &= ~format.address
    words |= numbers.integers(0, 8, len(words)) << format.page_shift - format.pa_shift
    words |= numpy.where(numbers.random(len(words)) < 0.9, format.present, 0)
    words = words.astype(f"<i{1 << format.word_shift}" if format.word_shift == 3 else "<u4")
    MEMORY.bytes[page : 9 * page] = words.tobytes()
    twin.use(MEMORY)
    for function, *arguments in (
        ("walk", page, 8 * page, root << format.page_shift, va),
        ("walk", page, 3 * page, root << format.page_shift, va),  # some tables lie beyond
    ):
        assert DO[function](RECORDS[format.number], *arguments) == STRAIGHT[function](format, *arguments)


@WITH_TABLES
@given(WORDS, WORDS, st.integers(0, 7))
def test_an_upper_entry_is_written_in_all_its_words(format: Format, entry: int, before: int, broken: int) -> None:
    """Each word leads to its part of the table, or maps its part of the large page. One that is different is seen."""
    size = 1 << format.word_shift
    if size == 4:
        entry &= (1 << 32) - 1
    assume(0 <= entry + 3 * step(format, entry) < 1 << 8 * size - 1 or format.group == 1)
    at, record = 1 << 13, RECORDS[format.number]
    twin.use(MEMORY)
    for i in range(8):
        MEMORY.store(at + i * size, size, before if size == 8 else before & (1 << 32) - 1)
    DO["store_upper"](record, at, entry)
    words = [load(format, at + i * size) for i in range(8)]
    assert words[: format.group] == [entry + i * step(format, entry) for i in range(format.group)]
    assert len(set(words[format.group :])) <= 1
    assert DO["is_upper"](record, at, entry) == 1 and DO["load_entry"](record, at) == entry
    DO["store_entry"](record, at + broken * size, entry + broken * step(format, entry) ^ 1)
    assert DO["is_upper"](record, at, entry) == int(broken >= format.group)
    now = load(format, at)
    assert DO["swap_entry"](record, at, now ^ 2, 5) == 0 and load(format, at) == now
    assert DO["swap_entry"](record, at, now, 5) == 1 and load(format, at) == 5
