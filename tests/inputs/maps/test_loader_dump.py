"""What boot loaders hand over, dumped as text or as a file: each protocol, each debugger's print, what is not there."""

import struct

import loader_maps as made
import pytest
from loader_maps import AT, COMMAND, MODULES, NAMES, TABLE

from kernmalloc.inputs import read_bytes
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.limits import raised
from kernmalloc.machine.memory_map import Machine, resolve

HIGH = 0xFFFF800000000000
ROWS = [(0, 0x9FC00, 1), (0x9FC00, 0x400, 2), (0x100000, 0x7EE0000, 1), (0x7FE0000, 0x20000, 3), (1 << 32, 1 << 30, 1)]
MODULE = 0x200000, 0x34567
RAM = [(0, 0x9FC00), (0x100000, 0x7EE0000), (1 << 32, 1 << 30)]


def xp(pa: int, data: bytes, direct: int = 0) -> str:
    """As QEMU's monitor prints words."""
    data += bytes(-len(data) % 4)
    words = [f"0x{word:08x}" for (word,) in struct.iter_unpack("<I", data)]
    return "".join(f"{pa + 4 * i:016x}: {' '.join(words[i : i + 4])}\n" for i in range(0, len(words), 4))


def gdb(pa: int, data: bytes) -> str:
    """As gdb prints bytes."""
    return "".join(
        f"{pa + i:#x} <info+{i}>:\t" + "\t".join(f"0x{byte:02x}" for byte in data[i : i + 8]) + "\n"
        for i in range(0, len(data), 8)
    )


def shown(data: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)


def xxd(pa: int, data: bytes) -> str:
    """As xxd and, but for the groups, U-Boot print them."""
    lines = (data[i : i + 16] for i in range(0, len(data), 16))
    return "".join(
        f"{pa + 16 * number:08x}: {line.hex(' ', 2 if pa % 32 else 1)}  {shown(line)}\n"
        for number, line in enumerate(lines)
    )


def hexdump(pa: int, data: bytes) -> str:
    """As hexdump -C: lines that are alike are left out."""
    told, last = [], None
    for i in range(0, len(data), 16):
        line = data[i : i + 16]
        if line == last:
            told += [] if told[-1] == "*\n" else ["*\n"]
        else:
            told.append(f"{pa + i:08x}  {line[:8].hex(' ')}  {line[8:].hex(' ')}  |{shown(line)}|\n")
        last = line
    return "".join(told) + f"{pa + len(data):08x}\n"


def numbers(form: str, gap: str, pa: int, data: bytes) -> str:
    """As U-Boot, WinDbg, od and crash print numbers, least byte first."""
    width = struct.calcsize(form)
    data += bytes(-len(data) % 16)
    lines = []
    for i in range(0, len(data), 16):
        groups = [f"{number:0{2 * width}x}" for (number,) in struct.iter_unpack(form, data[i : i + 16])]
        lines.append(f"{pa + i:08x}{gap}{' '.join(groups)}  {shown(data[i : i + 16])}\n")
    return "".join(lines)


def md(pa: int, data: bytes) -> str:
    return numbers("<I", ": ", pa, data)


def rd(pa: int, data: bytes) -> str:
    return numbers("<Q", ":  ", pa, data)


def od_x(pa: int, data: bytes) -> str:
    return "".join(line.partition("  ")[0] + "\n" for line in numbers("<H", " ", pa, data).splitlines())


def db(pa: int, data: bytes) -> str:
    """As WinDbg prints bytes."""
    lines = (data[i : i + 16] for i in range(0, len(data), 16))
    return "".join(
        f"{pa + 16 * number:08x}  {line[:8].hex(' ')}{'-' * (len(line) > 8)}{line[8:].hex(' ')}  {shown(line)}\n"
        for number, line in enumerate(lines)
    )


def od_c(pa: int, data: bytes) -> str:
    lines = (data[i : i + 16] for i in range(0, len(data), 16))
    return "".join(f"{pa + 16 * number:07x} {line.hex(' ')}  >{shown(line)}<\n" for number, line in enumerate(lines))


PRINTS = {each.__name__: each for each in (xp, gdb, xxd, hexdump, md, rd, od_x, db, od_c)}
MAP_OF_LIMINE = [
    *((0, 0x9FC00, 0), (0x100000, 0x100000, 0), (0x200000, 0x1000, 6), (0x201000, 0x7DDF000, 0)),
    (1 << 32, 1 << 30, 5),
]
MAP_OF_EFI = [
    *((7, 0, 0x9F, 15), (0, 0x9F000, 1, 0), (4, 0x100000, 0x7EE0, 15), (9, 0x7FE0000, 32, 15)),
    (2, 1 << 32, 1 << 18, 15),
]
HEADS = {
    "multiboot": (f"multiboot at {AT:#x}", made.multiboot(ROWS, [(MODULE[0], sum(MODULE))])),
    "pvh": (f"pvh at {AT:#x}", made.pvh(ROWS, [MODULE])),
    "linux": (f"linux at {AT:#x}", made.linux(ROWS[:2], ROWS[2:], MODULE)),
    "multiboot2": (
        f"multiboot2 at {AT:#x}",
        made.multiboot2(made.tag(3, struct.pack("<II", MODULE[0], sum(MODULE))), made.multiboot2_map(ROWS)),
    ),
    "limine": (f"limine at {HIGH + AT:#x} direct {HIGH:#x}", made.limine(MAP_OF_LIMINE, HIGH)),
    "efi": (f"efi at {AT:#x} bytes 240 stride 0x30", {AT: made.efi(MAP_OF_EFI)}),
}


def text(head: str, pieces: made.Pieces, form=xp) -> bytes:
    return "\n".join([head, *(form(pa, data) for pa, data in pieces.items() if data), ""]).encode()


def rows(ranges) -> list[tuple[int, int]]:
    return [(r.base, r.size) for r in ranges]


@pytest.mark.parametrize("form", PRINTS)
@pytest.mark.parametrize("protocol", HEADS)
def test_each_protocol_in_each_print(protocol, form):
    machine = resolve(read_bytes(text(*HEADS[protocol], PRINTS[form]), "dump")[0])
    expected = [(0, 0x9F000), *RAM[1:]] if protocol == "efi" else RAM
    assert rows(machine.ram) == expected
    assert not (machine.problems or machine.missing or machine.unread)
    kinds = {r.kind: (r.base, r.size) for r in machine.carved if r.base >= 0x100000}
    if protocol in ("limine", "efi"):
        assert kinds["table"] == (1 << 32, 1 << 30)
    else:
        assert kinds == {"initrd": MODULE}
    if protocol != "limine":
        assert rows(r for r in machine.firmware if r.kind == "nvram") == [(0x7FE0000, 0x20000)]


def test_addresses_of_the_kernel_are_physical_ones():
    """A debugger in the kernel shows Limine's structures where the kernel has them."""
    head, pieces = HEADS["limine"]
    moved = {pa + HIGH: data for pa, data in pieces.items()}
    assert rows(resolve(read_bytes(text(head, moved), "dump")[0]).ram) == RAM


def test_a_file_is_all_of_it():
    """Multiboot2's information, and Linux's page, whose list and command line are elsewhere."""
    machine = resolve(read_bytes(HEADS["multiboot2"][1][AT], "info.bin")[0])
    assert (rows(machine.ram), rows(machine.carved)) == (RAM, [MODULE])
    assert not machine.missing
    machine = resolve(read_bytes(made.linux(ROWS, [], MODULE)[AT], "data")[0])
    assert (rows(machine.ram), machine.origin) == (RAM, "what Linux's boot_params hands over")
    assert [p.reason for p in machine.missing] == [
        f"Linux's boot_params leads to {COMMAND:#x}, which is not in the file: what is there is unknown"
    ]


@pytest.mark.parametrize("lost", [MODULES, NAMES, COMMAND])
def test_what_is_not_there_is_told(lost):
    head, pieces = HEADS["multiboot"]
    machine = resolve(read_bytes(text(head, {pa: data for pa, data in pieces.items() if pa != lost}), "dump")[0])
    assert rows(machine.ram) == RAM
    assert any(f"leads to {lost:#x}," in p.reason for p in machine.missing)


@pytest.mark.parametrize("protocol", HEADS)
def test_a_map_that_is_not_there_is_an_error(protocol):
    head, pieces = HEADS[protocol]
    del (pieces := dict(pieces))[TABLE if TABLE in pieces else AT]
    with pytest.raises(InputError, match="which is not in the file") as error:
        read_bytes(text(head, pieces), "dump")
    assert error.value.line == 1


def test_two_dumps_are_two_boots(tmp_path):
    file = tmp_path / "log"
    file.write_bytes(text(*HEADS["efi"]) + b"\n> something else\n" + text(*HEADS["multiboot"]))
    assert [found.origin for found in read_bytes(file.read_bytes(), "log")] == [
        "what EFI hands over",
        "what Multiboot hands over",
    ]
    assert rows(Machine.read(file).ram) == RAM


@pytest.mark.parametrize(
    "head, reason",
    [
        ("efi at 0x10000", "EFI's map has no end"),
        ("efi at 0x10000 bytes many stride 48", "not a size"),
        ("efi at 0x10000 bytes 240 stride 39", "damaged"),
        ("pvh at 0x10001", "damaged"),
        ("multiboot2 at 0x10000", "damaged"),
    ],
)
def test_what_is_wrong_is_one_line(head, reason):
    with pytest.raises(InputError, match=reason) as error:
        read_bytes(text(head, HEADS["efi"][1]), "dump")
    assert error.value.line == 1


def test_more_ranges_than_the_limit():
    with raised(ranges=3), pytest.raises(InputError, match="more than 3 ranges of one machine"):
        read_bytes(text(*HEADS["multiboot"]), "dump")


def test_what_only_looks_like_one_is_none():
    for data in (b"multiboot at 0x9500 is what I gave\nnothing else", bytes(4096), b"x" * 4096):
        with pytest.raises(InputError, match="not a boot log"):
            read_bytes(data, "other")


@pytest.mark.parametrize("megabytes", [1, 2])
def test_of_lines_that_are_left_out_a_megabyte_is_read(megabytes: int) -> None:
    """Each descriptor of EFI's map would be read, however many a star stands for: seconds for many megabytes."""
    descriptor = struct.pack("<QQQQQQ", 7, 0, 0, 1, 0, 0)[:16] * 3
    size = (megabytes << 20) - 96
    text = f"efi at 0x100000 bytes {size} stride 0x30\n" + hexdump(0x100000, descriptor + bytes(size) + b"\1" * 16)
    with pytest.raises(InputError, match="which is not in the file" if megabytes == 2 else "tells no RAM$"):
        resolve(read_bytes(text.encode(), "dump"))
