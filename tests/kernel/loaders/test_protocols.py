"""Every protocol: whatever map a loader has, in its form, gives that map's ranges and what the loader has taken."""

import struct

import loader_maps as made
import pytest
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_maps import AT, COMMAND, M64, MODULES, MORE, NAMES, TABLE, Reader, united

from kernmalloc.kernel.loaders.found import (
    RANGE_IMAGE,
    RANGE_INITRD,
    RANGE_NVRAM,
    RANGE_RAM,
    RANGE_RESERVED,
    RANGE_ROM,
    RANGE_SOFT,
    RANGE_TABLE,
)
from kernmalloc.lang.status import BAD_MAP, NO_ROOM, OK, UNREADABLE

LIMIT = 1 << 63
SPAN = st.one_of(
    st.integers(0, 1 << 12).map(lambda n: n << 12), st.integers(0, M64), st.sampled_from([0, 1, LIMIT - 1])
)
RAM = (0x100000, 0x7F00000, 1)  # in every map, so that there is RAM
MAPS = st.lists(st.tuples(SPAN, SPAN, st.integers(0, 20)), max_size=12).map(lambda rows: [RAM, *rows])
E820 = {1: RANGE_RAM, 3: RANGE_NVRAM, 4: RANGE_NVRAM, 7: RANGE_NVRAM, 12: RANGE_NVRAM}
HALF = st.integers(0, (1 << 32) - 1)


@pytest.fixture(scope="module")
def reader():
    reader = Reader()
    yield reader
    reader.close()


def possible(base: int, size: int) -> bool:
    """Whether a range of bytes can be: not empty, and below 2^63."""
    return size > 0 and base + size < LIMIT


def kept(rows, kinds, default=RANGE_RESERVED):
    """The ranges that are expected of a map."""
    return [(base, size, kinds.get(type, default)) for base, size, type in rows if possible(base, size)]


def told(reader: Reader, *kinds: int) -> list:
    """The ranges found, of some kinds or all."""
    return [row for row in reader.rows if not kinds or row[2] in kinds]


def places(reader: Reader) -> dict[int, int]:
    """What of the loader's is taken: how long what begins at each place is."""
    return {base: size for base, size, kind in reader.rows if kind == RANGE_TABLE}


MAP_KINDS = RANGE_RAM, RANGE_SOFT, RANGE_RESERVED, RANGE_NVRAM, RANGE_ROM
MODULE_LISTS = st.lists(st.tuples(HALF, HALF), max_size=4)


@settings(max_examples=60 * EFFORT)
@given(MAPS, MODULE_LISTS, st.sampled_from([0, 4, 8, 20]))
def test_multiboot(reader, rows, modules, extra):
    assert reader.read("multiboot", made.multiboot(rows, modules, extra), AT) == OK
    assert told(reader, *MAP_KINDS) == kept(rows, E820)
    assert told(reader, RANGE_INITRD) == [(a, b - a, RANGE_INITRD) for a, b in modules if a < b]
    taken = places(reader)
    assert (taken[AT], taken[COMMAND], taken[NAMES], taken[TABLE]) == (116, 6, 5, len(rows) * (24 + extra))
    assert taken.get(MODULES, 0) == 16 * len(modules)
    bad = sum(not possible(base, size) for base, size, _ in rows) + sum(a >= b for a, b in modules)
    assert reader.dropped == bad


@settings(max_examples=60 * EFFORT)
@given(MAPS, MODULE_LISTS, st.sampled_from([24, 32, 40]))
def test_multiboot2(reader, rows, modules, stride):
    tags = [made.tag(3, struct.pack("<II", *module) + b"initrd\0") for module in modules]
    pieces = made.multiboot2(made.tag(1, b"quiet\0"), *tags, made.multiboot2_map(rows, stride))
    assert reader.read("multiboot2", pieces, AT) == OK
    assert told(reader, *MAP_KINDS) == kept(rows, E820)
    assert told(reader, RANGE_INITRD) == [(a, b - a, RANGE_INITRD) for a, b in modules if a < b]
    assert places(reader) == {AT: len(pieces[AT])}


@settings(max_examples=60 * EFFORT)
@given(MAPS, st.lists(st.tuples(SPAN, SPAN), max_size=3))
def test_pvh(reader, rows, modules):
    assert reader.read("pvh", made.pvh(rows, modules), AT) == OK
    assert told(reader, *MAP_KINDS) == kept(rows, E820)
    modules = [(*module, 0) for module in modules]
    assert told(reader, RANGE_INITRD) == kept(modules, {0: RANGE_INITRD})
    taken = places(reader)
    assert (taken[AT], taken[COMMAND], taken[TABLE]) == (56, 13, 24 * len(rows))


@settings(max_examples=60 * EFFORT)
@given(MAPS, MAPS, st.tuples(SPAN, SPAN))
def test_linux(reader, rows, more, ramdisk):
    """E820's table, its continuation in the list, and a ramdisk above 4 GiB."""
    assert reader.read("linux", made.linux(rows, more, ramdisk), AT) == OK
    assert told(reader, *MAP_KINDS) == kept([*rows, *more], E820)
    assert told(reader, RANGE_INITRD) == kept([(*ramdisk, 0)], {0: RANGE_INITRD})
    assert places(reader) == {AT: 4096, COMMAND: 14, MORE: 16 + 20 * len(more)}


EFI = dict.fromkeys((1, 2, 3, 4, 7), RANGE_RAM) | dict.fromkeys((9, 10, 14), RANGE_NVRAM)
DESCRIPTORS = st.lists(
    st.tuples(
        st.integers(0, 20),
        SPAN,
        st.one_of(st.integers(0, 1 << 20), st.integers(0, M64)),
        st.sampled_from([15, 1 << 18]),
    ),
    max_size=12,
).map(lambda rows: [(7, 0x100000, 0x7F00, 15), *rows])


def of_descriptors(rows, ours=(3, 4, 7)):
    """The ranges that are expected of EFI's map; RAM of types that are not `ours` somebody has."""
    result = []
    for type, base, pages, bits in rows:
        if type == 15 or not possible(base, pages << 12):
            continue
        kind = RANGE_SOFT if type == 7 and bits >> 18 else EFI.get(type, RANGE_RESERVED)
        size = pages << 12
        result.append((base, size, kind))
        if kind == RANGE_RAM and type not in ours:
            result.append((base, size, RANGE_TABLE))
    return result


@settings(max_examples=60 * EFFORT)
@given(DESCRIPTORS, st.sampled_from([40, 48, 56, 44]))
def test_efi(reader, rows, stride):
    """Any stride; boot services' memory is RAM, the loader's is taken, memory to be accepted first is left out."""
    data = made.efi(rows, stride)
    assert reader.read("efi", {AT: data}, AT, len(data), stride) == OK
    assert united(reader.rows) == united([(AT, len(data), RANGE_TABLE), *of_descriptors(rows)])
    assert len(reader.rows) <= 1 + len(of_descriptors(rows))


@given(DESCRIPTORS, st.booleans())
def test_efi_by_multiboot2(reader, rows, runs):
    """While boot services run, what they have is theirs."""
    tags = [made.tag(18, b"")] if runs else []
    pieces = made.multiboot2(*tags, made.tag(17, struct.pack("<II", 48, 1) + made.efi(rows)))
    assert reader.read("multiboot2", pieces, AT) == OK
    assert united(reader.rows[1:]) == united(of_descriptors(rows, ours=(7,) if runs else (3, 4, 7)))


def test_entries_of_efi_that_touch_are_one(reader):
    """Also where somebody has them; but not with what an earlier call found, nor across what is between."""
    ram, boot, loader, special = (7, 15), (4, 15), (2, 15), (7, 1 << 18)
    entries = [ram, boot, ram, loader, loader, ram, special, special, ram]
    data = made.efi((type, 0x100000 + (i << 12), 1, bits) for i, (type, bits) in enumerate(entries))
    assert reader.read("efi", {AT: data}, AT, len(data), 48) == OK
    assert reader.rows[1:] == [
        (0x100000, 0x6000, RANGE_RAM),
        (0x103000, 0x2000, RANGE_TABLE),
        (0x106000, 0x2000, RANGE_SOFT),
        (0x108000, 0x1000, RANGE_RAM),
    ]
    more = made.efi([(7, 0x109000, 1, 15)])
    assert reader.read("efi", {AT: data, MORE: more}, AT, len(data), 48) == OK
    assert reader.more("efi", MORE, 48, 48) == OK
    assert reader.rows[4:] == [
        (0x108000, 0x1000, RANGE_RAM),
        (MORE, 48, RANGE_TABLE),
        (0x109000, 0x1000, RANGE_RAM),
    ]


LIMINE = {0: RANGE_RAM, 2: RANGE_NVRAM, 3: RANGE_NVRAM, 5: RANGE_RAM, 6: RANGE_RAM}


@settings(max_examples=60 * EFFORT)
@given(MAPS.map(lambda rows: [(0x100000, 0x7F00000, 0), *rows[1:]]))
def test_limine(reader, rows):
    assert reader.read("limine", made.limine(rows, 0), AT) == OK
    expected = []
    for row in rows:
        expected += kept([row], LIMINE)
        if row[2] in (5, 6):
            expected += kept([row], {5: RANGE_TABLE, 6: RANGE_IMAGE})
    assert united(reader.rows) == united(expected)


def test_a_map_is_read_in_the_high_half():
    """Pointers of Limine are virtual; the ranges are where they are told to be put."""
    reader = Reader("raw")
    try:
        rows = [(0x100000, 0x7F00000, 0), (0x8000000, 0x1000, 6)]
        direct = reader.life.phys
        assert reader.read("limine", made.limine(rows, direct), direct + AT) == OK
        assert reader.rows == [
            (0x100000, 0x7F01000, RANGE_RAM),
            (0x8000000, 0x1000, RANGE_IMAGE),
        ]
        assert reader.more("limine", -4096) == UNREADABLE
        assert reader.more("limine", AT) == UNREADABLE
    finally:
        reader.close()


STRUCTURES = {
    "multiboot": (made.multiboot([RAM, (1 << 32, 1 << 32, 1)], [(0x800000, 0x900000)]), (AT,)),
    "multiboot2": (
        made.multiboot2(
            made.tag(3, struct.pack("<II", 0x800000, 0x900000)),
            made.tag(
                9, struct.pack("<III", 2, 40, 0) + bytes(40) + struct.pack("<10I", 1, 3, 0, 0x700000, 0, 99, 0, 0, 0, 0)
            ),
            made.multiboot2_map([RAM]),
        ),
        (AT,),
    ),
    "limine": (made.limine([(0x100000, 0x7F00000, 0), (0x9000000, 0x1000, 5)], 0), (AT,)),
    "efi": ({AT: made.efi([(7, 0x100000, 0x7F00, 15), (2, 0x9000000, 1, 15)])}, (AT, 96, 48)),
    "pvh": (made.pvh([RAM], [(0x800000, 0x1000)]), (AT,)),
    "linux": (made.linux([RAM], [(1 << 32, 1 << 32, 1)], (0x800000, 0x1000)), (AT,)),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_all_or_nothing(reader, name):
    """However little room there is, or can be read, an entry adds all that it finds or leaves the map as it was."""
    pieces, args = STRUCTURES[name]
    assert reader.read(name, pieces, *args) == OK
    whole = reader.rows
    for room in range(len(whole)):
        reader.clear(room + 1)
        assert reader.more("add", 0, 1 << 12, RANGE_IMAGE) == OK
        assert reader.more(name, *args) == NO_ROOM
        assert reader.rows == [(0, 1 << 12, RANGE_IMAGE)]
    end = max(pa + len(data) for pa, data in pieces.items())
    for reach in (0, *(pa + some for pa, data in pieces.items() for some in (0, len(data) - 1))):
        assert reader.read(name, pieces, *args, reach=reach) == UNREADABLE, reach
        assert reader.rows == []
    assert reader.read(name, pieces, *args, reach=end) == OK
    assert reader.rows == whole
    assert reader.more(name, *args) == OK
    assert reader.rows == whole * 2


@pytest.mark.parametrize("name", STRUCTURES)
@settings(max_examples=60 * EFFORT)
@given(data=st.data())
def test_what_is_damaged_is_refused_or_read(reader, name, data):
    """Any bytes in place of some: a status, or ranges that can be, and never an access beyond what can be read, which
    the twin refuses."""
    pieces, args = STRUCTURES[name]
    damaged = {pa: bytearray(piece) for pa, piece in pieces.items()}
    for _ in range(data.draw(st.integers(1, 3))):
        piece = damaged[data.draw(st.sampled_from([pa for pa, piece in damaged.items() if piece]))]
        at = data.draw(st.integers(0, len(piece) - 1))
        new = data.draw(
            st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, bytes(4), bytes(8)]))
        )
        piece[at : at + len(new)] = new[: len(piece) - at]
    status = reader.read(name, {pa: bytes(piece) for pa, piece in damaged.items()}, *args)
    assert status in (OK, BAD_MAP, NO_ROOM, UNREADABLE)
    assert (status == OK) == any(kind == RANGE_RAM for _, _, kind in reader.rows)
    assert all(base >= 0 and possible(base, size) for base, size, _ in reader.rows)


def changed(pieces, at, form, *values):
    """A structure with other numbers at a place."""
    base = max(pa for pa in pieces if pa <= at)
    data = bytearray(pieces[base])
    struct.pack_into(form, data, at - base, *values)
    return pieces | {base: bytes(data)}


TAGS = made.multiboot2(made.multiboot2_map([RAM]))
BAD = {
    "an entry of 19 bytes": ("multiboot", changed(made.multiboot([RAM]), TABLE, "<I", 19), (AT,)),
    "a map that ends in an entry": ("multiboot", changed(made.multiboot([RAM]), AT + 44, "<I", 23), (AT,)),
    "neither map nor sizes": ("multiboot", changed(made.multiboot([RAM]), AT, "<I", 4), (AT,)),
    "no RAM": ("multiboot", made.multiboot([(0, 1 << 20, 2)]), (AT,)),
    "too many modules": ("multiboot", changed(made.multiboot([RAM]), AT + 20, "<I", 1 << 31), (AT,)),
    "sections of 41 bytes": ("multiboot", changed(made.multiboot([RAM]), AT, "<8I", 96, 0, 0, 0, 0, 0, 0, 1), (AT,)),
    "a text without an end": ("multiboot", made.multiboot([RAM]) | {COMMAND: b"x" * 5000}, (AT,)),
    "a tag of 7 bytes": ("multiboot2", changed(TAGS, AT + 12, "<I", 7), (AT,)),
    "a tag beyond the end": ("multiboot2", changed(TAGS, AT + 12, "<I", 1 << 20), (AT,)),
    "tags without an end": ("multiboot2", changed(TAGS, AT, "<I", len(TAGS[AT]) - 8), (AT,)),
    "an entry of 8 bytes": ("multiboot2", changed(TAGS, AT + 16, "<I", 8), (AT,)),
    "nothing": ("multiboot2", made.multiboot2(), (AT,)),
    "many sections": (
        "multiboot2",
        made.multiboot2(made.multiboot2_map([RAM]), made.tag(9, struct.pack("<III", 99, 64, 0))),
        (AT,),
    ),
    "a short module": ("multiboot2", made.multiboot2(made.multiboot2_map([RAM]), made.tag(3, bytes(4))), (AT,)),
    "a stride of 39 bytes": ("efi", {AT: made.efi([(7, 0, 9, 0)])}, (AT, 48, 39)),
    "a length below 0": ("efi", {AT: made.efi([(7, 0, 9, 0)])}, (AT, -1, 48)),
    "a map longer than any": ("efi", {AT: made.efi([(7, 0, 9, 0)])}, (AT, 1 << 40, 48)),
    "too many entries": ("limine", changed(made.limine([(0, 1, 0)], 0), AT + 8, "<Q", 1 << 40), (AT,)),
    "no magic": ("pvh", changed(made.pvh([RAM]), AT, "<I", 1), (AT,)),
    "version 0": ("pvh", made.pvh([RAM], version=0), (AT,)),
    "a page of zeros": ("linux", {AT: bytes(4096)}, (AT,)),
    "129 entries": ("linux", changed(made.linux([RAM]), AT + 0x1E8, "<B", 129), (AT,)),
    "a list that leads to itself": ("linux", changed(made.linux([RAM], [RAM]), MORE, "<QII", MORE, 9, 0), (AT,)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_refused(reader, name):
    protocol, pieces, args = BAD[name]
    assert reader.read(protocol, pieces, *args, room=300 if "itself" in name else made.ROOM) == BAD_MAP
    assert reader.rows == []


def test_sizes_stand_for_a_map(reader):
    """Multiboot's mem_lower and mem_upper, Linux's alt_mem_k and ext_mem_k: KiB."""
    ram = [(0, 639 << 10, RANGE_RAM), (1 << 20, 100 << 20, RANGE_RAM)]
    pieces = {AT: struct.pack("<III", 1, 639, 100 << 10).ljust(116, b"\0")}
    assert reader.read("multiboot", pieces, AT) == OK
    assert told(reader, RANGE_RAM) == ram
    pieces = made.multiboot2(made.tag(4, struct.pack("<II", 639, 100 << 10)))
    assert reader.read("multiboot2", pieces, AT) == OK
    assert told(reader, RANGE_RAM) == ram
    for at, form, count in ((AT + 0x1E0, "<I", 100 << 10), (AT + 2, "<H", 50 << 10)):
        assert reader.read("linux", changed(made.linux([]), at, form, count), AT) == OK
        assert told(reader, RANGE_RAM) == [(0, 0x9F000, RANGE_RAM), (1 << 20, count << 10, RANGE_RAM)]


def test_sections_beside_the_image_are_taken(reader):
    """Those of the image, those without contents and those that are nowhere are not."""

    def header(wide, type, flags, base, size):
        form = "<IIQQQQIIQQ" if wide else "<IIIIIIIIII"
        return struct.pack(form, 0, type, flags, base, 0, size, 0, 0, 0, 0)

    rows = ((1, 2, 0xC0100000, 9), (8, 0, 0x600000, 9), (3, 0, 0, 9), (2, 0, 0x700000, 0x120), (3, 0, 0x710000, 99))
    taken = {0x700000: 0x120, 0x710000: 99}
    for wide in (False, True):
        table = b"".join(header(wide, *row) for row in rows)
        stride = 64 if wide else 40
        pieces = made.multiboot2(made.multiboot2_map([RAM]), made.tag(9, struct.pack("<III", 5, stride, 4) + table))
        assert reader.read("multiboot2", pieces, AT) == OK
        assert places(reader) == {AT: len(pieces[AT])} | taken
        pieces = changed(made.multiboot([RAM]), AT, "<I", 1 << 5 | 1 << 6)
        pieces = changed(pieces, AT + 28, "<IIII", 5, stride, MORE, 4) | {MORE: table}
        assert reader.read("multiboot", pieces, AT) == OK
        assert places(reader) == {AT: 116, TABLE: 24, MORE: len(table)} | taken


def test_what_setup_data_leads_to_is_taken(reader):
    """A piece of another type, and one that only says where its data lie (SETUP_INDIRECT)."""
    pieces = made.linux([RAM], [RAM])
    pieces[MORE] = struct.pack("<QII", MORE + 64, 9, 5) + b"rng__"
    pieces[MORE + 64] = struct.pack("<QIIIIQQ", 0, 1 << 31, 24, 9, 0, 0x3000, 0x800000)
    assert reader.read("linux", pieces, AT) == OK
    taken = places(reader)
    assert (taken[MORE], taken[MORE + 64], taken[0x800000]) == (21, 40, 0x3000)


def test_ranges_that_the_caller_knows(reader):
    reader.clear(room=1)
    for base, size, kind in ((0, 1, 0), (0, 1, 6), (0, 1, 7), (0, 1, 12), (-1, 1, 1), (0, 0, 1), (LIMIT - 1, 1, 1)):
        assert reader.more("add", base, size, kind) == BAD_MAP
    assert reader.more("add", 0x100000, 0x80000, RANGE_IMAGE) == OK
    assert reader.more("add", 0x100000, 0x80000, RANGE_IMAGE) == NO_ROOM
    assert reader.rows == [(0x100000, 0x80000, RANGE_IMAGE)]
