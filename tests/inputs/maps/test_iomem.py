"""/proc/iomem."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs.maps import iomem
from kernmalloc.machine.memory_map import Machine, UnreadableError, resolve


def machine(text: str) -> Machine:
    return resolve(iomem.read(text, "iomem")[0])


X86 = """\
00000000-00000fff : Reserved
00001000-0009dfff : System RAM
000a0000-000fffff : Reserved
  000a0000-000bffff : PCI Bus 0000:00
  000f0000-000fffff : System ROM
00100000-9ffeac3f : System RAM
  00100000-002aec85 : Kernel code
  002aec86-00398e7f : Kernel data
  30000000-3fffffff : Crash kernel
9ffeac40-9ffeffff : ACPI Tables
fd000000-fdffffff : 0000:00:06.0
  fd000000-fd2fffff : vesafb
140000000-1bfffffff : System RAM (virtio_mem)
"""


def test_a_pc():
    found = machine(X86)
    assert [(r.base, r.end) for r in found.ram] == [
        (0x1000, 0x9E000),
        (0x100000, 0x9FFEAC40),
        (0x140000000, 0x1C0000000),
    ]
    assert [(r.base, r.end, r.kind) for r in found.firmware] == [
        (0, 0x1000, "reserved"),
        (0xA0000, 0xF0000, "reserved"),
        (0xF0000, 0x100000, "rom"),
        (0x9FFEAC40, 0x9FFF0000, "nvram"),
    ]
    assert [(r.base, r.end, r.kind) for r in found.carved] == [(0x100000, 0x398E80, "image")]
    assert [(d.name, d.base, d.size) for d in found.devices] == [("0000:00:06.0", 0xFD000000, 0x1000000)]
    assert [(w.name, w.base) for w in found.windows] == [("PCI Bus 0000:00", 0xA0000)]
    assert not found.problems


@pytest.mark.parametrize("prefix", ["> ", "> > ", ">", "\u00a0", "\t"])
def test_quoted_or_without_indentation(prefix):
    found = machine(X86)
    assert machine("".join(prefix + line for line in X86.splitlines(True))).ram == found.ram
    assert machine("".join(line.strip() + "\n" for line in X86.splitlines())).ram == found.ram


def test_ram_inside_a_reserved_window_is_ram():
    found = machine(
        "850000000-684fffffff : Soft Reserved\n  850000000-284fffffff : CXL Window 0\n"
        "    850000000-284fffffff : region3\n      850000000-284fffffff : System RAM (kmem)\n"
        "  2850000000-484fffffff : CXL Window 1\n      2850000000-484fffffff : System RAM (kmem)\n"
    )
    assert [(r.base, r.end) for r in found.ram] == [(0x850000000, 0x4850000000)]
    assert [(r.base, r.end) for r in found.firmware] == [(0x4850000000, 0x6850000000)]


def test_what_the_running_kernel_reserved_is_ram():
    found = machine(
        "48000000-bfffffff : System RAM\n  48210000-496affff : Kernel code\n"
        "  496b0000-4987ffff : reserved\n  49880000-49a8ffff : Kernel data\n"
        "  ba000000-bfffffff : reserved\n"
        "e6020000-e602000b : e6020000.watchdog watchdog@e6020000\n"
    )
    assert [(r.base, r.end) for r in found.ram] == [(0x48000000, 0xC0000000)]
    assert [(r.base, r.end) for r in found.carved] == [(0x48210000, 0x49A90000)]
    assert not found.firmware
    assert [d.name for d in found.devices] == ["e6020000.watchdog watchdog@e6020000"]
    assert found.ignored == {"taken by the running kernel": 2}


def test_read_without_privilege():
    with pytest.raises(UnreadableError, match="without privilege") as error:
        iomem.read("00000000-00000000 : Reserved\n00000000-00000000 : System RAM\n", "iomem")
    assert (error.value.line, error.value.advice) == (1, "read it as root")


@pytest.mark.parametrize(
    "line, reason",
    [
        ("00300000-001fffff : System RAM", "ends before it starts"),
        ("00080000-001fffff : ACPI Tables", "overlaps"),
        ("fffffffffff00000-ffffffffffffffff : System RAM", "above 2^63"),
        ("0030000x-003fffff : System RAM", "not a resource"),
    ],
)
def test_problems_have_a_line(line, reason):
    found = machine("00000000-000fffff : System RAM\n" + line)
    assert [(p.line, reason in p.reason) for p in (*found.problems, *found.unread)] == [(2, True)]


def test_entries_in_entries_take_linear_time():
    """As many as the limit allows, each in the one before or all in one."""
    count = 50_000
    nested = "".join(f"{i << 12:09x}-{(1 << 36) - (i << 12) - 1:09x} : Reserved\n" for i in range(count // 2))
    flat = "000000000-fffffffff : Reserved\n"
    flat += "".join(f"{i << 13:09x}-{(i << 13) + 4095:09x} : System RAM\n" for i in range(count))
    start = time.process_time()
    assert len(iomem.read(nested, "iomem")[0].memory) == count - 1
    (facts,) = iomem.read(flat, "iomem")
    assert len(facts.memory) == 2 * count and sum(r.size for r in facts.memory) == 1 << 36
    assert time.process_time() - start < 5  # about 0.5 s


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(1, 16), st.sampled_from(["System RAM", "Reserved", "x"]))))
def test_memory_is_what_the_innermost_entry_says(entries):
    """In whatever order entries come: of every page that lies in properly nested ones."""
    placed = []
    for base, size, name in entries:
        end = base + size
        if all(end <= b or e <= base or (b <= base and end <= e) for b, e, _ in placed):
            placed.append((base, end, name))
    text = "".join(f"{b << 12:08x}-{(e << 12) - 1:08x} : {name}\n" for b, e, name in sorted(placed, key=order))
    (facts,) = iomem.read(text or "text", "iomem")
    for page in range(31):
        around = [name for b, e, name in sorted(placed, key=order) if b <= page < e]
        names = around[: around.index("System RAM") + 1] if "System RAM" in around else around
        expected = next((name for name in reversed(names) if name != "x"), None)
        told = [r.name for r in facts.memory if r.base <= page << 12 < r.end]
        assert told == ([expected] if expected else [])


def order(entry: tuple[int, int, str]) -> tuple[int, int]:
    """Parents before children, as the kernel prints them."""
    return entry[0], -entry[1]
