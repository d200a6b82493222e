"""Tar archives: read as Python's `tarfile` reads them, as streams, and no archive makes us hold or leave anything."""

import io
import tarfile
import time
from collections import Counter

import pytest
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.inputs.archive import LONGEST_NAME, members, recognises
from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.limits import raised

FORMATS = tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT
PART = st.text("abcäxyz019 -", min_size=1, max_size=12).filter(lambda part: not part.isspace())
NAMES = st.lists(PART, min_size=1, max_size=9).map("/".join)


def packed(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT, **more: str) -> bytes:
    """An archive of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, pax_headers=more or None) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def entry(name: str, **fields: object) -> bytes:
    """The header of a file, or of what is none."""
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def unpack(data: bytes, skipped: Counter[str] | None = None) -> dict[str, bytes]:
    """The files of an archive."""
    left_out = Counter() if skipped is None else skipped
    found = {}
    for name, contents in members(io.BytesIO(data), "a.tar", left_out):
        found[name] = b"".join(iter(lambda contents=contents: contents.read(100), b""))
    return found


@settings(max_examples=40 * EFFORT)
@given(st.dictionaries(NAMES, st.binary(max_size=1100), max_size=4), st.sampled_from(FORMATS))
def test_archives_of_every_form_are_read_as_they_were_written(files, form):
    data = packed(files, form)
    assert unpack(data) == files
    assert not files or recognises(data[:512])


@settings(max_examples=40 * EFFORT)
@given(st.dictionaries(NAMES, st.binary(max_size=2000), min_size=2, max_size=4))
def test_contents_that_nobody_reads_are_passed_over(files):
    assert [name for name, _ in members(io.BytesIO(packed(files)), "a.tar", Counter())] == list(files)


@pytest.mark.parametrize("length", [99, 100, 101, 255, 256, 3000])
def test_names_of_any_length(length):
    name = "a" * 50 + "/" + "b" * (length - 51)
    for form in FORMATS if 50 < length < 150 else FORMATS[1:]:
        assert unpack(packed({name: b"x", "last": b"y"}, form)) == {name: b"x", "last": b"y"}


def test_a_size_may_be_binary_or_told_by_pax():
    binary = entry("a", size=3).replace(b"00000000003\0", b"\x80" + (3).to_bytes(11, "big"))
    total = sum(binary) - sum(binary[148:156]) + 256
    binary = binary[:148] + b"%06o\0 " % total + binary[156:]
    assert unpack(binary + b"abc".ljust(512, b"\0")) == {"a": b"abc"}
    record = b"9 size=3\n"
    told = entry("pax", size=len(record), type=tarfile.XHDTYPE) + record.ljust(512, b"\0")
    assert unpack(told + entry("a", size=0) + b"abc".ljust(512, b"\0")) == {"a": b"abc"}


def test_what_is_no_file_or_leaves_the_archive_is_skipped_and_counted():
    skipped = Counter()
    kinds = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE
    data = b"".join(entry(f"entry{number}", type=kind) for number, kind in enumerate(kinds))
    data += b"".join(entry(name, size=2) + b"no".ljust(512, b"\0") for name in ("/etc/passwd", "../up", "a/../../b"))
    data += b"".join(entry(name, size=2) + b"no".ljust(512, b"\0") for name in (".hidden", "a/.b/c", "_metadata"))
    data += entry("./logs/a", size=2) + b"ok".ljust(512, b"\0")
    assert unpack(data, skipped) == {"./logs/a": b"ok"}
    assert skipped == {"link": 2, "device": 3, "path that leaves the archive": 3, "hidden file": 3}


def test_sparse_files_are_skipped():
    skipped = Counter()
    head = bytearray(entry("holes", size=512, type=tarfile.GNUTYPE_SPARSE))
    head[482] = 1  # one more block of its map
    head[148:156] = b"%06o\0 " % (sum(head) - sum(head[148:156]) + 256)
    data = bytes(head) + bytes(512) + b"x" * 512 + entry("a", size=1) + b"y".ljust(512, b"\0")
    assert unpack(data, skipped) == {"a": b"y"} and skipped == {"sparse file": 1}
    record = b"22 GNU.sparse.major=1\n"
    told = entry("pax", size=len(record), type=tarfile.XHDTYPE) + record.ljust(512, b"\0")
    assert unpack(told + entry("holes", size=3) + b"1\n0".ljust(512, b"\0"), skipped) == {}


@pytest.mark.parametrize(
    "data, reason",
    [
        (packed({"a": b"x" * 1000})[:1300], "it ends in the middle of a file"),
        (packed({"a": b"x"})[:1024] + b"x" * 100, "it ends in the middle of a header"),
        (packed({"a": b"x"})[:1024] + b"x" * 512, "a header whose checksum is wrong"),
        (entry("a", size=1).replace(b"ustar", b"ustaR"), "a header whose checksum is wrong"),
        (entry("L", size=LONGEST_NAME + 1, type=b"L"), "a name or what pax tells of a file in more than 65,536 bytes"),
        (entry("x", size=1 << 32, type=b"x"), "a name or what pax tells of a file in more than 65,536 bytes"),
    ],
)
def test_damage_is_one_line(data, reason):
    with pytest.raises(UnreadableError) as caught:
        unpack(data)
    assert str(caught.value) == f"a.tar: damaged tar archive: {reason}"


def test_an_archive_of_too_many_files_is_refused():
    data = b"".join(entry(f"{number}") for number in range(4))
    with raised(files=3), pytest.raises(UnreadableError, match="more than 3 files in an archive or a folder"):
        unpack(data)


def test_a_file_that_claims_a_terabyte_costs_nothing():
    start = time.process_time()
    with pytest.raises(UnreadableError, match="in the middle of a file"):
        unpack(entry("bomb", size=1 << 40) + bytes(5000))
    assert time.process_time() - start < 1


@given(st.binary(max_size=1500), st.integers(0, 1023))
def test_whatever_is_in_it_is_read_or_refused(junk, at):
    data = bytearray(packed({"a": b"x", "b" * 200: b"y"}))
    data[at : at + len(junk)] = junk
    try:
        unpack(bytes(data))
    except UnreadableError as error:
        assert "\n" not in str(error)
