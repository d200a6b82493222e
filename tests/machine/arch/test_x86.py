"""x86 against the manual: Intel SDM volume 3A, 4.3 and tables 4-4 to 4-6 (entries of 4 bytes), 4.4 and tables 4-8 to
4-11 (PAE paging), 4.5 and tables 4-14 to 4-20 (4 and 5 levels), 4.9.2 and table 12-12 (PAT)."""

import re

import pytest
from arch_sample import assembly, linked

from kernmalloc.machine.arch import ARCHES
from kernmalloc.machine.arch.model import Format

EVERY = {format.name: format for name in ("i386", "x86_64") for format in ARCHES[name].formats}
PAE, TWO, LONG, LA57 = (EVERY[name] for name in ("i386-pae", "i386", "x86_64", "x86_64-la57"))
FORMAT = pytest.mark.parametrize("format", EVERY.values(), ids=EVERY)
# what the manual calls the bits of an entry
P, RW, US, PWT, PCD, A, D, PS, G = range(9)
PAT, LARGE_PAT, XD = 7, 12, 63


def bits(word: int) -> set[int]:
    return {i for i in range(64) if word >> i & 1}


@FORMAT
def test_entries_have_the_bits_of_the_manual_E3(format: Format) -> None:
    assert bits(format.leaf) == {P, RW, A, D, G}
    assert bits(format.large) == {P, RW, A, D, PS, G}
    assert bits(format.table) == {P, RW, A}
    assert bits(format.user_table) == {P, RW, US, A}
    assert bits(format.page) == {P, US}
    assert bits(format.user_large) == {P, US, A, PS}
    high = 32 if format is TWO else 52
    assert bits(format.address) == set(range(12, high)), "no execute-disable, no protection key"
    tested = (format.present, format.write_mask, format.used, format.large_mask, format.large_value)
    assert tested == (1 << P, 1 << RW, 1 << A, 1 << PS, 1 << PS)
    assert format.read_only == 0 and format.pa_shift == 0 and not format.break_first


@FORMAT
def test_XD_keeps_from_being_executed(format: Format) -> None:
    """Where entries have 8 bytes."""
    mask = 0 if format is TWO else 1 << XD
    assert (format.execute_mask, format.execute_large_mask) == (mask, mask)
    assert (format.execute_value, format.execute_large_value) == (0, 0)


def test_PAE_reserves_the_rights_bits_of_the_root() -> None:
    """Bits 2:1 and 8:5 of a PDPTE."""
    assert bits(PAE.root) == bits(PAE.user_root) == {P}
    for format in (TWO, LONG, LA57):
        assert bits(format.root) == {P, RW, A} and bits(format.user_root) == {P, RW, US, A}


def test_depth_and_widths_E3() -> None:
    assert (PAE.va_bits, PAE.root_shift) == (32, 30)
    assert (LONG.va_bits, LONG.root_shift) == (48, 39)
    assert (LA57.va_bits, LA57.root_shift) == (57, 48)
    for format in (PAE, LONG, LA57):
        assert (format.phys_bits, format.page_shift, format.index_bits, format.tlb) == (52, 12, 9, 0)
        assert format.large_page == 2 << 20 and format.entry_shift == format.word_shift == 3
    assert (TWO.va_bits, TWO.phys_bits, TWO.root_shift, TWO.page_shift, TWO.index_bits) == (32, 32, 22, 12, 10)
    assert TWO.large_page == 4 << 20 and TWO.entry_shift == TWO.upper_entry_shift == TWO.word_shift == 2
    assert [format.root_bits for format in (TWO, PAE, LONG, LA57)] == [10, 2, 9, 9]


def test_halves_E3() -> None:
    """Processes have the lower half of the canonical addresses, or 3 GiB."""
    assert [format.user_end for format in (TWO, PAE, LONG, LA57)] == [3 << 30, 3 << 30, 1 << 47, 1 << 56]


@FORMAT
def test_a_page_is_cached_as_IA32_PAT_says_E11(format: Format) -> None:
    """PWT, PCD and PAT select a field: as after reset, PA6 being write combining."""
    fields = ("WB", "WT", "UC-", "UC", "WB", "WT", "WC", "UC")
    chosen = [fields[(b >> PWT & 1) | (b >> PCD & 1) << 1 | (b >> PAT & 1) << 2] for b in format.cache if b is not None]
    assert chosen == ["WB", "WT", "UC", "WC"]
    assert bits(format.cache_mask) == {PWT, PCD, PAT}
    moved = [(b or 0) & ~(1 << PAT) | (b or 0) >> PAT << LARGE_PAT for b in format.cache]
    assert list(format.large_cache) == moved and bits(format.large_cache_mask) == {PWT, PCD, LARGE_PAT}


def test_the_sixth_field_of_IA32_PAT_combines_writes() -> None:
    """12.12.4: after reset WB WT UC- UC twice, which are 6 4 7 0. WC is 1."""
    fields = [6, 4, 7, 0, 6, 4, 1, 0]
    assert all(format.registers[0].value == sum(n << 8 * i for i, n in enumerate(fields)) for format in EVERY.values())


def test_who_boots_turns_on_what_entries_say() -> None:
    """4.1.1 and 4.6: PAE for 8 bytes, LME for 64 bits, LA57 for 5 levels, PSE for large pages of 4 bytes."""
    told = {format.name: {name for name, value, _ in format.registers if value == 1} for format in EVERY.values()}
    always = {"CR0.WP", "CR4.PGE"}
    assert told["i386"] == always | {"CR4.PSE"}
    assert told["i386-pae"] == always | {"CR4.PAE", "IA32_EFER.NXE"}
    assert told["x86_64"] == told["i386-pae"] | {"IA32_EFER.LME"}
    assert told["x86_64-la57"] == told["x86_64"] | {"CR4.LA57"}


@pytest.mark.parametrize(("architecture", "made"), [("i386", ("EM_386", 32)), ("x86_64", ("EM_X86_64", 64))])
def test_objects(architecture: str, made: tuple[str, int]) -> None:
    """For their processor, and with general registers only: a kernel does not save the others on entry."""
    assert linked(architecture) == made
    text = assembly(architecture)
    assert "push" in text and "pause" in text
    assert not re.search(r"%(xmm|ymm|mm\d|st)", text)


def test_primitives_are_the_instructions_of_the_manual() -> None:
    for architecture, suffix in (("i386", "l"), ("x86_64", "q")):
        text = ARCHES[architecture].instructions
        assert f'"pushf{suffix}; pop{suffix} $0; cli"' in text and f'"push{suffix} $0; popf{suffix}"' in text
        assert '"invlpg ($0)"' in text
