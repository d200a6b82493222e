"""Machines in TOML: strict reading, and writing that reads back equal."""

import msgspec
import pytest
from effort import EFFORT
from fuzzing import without_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.inputs import toml_facts
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import CARVED_KINDS, DEVICE_KINDS, MAP_KINDS, Bridge, Device, Facts, Range
from kernmalloc.machine.memory_map import Machine, resolve

GOOD = """\
# where it comes from
name = "A board"
arch = "riscv64"
memory = [
  { base = 0x8000_0000, size = 0x4000_0000, kind = "ram" },
  { base = 0x0, size = 0x1000, kind = "rom", name = "mask ROM" },
]

[[devices]]
base = 0x4000_0000
size = 0x1000_0000
name = "0000:01:00.0"
bar = 1
bits = 64
prefetch = true
"""


def test_a_board():
    machine = Machine.from_toml(GOOD)
    assert (machine.name, machine.arch, machine.ram_bytes) == ("A board", "riscv64", 0x40000000)
    assert [(r.kind, r.name, r.line) for r in machine.firmware] == [("rom", "mask ROM", 6)]
    (device,) = machine.devices
    assert (device.base, device.bar, device.bits, device.prefetch, device.line) == (0x40000000, 1, 64, True, 11)


@pytest.mark.parametrize(
    "old, new, line, reason",
    [
        ('kind = "ram"', 'kind = "dram"', 5, "unknown kind 'dram'"),
        ('kind = "ram"', 'kind = "ram", colour = 3', 5, "unknown field `colour`"),
        ("size = 0x4000_0000", 'size = "big"', 5, "Expected `int`"),
        ("size = 0x4000_0000", "size = 0", 5, "must be positive"),
        ("size = 0x4000_0000", "size = -4096", 5, "must be positive"),
        ("base = 0x8000_0000", "base = -1", 5, "must not be negative"),
        ("base = 0x8000_0000", "base = 0x7fff_ffff_ffff_f000", 5, "above 2^63"),
        ("base = 0x8000_0000", "base = 0xffff_ffff_ffff_f000", 5, "above 2^63"),
        ("base = 0x8000_0000", "base = 0x800", 5, "lies inside the entry of line 6"),
        ("base = 0x0, ", "", 6, "missing required field `base`"),
        ("arch =", "architecture =", 3, "unknown field `architecture`"),
        ("bits = 64", "bits = 48", 11, "bits must be 32 or 64"),
        ("prefetch = true", 'status = "lost"', 11, "unknown status 'lost'"),
        ("bar = 1", "bar == 1", 13, "not TOML"),
        ("memory = [", "memories = [", 4, "unknown field `memories`"),
    ],
)
def test_refusals_name_the_line(old, new, line, reason):
    with pytest.raises(InputError) as error:
        Machine.from_toml(GOOD.replace(old, new, 1), "board.toml")
    assert (error.value.line, error.value.file) == (line, "board.toml")
    assert reason in str(error.value)


def test_a_machine_needs_memory():
    with pytest.raises(InputError, match="missing required field `memory`"):
        Machine.from_toml('name = "nothing"\n')


def _disjoint(draw, kinds, limit=1 << 62):
    cuts = sorted(draw(st.sets(st.integers(0, limit), max_size=12)))
    text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)
    pairs = zip(cuts[::2], cuts[1::2], strict=False)  # an odd one is left out
    return [Range(low, high - low, draw(st.sampled_from(kinds)), draw(text)) for low, high in pairs]


@st.composite
def facts(draw):
    text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
    made = Facts("machine.toml")
    made.name, made.origin, made.licence = draw(text) or "x", draw(text), draw(text)
    made.arch = draw(st.sampled_from(["x86_64", "i386", "?"]))
    made.memory = _disjoint(draw, MAP_KINDS)
    made.carved = _disjoint(draw, CARVED_KINDS)
    made.windows = [Range(r.base, r.size, "window", r.name) for r in _disjoint(draw, ("window",))]
    made.devices = [
        Device(
            r.base,
            r.size,
            draw(st.sampled_from(DEVICE_KINDS)),
            r.name,
            draw(st.integers(-1, 6)),
            draw(st.sampled_from([0, 32, 64])),
            draw(st.booleans()),
            draw(st.sampled_from(["assigned", "unassigned"])),
        )
        for r in _disjoint(draw, ("bar",))
    ]
    return made


@settings(max_examples=150, deadline=None)
@given(facts())
def test_what_is_written_reads_back_equal(made):
    (back,) = toml_facts.read(toml_facts.write(made), "machine.toml")
    for key in ("name", "arch", "origin", "licence"):
        assert getattr(back, key) == getattr(made, key)
    for key in ("memory", "carved", "devices", "windows"):
        assert [msgspec.structs.replace(entry, line=0) for entry in getattr(back, key)] == getattr(made, key)


PLACES = st.integers(0, 40).map(lambda n: n << 11) | st.integers(0, 1 << 64) | st.sampled_from([1 << 52, (1 << 63) - 1])
SIZES = st.integers(1, 40).map(lambda n: n << 11) | st.integers(1, 1 << 64)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)


def _ranges(kinds):
    return st.lists(st.builds(Range, PLACES, SIZES, st.sampled_from(kinds), NAMES), max_size=6)


@st.composite
def _windows(draw):
    status = draw(st.sampled_from(["assigned", "unassigned", "disabled"]))
    base = 0 if status == "unassigned" else draw(PLACES)
    bits, kind = draw(st.sampled_from([0, 32, 64])), draw(st.sampled_from(DEVICE_KINDS))
    return Device(base, draw(SIZES), kind, draw(NAMES), draw(st.integers(-1, 6)), bits, draw(st.booleans()), status)


BUSES = st.integers(0, 255)
BRIDGES = st.lists(st.builds(Bridge, st.from_regex(r"[0-9a-f]{4}:[0-9a-f]{2}:1f\.0", fullmatch=True), BUSES, BUSES))


@settings(max_examples=200 * EFFORT, deadline=None)
@given(_ranges(MAP_KINDS), _ranges(CARVED_KINDS), _ranges(["window"]), st.lists(_windows(), max_size=5), BRIDGES)
def test_every_machine_reads_back_equal(memory, carved, windows, devices, bridges):
    """However entries overlap, wrap around and repeat each other: what became of them is kept."""
    made = Facts("machine.toml")
    made.memory, made.carved, made.windows, made.devices = memory, carved, windows, devices
    made.bridges = bridges
    try:
        machine = resolve(made)
    except InputError:
        return
    again = Machine.from_toml(machine.to_toml())
    assert without_lines(again) == without_lines(machine)


def test_a_device_inside_ram_that_firmware_has_reserved_since_is_kept_there():
    made = Facts("machine.toml")
    made.memory = [Range(0, 8192, "ram"), Range(0, 4096, "reserved")]
    made.devices = [Device(0, 4096)]
    machine = Machine.from_toml(resolve(made).to_toml())
    assert [d.status for d in machine.devices] == ["inside RAM"] and not machine.device_ranges(12)
    elsewhere = Machine.from_toml('memory = [{ base = 0x10000, size = 4096, kind = "ram" }]')
    assert [d.status for d in elsewhere.with_devices(machine).devices] == ["assigned"]


def test_devices_beyond_the_limit_survive():
    text = (
        'memory = [{ base = 0, size = 4096, kind = "ram" }]\n'
        'devices = [{ base = 0xffffffff80000000, size = 4096, status = "beyond" }]\n'
    )
    machine = Machine.from_toml(text)
    assert Machine.from_toml(machine.to_toml()).devices[0].base == 0xFFFFFFFF80000000


@pytest.mark.parametrize("bridge", ['name = "x", bus = 1', 'name = "0000:00:1c.0", bus = 256', 'name = "0000:00:1c.0"'])
def test_bridges_that_cannot_be_are_refused(bridge):
    text = f'memory = [{{ base = 0, size = 4096, kind = "ram" }}]\nbridges = [{{ {bridge}, last = 1 }}]\n'
    with pytest.raises(InputError, match=r"bridges|bus"):
        Machine.from_toml(text)
