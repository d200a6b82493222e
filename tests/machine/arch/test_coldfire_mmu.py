"""The model of ColdFire's MMU (`coldfire_mmu`), with which the kernel's miss handler is compared, does what the manual
says: MCF547x Reference Manual, chapter 5."""

import pytest
from coldfire_mmu import (
    ACC,
    ADR,
    AR,
    ASM,
    CA,
    CAS,
    CNL,
    CR,
    DR,
    EN,
    ENTRIES,
    FETCH,
    HIT,
    ITLB,
    LK,
    OR,
    READ,
    RF,
    RW,
    SG,
    SP,
    SPF,
    SR,
    STLB,
    TR,
    UAA,
    WF,
    WRITE,
    AccessError,
    Mmu,
    Processor,
    R,
    V,
    W,
    X,
)
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st

KIB8 = 2 << 8
RIGHTS = R | W | X


def words(va: int, pa: int, tag: int = V | SG, data: int = KIB8 | RIGHTS) -> int:
    return (va | tag) << 32 | pa | data


def faults(mmu: Mmu, va: int, access: str = READ, supervisor: bool = True) -> int:
    with pytest.raises(AccessError) as refused:
        mmu.translate(va, access, supervisor)
    return refused.value.status


@pytest.fixture
def processor() -> Processor:
    return Processor(lambda va: words(va & -8192, 0x100_0000 + (va & -8192)))


@pytest.mark.parametrize(("size", "bytes"), [(0, 1 << 20), (1, 4 << 10), (2, 8 << 10), (3, 1 << 10)])
def test_a_page_of_each_size(processor: Processor, size: int, bytes: int) -> None:
    """Table 5-10: of the tag those bits count that lie above the page's size."""
    processor.load(words(0x4030_0000, 0x0120_0000, data=size << 8 | RIGHTS))
    mmu = processor.mmu
    assert mmu.translate(0x4030_0000) == 0x0120_0000
    assert mmu.translate(0x4030_0000 + bytes - 1) == 0x0120_0000 + bytes - 1
    assert faults(mmu, 0x4030_0000 + bytes) == faults(mmu, 0x4030_0000 - 1) == 0b1110
    assert mmu.read(AR) == 0x4030_0000 - 1, "MMUAR has the address"


def test_rights_and_what_the_stack_frame_says(processor: Processor) -> None:
    """Table 3-22: fault status of misses and of what is not permitted, for instructions and data."""
    mmu = processor.mmu
    assert [faults(mmu, 0x6000, each) for each in (FETCH, READ, WRITE)] == [0b0101, 0b1110, 0b1010]
    for tlb in (0, ITLB):
        processor.load(words(0x6000, 0x8000, data=KIB8 | SP), ACC | UAA | tlb)
    assert [faults(mmu, 0x6000, each) for each in (FETCH, READ, WRITE)] == [0b0100, 0b1101, 0b1001]
    assert mmu.read(SR) == WF
    processor.forget(0x6000)
    processor.load(words(0x6000, 0x8000, data=KIB8 | SP | R))
    assert mmu.translate(0x6000) == 0x8000
    assert faults(mmu, 0x6000, supervisor=False) == 0b1101 and mmu.read(SR) & (SPF | RF) == SPF | RF


def test_instructions_and_data_have_TLBs_of_their_own(processor: Processor) -> None:
    processor.load(words(0x6000, 0x8000), ACC | UAA | ITLB)
    assert processor.mmu.translate(0x6000, FETCH) == 0x8000
    assert faults(processor.mmu, 0x6000) == 0b1110
    assert not processor.mmu.entries[0].data & (R | W), "R and W of an entry of instructions read as 0"


def test_address_spaces(processor: Processor) -> None:
    """Table 5-5 and MMUTR's SG: an entry is of one address space, or shared; with ASM the supervisor's is 0."""
    mmu = processor.mmu
    processor.load(words(0x6000, 0x8000, V | 7 << 2))
    assert faults(mmu, 0x6000) == 0b1110
    mmu.asid = 7
    assert mmu.translate(0x6000) == mmu.translate(0x6000, supervisor=False) == 0x8000
    mmu.write(CR, EN | ASM)
    assert faults(mmu, 0x6000) == 0b1110 and mmu.translate(0x6000, supervisor=False) == 0x8000
    processor.load(words(0xA000, 0xC000, V | SG))
    assert mmu.translate(0xA000) == mmu.translate(0xA000, supervisor=False) == 0xC000


def test_search_read_and_write_by_address(processor: Processor) -> None:
    """MMUOR: STLB finds an entry, or the one to replace; ADR takes MMUAR for an entry's number; AA is 16 bits up."""
    mmu = processor.mmu
    mmu.write(AR, 40)
    mmu.write(TR, 0x2_0000 | V)
    mmu.write(DR, 0x4_0000 | KIB8 | R)
    mmu.write(OR, ACC | ADR)
    assert mmu.translate(0x2_0000) == 0x4_0000
    mmu.write(AR, 0x2_1000)
    mmu.write(OR, STLB)
    assert mmu.read(SR) & HIT and mmu.read(OR) >> 16 == 40
    mmu.write(TR, 0)
    mmu.write(OR, ACC | RW)
    assert (mmu.read(TR), mmu.read(DR)) == (0x2_0000 | V, 0x4_0000 | KIB8 | R)
    mmu.write(AR, 0x3_0000)
    mmu.write(OR, STLB)
    assert not mmu.read(SR) & HIT and mmu.read(OR) >> 16 == ENTRIES, "the lowest that is empty"
    processor.forget(0x2_0000)
    assert faults(mmu, 0x2_0000) == 0b1110


def test_what_clears(processor: Processor) -> None:
    """CNL and CAS leave locked entries, CA does not; CAS leaves other address spaces."""
    mmu = processor.mmu
    processor.load(words(0x2000, 0x2000, data=KIB8 | RIGHTS | LK))
    processor.load(words(0x4000, 0x4000, V | 1 << 2))
    processor.load(words(0x6000, 0x6000, V | 2 << 2))
    processor.load(words(0x8000, 0x8000))
    mmu.asid = 1
    mmu.write(OR, CAS)
    valid = [each.tag & -8192 for each in mmu.entries if each.tag & V]
    assert valid == [0x2000, 0x6000, 0x8000]
    mmu.write(OR, CNL)
    assert [each.tag & -8192 for each in mmu.entries if each.tag & V] == [0x2000] and mmu.locked == 1
    mmu.write(OR, CA)
    assert not any(each.tag & V for each in mmu.entries)


def test_replacement_without_locks(processor: Processor) -> None:
    """5.6.2: the lowest empty entry; when all are valid, of two halves the one that was used less recently."""
    for page in range(ENTRIES):
        processor.access(page << 13)
        assert processor.mmu.entries[ENTRIES + page].tag >> 13 == page
    processor.access(5 << 13)  # entries 0 to 15 are the more recent half now
    processor.access(100 << 13)
    assert processor.mmu.entries[ENTRIES + 16].tag >> 13 == 100, "of 16 to 31 the oldest is the first"
    processor.access(101 << 13)
    assert processor.mmu.entries[ENTRIES + 8].tag >> 13 == 101, "in 0 to 15, the half without 5"


@settings(max_examples=30 * EFFORT)
@given(st.lists(st.integers(0, 80), max_size=300), st.sets(st.integers(0, ENTRIES - 1), max_size=ENTRIES - 1))
def test_a_locked_entry_stays_and_misses_are_counted(pages: list[int], locked: set[int]) -> None:
    """MMUOR's AA: the MMU never picks a locked entry. A page that is loaded maps what it was loaded with."""
    loads = 0

    def handler(va: int) -> int:
        nonlocal loads
        loads += 1
        return words(va & -8192, (va & -8192) + 0x100_0000)

    processor = Processor(handler)
    for number in locked:
        processor.mmu.write(AR, ENTRIES + number)
        processor.load(words(0x4000_0000 + (number << 13), number << 13, data=KIB8 | RIGHTS | LK), ACC | ADR)
    for page in pages:
        assert processor.access(page << 13 | 5) == (page << 13 | 5) + 0x100_0000
        number = processor.mmu._find(ENTRIES, page << 13, supervisor=True)
        assert number is not None and number - ENTRIES not in locked
    assert processor.mmu.misses == loads >= len(set(pages)) and processor.mmu.locked == len(locked)
    for number in locked:
        assert processor.access(0x4000_0000 + (number << 13)) == number << 13
    assert processor.mmu.misses == loads
    if len(set(pages)) + len(locked) <= ENTRIES:
        assert loads == len(set(pages)), "where all fits, each page misses once"
