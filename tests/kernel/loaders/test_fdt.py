"""Device trees: the kernel makes of a tree what the reader of machines makes of it, and refuses what is damaged."""

import shutil
import struct
import subprocess
from functools import reduce

import pytest
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs.trees.test_devicetree import blob, cells, node
from loader_maps import AT, Reader, agrees

from kernmalloc.inputs import read_bytes
from kernmalloc.kernel.loaders.found import (
    RANGE_FIRMWARE,
    RANGE_INITRD,
    RANGE_RAM,
    RANGE_RESERVED,
    RANGE_TABLE,
)
from kernmalloc.kernel.loaders.names import spelled
from kernmalloc.lang.status import BAD_MAP, NO_ROOM, OK, UNREADABLE
from kernmalloc.machine.memory_map import resolve

MIB = 1 << 20
WIDTHS = st.integers(1, 3)
PLACE = st.one_of(
    st.integers(16, 40).map(lambda n: n << 20),
    st.integers(16 * MIB, 40 * MIB),
    st.integers(16, 24).map(lambda n: (n << 20) + (1 << 32)),
)
SIZE = st.one_of(st.just(0), st.integers(1, 6).map(lambda n: n << 20), st.integers(0, 6 * MIB))
PAIRS = st.lists(st.tuples(PLACE, SIZE), max_size=3)
SOME = st.lists(st.tuples(PLACE, st.integers(1, 6 * MIB)), min_size=1, max_size=3)
STATUS = st.sampled_from([None, None, None, "okay", "ok", "disabled"])
BANK = 16 * MIB, 24 * MIB


@pytest.fixture(scope="module")
def reader():
    reader = Reader()
    yield reader
    reader.close()


def pairs(rows, address: int, size: int) -> list[int]:
    """Pairs of address and size in cells."""
    return [cell for base, length in rows for cell in cells((base, address), (length, size))]


def given_by(**properties):
    """The properties that are something, as `node` takes them."""
    return {name: value for name, value in properties.items() if value not in (None, [])}


@st.composite
def trees(draw) -> bytes:
    """A tree with memory, and whatever says that some of it is not the kernel's."""
    address, size = draw(WIDTHS), draw(WIDTHS)
    parts = [node("memory", reg=pairs([BANK], address, size))] if draw(st.integers(0, 7)) < 7 else []
    for number in range(draw(st.integers(0, 2))):
        name, kind = draw(
            st.sampled_from([("memory", None), ("memory", "memory"), ("bank", "memory"), ("bank", "soc")])
        )
        usable = draw(PAIRS) if draw(st.booleans()) else []
        told = given_by(
            device_type=kind, status=draw(STATUS), reg=pairs(draw(PAIRS), address, size),
            linux_usable_memory=pairs(usable, address, size),
        )  # fmt: skip
        parts.append(node(f"{name}@{number}", node("memory", reg=[0, 1 << 30]), **told))
    own_address, own_size = (address, size) if draw(st.booleans()) else (draw(WIDTHS), draw(WIDTHS))
    children = []
    for number in range(draw(st.integers(1, 3))):
        told = given_by(status=draw(STATUS), reg=pairs(draw(SOME | PAIRS), own_address, own_size))
        flag = draw(st.sampled_from([None, "no_map", "reusable"]))
        children.append(node(f"part@{number}", **told, **({flag: b""} if flag else {})))
    several = st.lists(st.tuples(st.sampled_from([0, 16 * MIB, 20 * MIB]), PLACE, SIZE | PLACE), min_size=1, max_size=3)
    windows = draw(st.one_of(st.just(b""), st.just(b""), several, st.none()))
    if isinstance(windows, list):
        windows = [
            cell
            for here, above, length in windows
            for cell in cells((here, own_address), (above, address), (length, own_size))
        ]
    parts.append(
        node(
            draw(st.sampled_from([*["reserved-memory"] * 5, "reserved-memory@1"])), *children,
            __address_cells=own_address, __size_cells=own_size,
            **({} if windows is None else {"ranges": windows}), **given_by(status=draw(STATUS)),
        )
    )  # fmt: skip
    start, end = draw(PLACE), draw(PLACE)
    chosen = given_by(linux_usable_memory_range=pairs(draw(st.just([]) | PAIRS), address, size))
    if draw(st.booleans()):
        wide = draw(st.sampled_from([1, 2]))
        chosen |= {"linux_initrd_start": cells((start, wide)), "linux_initrd_end": cells((end, wide))}
    parts.append(node(draw(st.sampled_from(["chosen", "chosen", "chosen@0"])), bootargs="quiet", **chosen))
    parts.append(node("soc", node("memory", reg=[0, 1 << 20]), __address_cells=1, __size_cells=1, ranges=b""))
    reserved = draw(PAIRS.map(lambda rows: [row for row in rows if row != (0, 0)]))
    return blob(*draw(st.permutations(parts)), address=address, size=size, reserved=reserved)


def read(reader: Reader, data: bytes, **more: int) -> int:
    return reader.read("fdt", {AT: data}, AT, **more)


@settings(max_examples=120 * EFFORT, deadline=None)
@given(trees())
def test_the_kernel_reads_as_the_reader_of_machines_does(reader, data):
    """Memory, reserved memory, no-map, usable ranges, ramdisk and reservations, in cells of every width."""
    machine = resolve(read_bytes(data, "board.dtb")[0], devices_only=True)
    assert read(reader, data) in ((OK,) if machine.ram else (OK, BAD_MAP))
    agrees(reader, machine)


BOARD = blob(
    node("memory@80000000", device_type="memory", reg=[0, 0x80000000, 0, 0x8000000]),
    node("memory@100000000", device_type="memory", reg=[1, 0, 1, 0]),
    node(
        "reserved-memory",
        node("fw@80000000", reg=[0, 0x80000000, 0, 0x80000], no_map=b""),
        node("cma", size=[0, 0x1000000], reusable=b""),
        node("pool@84000000", reg=[0, 0x84000000, 0, 0x100000], reusable=b""),
        __address_cells=2,
        __size_cells=2,
        ranges=b"",
    ),
    node("chosen", linux_initrd_start=[0x82000000], linux_initrd_end=[0x82400001]),
    address=2,
    size=2,
    reserved=[(0x83000000, 0x1000)],
)


def test_a_board(reader):
    assert read(reader, BOARD) == OK
    assert reader.rows == [
        (AT, len(BOARD), RANGE_TABLE),
        (0x83000000, 0x1000, RANGE_FIRMWARE),
        (0x80000000, 0x8000000, RANGE_RAM),
        (1 << 32, 1 << 32, RANGE_RAM),
        (0x80000000, 0x80000, RANGE_FIRMWARE),
        (0x82000000, 0x400001, RANGE_INITRD),
    ]


def test_ram_outside_the_usable_range_is_nobodys(reader):
    chosen = node("chosen", linux_usable_memory_range=[0x2000, 0x1000, 0x5000, 0x1000, 0x8000, 0x1000])
    assert read(reader, blob(node("memory", reg=[0x1000, 0x8000]), chosen)) == OK
    assert [row for row in reader.rows if row[2] == RANGE_RESERVED] == [
        (0x1000, 0x1000, RANGE_RESERVED),
        (0x3000, 0x2000, RANGE_RESERVED),
        (0x6000, 0x3000, RANGE_RESERVED),
    ]


def test_of_windows_that_hold_an_address_the_last_leads_on(reader):
    """As the reader of machines has it: the one that begins highest; of those that begin alike, the one that leads
    highest. An address above its end leads nowhere."""
    windows = ((0x2000, 0x20000, 0x1000), (0x1000, 0x30000, 0x8000), (0x2000, 0x50000, 0x1000), (0, 0x10000, 0x10000))
    starts = (0x800, 0x1800, 0x2800, 0x3800, 0xF000)
    parts = [node(f"part@{start}", reg=[start, 0x100]) for start in starts]
    ranges = [cell for window in windows for cell in window]
    data = blob(
        node("memory", reg=[0, 0x100000]),
        node("reserved-memory", *parts, ranges=ranges, __address_cells=1, __size_cells=1),
    )
    assert read(reader, data) == OK
    assert [base for base, _, kind in reader.rows if kind == RANGE_FIRMWARE] == [0x10800, 0x30800, 0x50800]
    agrees(reader, resolve(read_bytes(data, "board.dtb")[0]))


def test_all_or_nothing(reader):
    for room in range(6):
        assert read(reader, BOARD, room=room) == NO_ROOM
        assert reader.rows == []
    for reach in (AT, AT + 39, AT + len(BOARD) - 1):
        assert read(reader, BOARD, reach=reach) == UNREADABLE
    assert read(reader, BOARD, room=6, reach=AT + len(BOARD)) == OK


def patched(at: int, *words: int) -> bytes:
    """The board with other words at a place."""
    data = bytearray(BOARD)
    struct.pack_into(f">{len(words)}I", data, at, *words)
    return bytes(data)


STRUCTURE, STRINGS, RESERVED = struct.unpack_from(">III", BOARD, 8)
BAD = {
    "another magic number": patched(0, 0xD00DFEEE),
    "a length that none has": patched(4, 39),
    "longer than any": patched(4, 3 << 20),
    "a structure at an odd place": patched(8, STRUCTURE + 2),
    "a structure beyond the end": patched(8, 1 << 31),
    "strings beyond the end": patched(12, 1 << 31),
    "reservations beyond the end": patched(16, len(BOARD)),
    "an old version": patched(20, 3, 1),
    "a version to come": patched(24, 18),
    "no token": patched(STRUCTURE, 7),
    "a property of no node": patched(STRUCTURE, 4, 4, 3, 0, 0),
    "an end of no node": patched(STRUCTURE, 2),
    "nothing at all": patched(STRUCTURE, 9),
    "a property beyond the end": patched(STRUCTURE + 12, 1 << 31),
    "no memory": blob(node("cpus")),
    "memory of which the loader has to say how much": blob(node("memory", reg=[0x80000000, 0])),
    "nodes in nodes": blob(reduce(lambda inner, _: node("n", inner), range(66), node("n"))),
    "many windows": blob(
        node("memory", reg=[0, MIB]),
        node("reserved-memory", ranges=[0] * 17 * 3, __address_cells=1, __size_cells=1),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_refused(reader, name):
    assert read(reader, BAD[name]) == BAD_MAP
    assert reader.rows == []


def test_a_tree_at_an_odd_place_is_refused(reader):
    assert reader.read("fdt", {AT + 2: BOARD}, AT + 2) == BAD_MAP


@settings(max_examples=120 * EFFORT, deadline=None)
@given(st.data())
def test_what_is_damaged_is_refused_or_read(reader, data):
    """Any bytes in place of some: a status, or ranges that can be, and never an access beyond what can be read."""
    damaged = bytearray(BOARD)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(BOARD) - 1))
        new = data.draw(st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, bytes(4)])))
        damaged[at : at + len(new)] = new[: len(BOARD) - at]
    status = read(reader, bytes(damaged))
    assert status in (OK, BAD_MAP, NO_ROOM, UNREADABLE)
    assert (status == OK) == any(kind == RANGE_RAM for _, _, kind in reader.rows)


def test_names_have_numbers_of_their_own():
    """No two names that are looked for, or that stand beside these in trees, have one number."""
    known = {
        *("#address-cells", "#size-cells", "reg", "ranges", "status", "device_type", "reusable", "memory", "chosen"),
        *("reserved-memory", "linux,usable-memory", "linux,usable-memory-range", "linux,initrd-start"),
        *(
            "linux,initrd-end",
            "ok",
            "okay",
            "",
            "no-map",
            "size",
            "alignment",
            "alloc-ranges",
            "compatible",
            "bootargs",
        ),
        *("linux,elfcorehdr", "linux,cma-default", "linux,dma-default", "memory-region", "dma-ranges", "disabled"),
    }
    assert len({spelled(name) for name in known}) == len(known)


@pytest.mark.parametrize(
    "command, name",
    [
        ("qemu-system-riscv64 -machine virt -smp 4", "riscv64"),
        ("qemu-system-aarch64 -machine virt,secure=on -cpu cortex-a57", "aarch64"),
        ("qemu-system-arm -machine virt", "armv7"),
    ],
)
def test_trees_that_qemu_makes(reader, tmp_path, command, name):
    """QEMU's own trees, with 5 GiB where the processor can have them, padded to 1 MiB as QEMU leaves them."""
    program, *options = command.split()
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    file = tmp_path / "board.dtb"
    memory = "1G" if name == "armv7" else "5G"
    options[1] += f",dumpdtb={file}"
    subprocess.run([program, *options, "-m", memory, "-display", "none"], check=True, capture_output=True)
    data = file.read_bytes()
    wide = Reader(size=4 * MIB)
    try:
        assert read(wide, data, reach=4 * MIB) == OK
        assert [row for row in wide.rows if row[2] == RANGE_RAM] == [
            (0x80000000 if name == "riscv64" else 0x40000000, (5 if memory == "5G" else 1) << 30, RANGE_RAM)
        ]
        agrees(wide, resolve(read_bytes(data, "board.dtb")[0]))
    finally:
        wide.close()
