"""x86 against the manual: Intel SDM volume 3A, 4.4 and tables 4-8 to 4-11 (PAE paging), 4.5 and tables 4-15 to 4-20
(4-level paging), 4.9.2 and table 12-12 (PAT)."""

import re

import pytest
from arch_sample import assembly, linked

from kernmalloc.machine.arch import ARCHES, FORMATS
from kernmalloc.machine.arch.model import Format

PAE, LONG = FORMATS["i386-pae"], FORMATS["x86_64"]
BOTH = pytest.mark.parametrize("format", [PAE, LONG], ids=["i386-pae", "x86_64"])
# what the manual calls the bits of an entry
P, RW, US, PWT, PCD, A, D, PS, G = range(9)
PAT = 7


def bits(word: int) -> set[int]:
    return {i for i in range(64) if word >> i & 1}


@BOTH
def test_entries_have_the_bits_of_the_manual_E3(format: Format) -> None:
    assert bits(format.leaf) == {P, RW, A, D, G}
    assert bits(format.large) == {P, RW, A, D, PS, G}
    assert bits(format.table) == {P, RW, A}
    assert bits(format.user_table) == {P, RW, US, A}
    assert bits(format.page) == {P, US}
    assert bits(format.address) == set(range(12, 52)), "no execute-disable, no protection key"
    tested = (format.present_bit, format.write_bit, format.used_bit, format.large_bit)
    assert tested == (1 << P, 1 << RW, 1 << A, 1 << PS)


def test_PAE_reserves_the_rights_bits_of_the_root() -> None:
    """Bits 2:1 and 8:5 of a PDPTE."""
    assert bits(PAE.root) == {P} and bits(LONG.root) == {P, RW, A}


def test_depth_and_widths_E3() -> None:
    assert (PAE.va_bits, PAE.root_shift) == (32, 30)
    assert (LONG.va_bits, LONG.root_shift) == (48, 39)
    for format in (PAE, LONG):
        assert (format.phys_bits, format.page_shift, format.index_bits, format.tlb) == (52, 12, 9, 0)
        assert format.large_page == 2 << 20 and format.entry_shift == 3


@BOTH
def test_a_page_is_cached_as_IA32_PAT_says_E11(format: Format) -> None:
    """PWT, PCD and PAT select a field: as after reset, PA6 being write combining."""
    fields = ("WB", "WT", "UC-", "UC", "WB", "WT", "WC", "UC")
    chosen = [
        fields[(b >> PWT & 1) | (b >> PCD & 1) << 1 | (b >> PAT & 1) << 2] for b in format.caching if b is not None
    ]
    assert chosen == ["WB", "WT", "UC", "WC"]
    assert bits(format.cache_mask) == {PWT, PCD, PAT}


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
