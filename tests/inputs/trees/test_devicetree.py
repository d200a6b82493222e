"""Flattened device trees: every cell width, translation through buses, reservations, boards without memory."""

import os
import struct
from pathlib import Path

import fdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs import read_bytes
from kernmalloc.inputs.facts import Facts
from kernmalloc.inputs.sizes import Ram
from kernmalloc.inputs.trees import devicetree
from kernmalloc.machine.memory_map import Machine, UnreadableError, resolve

GIB = 1 << 30


def node(name: str, *children, **properties) -> fdt.Node:
    """A node; in names of properties "__" stands for "#", "_" for "-", "linux_" for "linux," and "zephyr_" likewise."""
    made = fdt.Node(name)
    for key, value in properties.items():
        if key != "device_type":
            key = key.replace("__", "#").replace("linux_", "linux,").replace("zephyr_", "zephyr,").replace("_", "-")
        made.set_property(key, value)
    for child in children:
        made.append(child)
    return made


def cells(*numbers: tuple[int, int]) -> list[int]:
    """(number, width) pairs as 32-bit cells."""
    return [number >> 32 * place & 0xFFFFFFFF for number, width in numbers for place in reversed(range(width))]


def blob(*children, address=1, size=1, reserved=(), **properties) -> bytes:
    tree = fdt.FDT()
    tree.header.version, tree.header.last_comp_version, tree.header.boot_cpuid_phys = 17, 16, 0
    tree.entries = [{"address": base, "size": length} for base, length in reserved]
    tree.root = node("/", *children, __address_cells=address, __size_cells=size, **properties)
    return tree.to_dtb()


def facts(*children, **more) -> Facts:
    (found,) = read_bytes(blob(*children, **more), "board.dtb")
    return found


def memory(base=0, size=GIB, widths=(1, 1), name="memory", **more):
    return node(name, device_type="memory", reg=cells((base, widths[0]), (size, widths[1])), **more)


def windows(found: Facts) -> list[tuple[str, int, int]]:
    return [(d.name, d.base, d.size) for d in found.devices]


@pytest.mark.parametrize("address, size", [(1, 1), (2, 2), (2, 1), (1, 2), (3, 2)])
def test_cells_of_every_width(address, size):
    base, length = (0x8_0000_0000, 0x1_0000_0000) if address > 1 and size > 1 else (0x8000_0000, 0x4000_0000)
    found = facts(
        memory(base, length, (address, size)),
        node("serial@1000", reg=cells((0x1000, address), (0x100, size), (0x3000, address), (0x200, size))),
        address=address,
        size=size,
        model="A board",
    )
    machine = resolve(found)
    assert (machine.name, machine.origin) == ("A board", "device tree")
    assert [(r.base, r.size) for r in machine.ram] == [(base, length)]
    assert windows(found) == [("serial@1000", 0x1000, 0x100), ("serial@1000", 0x3000, 0x200)]
    assert {(d.kind, d.status, d.bar) for d in found.devices} == {("resource", "assigned", -1)}


def test_several_banks_and_nodes():
    found = facts(
        node("memory@0", device_type="memory", reg=[0, 0x1000, 0x10000, 0x1000]),
        memory(0x20000, 0x1000),
        memory(0x30000, 0x1000, name="memory@30000", status="disabled"),
    )
    assert [(r.base, r.size) for r in found.memory] == [(0, 0x1000), (0x10000, 0x1000), (0x20000, 0x1000)]


def test_what_the_kernel_may_use_goes_before_what_there_is():
    found = facts(memory(linux_usable_memory=[0x100000, 0x200000]))
    assert [(r.base, r.size) for r in found.memory] == [(0x100000, 0x200000)]


def test_what_the_kernel_may_not_use_is_reserved():
    """As for the kernel that dumps another one's memory, and where a boot loader stays in memory."""
    chosen = node("chosen", linux_usable_memory_range=[0x100000, 0x100000, 0x30000000, 0x20000000, 0, 0x1000])
    machine = resolve(facts(chosen, memory(0, 0x10000000, name="memory@0"), memory(0x20000000, 0x20000000)))
    assert [(r.base, r.size) for r in machine.ram] == [(0x100000, 0x100000), (0x30000000, 0x10000000)]
    assert [(r.base, r.size, r.kind) for r in machine.firmware] == [
        (0, 0x100000, "reserved"),
        (0x200000, 0xFE00000, "reserved"),
        (0x20000000, 0x10000000, "reserved"),
    ]
    assert {r.name for r in machine.firmware} == {"outside linux,usable-memory-range"} and not machine.problems
    outside = facts(node("chosen", linux_usable_memory_range=[0x80000000, 0x1000]), memory(0, 0x1000))
    with pytest.raises(UnreadableError, match="a map without RAM in it"):
        resolve(outside)


def test_zephyr_says_which_registers_are_ram():
    soc = node(
        "soc",
        node("memory@20000000", compatible="mmio-sram", reg=[0x20000000, 0x40000]),
        node("memory@20040000", compatible="mmio-sram", reg=[0x20040000, 0x8000]),
        __address_cells=1,
        __size_cells=1,
        ranges=None,
    )
    machine = resolve(facts(node("chosen", zephyr_sram="/soc/memory@20000000"), soc))
    assert [(r.base, r.size) for r in machine.ram] == [(0x20000000, 0x40000)]
    assert [(d.name, d.base) for d in machine.devices] == [("memory@20040000", 0x20040000)]
    with pytest.raises(UnreadableError, match="leaves memory to the boot loader"):
        resolve(facts(node("chosen", zephyr_sram="/soc/memory@30000000"), soc))


def test_an_overlay_is_none_by_itself():
    overlay = node("fragment@0", node("__overlay__", node("uart@0", reg=[0, 0x20])), target_path="/soc")
    with pytest.raises(UnreadableError, match=r"an overlay, .* .fdtoverlay -i BOARD.dtb"):
        facts(overlay)


def test_what_was_edited_out_is_passed_over():
    """FDT_NOP stands where a property or a node was, as `fdt_nop_property` leaves it."""
    at = GOOD.index(b"serial@f0000000\0") + 16
    assert GOOD[at : at + 8] == struct.pack(">2I", 3, 8)  # its only property, reg
    data = GOOD[:at] + struct.pack(">I", 4) * 5 + GOOD[at + 20 :]
    (found,) = read_bytes(data, "board.dtb")
    assert found.memory and not found.devices


def folder_of(made: fdt.Node, folder: Path) -> Path:
    """A tree as Linux shows it in /proc/device-tree."""
    folder.mkdir()
    for each in made.props:
        (folder / each.name).write_bytes(each.to_dtb("")[0][12:] if each.to_dtb("")[0][4:8] != bytes(4) else b"")
    for each in made.nodes:
        folder_of(each, folder / each.name)
    return folder


def test_a_folder_is_read_as_the_blob(tmp_path):
    tree = fdt.parse_dtb(GOOD)
    found = Machine.read(folder_of(tree.root, tmp_path / "base"))
    expected = resolve(read_bytes(GOOD, "board.dtb")[0])
    assert (found.ram, found.devices, found.origin) == (expected.ram, expected.devices, "device tree")


def test_what_in_a_folder_is_no_tree(tmp_path):
    base = folder_of(fdt.parse_dtb(GOOD).root, tmp_path / "base")
    (base / "loop").symlink_to(base)
    (base / "secret").symlink_to("/dev/zero")
    os.mkfifo(base / "pipe")
    assert Machine.read(base).ram_bytes == GIB
    with pytest.raises(UnreadableError, match="a folder that is neither a device tree nor"):
        Machine.read(tmp_path)
    deep = base
    for _ in range(65):
        deep /= "node"
        deep.mkdir()
    with pytest.raises(UnreadableError, match="more than 64 levels of nesting"):
        Machine.read(base)


def test_reservations_are_carved_out_of_ram():
    reserved = node(
        "reserved-memory",
        node("secure@1000000", reg=[0x1000000, 0x10000], no_map=None),
        node("buffer@7f000000", reg=[0x7F000000, 0x10000]),
        node("linux,cma", size=[0x4000000], reusable=None),
        node("later", size=[0x4000000]),
        node("off@2000000", reg=[0x2000000, 0x10000], status="disabled"),
        __address_cells=1,
        __size_cells=1,
        ranges=None,
    )
    chosen = node("chosen", linux_initrd_start=[0x8000000], linux_initrd_end=[0x8100000])
    machine = resolve(facts(memory(), reserved, chosen, reserved=[(0, 0x1000)]))
    assert [(r.kind, r.base, r.size) for r in machine.carved] == [
        ("firmware", 0, 0x1000),
        ("firmware", 0x1000000, 0x10000),
        ("initrd", 0x8000000, 0x100000),
    ]
    assert machine.ignored == {"reserved but reusable": 1}
    assert not machine.devices


def test_addresses_are_translated_from_bus_to_bus():
    inner = node(
        "bus@100",
        node("adc@10", reg=[0x10, 4]),
        node("dac@200", reg=[0x200, 4]),
        __address_cells=1,
        __size_cells=1,
        ranges=[0, 0x100, 0x100],
    )
    outer = node(
        "soc",
        inner,
        node("uart@0", reg=[0, 0x20]),
        __address_cells=1,
        __size_cells=1,
        ranges=[0, *cells((0x8_0000_0000, 2)), 0x1000, 0x1000, *cells((0x9_0000_0000, 2)), 0x1000],
    )
    found = facts(memory(widths=(2, 2)), outer, address=2, size=2)
    assert windows(found) == [("uart@0", 0x8_0000_0000, 0x20), ("adc@10", 0x8_0000_0110, 4)]
    assert found.ignored == {"register of another bus": 1}  # dac@200 lies beyond the window of its bus


def test_chip_selects_are_part_of_an_address():
    bus = node(
        "localbus",
        node("flash@0,0", reg=[0, 0, 0x1000]),
        node("fpga@1,0", reg=[1, 0x10, 0x20]),
        __address_cells=2,
        __size_cells=1,
        ranges=[0, 0, 0xFF000000, 0x1000000, 1, 0, 0xFE000000, 0x10000],
    )
    assert windows(facts(memory(), bus)) == [("flash@0,0", 0xFF000000, 0x1000), ("fpga@1,0", 0xFE000010, 0x20)]


def test_a_bus_without_ranges_has_no_addresses_of_the_processor():
    i2c = node("i2c@1000", node("eeprom@50", reg=[0x50]), __address_cells=1, __size_cells=0, reg=[0x1000, 0x100])
    bus = node("syscon@2000", node("clock@4", reg=[4, 4]), __address_cells=1, __size_cells=1, reg=[0x2000, 0x100])
    found = facts(
        memory(),
        i2c,
        bus,
        node(
            "cpus",
            node("cpu@0", reg=[0], device_type="cpu", compatible="arm,cortex-a53"),
            __address_cells=1,
            __size_cells=0,
        ),
    )
    assert windows(found) == [("i2c@1000", 0x1000, 0x100), ("syscon@2000", 0x2000, 0x100)]
    assert found.ignored == {"register of another bus": 1, "register without a size": 1}


def test_an_empty_ranges_changes_nothing():
    bus = node("soc", node("uart@f0000000", reg=[0xF0000000, 0x20]), __address_cells=1, __size_cells=1, ranges=None)
    assert windows(facts(memory(), bus)) == [("uart@f0000000", 0xF0000000, 0x20)]


def test_cells_that_are_not_given_are_two_and_one():
    bus = node("soc", node("uart", reg=[0, 0xF0000000, 0x20]), ranges=None)
    assert windows(facts(memory(), bus)) == [("uart", 0xF0000000, 0x20)]


def test_pci_host_bridges_are_windows():
    def pci(name, **more):
        return node(
            name,
            node(
                "pci@0,0",
                node("net@0", reg=[0, 0, 0, 0, 0]),
                device_type="pci",
                reg=[0x800, 0, 0, 0, 0],
                __address_cells=3,
                __size_cells=2,
                ranges=None,
            ),
            device_type="pci",
            reg=cells((0x1000, 2), (0x100, 2)),
            __address_cells=3,
            __size_cells=2,
            ranges=[
                0x01000000,
                *cells((0, 2), (0x3EFF0000, 2), (0x10000, 2)),
                0x02000000,
                *cells((0x10000000, 2), (0x10000000, 2), (0x2EFF0000, 2)),
                0x43000000,
                *cells((0x80_0000_0000, 2), (0x80_0000_0000, 2), (0x80_0000_0000, 2)),
            ],
            **more,
        )

    found = facts(memory(widths=(2, 2)), pci("pcie@0"), pci("pcie@1", status="disabled"), address=2, size=2)
    assert [(w.name, w.base, w.size) for w in found.windows] == [
        ("pcie@0", 0x10000000, 0x2EFF0000),
        ("pcie@0", 0x80_0000_0000, 0x80_0000_0000),
    ]
    assert windows(found) == [("pcie@0", 0x1000, 0x100), ("pcie@1", 0x1000, 0x100)]


def test_what_is_not_in_use_is_kept_but_not_published():
    bus = node(
        "soc",
        node("uart@f0000000", reg=[0xF0000000, 0x20]),
        __address_cells=1,
        __size_cells=1,
        ranges=None,
        status="disabled",
    )
    machine = resolve(
        facts(
            memory(),
            bus,
            node("rtc@f1000000", reg=[0xF1000000, 0x20], status="okay"),
            node("wdt@f2000000", reg=[0xF2000000, 0x20], status="reserved"),
        )
    )
    assert [(d.name, d.status) for d in machine.devices] == [
        ("uart@f0000000", "disabled"),
        ("rtc@f1000000", "assigned"),
        ("wdt@f2000000", "disabled"),
    ]
    assert [r.names for r in machine.device_ranges(12)] == [("rtc@f1000000",)]


def test_a_device_inside_ram_is_kept_and_listed():
    machine = resolve(facts(memory(), node("intc@150", reg=[0x150, 4])))
    assert [(d.name, d.base, d.status) for d in machine.devices] == [("intc@150", 0x150, "inside RAM")]
    assert [p.text for p in machine.problems] == ["intc@150 0x150 + 0x4"] and not machine.device_ranges(12)


def test_a_board_that_leaves_the_size_to_the_boot_loader():
    found = facts(memory(0x40000000, 0))
    with pytest.raises(UnreadableError, match=r"leaves the size of memory to the boot loader .give --ram SIZE.$"):
        resolve(found)
    assert [(r.base, r.size) for r in resolve(found, Ram(GIB)).ram] == [(0x40000000, GIB)]
    assert [(r.base, r.size) for r in resolve(found, Ram(GIB, 0x80000000)).ram] == [(0x80000000, GIB)]


def test_a_board_that_leaves_all_memory_to_the_boot_loader(tmp_path):
    file = tmp_path / "board.dtb"
    file.write_bytes(blob(node("uart@f0000000", reg=[0xF0000000, 0x20])))
    for ram in (None, "1GiB"):
        with pytest.raises(UnreadableError, match="give --ram SIZE@ADDRESS"):
            Machine.read(file, ram)
    assert [(r.base, r.size) for r in Machine.read(file, "1GiB@0x40000000").ram] == [(0x40000000, GIB)]


@pytest.mark.parametrize(
    "name, properties, arch",
    [
        ("cpu@0", {"compatible": "arm,cortex-a53"}, "arm64"),
        ("cpu@0", {"compatible": "arm,cortex-a7"}, "arm"),
        ("cpu@0", {"compatible": ["sifive,e51", "riscv"]}, "riscv64"),
        ("PowerPC,8347@0", {}, "ppc"),
        ("cpu@0", {"model": "PowerPC,476"}, "ppc"),
        ("cpu@0", {"compatible": "mips,mips24KEc"}, "mips"),
        ("cpu@0", {"compatible": "apple,icestorm"}, "arm64"),
        ("cpu@0", {"compatible": "arm,arm926ej-s"}, "arm"),
        ("cpu@0", {"compatible": "somebody,cpu"}, "?"),
    ],
)
def test_architectures(name, properties, arch):
    cpus = node("cpus", node(name, device_type="cpu", reg=[0], **properties), __address_cells=1, __size_cells=0)
    assert facts(memory(), cpus).arch == arch


def test_trees_do_not_share_reservations():
    assert len(facts(memory(), reserved=[(0, 0x1000)]).carved) == 1
    assert not facts(memory()).carved


GOOD = blob(memory(), node("serial@f0000000", reg=[0xF0000000, 0x100]), reserved=[(0, 0x1000)])


@pytest.mark.parametrize(
    "data, reason",
    [
        (GOOD[:20], "not a device tree that can be read"),
        (GOOD[:60], "not a device tree that can be read"),
        (GOOD[:-30], "not a device tree that can be read"),
        (devicetree.MAGIC, "not a device tree that can be read"),
        (GOOD.replace(struct.pack(">I", 3), struct.pack(">I", 5), 1), "token 5 at byte"),
        (GOOD[:20] + struct.pack(">2I", 18, 18) + GOOD[28:], "of version 18, and 17 is known"),
    ],
)
def test_damaged_trees(data, reason):
    with pytest.raises(UnreadableError, match=reason):
        read_bytes(data, "board.dtb")


def test_deep_trees():
    deep = node("uart", reg=[0, 0x1000])
    for _ in range(62):
        deep = node("bus", deep, __address_cells=1, __size_cells=1, ranges=None)
    assert windows(facts(memory(), deep)) == [("uart", 0, 0x1000)]
    with pytest.raises(UnreadableError, match="more than 64 levels of nesting"):
        facts(memory(), node("bus", node("bus", deep)))


NUMBERS = st.integers(0, (1 << 32) - 1)


@given(
    st.integers(1, 3),
    st.integers(1, 2),
    st.lists(st.tuples(NUMBERS, st.integers(1, 1 << 31)), min_size=1, max_size=5),
    st.lists(st.tuples(NUMBERS, st.integers(1, 1 << 31)), max_size=5),
    NUMBERS,
)
def test_what_is_written_reads_back_equal(address, size, banks, registers, shift):
    """Banks of memory, and devices behind a bus that moves every address by `shift`."""
    bus = node(
        "soc",
        *(node(f"d@{i}", reg=cells((base, 1), (length, 2))) for i, (base, length) in enumerate(registers)),
        __address_cells=1,
        __size_cells=2,
        ranges=cells((0, 1), (shift, address), (1 << 33, 2)),
    )
    found = facts(
        *(memory(base, length, (address, size), f"memory@{i}") for i, (base, length) in enumerate(banks)),
        bus,
        address=address,
        size=size,
    )
    assert [(r.base, r.size) for r in found.memory] == banks
    assert windows(found) == [(f"d@{i}", base + shift, length) for i, (base, length) in enumerate(registers)]


@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=8), st.integers(0, 60)
)
def test_damage_never_ends_in_a_traceback(changes, cut):
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    try:
        resolve(read_bytes(bytes(data[: len(data) - cut]), "fuzz")[0])
    except UnreadableError as error:
        assert error.file == "fuzz" and error.reason and "\n" not in str(error)
