"""ColdFire against the manual: MCF547x Reference Manual, 5.5.3.4 (MMUTR) and 5.5.3.5 (MMUDR)."""

from kernmalloc.machine.arch import ARCHES, FORMATS, TARGETS

FORMAT = FORMATS["coldfire"]
# MMUDR: lock 1, execute 2, write 3, read 4, supervisor 5, cache mode 7:6, size 9:8, address from 10; MMUTR: valid 0
V, X, W, R, SP = 0, 2, 3, 4, 5
CM, SZ, USED = 6, 8, 10


def test_entries_are_words_for_the_TLB() -> None:
    rights = 1 << V | 1 << X | 1 << W | 1 << R | 1 << SP
    copyback, kib8, mib1 = 1 << CM, 2 << SZ, 0 << SZ
    assert FORMAT.leaf == rights | copyback | kib8 | 1 << USED
    assert FORMAT.large == rights | copyback | mib1 | 1 << USED
    assert FORMAT.page == 1 << V | 1 << X | 1 << R | copyback | kib8, "not of the supervisor, read only"
    assert FORMAT.root == FORMAT.table == FORMAT.user_table == 1 << V, "what cannot be read leads to a table"
    assert FORMAT.user_root == 1 << V
    assert FORMAT.user_large == 1 << V | 1 << X | 1 << R | copyback | mib1 | 1 << USED
    assert FORMAT.large_mask == FORMAT.large_value == 1 << R and FORMAT.present == 1 << V
    assert FORMAT.write_mask == 1 << W and FORMAT.read_only == 0
    assert FORMAT.execute_mask == FORMAT.execute_value == FORMAT.execute_large_mask == 1 << X


def test_the_note_of_use_lies_in_address_bits_that_a_page_leaves_free() -> None:
    assert FORMAT.used == FORMAT.mask("large", ["used"]) == 1 << USED
    assert FORMAT.address == (1 << 32) - (8 << 10)


def test_how_translations_are_loaded() -> None:
    """MMUTR: valid 0, shared 1, address space 9:2. Of an entry MMUDR gets all but the valid bit and the note of use."""
    loading = FORMAT.loading
    assert loading is not None
    assert (loading.valid.mask, loading.shared.mask, loading.space.mask) == (1, 2, 0xFF << 2)
    assert FORMAT.mask("leaf", [loading.lock]) == 1 << 1
    assert FORMAT.mask("leaf", loading.data) == 0x3FC


def test_depth_and_widths() -> None:
    assert (FORMAT.va_bits, FORMAT.phys_bits, FORMAT.tlb) == (32, 32, 32)
    assert [FORMAT.root_shift, FORMAT.root_shift - 7, FORMAT.page_shift] == [27, 20, 13]
    assert (FORMAT.index_bits, FORMAT.large_page, FORMAT.entry_shift) == (7, 1 << 20, 6)
    assert (FORMAT.root_bits, FORMAT.upper_entry_shift, FORMAT.word_shift, FORMAT.group) == (5, 6, 2, 1)


def test_cache_modes_E11() -> None:
    """CM: 0 write-through, 1 copyback, 2 inhibited, precise; nothing combines writes."""
    assert FORMAT.cache_mask == 3 << CM
    assert FORMAT.cache == FORMAT.large_cache == (1 << CM, 0 << CM, 2 << CM, None)


def test_only_C_is_compiled_for_it() -> None:
    assert "coldfire" not in TARGETS and not ARCHES["coldfire"].instructions
    assert ARCHES["coldfire"].compilers[0] == ("m68k-linux-gnu", ("-mcpu=547x",))
