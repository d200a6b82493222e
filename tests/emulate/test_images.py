"""Example kernels are built and booted under QEMU; the simulation of what they did comes to an equal end."""

import random
import re
import shutil
import threading
from typing import TYPE_CHECKING

import pytest
from effort import EFFORT

from kernmalloc.emulate import console
from kernmalloc.emulate.example import HELD, HOLD, LONG, Example, MissingTool, Running
from kernmalloc.emulate.simulation import compare, go_on
from kernmalloc.facade.holdings import processors
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import SHIPPED, Profile

if TYPE_CHECKING:
    from pathlib import Path

MIB, GIB = 1 << 20, 1 << 30
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """What builds an example once."""
    folders: dict[str, Path] = {}

    def build(name):
        example = Example(name)
        if name not in folders:
            into = tmp_path_factory.mktemp(name)
            try:
                example.build(into)
            except MissingTool as missing:
                pytest.skip(str(missing))
            folders[name] = into
        return example, folders[name]

    return build


def run(example, into, memory=None, cpus=None, wish="", at=lambda line, machine: None):
    """What a kernel says until its end; `at` sees each line as it comes."""
    lines = []
    with Running(example.command(into, memory, cpus, wish), into) as machine:
        for line in machine.lines():
            lines.append(line)
            at(line, machine)
    told = console.read(lines)
    assert told.status == 0 and told.check == 0, "\n".join(lines[-20:])
    return told


def same(example, told):
    outcome = compare(told, Profile.load(example.profile))
    assert not outcome.differences, "\n".join(outcome.differences)
    assert outcome.calls > 1000
    return told


def test_x86_64_in_the_high_half_with_four_processors(built):
    """Each processor frees what another has allocated, and pages are taken from all of them by interrupts."""
    example, into = built("x86_64")
    told = same(example, run(example, into, 256 * MIB))
    assert told.cpus == 4 and {step.cpu for step in told.steps} == {0, 1, 2, 3}
    assert any(region.kind == "device" for region in told.regions)


def test_i386_pae_with_frames_above_4_gib(built):
    """Memory above 4 GiB is written and read through windows (E15)."""
    example, into = built("i386")
    told = same(example, run(example, into, 3 * GIB))
    high = [step.result for step in told.steps if step.name == "range_get" and step.arguments[2] == 1 << 20]
    assert high and high[0] >= 1 << 20


TRANSLATIONS = 2_000 * min(EFFORT, 50)
NIGHTLY = pytest.mark.nightly
FURTHER = [("i386", 1), ("x86_64", 4), ("armv7_lpae", 4), ("i386_two_level", 1)]
OWNERS = [("riscv64_owner", 4), ("aarch64_owner", 4), ("armv7_owner", 4)]


def addresses(kernel, count):
    """Random addresses of a window, more where it begins, and where each of its parts does."""
    info, pick = kernel.view.loaded.info, random.Random(count)
    places = [int(info[name]) for name in ("window", "tables", "heap_map", "heap", "windows")]
    end = places[0] + int(info["window_bytes"])
    for _ in range(count):
        base = pick.choice(places)
        yield base + pick.randrange(min(pick.choice((1 << 14, MIB, end - base)), end - base))


def mapped(kernel, va):
    """What the kernel's own walk makes of an address."""
    try:
        return kernel.view.pa(va)
    except KeyError:
        return None


@pytest.mark.parametrize(("name", "cpus"), [*OWNERS, *(pytest.param(*each, marks=NIGHTLY) for each in FURTHER)])
def test_owners_of_page_tables_in_each_format(name, cpus, built, tmp_path):
    """Every call has the result that a simulation of the shipped profile has, with pages taken from all processors. On
    the way QEMU walks the window's tables (E17), and finds what the kernel thinks is there."""
    example, into = built(name)

    def walk(line, machine):
        if line == HELD:
            machine.dump(tmp_path / "core")
            with Kernel.open(tmp_path / "core") as kernel:
                asked = [va % (1 << 64) for va in addresses(kernel, TRANSLATIONS)]
                ours = [mapped(kernel, va) for va in asked]
            theirs = (machine.translate(asked, cpu) for cpu in range(cpus))
            assert next(found for found in theirs if found != asked) == ours  # that processor is in no firmware
            print(f"{name}: {TRANSLATIONS} translations, {TRANSLATIONS - ours.count(None)} of them to memory")
            assert TRANSLATIONS // 8 < ours.count(None) < TRANSLATIONS * 7 // 8
            machine.send("\n")

    told = same(example, run(example, into, 64 * MIB, wish=HOLD, at=walk))
    assert {step.cpu for step in told.steps} == set(range(cpus)) and told.frames["mapping"] > 0


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "memory", "high"),
    [
        ("riscv64_owner", 3, True),
        ("aarch64_owner", 4, True),
        ("armv7_lpae", 5, True),
        ("armv7_owner", 3, False),
        ("i386_two_level", 3, False),
    ],
)
def test_owners_of_much_memory(name, memory, high, built):
    """All of it is taken and given back; where there is RAM above 4 GiB, windows show it (E15)."""
    example, into = built(name)
    told = same(example, run(example, into, memory * GIB))
    assert any(step.name == "range_get" and step.result >= 1 << 20 for step in told.steps) == high


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "cpus"), [*OWNERS, ("i386_two_level", 1)])
def test_a_heap_in_large_pages(name, cpus, tmp_path, monkeypatch):
    """The affine heap's large pages (C2) are the processor's: on ARMv7 each is four sections."""
    usual = Example(name).profile
    text = (SHIPPED / f"{usual}.toml").read_text()
    text = re.sub('strategy = "demand"', 'strategy = "hybrid"', text)
    text = text.replace("[heap]\n", '[heap]\ngrowable = "32 MiB"\nspare = "1 MiB"\n')
    file = tmp_path / "hybrid.toml"
    file.write_text(text)
    monkeypatch.setenv("PROFILE", str(file))
    example = Example(name)
    try:
        example.build(tmp_path)
    except MissingTool as missing:
        pytest.skip(str(missing))
    told = same(example, run(example, tmp_path, 256 * MIB))
    assert {step.cpu for step in told.steps} == set(range(cpus)) and told.heap["backed"] > 32 * MIB


@pytest.mark.nightly
def test_i386_pae_with_64_gib(built):
    """The machine of the note (E3, E4): every frame that can be managed is."""
    example, into = built("i386")
    told = same(example, run(example, into, 64 * GIB))
    ram = sum(count for _, count, kind in told.ranges if kind == "ram")
    assert sum(told.frames.values()) == ram > 16_000_000


@pytest.mark.parametrize(
    ("name", "ram"),
    [
        *[("i386", 0), ("x86_64", 0), ("riscv64", 2 * GIB)],
        pytest.param("aarch64", GIB, marks=NIGHTLY),
        pytest.param("armv7", GIB, marks=NIGHTLY),
        pytest.param("riscv64_owner", 2 * GIB, marks=NIGHTLY),
        pytest.param("aarch64_owner", GIB, marks=NIGHTLY),
        pytest.param("armv7_owner", GIB, marks=NIGHTLY),
        pytest.param("armv7_lpae", GIB, marks=NIGHTLY),
        pytest.param("i386_two_level", 0, marks=NIGHTLY),
    ],
)
def test_it_can_be_held_and_dumped(name, ram, built, tmp_path):
    """Where it waits a magazine is half full. It goes on, and comes to the end that it would have come to: under QEMU,
    and here from the dump, raw or as a core, in mode soft and where its window can be also in mode raw."""
    example, into = built(name)
    raw, core, seen = tmp_path / "raw", tmp_path / "core", []

    def dump(line, machine):
        seen.append(line)
        if line == HELD:
            machine.save(raw, ram, 64 * MIB)
            machine.dump(core)
            machine.send("\n")

    told = same(example, run(example, into, 64 * MIB, 1, HOLD, dump))
    done = len(console.read(seen[: seen.index(HELD)]).steps)
    for path, mode in ((raw, "soft"), (core, "soft"), *[(core, "raw")] * (name == "i386")):
        with Kernel.open(path, mode=mode) as kernel:
            assert sum(cpu.slots for cpu in processors(kernel.view)) > 0
            assert kernel.check().passed
            outcome = go_on(kernel, told, done)
            assert not outcome.differences and outcome.calls > 1000, "\n".join(outcome.differences)
    with Kernel.open(raw) as kernel:
        region = next(region for region in kernel.view.regions() if region["area"])
        bit = kernel.view.pa(int(region["words"]) + 8)
    with open(raw, "r+b") as file:
        file.seek(bit - ram)
        byte = file.read(1)[0]
        file.seek(bit - ram)
        file.write(bytes([byte ^ 1]))
    with Kernel.open(raw) as kernel:
        check = kernel.check()
    assert not check.passed and check.failure.startswith("Region at 0x") and "does not hold" in check.failure


@pytest.mark.parametrize(("name", "cpus"), [("riscv64", 4), ("aarch64", 4), ("armv7", 4)])
def test_guests_in_a_direct_map(name, cpus, built):
    """The kernel has its page tables, and the memory manager writes none. The device is one of the device tree."""
    example, into = built(name)
    told = same(example, run(example, into, 128 * MIB, cpus))
    assert {step.cpu for step in told.steps} == set(range(cpus))
    assert told.frames["mapping"] == 0 and any(region.kind == "device" for region in told.regions)


def test_no_page_is_lost_in_a_teaching_kernel(built):
    """Threads with a timer's turns at three processors: as many pages can be had after each test as before."""
    example, into = built("teaching")
    lines: list[str] = []
    run(example, into, at=lambda line, machine: lines.append(line))
    assert len([line for line in lines if line.endswith("pages can be had")]) == 4


@pytest.mark.parametrize("name", ["cortex_m3", "coldfire", "process"])
def test_arenas(name, built):
    """A heap in a block of memory gives as much the second time, and checks its invariants."""
    run(*built(name))


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["x86_64", "riscv64_owner", "aarch64_owner", "armv7_owner"])
def test_four_processors_free_each_others_blocks_for_a_minute(name, built):
    """And then one of them has every frame back: what the others keep idle is fetched."""
    example, into = built(name)

    def stop_later(line, machine):
        if line.startswith("all processors"):
            threading.Timer(60, machine.send, ["\n"]).start()

    same(example, run(example, into, 512 * MIB, 4, LONG, stop_later))
