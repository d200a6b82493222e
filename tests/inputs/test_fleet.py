"""Fleets: many machines in one file, compressed or not."""

import gzip
import io
import json
import lzma
import pickle

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs import InputError, packed, read_bytes
from kernmalloc.inputs import fleet as fleet_lines
from kernmalloc.inputs.errors import NoEventError
from kernmalloc.inputs.limits import raised
from kernmalloc.machine.memory_map import Machine, UnreadableError

PC = {
    "vendor": "ASUSTek",
    "model": "EB1035",
    "arch": "AMD64",
    "os": "OPNSENSE",
    "ram": 4 << 30,
    "bars": [
        ["0:0:2:0", "030000", "10", "Memory", 64, 0xF7800000, 1 << 22, "enabled", "8086", "0106"],
        ["0:0:2:0", "030000", "18", "Prefetchable Memory", 64, 0xE0000000, 1 << 28, "enabled", "8086", "0106"],
        ["0:0:2:0", "030000", "20", "I/O Port", 32, 0xF000, 64, "enabled", "8086", "0106"],
        ["0:255:30:3", "088000", "10", "Memory", 20, 16, 16, "disabled", "8086", "2fc0"],
        ["0:4:0:0", "028000", "10", "Memory", 32, 0, 4096, "disabled", "168c", "0032"],
    ],
}
NO_RAM = PC | {"ram": 0, "model": "unknown"}
BROKEN = [
    '{"bars": [',
    '{"bars": [["0:0:2:0"]]}',
    '{"vendor": "nobody"}',
    '{"bars": [["x", "", "10", "Memory", 64, 1, 1]]}',
    '{"bars": [["0:0:2:0", "", "no", "Memory", 64, 1, 1]]}',
    '{"bars": [["0:0:2:0", "", "10", "Memory", 64, 1e300, 1]]}',
]


@pytest.fixture
def fleet(tmp_path):
    file = tmp_path / "machines.jsonl.gz"
    file.write_bytes(
        gzip.compress("\n".join([json.dumps(PC), "", json.dumps(NO_RAM), *BROKEN, json.dumps(PC)]).encode())
    )
    return file


def test_every_machine_is_read_or_refused_alone(fleet):
    first, unknown, *broken, last = Machine.read_all(fleet)
    assert (first.name, first.arch, first.ram_bytes) == ("ASUSTek EB1035", "x86_64", (4 << 30) - (384 << 10))
    assert [(d.name, d.bar, d.base, d.status) for d in first.devices] == [
        ("0000:04:00.0", 0, 0, "unassigned"),
        ("0000:00:02.0", 2, 0xE0000000, "assigned"),
        ("0000:00:02.0", 0, 0xF7800000, "assigned"),
    ]
    assert first.ignored == {"I/O ports": 1, "register below 1 MiB": 1}
    assert isinstance(unknown, UnreadableError) and (unknown.line, unknown.advice[:10]) == (3, "give --ram")
    assert [error.line for error in broken] == [4, 5, 6, 7, 8, 9]
    assert all(isinstance(error, InputError) and "not a machine" in error.reason for error in broken)
    assert last.devices == tuple(
        type(d)(**{f: getattr(d, f) for f in d.__struct_fields__} | {"line": 10}) for d in first.devices
    )


def test_ram_from_elsewhere_goes_before_what_the_file_tells(fleet):
    first, unknown, *_ = Machine.read_all(fleet, ram="8GiB")
    assert first.ram_bytes == unknown.ram_bytes == (8 << 30) - (384 << 10)
    assert not first.problems and not unknown.problems


def test_one_machine_cannot_be_had_from_a_fleet(fleet):
    with pytest.raises(InputError, match="9 machines, and one is needed"):
        Machine.read(fleet)
    with pytest.raises(InputError, match="9 machines, and one is needed"):
        Machine.shipped("desktop-16g").with_devices(fleet)


def test_a_line_of_a_fleet_is_a_machine(tmp_path):
    file = tmp_path / "machine.json"
    file.write_text(json.dumps(PC) + "\n")
    assert Machine.read(file).name == "ASUSTek EB1035"


@given(
    st.lists(
        st.tuples(
            st.integers(0, 255),
            st.integers(0, 31),
            st.integers(0, 7),
            st.integers(0, 5),
            st.integers(1, 1 << 52),
            st.integers(1, 1 << 40),
            st.sampled_from([32, 64]),
            st.booleans(),
        ),
        max_size=10,
    )
)
def test_a_rendered_machine_reads_back_equal(registers):
    bars = [
        [
            f"0:{bus}:{slot}:{function}",
            "020000",
            f"{0x10 + 4 * bar:x}",
            "Prefetchable Memory" if prefetch else "Memory",
            bits,
            base,
            size,
            "enabled",
            "8086",
            "1000",
        ]
        for bus, slot, function, bar, base, size, bits, prefetch in registers
    ]
    (facts,) = read_bytes(json.dumps({"model": "m", "bars": bars}).encode(), "fleet")
    assert [(d.name, d.bar, d.base, d.size, d.bits, d.prefetch) for d in facts.devices] == [
        (f"0000:{bus:02x}:{slot:02x}.{function:x}", bar, base, size, bits, prefetch)
        for bus, slot, function, bar, base, size, bits, prefetch in registers
    ]


LOG = b"BIOS-e820: [mem 0x0000000000100000-0x00000000001fffff] usable\n"


def test_any_input_may_be_compressed():
    assert read_bytes(gzip.compress(LOG), "dmesg.1.gz")[0].memory[0].base == 1 << 20


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress, lzma.compress])
def test_streams_that_follow_each_other_are_one(pack):
    assert read_bytes(pack(LOG[:20]) + pack(LOG[20:]), "dmesg.1")[0].memory[0].base == 1 << 20


PACKED = gzip.compress(LOG, mtime=0)
XZ = lzma.compress(LOG)


@pytest.mark.parametrize(
    "data",
    [
        b"\x1f\x8b",
        PACKED[:-9],
        PACKED[:-4] + b"1234",
        PACKED[:15] + b"\xff" * 4,
        b"\x1f\x8b" + bytes(100),
        PACKED + b"more",
    ],
    ids=["magic", "cut", "checksum", "data", "zeros", "more"],
)
def test_damaged_compression_is_told(data):
    with pytest.raises(UnreadableError, match="damaged gzip file"):
        read_bytes(data, "dmesg.1.gz")


@pytest.mark.parametrize(
    "data", [XZ[:6], XZ[:-9], XZ[:-4] + b"1234", XZ + b"more"], ids=["magic", "cut", "end", "more"]
)
def test_damaged_xz_is_told(data):
    with pytest.raises(UnreadableError, match="damaged xz file"):
        read_bytes(data, "dmesg.1.xz")


def test_zeros_may_follow_xz():
    assert read_bytes(XZ + bytes(8) + XZ, "dmesg.1.xz")


def test_xz_that_takes_much_memory_is_refused(monkeypatch):
    monkeypatch.setattr(packed, "XZ_MEMORY", 4 << 20)  # the dictionary of `xz -6` has 8 MiB
    with pytest.raises(UnreadableError, match="damaged xz file: Memory usage limit"):
        read_bytes(XZ, "bomb.xz")


def test_lines_are_read_in_blocks():
    text = "\n".join([json.dumps(PC), "", json.dumps(NO_RAM), *BROKEN, json.dumps(PC)]).encode()
    whole = read_bytes(text, "fleet")
    for most in (1, 2, 3, 100):
        blocks = list(fleet_lines.blocks(io.BufferedReader(io.BytesIO(text)), "fleet", most))
        assert b"".join(block.data for block in blocks).replace(b"\n\n", b"\n") == text.replace(b"\n\n", b"\n")
        assert all(block.machines and text[block.offset :].startswith(block.data) for block in blocks)
        assert sum(block.machines for block in blocks) == len(whole)
        found = [
            facts for block in blocks for facts in fleet_lines.facts_in(block.data.split(b"\n"), "fleet", block.line)
        ]
        assert [(f.line, f.name, f.devices, str(f.refusal)) for f in found] == [
            (f.line, f.name, f.devices, str(f.refusal)) for f in whole
        ]


def test_a_line_without_an_end_is_refused():
    with raised(bytes=1000), pytest.raises(UnreadableError, match="fleet:2: more than 1000 B in a file"):
        list(fleet_lines.blocks(io.BufferedReader(io.BytesIO(b"\n" + b"x" * 2000)), "fleet", 5))
    record = {"bars": [PC["bars"][0]] * 11}
    with raised(ranges=10):
        (facts,) = fleet_lines.facts_in([json.dumps(record)], "fleet")
    assert str(facts.refusal).startswith("fleet:1: more than 10 ranges of one machine")


def test_a_line_that_is_nested_deeply_is_refused_alone():
    text = json.dumps(PC)
    found = list(fleet_lines.facts_in([text[:-1] + ', "more": ' + "[" * 100_000, text], "fleet"))
    assert [facts.refusal is None for facts in found] == [False, True]


@pytest.mark.parametrize("kind", [InputError, UnreadableError, NoEventError])
def test_what_is_wrong_goes_from_process_to_process(kind):
    error = pickle.loads(pickle.dumps(kind("file", 3, "reason", "advice")))
    assert type(error) is kind and str(error) == "file:3: reason (advice)"
