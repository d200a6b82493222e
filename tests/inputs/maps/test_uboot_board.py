"""Constants of boards in U-Boot, made up and all those of the collection."""

import csv
import io

import pytest
from collection import DATA

from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.memory_map import Machine, UnreadableError

BOARD = """\
# ColdFire/m68k board memory map facts
board=TOWER
CONFIG_SYS_SDRAM_BASE=0x40000000
CONFIG_SYS_SDRAM_SIZE=0x20
CONFIG_SYS_MBAR=0xfc000000
CONFIG_SYS_CS0_BASE=0x0
CONFIG_SYS_CS0_MASK=0x7f0001
# derived ranges: name start size
range ram 0x40000000 0x2000000
range pci-mem 0x90000000 0x10000000
range cs0 0x00000000 0x800000
range sram 0x80000000 0x4000
range mbar 0xfc000000 0x1000000
"""


def board(text: str = BOARD, ram: str | None = None) -> Machine:
    return Machine.read_stream(io.BytesIO(text.encode()), "board.txt", ram)


def without(name: str) -> str:
    return "".join(line for line in BOARD.splitlines(True) if name not in line)


def test_a_board():
    """RAM, the peripherals, chip selects and SRAM as devices, what the PCI bridge forwards as its window."""
    machine = board()
    assert (machine.name, machine.arch, machine.origin) == ("TOWER", "m68k", "U-Boot board constants")
    assert [(r.base, r.size) for r in machine.ram] == [(0x40000000, 32 << 20)]
    assert [(d.name, d.base, d.size, d.kind, d.status) for d in machine.devices] == [
        ("cs0", 0, 8 << 20, "resource", "assigned"),
        ("sram", 0x80000000, 16 << 10, "resource", "assigned"),
        ("mbar", 0xFC000000, 16 << 20, "resource", "assigned"),
    ]
    assert [(w.name, w.base, w.size) for w in machine.windows] == [("pci-mem", 0x90000000, 256 << 20)]
    assert not machine.problems and not machine.ignored


def test_ram_that_the_constants_tell_otherwise_is_a_problem():
    (problem,) = board(BOARD.replace("SIZE=0x20", "SIZE=0x40")).problems
    assert (problem.line, problem.reason, problem.text) == (
        9,
        "the board's constants tell other RAM",
        "0x40000000 + 0x4000000",
    )


def test_ram_that_is_not_told_can_be_said():
    """Without a range of RAM its size is needed; where it begins, the constants tell."""
    with pytest.raises(UnreadableError, match=r"no range of the board's is RAM.*--ram"):
        board(without("range ram"))
    assert [(r.base, r.size) for r in board(without("range ram"), "16MiB").ram] == [(0x40000000, 16 << 20)]


def test_a_range_without_a_size_is_a_problem():
    machine = board(BOARD.replace("0x80000000 0x4000", "0x80000000 0x0"))
    assert [d.name for d in machine.devices] == ["cs0", "mbar"]
    assert [(p.line, p.reason) for p in machine.problems] == [(12, "range without a size: ignored")]


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("0x00000000 0x800000", "0x00000000", 11, "neither a range nor a constant: 'range cs0 0x00000000'"),
        ("range sram", "rnage sram", 12, "neither a range nor a constant: 'rnage sram 0x80000000 0x4000'"),
        ("0xfc000000\n", "(MBAR)\n", 5, "not a number: '(MBAR)'"),
    ],
)
def test_lines_of_another_form_are_refused(old, new, line, reason):
    with pytest.raises(InputError) as error:
        board(BOARD.replace(old, new, 1))
    assert (error.value.line, error.value.reason) == (line, reason)
    assert "0x40000000" in error.value.advice


INDEX = DATA / "INDEX.csv"


@pytest.mark.skipif(not INDEX.is_file(), reason=f"no collection of machines at {DATA}; set KERNMALLOC_DATA")
def test_boards_against_the_index():
    """Every board of the collection as an independent script has counted it. Its devices are all ranges but RAM and the
    peripherals (mbar), which it counts only where it asks for the largest; its root window is the PCI memory's."""
    with open(INDEX, newline="") as index:
        rows = [row for row in csv.DictReader(index) if row["kind"] == "coldfire"]
    assert len(rows) == 40
    for row in rows:
        machine = Machine.read(DATA / row["file"])
        assert machine.name == row["machine"] and not machine.problems, row["file"]
        assert machine.ram_bytes == int(row["ram_bytes"])
        sizes = {d.name: d.size for d in machine.devices}
        mbar = sizes.pop("mbar")
        windows = [w.size for w in machine.windows]
        assert len(sizes) + len(windows) == int(row["n_device_bars"])
        assert sum(sizes.values()) + sum(windows) == int(row["device_bytes"])
        assert max(mbar, *sizes.values(), *windows) == int(row["largest_bar"])
        assert sum(windows) == int(row["root_window_bytes"])


def test_the_header_itself_is_told():
    header = "#define CONFIG_NR_DRAM_BANKS 4\n#define CONFIG_SDRAM_SIZE\t(256 << 20)\n#define PHYS_SDRAM_1 0x40000000\n"
    with pytest.raises(UnreadableError, match=r"board\.txt:2: a header in C") as raised:
        board(header)
    assert "range ram" in str(raised.value)
