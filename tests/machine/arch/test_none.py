"""The format of no page tables: nothing in it maps, and a page is as large as the kernel around says."""

from kernmalloc.machine.arch import ARCHES, ATTRIBUTE_NAMES, FORMATS, TARGETS

FORMAT = FORMATS["none"]


def test_it_is_no_format_of_tables() -> None:
    assert not FORMAT.has_tables and all(each.has_tables for each in FORMATS.values() if each is not FORMAT)
    assert ARCHES["none"].target is None and "none" not in TARGETS


def test_no_entry_leads_anywhere() -> None:
    bits = ("address", "present", "write_mask", "used", "large_mask", "root", "table", "user_root", "user_table")
    assert not any(getattr(FORMAT, name) for name in (*bits, "leaf", "large", "page", "cache_mask", "user_end"))


def test_a_large_page_is_a_page() -> None:
    assert FORMAT.large_page == 1 << FORMAT.page_shift == 4096
    assert FORMAT.root_shift == FORMAT.page_shift


def test_devices_are_cached_as_whoever_maps_them_likes() -> None:
    assert len(FORMAT.caching) == len(ATTRIBUTE_NAMES) and None not in FORMAT.caching
