"""What GRUB left in memory, recorded in `tests/data/loaders`: on a BIOS and on EFI, by Multiboot 1 and 2."""

import struct
from pathlib import Path

import loader_maps as made
import pytest
from loader_maps import AT, Reader

from kernmalloc.inputs import read_bytes
from kernmalloc.kernel.core.kern import CARVED_MEMORY, RAM
from kernmalloc.kernel.loaders.found import RANGE_INITRD, RANGE_RAM, RANGE_TABLE
from kernmalloc.lang.status import OK
from kernmalloc.machine.memory_map import Machine, resolve

RECORDED = Path(__file__).parents[2] / "data" / "loaders"
MODULE = 70_000
PC = [(0, 0x9FC00), (0x100000, 0xBFEE0000), (1 << 32, 2 << 30)]
"""RAM as QEMU's BIOS tells it, in bytes."""
EFI = [
    *((0, 0xA0), (0x100, 0x800), (0x808, 0x80B), (0x80C, 0x810), (0x900, 0xBEABB), (0xBEB7C, 0xBF4ED)),
    *((0xBF7FF, 0xBFF58), (0x100000, 0x180000)),
]
"""The same as OVMF tells it: first frame, and first behind it."""


@pytest.fixture
def reader():
    reader = Reader()
    yield reader
    reader.close()


def tags(data: bytes) -> dict[int, bytes]:
    """The tags of Multiboot2's information by type, each with its head."""
    found, at = {}, 8
    while at < len(data):
        type, size = struct.unpack_from("<II", data, at)
        found[type] = data[at : at + size].ljust(size + -size % 8, b"\0")
        at += size + -size % 8
    return found


def rows(reader: Reader, kind: int) -> list[tuple[int, int]]:
    return [(base, size) for base, size, each in reader.rows if each == kind]


def test_multiboot2_on_a_bios(reader):
    data = (RECORDED / "grub-bios.bin").read_bytes()
    assert reader.read("multiboot2", {AT: data}, AT) == OK
    assert rows(reader, RANGE_RAM) == PC
    assert rows(reader, RANGE_INITRD) == [(0x101000, MODULE)]
    sections = rows(reader, RANGE_TABLE)[1:]
    assert len(sections) == 9  # debugging, symbols and strings, which GRUB loaded behind the image
    assert all(base >= 0x100053 and base + size <= 0x1001FC for base, size in sections)
    frames = reader.frames()
    assert (0x100, 0x13, CARVED_MEMORY) in frames  # with the image's frame, since sections lie in it
    assert [row for row in frames if row[2] == RAM] == [
        *((0, AT >> 12, RAM), ((AT >> 12) + 1, 0x9F - (AT >> 12) - 1, RAM)),
        *((0x113, 0xBFFE0 - 0x113, RAM), (1 << 20, 1 << 19, RAM)),
    ]


def test_multiboot2_on_efi(reader):
    """Both maps of one machine: GRUB's own in the BIOS' form counts, and EFI's has the RAM of that and no other."""
    data = (RECORDED / "grub-efi.bin").read_bytes()
    assert reader.read("multiboot2", {AT: data}, AT) == OK
    ram = made.joined((base >> 12, size >> 12, RAM) for base, size in rows(reader, RANGE_RAM))
    assert [(base, base + count) for base, count, _ in ram] == EFI
    assert rows(reader, RANGE_INITRD) == [(0xA000, MODULE)]
    by_efi = made.multiboot2(tags(data)[17])
    assert reader.read("multiboot2", by_efi, AT) == OK
    assert made.joined((base >> 12, size >> 12, RAM) for base, size in rows(reader, RANGE_RAM)) == ram
    taken = rows(reader, RANGE_TABLE)[1:]
    assert any(base <= 0xA000 and base + size >= 0xA000 + MODULE for base, size in taken)  # the loader's data
    efi = tags(data)[17]
    assert reader.read("efi", {AT: efi[16:]}, AT, len(efi) - 16, 48) == OK
    assert made.joined((base >> 12, size >> 12, RAM) for base, size in rows(reader, RANGE_RAM)) == ram


def test_multiboot():
    machine = Machine.read(RECORDED / "grub-multiboot.txt")
    assert [(r.base, r.size) for r in machine.ram] == PC
    assert [r.size for r in machine.carved if r.kind == "initrd"] == [MODULE]
    assert not (machine.problems or machine.missing)


@pytest.mark.parametrize("name", ["grub-bios.bin", "grub-efi.bin", "grub-multiboot.txt"])
def test_what_is_recorded_is_read_from_a_file(name):
    machine = resolve(read_bytes((RECORDED / name).read_bytes(), name)[0])
    assert machine.ram[-1].end == 6 << 30
    assert not (machine.problems or machine.missing or machine.unread)
