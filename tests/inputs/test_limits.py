"""Limits: what exceeds one is refused in one line, soon; what does not is read; docs/limits.md lists them all."""

import gzip
import io
import lzma
import re
import time
from functools import partial

import pytest
from backports import zstd
from collection import ROOT
from msgspec.structs import asdict

from kernmalloc.inputs import read_bytes
from kernmalloc.inputs.errors import LONGEST, InputError, UnreadableError
from kernmalloc.inputs.limits import BYTES, OF, hold, limits, parse_limit, raised
from kernmalloc.inputs.sizes import size
from kernmalloc.inputs.toml import parse_toml, text_of
from kernmalloc.inputs.traces import read_stream as read_trace

ENTRY = "BIOS-e820: [mem 0x{:016x}-0x{:016x}] usable\n"


def log(entries: int) -> bytes:
    return "".join(ENTRY.format(n << 13, (n << 13) + 4095) for n in range(entries)).encode()


def fleet(machines: int) -> bytes:
    return b'{"ram": 1, "bars": []}\n' * machines


def refusal(data: bytes) -> str:
    start = time.process_time()
    with pytest.raises(UnreadableError) as caught:
        read_bytes(data, "bomb")
    assert time.process_time() - start < 10
    assert caught.value.file == "bomb" and "\n" not in str(caught.value)
    return str(caught.value)


def test_the_document_lists_every_limit():
    rows = re.findall(r"^\| (\w+) \| ([\d,]+(?: [KMGT]iB)?) \|", (ROOT / "docs/limits.md").read_text(), re.M)
    told = {name: size(value) if name in BYTES else f"{value:,}" for name, value in asdict(limits()).items()}
    assert dict(rows) == told and list(OF) == list(told)


@pytest.mark.parametrize(
    "name, value, data",
    [
        ("bytes", len(log(3)), log),
        ("lines", 3, log),
        ("ranges", 3, log),
        ("machines", 3, fleet),
    ],
)
def test_what_fits_is_read_and_what_exceeds_a_limit_is_not(name, value, data):
    with raised(**{name: value}):
        assert read_bytes(data(3), "file")
        assert f"{OF[name]} (--limit {name}=N takes more)" in refusal(data(4))
    assert read_bytes(data(4), "file")


def test_limits_hold_again_after_they_were_raised():
    with pytest.raises(UnreadableError), raised(lines=1):
        hold("lines", 2, "file")
    hold("lines", 2, "file")


@pytest.mark.parametrize("packed", [bytes, gzip.compress, zstd.compress, partial(lzma.compress, preset=0)])
@pytest.mark.parametrize("piece", [b"\n", b"\0", b"x"])
def test_bombs_are_refused_by_size(packed, piece):
    bomb = packed(piece * (limits().bytes + 1))
    assert "more than 64 MiB in a file" in refusal(bomb)


def test_ten_million_lines_are_refused_by_size():
    assert "more than 1,000,000 lines in a file" in refusal(b"x\n" * 10_000_000)


def test_a_million_nodes_in_nodes_are_refused_by_depth():
    head = bytes.fromhex("d00dfeed 00200000 00000038 00000038 00000028 00000011 00000010 00000000 00000000 00000000")
    assert "more than 64 levels of nesting" in refusal(head + bytes(16) + b"\0\0\0\1\0\0\0\0" * 200_000)
    assert "more than 2 MiB of device tree" in refusal(head + bytes(3 << 20))


@pytest.mark.parametrize(
    "text, reason",
    [
        ("a" + ".a" * 1_000_000 + " = 1", "bomb:1: more than 64 levels of nesting"),
        ("\n[" + '"a" . ' * 100_000 + "a]", "bomb:2: more than 64 levels of nesting"),
        ("a = " + "[" * 1_000_000, "bomb: not TOML: nested too deeply"),
        ("a = " + "{a = " * 100_000, "bomb: not TOML: nested too deeply"),
        ("\n\na = " + "7" * 1_000_000, "bomb:3: a number of 1,000,000 digits (at most 100)"),
        ("a = 0x" + "f" * 1_000_000, "bomb:1: a number of 1,000,000 digits (at most 100)"),
        ("a = 1\n" * 1_000_001, "bomb: more than 1,000,000 lines in a file (--limit lines=N takes more)"),
        ("#" * ((16 << 20) + 1), "bomb: more than 16 MiB of TOML (--limit toml=N takes more)"),
    ],
)
def test_bombs_in_toml(text, reason):
    start = time.process_time()
    with pytest.raises(UnreadableError) as caught:
        parse_toml(text, "bomb")
    assert str(caught.value).startswith(reason) and time.process_time() - start < 5
    assert "\n" not in str(caught.value)


def test_what_is_no_bomb_in_toml():
    text = f"{'a.' * 63}a = {'9' * 100}\nb = {'[' * 64}{']' * 64}\nc = '{'.x' * 200}'"
    assert parse_toml(text, "file")["c"] == ".x" * 200


def test_a_file_without_an_end_is_refused():
    with pytest.raises(UnreadableError, match="more than 16 MiB of TOML"):
        text_of("/dev/zero")


def test_a_reason_that_quotes_a_bomb_is_short():
    error = InputError("file", 1, "unknown key\n" + "x" * 1_000_000)
    assert len(error.reason) == LONGEST and error.reason.endswith("x…") and "\n" not in str(error)


@pytest.mark.parametrize("data", [b"\n" * 4096, b"kmalloc: x\n" * 400, bytes(8192)])
def test_a_trace_has_a_limit_of_its_own(data):
    with raised(trace=4095), pytest.raises(UnreadableError, match="in a trace"):
        read_trace(io.BytesIO(gzip.compress(data)), "bomb")


@pytest.mark.parametrize("text, limit", [("lines=5000000", ("lines", 5_000_000)), ("bytes=1GiB", ("bytes", 1 << 30))])
def test_how_a_limit_is_written(text, limit):
    assert parse_limit(text) == limit


@pytest.mark.parametrize("text", ["", "lines", "lines=", "lines=many", "line=5", "=5", "lines=-1"])
def test_what_is_no_limit(text):
    with pytest.raises(InputError):
        parse_limit(text)
