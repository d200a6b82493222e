"""Windows' System Information: exported, pasted, in another language, a section of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs import read_bytes
from kernmalloc.inputs.devices import msinfo
from kernmalloc.inputs.facts import Facts
from kernmalloc.machine.memory_map import resolve

# After a report of a Compaq CQ60 in a public forum (ubuntuforums.org); ranges in its order, most of them left out.
LAPTOP = """\
[System Summary]
Item\tValue
System Model\tCompaq Presario CQ60 Notebook PC
System Type\tX86-based PC
Installed Physical Memory (RAM)\t2.00 GB
Total Physical Memory\t1.75 GB
[Conflicts/Sharing]
Resource\tDevice
Memory Address 0xC1000000-0xC1FFFFFF\tPCI standard PCI-to-PCI bridge
Memory Address 0xC1000000-0xC1FFFFFF\tNVIDIA GeForce 8200M G
[I/O]
Resource\tDevice\tStatus
0x00000000-0x00000CF7\tPCI bus\tOK
0x00004000-0x00004FFF\tNVIDIA GeForce 8200M G\tOK
[IRQs]
IRQ 4294967294\tNVIDIA nForce 10/100/1000 Mbps Networking Controller\tOK
[Memory]
Resource\tDevice\tStatus
0xA0000-0xBFFFF\tPCI bus\tOK
0xA0000-0xBFFFF\tPCI standard PCI-to-PCI bridge\tOK
0xA0000-0xBFFFF\tNVIDIA GeForce 8200M G\tOK
0x80000000-0xFEBFFFFF\tPCI bus\tOK
0xE0000000-0xEFFFFFFF\tMotherboard resources\tOK
0xC0000000-0xC0003FFF\tHigh Definition Audio Controller\tOK
0xC1000000-0xC1FFFFFF\tPCI standard PCI-to-PCI bridge\tOK
0xC1000000-0xC1FFFFFF\tNVIDIA GeForce 8200M G\tOK
0xC4000000-0xDFFFFFFF\tPCI standard PCI-to-PCI bridge\tOK
0xD0000000-0xDFFFFFFF\tNVIDIA GeForce 8200M G\tOK
0xFED00000-0xFED003FF\tHigh precision event timer\tOK
0xFED00000-0xFED003FF\tSystem board\tOK
[Components]
"""
DEVICES = [
    ("NVIDIA GeForce 8200M G", 0xA0000, 128 << 10),
    ("High Definition Audio Controller", 0xC0000000, 16 << 10),
    ("NVIDIA GeForce 8200M G", 0xC1000000, 16 << 20),
    ("NVIDIA GeForce 8200M G", 0xD0000000, 256 << 20),
    ("High precision event timer", 0xFED00000, 1024),
]


def facts(text: str, encoding: str = "utf-8") -> Facts:
    (found,) = read_bytes(text.encode(encoding), "msinfo.txt")
    return found


def windows(found: Facts) -> list[tuple[str, int, int]]:
    return [(d.name, d.base, d.size) for d in found.devices]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("text", [LAPTOP, LAPTOP.replace("\t", " ").replace("\n", " \n"), LAPTOP.replace("\n", "\r\n")])
def test_an_export_and_what_was_pasted_of_it(text, encoding):
    found = facts(text, encoding)
    assert (found.name, found.arch, found.total) == ("Compaq Presario CQ60 Notebook PC", "i386", 2 << 30)
    assert windows(found) == DEVICES
    assert found.ignored["I/O ports"] == 2 and not found.problems
    machine = resolve(found)
    assert machine.ram_bytes == (2 << 30) - (384 << 10)  # less a PC's hole
    assert [d.name for d in machine.devices if d.role == "console"] == []  # nothing in its name says what it is


def test_another_language():
    """Bridges are told by what they enclose, and by what is named after them for one range."""
    text = LAPTOP
    for english, other in (
        ("PCI bus", "PCI-Bus"),
        ("PCI standard PCI-to-PCI bridge", "Мост PCI-PCI"),
        ("Memory Address", "Адрес памяти"),
        ("Installed Physical Memory (RAM)\t2.00 GB", "Installierter physischer Speicher (RAM)\t2,00 GB"),
        ("Motherboard resources", "Ресурсы системной платы"),
        ("X86-based", "x64-basierter"),
    ):
        text = text.replace(english, other)
    found = facts(text)
    assert (found.arch, found.total) == ("x86_64", 2 << 30)
    assert set(DEVICES[:4]) <= set(windows(found))
    assert not {(0x80000000, 0x7EC00000), (0xC4000000, 0x1C000000)} & {(d.base, d.size) for d in found.devices}


def test_a_section_of_a_device():
    text = "[Display]\nItem\tValue\nName\tNVIDIA GeForce RTX 3050\nMemory Address\t0xF5000000-0xF5FFFFFF\n"
    text += "Memory Address\t0x6000000000-0x61FFFFFFFF\nI/O Port\t0x00003000-0x0000307F\nIRQ Channel\tIRQ 4294967276\n"
    assert windows(facts(text)) == [
        ("NVIDIA GeForce RTX 3050", 0xF5000000, 16 << 20),
        ("NVIDIA GeForce RTX 3050", 0x6000000000, 8 << 30),
    ]


@pytest.mark.parametrize(
    "told, total",
    [
        ("16.0 GB", 16 << 30),
        ("15,9 GB", 15 * (1 << 30) + 90 * (1 << 30) // 100),
        ("512 MB", 512 << 20),
        ("1,5 TB", 3 << 39),
    ],
)
def test_how_much_ram(told, total):
    assert facts(LAPTOP.replace("2.00 GB", told)).total == total


def test_recognition_is_narrow():
    for text in ("0xA0000-0xBFFFF: video\n", "0x1000-0x1FFF System RAM\n", "Name\tOK\n"):
        assert not msinfo.recognises(text)


@given(st.lists(st.tuples(st.integers(1, 1 << 20), st.integers(0, 8)), min_size=1, max_size=20))
def test_disjoint_ranges_read_back_equal(parts):
    lines, expected, at = [], [], 1 << 20
    for gap, power in parts:
        base, size = at + (gap << 12), 4096 << power
        lines.append(f"0x{base:X}-0x{base + size - 1:X}\tDevice {base}\tOK")
        expected.append((f"Device {base}", base, size))
        at = base + size
    assert windows(facts("\n".join(lines))) == expected
