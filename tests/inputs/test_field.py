"""Inputs out of people's reports, each with the right answer: `field/INDEX.csv` of the data.

Where the index names no number, the bytes stand here; they were summed apart from the readers.
"""

import shutil

import pytest
from collection import DATA

from kernmalloc.facade.profile import Profile
from kernmalloc.fleet.hotadd import growth
from kernmalloc.inputs import read
from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.sizes import Ram
from kernmalloc.inputs.traces import read_trace
from kernmalloc.machine.added_ram import place_ram
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.plan import plan

FIELD = DATA / "field"

RAM = {
    "03-dockerwin-267-moby-prefix.txt": 2147037184,
    "04-eve-578-xen-unusable.txt": 1074757632,
    "05-qubes-6052-host-stamp.txt": 4108976128,
    "12-opensbi-347-spike.txt": 17177772032,
    "13-openbmc-3871-ast2500.txt": 448 << 20,
    "24-jailhouse-quoted-printable.txt": 75497472,
    "28b-opengpu-510-dmesg.txt": 0x9F000 + (0x60000000 - 0x100000) + (0x2080000000 - 0x100000000),
    "30-efi-sp-fake.txt": 6 << 30,
    "42-bhyve-unaligned-9fffe.txt": 0x9FFFF + (0x3FFFFFFF - 0x100000) + 0xFFFFFFFF,
    "44-mtk-prefix.txt": 0x14600000 + (0xC0000000 - 0x54800000) + 0x40000000,
    "54-user-map-only.txt": 0xA0000 + (0x40000000 - 0x100000),
    "60-arm-old-total-tcltv.txt": 520 << 20,
    "62-xenserver-i386-dom0.txt": 0x9FC00 + (0x7FFF0000 - 0x100000),
    "63-acpi-dynamic-ssdt.txt": 0xA0000 + (0x80000000 - 0x100000),
    "64-init-memory-mapping.txt": 0xA0000 + (0x80000000 - 0x100000),
    "08-qubes-9028-xen-efi-map.txt": 3212394496,
    "11-pftf-rpi4-219-freebsd-chunks.txt": 2064650240,
    "16-serenity-617-multiboot.txt": 0x9FC00 + 0x1FFB8000,
    "18-edk2-12379-uefi-memmap.txt": 0x9F5C0000 - 0x80000000,
    "20-coreboot-eldrid-919.txt": 0x9F000 + (0x769EE000 - 0x100000) + (0x76C13000 - 0x76AB2000),
    "22-uboot-rk3588-bdinfo.txt": 0xEFE00000 + 0x2FC000000 + 0x3A00000 + 0x10000000,
    "36-hyperenclave-6.txt": 0x9F000 + (0x9B00000 - 0x100000),
    "46-grub-lsmmap.txt": 0x9FC00 + 0x7EE0000,
    "34-kata-4847-vm-256m.txt": 267910144,
    "d01-econet-usable-range.dtb": 0x3FE0000,
    "d03-nrf52840.dtb": 256 << 10,
    "d07-nop.dtb": 256 << 20,
    "x06-dmidecode.txt": (2 << 30) - (384 << 10),  # an assumed layout: on a PC the RAM under 1 MiB is lost
    "x08-lsmem.txt": 16 << 30,
    "x10-sysfs-firmware-memmap.txt": 0xA0000 + 0x7FF00000,
}
"""Bytes of RAM, by file."""


@pytest.mark.parametrize("name", RAM)
def test_ram(name: str) -> None:
    assert Machine.read(FIELD / name).ram_bytes == RAM[name]


@pytest.mark.parametrize("name", ["x06-dmidecode.txt"])
def test_an_assumed_layout_is_said(name: str) -> None:
    assert any("assumed" in told.reason for told in Machine.read(FIELD / name).missing)


REFUSED = {
    "x02-lspci-plain.txt": "lspci without -v: it lists devices and no address (give the output of sudo lspci -vv)",
}
"""Why a file is refused, in one line."""


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        Machine.read(FIELD / name)
    assert str(caught.value) == f"{FIELD / name}: {REFUSED[name]}"


def test_lshw_tells_windows_of_devices() -> None:
    card = Machine.read_devices(FIELD / "x04-lshw-display.txt")
    assert [(d.name, d.base, d.size) for d in card.devices] == [
        ("0000:01:00.0", 0x83000000, 16 << 20),
        ("0000:01:00.0", 0x84000000, 512 << 10),
        ("0000:01:00.0", 0x60_0000_0000, 8 << 30),
        ("0000:01:00.0", 0x62_0000_0000, 32 << 20),
    ]


def test_a_device_tree_source_is_read_or_refused_in_one_line() -> None:
    name = "66-dts-taken-for-toml.txt"
    if shutil.which("dtc"):
        assert [(r.base, r.size) for r in Machine.read(FIELD / name).ram] == [(0x200000, 0x3FE00000)]
        for blob in ("d01-econet-usable-range", "d03-nrf52840"):
            assert Machine.read(FIELD / f"{blob}.dts").ram == Machine.read(FIELD / f"{blob}.dtb").ram
    else:
        with pytest.raises(UnreadableError, match=r"dtc -O dtb -o board[.]dtb FILE makes board[.]dtb of it"):
            Machine.read(FIELD / name)


TRACES = {
    "t02-null-padded-i386.txt": ([36, 6, 6, 64], {"null": 1}),
    "t04-function-graph-comments.txt": ([4096, 4096, -4096], {"failed": 1}),
    "t04d-fgraph-switch-line.txt": ([4096, 4096, -4096], {"failed": 1}),
    "t05-perf-old-wrapped.txt": ([4096], {"unread": 1}),
    "t22-trace-with-prompt.txt": ([224, 4096], {"unread": 1}),
}
"""Bytes of a trace's operations, and how much is left out of it."""


@pytest.mark.parametrize("name", TRACES)
def test_trace(name: str) -> None:
    operations, left_out = TRACES[name]
    trace = read_trace(FIELD / name)
    assert trace.bytes().tolist() == operations
    counts = {
        field: getattr(trace.skipped, field) for field in ("before", "null", "failed", "unseen", "lost", "unread")
    }
    assert {field: count for field, count in counts.items() if count} == left_out
    assert len(trace.skipped.first) == trace.skipped.unread and sum(trace.skipped.passed.values()) > 2


NUMBERS = {"03", "04", "05", "12", "13", "24", "28", "30", "42", "44", "54", "60", "62", "63", "64"}
LOGS = [name for name in RAM if name[:2] in NUMBERS]


@pytest.mark.parametrize("name", LOGS)
def test_a_log_is_understood_and_its_machine_is_sound(name: str) -> None:
    machine = Machine.read(FIELD / name)
    assert not machine.unread and not machine.missing
    assert bool(machine.problems) == name.startswith("42")


def test_ram_that_linux_gave_up_is_told_apart() -> None:
    board = Machine.read(FIELD / "13-openbmc-3871-ast2500.txt")
    assert [(r.base, r.end) for r in board.ram] == [(0x80000000, 0x9C000000)]
    assert [(r.base, r.end, r.kind) for r in board.unused] == [(0x98000000, 0x9C000000, "ram")]
    spike = Machine.read(FIELD / "12-opensbi-347-spike.txt")  # firmware lies below the kernel: no RAM for another one
    assert [(r.base, r.end, r.kind) for r in spike.unused] == [(0x80000000, 0x80200000, "reserved")]
    assert not any(r.base < 0x80200000 for r in spike.ram)


def test_a_register_without_a_place_has_its_size() -> None:
    devices = Machine.read(FIELD / "28b-opengpu-510-dmesg.txt").devices
    assert [(d.name, d.bar, d.size, d.status) for d in devices] == [("0000:0a:00.0", 1, 32 << 30, "unassigned")]


def test_memory_for_special_purposes_is_soft_reserved() -> None:
    soft = [r for r in Machine.read(FIELD / "30-efi-sp-fake.txt").firmware if r.kind == "soft"]
    assert [(r.base, r.end) for r in soft] == [(0x2_4000_0000, 0x4_0000_0000)]


def test_an_off_by_one_is_named_at_each_end() -> None:
    problems = Machine.read(FIELD / "42-bhyve-unaligned-9fffe.txt").problems
    assert [p.line for p in problems] == [1, 2, 3]
    assert all("off-by-one" in p.reason and "that page is lost" in p.reason for p in problems)


def test_ram_of_an_old_arm_kernel_lies_where_its_command_line_says() -> None:
    machine = Machine.read(FIELD / "60-arm-old-total-tcltv.txt")
    assert machine.arch == "arm"
    assert [(r.base, r.size) for r in machine.ram] == [(68 << 20, 244 << 20), (2284 << 20, 276 << 20)]


def test_a_log_with_the_maps_of_a_machine_and_of_a_domain() -> None:
    log = FIELD / "62-xenserver-i386-dom0.txt"
    machine, domain = Machine.read(log), Machine.read(log, which="domain")
    assert machine.arch == domain.arch == "i386"
    assert (machine.map, machine.other_ram) == ("machine", 760 << 20)
    assert (domain.map, domain.ram_bytes, domain.other_ram) == ("domain", 760 << 20, machine.ram_bytes)


def test_what_a_capability_of_a_device_says_is_understood() -> None:
    facts = read(FIELD / "65-lspci-vector-table.txt")[0]
    assert [d.size for d in facts.devices] == [512 << 10, 16 << 10] and not facts.unread


def test_a_register_without_a_place_is_planned_and_told() -> None:
    """What it would cost, by plan and by boot."""
    machine = Machine.read(FIELD / "28b-opengpu-510-dmesg.txt")
    (device,) = plan(machine, Profile.load("x86_64")).unplaced
    assert (device.size, device.status) == (32 << 30, "unplaced")
    assert device.cost >= (32 << 30) // 4096 * 16  # an entry of 16 bytes for each frame
    assert "with one it would fit" in device.reason


def test_E39_a_guest_that_should_grow() -> None:
    """E39: what page structures for 12 GiB of RAM cost before it is there, and that they fit."""
    guest, profile = Machine.read(FIELD / "34-kata-4847-vm-256m.txt"), Profile.load("eros2")
    made = plan(guest, profile, place_ram(guest, [Ram(12 << 30)]))
    (added,) = made.added
    frames = (12 << 30) // 4096
    assert (added.base, added.status) == (4 << 30, "added")
    assert frames * 32 < added.cost < frames * 36  # an entry and an identity of 16 bytes, bits, the page cache's hash
    assert added.taken < made.available < frames
    assert made.after.available == made.available + frames - added.taken


def test_that_guest_under_linux() -> None:
    """The report's kernel: 188 MiB of page structures were missing in a guest of 256 MiB; in two steps they are not."""
    guest = Machine.read(FIELD / "34-kata-4847-vm-256m.txt")
    found = growth(guest, Profile.load("linux-x86_64"), 12 << 30)
    assert found.boot == 256 << 20 and found.cost >> 20 == 188 and 0 < found.missing < found.cost
    assert len(found.steps) == 2 and not found.reason
