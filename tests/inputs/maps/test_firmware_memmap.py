"""/sys/firmware/memmap."""

import pytest

from kernmalloc.inputs import read_bytes
from kernmalloc.machine.memory_map import Machine, resolve

ENTRIES = (
    ("0x0", "0x9fbff", "System RAM"),
    ("0x9fc00", "0x9ffff", "Reserved"),
    ("0x100000", "0xbff7ffff", "System RAM"),
    ("0xbff80000", "0xbff8ffff", "ACPI Tables"),
    ("0xbff90000", "0xbff9ffff", "ACPI Non-volatile Storage"),
    ("0x100000000", "0x103fffffff", "System RAM"),
)
PARTS = ("start", "end", "type")


def machine(text: str) -> Machine:
    return resolve(read_bytes(text.encode(), "memmap")[-1])


def grep(root: str, order: tuple[str, ...] = PARTS) -> str:
    return "".join(
        f"{root}{i}/{part}:{entry[PARTS.index(part)]}\n" for i, entry in enumerate(ENTRIES) for part in order
    )


def tail(root: str) -> str:
    return "\n".join(
        f"==> {root}{i}/{part} <==\n{text}\n"
        for i, entry in enumerate(ENTRIES)
        for part, text in zip(PARTS, entry, strict=True)
    )


@pytest.mark.parametrize(
    "text",
    [
        grep("/sys/firmware/memmap/"),
        grep("/sys/firmware/memmap/", ("end", "start", "type")),
        grep(""),
        grep("./"),
        grep("> memmap/"),
        "# grep . /sys/firmware/memmap/*/*\n" + grep("/sys/firmware/memmap/"),
        tail("/sys/firmware/memmap/"),
        tail(""),
    ],
)
def test_printed(text):
    found = machine(text)
    assert [(r.base, r.end) for r in found.ram] == [
        (0, 0x9FC00),
        (0x100000, 0xBFF80000),
        (0x100000000, 0x1040000000),
    ]
    assert [(r.base, r.kind) for r in found.firmware] == [
        (0x9FC00, "reserved"),
        (0xBFF80000, "nvram"),
        (0xBFF90000, "nvram"),
    ]
    assert not (found.problems or found.missing or found.unread)


def test_the_folder_itself(tmp_path):
    for i, entry in enumerate(ENTRIES):
        (tmp_path / str(i)).mkdir()
        for part, text in zip(PARTS, entry, strict=True):
            (tmp_path / str(i) / part).write_text(text + "\n")
    found = Machine.read(tmp_path)
    assert found.ram_bytes == machine(grep("")).ram_bytes and found.file == str(tmp_path)
    assert {r.line for r in (*found.ram, *found.firmware)} == {0}


@pytest.mark.parametrize("missing", PARTS)
def test_an_entry_that_is_not_whole_is_told(missing):
    text = "".join(line + "\n" for line in grep("").splitlines() if not line.startswith(f"2/{missing}"))
    found = machine(text)
    assert [r.base for r in found.ram] == [0, 0x100000000] and found.missing
