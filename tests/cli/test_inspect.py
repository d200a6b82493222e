"""`kernmalloc inspect`: the kernel in a dump, told whole; 0 sound, 1 broken, 2 no kernel."""

import json
import random

import dump_files
import pytest
from small_machines import MIB, machine, poke
from typer.testing import CliRunner

from kernmalloc import Kernel, Profile
from kernmalloc.cli import app
from kernmalloc.facade.holdings import processors
from kernmalloc.facade.story import NAMES
from kernmalloc.inputs.errors import InputError
from kernmalloc.kernel.core.kern import UP, Kern

DEVICE = 0xE0000000


def run(*words):
    return CliRunner().invoke(app, ["inspect", *map(str, words)])


def rows(text):
    """Its lines, each as words with one blank between them."""
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.fixture(scope="module")
def dumps(tmp_path_factory):
    """A kernel for two processors, in use; and the same one later."""
    folder = tmp_path_factory.mktemp("dumps")
    with Kernel.boot(machine((MIB, 8 * MIB)), Profile.load("eros2"), "raw", cpus=2) as kernel:
        kernel.devices.publish(DEVICE, MIB, 4)
        held = [kernel.cpu(i & 1).malloc(100) for i in range(40)]
        kernel.malloc(100_000)
        kernel.block_get(3)
        kernel.cpu(1).free(held.pop())
        first = dump_files.raw(kernel, folder / "first")
        kernel.free(held.pop(0))
        kernel.frame_get("dma")
        return first, dump_files.raw(kernel, folder / "later"), kernel.handle.loaded.kern_pa


def test_a_sound_kernel_is_told_whole(dumps):
    result = run(dumps[0])
    assert result.exit_code == 0
    with Kernel.open(dumps[0]) as kernel:
        slots = processors(kernel.view)[1].slots
    text = result.stdout
    assert text.startswith(
        f"{dumps[0]}: raw memory, 9 MiB in 1 part; kernel at physical address {dumps[2]:x}, version 1"
    )
    assert "Kernel eros2 (i386-pae, 36-bit physical addresses, demand heap), window d0000000-ffffffff" in text
    assert "ledger: promised" in text
    lines = rows(text)
    for told in (
        "e0000000-e00fffff : device 256 frames",
        "size-112 112 72 39 8,192",
        "DMA block frames",
        "all 1 8",
        f"1 0 0 {slots} 0",
    ):
        assert told in lines, told
    assert text.endswith(" assertions held\n") and f"{dumps[0]}: sound: " in text


def test_a_difference_is_told_by_counts_and_field_by_field(dumps):
    result = run(dumps[0], "--diff", dumps[1])
    assert result.exit_code == 0
    lines = rows(result.stdout)
    assert "size-112: in use 39 38 -1" in lines and "DMA blocks 1 2 +1" in lines
    assert any(line.endswith(" type free dma") for line in lines)
    assert any(line.startswith("processor 0 magazines[6].top") for line in lines)
    same = run(dumps[0], "--diff", dumps[0]).stdout
    assert "no count differs" in same and "no field of any record differs" in same


def test_a_broken_kernel_is_told_with_the_first_invariant(dumps, tmp_path):
    with Kernel.open(dumps[0]) as kernel:
        region = next(r for r in kernel.view.regions() if r["area"])
        poke(kernel.view, int(region["words"]) + 8, b"\x55")
        path = dump_files.raw(kernel, tmp_path / "dump")
    result = run(path)
    assert result.exit_code == 1 and f"{path}: BROKEN: " in result.stdout and "Region at 0x" in result.stdout
    assert "free bitmap: " in run(path, "--diff", dumps[0]).stdout
    line = json.loads(run("--json", path).stdout)
    assert line["status"] == "broken" and line["reason"].startswith("Region at 0x") and not line["check"]["passed"]


def test_what_damage_makes_unreadable_is_said_where_it_would_stand(dumps, tmp_path):
    with Kernel.open(dumps[0]) as kernel:
        poke(kernel.view, kernel.view.kern_va + Kern.offset("regions"), b"\x40\x00\x00\x00")
        path = dump_files.raw(kernel, tmp_path / "dump")
    result = run(path)
    assert result.exit_code == 1 and "cannot be read: nothing maps 0x" in result.stdout
    line = json.loads(run("--json", path).stdout)
    assert line["regions"] is None and line["heap"]["used"] > 0


def test_a_crash_inside_is_told(dumps, tmp_path):
    with Kernel.open(dumps[0]) as kernel:
        poke(kernel.view, kernel.view.kern_va + Kern.offset("lock"), b"\2")
        poke(kernel.view, kernel.cpu(1).processor + 12, b"\1")
        slots = processors(kernel.view)[1].slots
        path = dump_files.raw(kernel, tmp_path / "dump")
    result = run(path)
    assert result.exit_code == 1
    assert "Processor 1 was inside the kernel: what it was about to change may be half done" in result.stdout
    assert slots > 0 and f"1 0 0 {slots} 0 inside the kernel" in rows(result.stdout)


def test_json(dumps):
    line = json.loads(run("--json", dumps[0], "--diff", dumps[1]).stdout)
    assert (line["status"], line["kernel"], line["strategy"], line["at"]) == ("sound", "eros2", "demand", dumps[2])
    assert line["frames"]["dma"] == 8 and line["missing"] == 0 and line["check"]["passed"]
    assert {each["kind"] for each in line["regions"]} == {"ram", "carved", "device"}
    assert [each["number"] for each in line["processors"]] == [0, 1]
    assert {"name": "DMA blocks", "one": 1, "other": 2} in line["differences"]


def test_several_kernels_are_a_table(dumps, tmp_path):
    path = tmp_path / "two"
    content = dumps[0].read_bytes()
    path.write_bytes(content + bytes(-len(content) % (16 * MIB)) + content)
    result = run(path)
    assert result.exit_code != 0 and isinstance(result.exception, InputError)
    assert str(result.exception).startswith(f"{path}: 2 kernels (choose by --at: one at {dumps[2]:#x}; one at ")
    assert result.stdout.splitlines()[0].split() == ["at", "record", "version", "layout"]
    assert run(path, "--at", hex(dumps[2] + 16 * MIB)).exit_code == 0
    line = json.loads(run("--json", path).stdout)
    assert line["status"] == "unreadable" and line["reason"].startswith("2 kernels (choose")


@pytest.mark.parametrize("words", [("--at", "0x10"), ("--diff", "/dev/null"), ("--at", "high")])
def test_what_cannot_be_is_one_line(dumps, words):
    result = run(dumps[0], *words)
    assert isinstance(result.exception, InputError) and "\n" not in str(result.exception)


def test_any_one_bit_wrong_is_told_and_no_traceback(dumps, tmp_path):
    """Bits of the kernel's own pages, drawn at random: sound, broken or not found, in text and in JSON."""
    with Kernel.open(dumps[0]) as kernel:
        pages = sorted({int(pa) for pa in kernel.view.mapped()})
    draw, content = random.Random(3), bytearray(dumps[0].read_bytes())
    path, statuses = tmp_path / "dump", set()
    for _ in range(24):
        at, bit = draw.choice(pages) + draw.randrange(4096), 1 << draw.randrange(8)
        content[at] ^= bit
        path.write_bytes(content)
        content[at] ^= bit
        result = run(path, "--diff", dumps[0])
        assert result.exception is None or isinstance(result.exception, InputError | SystemExit), (at, result.exception)
        statuses.add(result.exit_code)
        statuses.add(json.loads(run("--json", path).stdout)["status"])
    assert "broken" in statuses


@pytest.mark.parametrize("profile", ["eros2", "guest"])
def test_a_boot_that_is_not_over_is_told_step_by_step(profile, tmp_path):
    """Wherever a boot has stopped: what is there is told, and where it would have gone on; and it does go on."""
    first = None
    with Kernel.load(machine((MIB, 16 * MIB)), Profile.load(profile), "soft") as kernel:
        for name in ("donate", "table", "mark", "list", "rest", "objects"):
            while NAMES[int(kernel.view.kern["stage"])] != name:
                kernel.call("boot_step")
            path = dump_files.raw(kernel, tmp_path / name)
            first = first or path
            result = run(path, "--diff", first)
            assert isinstance(result.exception, SystemExit | None), result.exception
            assert f"Its boot is not over: step {name} comes next" in result.stdout
            assert "cannot be read" not in result.stdout
    with Kernel.open(first) as kernel:
        while kernel.call("boot_step") != UP:
            pass
        assert kernel.check().passed and kernel.malloc(100)
