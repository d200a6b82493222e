"""Whatever memory map a file holds, `kernmalloc boot` boots it and every invariant holds, or refuses it in one line."""

import json

import pytest
from effort import EFFORT
from hypothesis import example, given, settings
from hypothesis import strategies as some
from typer.testing import CliRunner

from kernmalloc.cli import app

MIB = 1 << 20
EDGES = [0, 1, 4095, 4096, 0x9FC00, MIB - 1, MIB, 3 * MIB, 1 << 32, (1 << 36) - 4096, 1 << 36, (1 << 36) + 1, 1 << 52]

gaps = some.one_of(some.just(0), some.sampled_from(EDGES), some.integers(0, 64 * MIB))
large = some.integers(4 * MIB, 64 * MIB)
sizes = some.one_of(some.sampled_from(EDGES[1:9]), some.integers(1, 8192), large, large)
kinds = some.sampled_from(["ram", "ram", "ram", "ram", "reserved", "nvram", "rom"])
stretches = some.lists(some.tuples(gaps, sizes, kinds), min_size=1, max_size=12)
holes = some.lists(some.tuples(gaps, sizes, some.sampled_from(["image", "initrd", "table"])), max_size=3)
entries = some.lists(some.tuples(some.one_of(gaps, some.integers(0, 1 << 37)), sizes, kinds), min_size=1, max_size=12)
KERNELS = ["eros", "eros2", "coyotos-i386", "x86_64"]
TYPES = {"ram": "usable", "reserved": "reserved", "nvram": "ACPI NVS", "rom": "type 9"}


def rows(stretches):
    """Disjoint ranges as TOML: each starts so many bytes after the one before."""
    at, found = 0, []
    for gap, size, kind in stretches:
        found.append(f'{{ base = {at + gap:#x}, size = {size:#x}, kind = "{kind}" }}')
        at += gap + size
    return ", ".join(found)


def boots_or_says_why_not(kernel, text):
    result = CliRunner().invoke(app, ["boot", "-", "--json", "--kernel", kernel], input=text)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    outcome = json.loads(result.stdout)
    assert result.exit_code == (2 if outcome["status"] == "unreadable" else 0), outcome
    if outcome["status"] == "booted":
        assert outcome["check"]["passed"], outcome
    else:
        assert outcome["reason"] and "\n" not in outcome["reason"]
    return outcome["status"]


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=25 * EFFORT)
@given(stretches, holes)
@example([(0, 16 * MIB, "ram")], [(0, 16 * MIB, "image")])
@example([(0x1001, 16 * MIB, "ram")], [(2 * MIB + 1, 5, "initrd")])
@example([(1 << 36, MIB, "ram")], [])
def test_disjoint_maps_with_parts_taken_out(kernel, memory, taken):
    boots_or_says_why_not(kernel, f'name = "any"\nmemory = [{rows(memory)}]\ncarved = [{rows(taken)}]\n')


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=25 * EFFORT)
@given(entries)
def test_boot_logs_whose_entries_overlap(kernel, memory):
    lines = (f"BIOS-e820: [mem {base:#018x}-{base + size - 1:#018x}] {TYPES[kind]}" for base, size, kind in memory)
    boots_or_says_why_not(kernel, "\n".join(lines) + "\n")
