"""dmidecode."""

import pytest

from kernmalloc.inputs import read_bytes
from kernmalloc.machine.memory_map import UnreadableError, resolve

HEAD = """\
# dmidecode 3.3
Getting SMBIOS data from sysfs.

Handle 0x0001, DMI type 1, 27 bytes
System Information
\tManufacturer: LENOVO
\tProduct Name: 20XW

"""
ARRAY = """\
Handle 0x000A, DMI type 16, 23 bytes
Physical Memory Array
\tLocation: System Board Or Motherboard
\tUse: System Memory
\tMaximum Capacity: 96 GB
\tNumber Of Devices: 2

"""


def module(size: str, array: str = "0x000A", rest: str = "") -> str:
    return (
        f"Handle 0x002F, DMI type 17, 40 bytes\nMemory Device\n\tArray Handle: {array}\n\tTotal Width: 64 bits\n"
        f"\tSize: {size}\n\tForm Factor: DIMM\n\tType: DDR4\n{rest}\n"
    )


def total(text: str) -> int:
    return read_bytes(text.encode(), "dmi")[0].total


@pytest.mark.parametrize(
    "size, count", [("8 GB", 8 << 30), ("2048 MB", 2 << 30), ("16 GiB", 16 << 30), ("512 kB", 1 << 19)]
)
def test_sizes(size, count):
    assert total(HEAD + ARRAY + module(size) + module("No Module Installed") + module(size)) == 2 * count


def test_only_what_is_system_memory():
    video = "Handle 0x000B, DMI type 16, 23 bytes\nPhysical Memory Array\n\tUse: Video Memory\n\n"
    persistent = (
        "\tMemory Technology: Intel Optane persistent memory\n\tNon-Volatile Size: 126 GB\n\tVolatile Size: 2 GB\n"
    )
    text = HEAD + ARRAY + video + module("8 GB") + module("1 GB", "0x000B") + module("128 GB", rest=persistent)
    assert total(text) == 10 << 30


def test_mapped_ranges_serve_where_no_module_is_listed():
    mapped = (
        "Handle 0x0019, DMI type 19, 31 bytes\nMemory Array Mapped Address\n\tStarting Address: 0x00000000000\n"
        "\tEnding Address: 0x000FFFFFFFF\n\tRange Size: 4 GB\n"
    )
    assert total(mapped) == 4 << 30
    assert total(module("8 GB") + mapped) == 8 << 30


def test_without_handles_and_the_machine_has_a_name():
    quiet = "".join(line + "\n" for line in (HEAD + ARRAY + module("8 GB") * 2).splitlines() if "DMI type" not in line)
    facts = read_bytes(quiet.encode(), "dmi")[0]
    assert (facts.total, facts.name) == (16 << 30, "LENOVO 20XW")


def test_no_module_or_an_odd_size():
    with pytest.raises(UnreadableError, match="no module"):
        resolve(read_bytes((ARRAY + module("No Module Installed")).encode(), "dmi")[0])
    facts = read_bytes((module("many") + module("1 GB")).encode(), "dmi")[0]
    assert facts.total == 1 << 30
