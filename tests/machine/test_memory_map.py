"""Resolution of memory maps, pages, streams, and which machine this computer is."""

import io
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.inputs.facts import CARVED_KINDS, MAP_KINDS, Facts, Range
from kernmalloc.machine.memory_map import FALLBACK, PA_LIMIT, Machine, UnreadableError, resolve, shipped_names

LOG = "BIOS-e820: [mem 0x00000000-0x000fffff] usable\n"
IOMEM = "00000000-001fffff : System RAM\n"
HIDDEN = "00000000-00000000 : System RAM\n"
Entries = list[tuple[int, int, str]]
Computer = Callable[..., tuple[Machine, str]]


def made(*ranges: Range, carved: Sequence[Range] = ()) -> Machine:
    facts = Facts("made")
    facts.memory, facts.carved = list(ranges), list(carved)
    return resolve(facts)


def ram(*spans: tuple[int, int]) -> Machine:
    return made(*(Range(base, end - base, "ram") for base, end in spans))


SMALL = st.lists(st.tuples(st.integers(0, 60), st.integers(-2, 20), st.sampled_from(MAP_KINDS)), max_size=10)


@settings(max_examples=500, deadline=None)
@given(SMALL, st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20), st.sampled_from(CARVED_KINDS)), max_size=5))
def test_overlaps_resolve_as_a_byte_model_does(entries: Entries, carved: Entries) -> None:
    """Each byte belongs to the strongest entry over it; what is carved counts inside RAM only."""
    model: dict[int, str] = {}
    for kind in MAP_KINDS:
        model |= {byte: kind for base, size, k in entries if k == kind for byte in range(base, base + size)}
    taken: dict[int, str] = {}
    for kind in CARVED_KINDS:
        taken |= {byte: kind for base, size, k in carved if k == kind for byte in range(base, base + size)}
    taken = {byte: kind for byte, kind in taken.items() if model.get(byte) == "ram"}
    ranges = [Range(base, size, kind) for base, size, kind in entries]
    if "ram" not in model.values():
        with pytest.raises(UnreadableError):
            made(*ranges)
        return
    machine = made(*ranges, carved=[Range(base, size, kind) for base, size, kind in carved])
    resolved = (*machine.ram, *machine.firmware)
    assert {byte: r.kind for r in resolved for byte in range(r.base, r.end)} == model
    assert sum(r.size for r in resolved) == len(model)
    assert {byte: r.kind for r in machine.carved for byte in range(r.base, r.end)} == taken
    assert sum(r.size for r in machine.carved) == len(taken)
    for group in (machine.ram, machine.firmware, machine.carved):
        assert list(group) == sorted(group, key=lambda r: r.base)
    assert all(low.end < high.base for low, high in pairwise(machine.ram))


def test_ram_that_touches_is_one_range() -> None:
    assert [(r.base, r.end) for r in ram((0, 0x1800), (0x1800, 0x3000)).ram] == [(0, 0x3000)]


def test_what_cannot_be_is_dropped_and_listed() -> None:
    machine = made(
        Range(0, 4096, "ram", line=1),
        Range(8192, 0, "ram", line=2),
        Range(8192, -1, "ram", line=3),
        Range(PA_LIMIT - 4096, 8192, "ram", line=4),
        Range((1 << 64) - 4096, 4096, "reserved", line=5),
        Range(0, 4096, "ram", line=6),
        Range(1 << 52, 4096, "ram", line=7),
    )
    assert [(r.base, r.size) for r in machine.ram] == [(0, 4096), (1 << 52, 4096)]
    assert not machine.firmware
    assert [p.line for p in machine.problems] == [2, 3, 4, 5, 6, 7]


def test_ram_up_to_the_limit_is_kept() -> None:
    assert made(Range(PA_LIMIT - 4096, 4096, "ram")).ram[0].end == PA_LIMIT


def test_pages_round_inward() -> None:
    machine = ram((0x800, 0x3800), (0x5001, 0x5FFF), (0x7000, 0x8000))
    assert machine.ram_pages(12, 32) == ([(1, 2), (7, 1)], 0, 0x1000 + 0xFFE)


def test_pages_are_clipped_at_the_physical_limit() -> None:
    machine = ram((0x100000, 0x8000_0000), (0x1_0000_0000, 0x9_0000_0800), (0x20_0000_0000, 0x20_0000_1000))
    pages, clipped, lost = machine.ram_pages(12, 32)
    assert (pages, clipped, lost) == ([(0x100, 0x7FF00)], 0x8_0000_0800 + 0x1000, 0)
    pages, clipped, lost = machine.ram_pages(12, 36)
    assert (pages[1:], clipped, lost) == ([(0x100000, 0x800000)], 0x1000, 0x800)


@settings(max_examples=300, deadline=None)
@given(st.sets(st.integers(0, 1 << 20), min_size=2, max_size=12), st.integers(4, 16), st.integers(16, 21))
def test_pages_account_for_every_byte(cuts: set[int], page_shift: int, phys_bits: int) -> None:
    edges = sorted(cuts)
    machine = ram(*zip(edges[::2], edges[1::2], strict=False))
    pages, clipped, lost = machine.ram_pages(page_shift, phys_bits)
    assert sum(frames for _, frames in pages) << page_shift == machine.ram_bytes - clipped - lost
    for pfn, frames in pages:
        low, high = pfn << page_shift, (pfn + frames) << page_shift
        assert high <= 1 << phys_bits
        assert any(r.base <= low and high <= r.end for r in machine.ram)
    assert clipped == sum(max(0, r.end - max(r.base, 1 << phys_bits)) for r in machine.ram)


def test_streams(tmp_path: Path) -> None:
    assert Machine.read_stream(io.BytesIO(LOG.encode())).file == "-"
    with pytest.raises(UnreadableError, match="-: empty"):
        Machine.read_stream(io.BytesIO(b"\n"))


@pytest.mark.parametrize(
    "content, reason",
    [
        (None, "No such file"),
        (b"", "empty"),
        (b"\x7fELF\0\0", "binary data"),
        (b"hello\n", "not a boot log"),
    ],
)
def test_unreadable_files(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "machine"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableError, match=reason) as error:
        Machine.read(path)
    assert error.value.file == str(path)


def test_a_folder_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError):
        Machine.read(tmp_path)


def test_utf_16_as_windows_writes_it() -> None:
    assert Machine.read_stream(io.BytesIO(LOG.encode("utf-16"))).ram_bytes == 0x100000


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    """A computer whose iomem, dmesg command and log file hold the given texts (None: not there)."""

    def sources(iomem: str | None = None, command: str | None = None, log: str | None = None) -> tuple[Machine, str]:
        paths = tmp_path / "iomem", tmp_path / "dmesg.out", tmp_path / "dmesg"
        for path, text in zip(paths, (iomem, command, log), strict=True):
            if text is not None:
                path.write_text(text)
        return Machine.this_computer(iomem=paths[0], command=("cat", str(paths[1])), logs=(paths[2],))

    return sources


def test_this_computer_is_its_iomem(computer: Computer) -> None:
    machine, told = computer(iomem=IOMEM, command=LOG)
    assert (machine.name, machine.ram_bytes) == ("this computer", 0x200000)
    assert machine.arch != "?"
    assert told.startswith("This computer, from ") and "Not taken" not in told


def test_this_computer_without_privilege_is_its_boot_log(computer: Computer) -> None:
    machine, told = computer(iomem=HIDDEN, command=LOG)
    assert machine.ram_bytes == 0x100000
    assert "the output of cat" in told and "without privilege" in told


def test_this_computer_may_keep_its_log_in_a_file(computer: Computer) -> None:
    machine, told = computer(iomem=HIDDEN, log=LOG)
    assert machine.ram_bytes == 0x100000 and told.count("Not taken") == 1


def test_a_computer_that_hides_everything_is_a_shipped_machine(computer: Computer) -> None:
    machine, told = computer()
    assert machine.name == Machine.shipped(FALLBACK).name
    assert told.startswith(f"Not this computer but the shipped machine {FALLBACK}")
    assert "No such file" in told


def test_who_may_not_read_the_map_is_told_who_may(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    for user, said in ((0, False), (1000, True)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert ("sudo" in computer()[1].split(". ")[0]) == said


def test_this_very_computer_answers() -> None:
    machine, told = Machine.this_computer()
    assert machine.ram_bytes > 0 and told


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_machines(name: str) -> None:
    machine = Machine.shipped(name)
    assert machine.ram and not machine.problems
    assert machine.origin and machine.licence


def test_an_unknown_shipped_machine_is_refused() -> None:
    with pytest.raises(ValueError, match=FALLBACK):
        Machine.shipped("nothing")
