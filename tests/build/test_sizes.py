"""How much code a kernel gets: what a linker keeps."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from arch_sample import object_of

from kernmalloc.build import elf, sizes
from kernmalloc.kernel.boot.steps import start
from kernmalloc.lang import frontend
from kernmalloc.lang.functions import REGISTRY, SMALL
from kernmalloc.machine.arch import TARGETS

CALLS = ("pop", "push")


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed (Debian's package gcc)")
@pytest.mark.parametrize("linker", ["bfd", "lld"])
def test_what_a_linker_keeps_is_counted(linker: str, tmp_path: Path) -> None:
    """Of the sample, for a program that calls two entries of it."""
    if not shutil.which(f"ld.{linker}"):
        pytest.skip(f"{linker} is not installed (Debian's package lld)")
    data = object_of("x86_64")
    (tmp_path / "sample.o").write_bytes(data)
    calls = "".join(f"long long km_call_{call}();" for call in CALLS)
    used = " + ".join(f"(long long)km_call_{call}" for call in CALLS)
    (tmp_path / "main.c").write_text(f"{calls} int main(void) {{ return (int)({used}); }}")
    words = [
        f"-fuse-ld={linker}",
        "-Wl,--gc-sections",
        tmp_path / "main.c",
        tmp_path / "sample.o",
        "-o",
        tmp_path / "out",
    ]
    subprocess.run(["gcc", *words], check=True)
    linked = {each.name for each in elf.symbols((tmp_path / "out").read_bytes())}
    table = elf.symbols(data)
    offered = {each.name for each in table if each.offered}
    kept = elf.kept(data, [f"km_call_{call}" for call in CALLS])
    assert {each.name for each in table if each.offered and each.section in kept} == linked & offered != offered
    assert sizes.code(data, CALLS) == sum(elf.sections(data)[number].size for number in kept)


@pytest.mark.parametrize("architecture", TARGETS)
def test_more_calls_take_more_code(architecture: str) -> None:
    data = object_of(architecture)
    assert 0 == sizes.code(data, ()) < sizes.code(data, CALLS[:1]) < sizes.code(data, CALLS) < sizes.code(data)


def test_what_is_measured_are_calls() -> None:
    entries = {function.__name__ for function, is_entry in REGISTRY.items() if is_entry}
    assert {call for calls in sizes.USES.values() for call in calls} <= entries


def test_what_runs_seldom_is_made_small() -> None:
    """By its room: the boot, which calls the heap, whose functions are made fast but for those that say otherwise."""
    text = frontend.compile([start])["kernel"]
    heads = dict(re.findall(r'^define i64 @"([^"]+)"\(.*?\)(.*)', text, re.MULTILINE))
    marked = {f"{function.__module__}.{function.__name__}" for function in SMALL}
    rooms = {
        (name.split(".")[2], " minsize" in head)
        for name, head in heads.items()
        if name.startswith("kernmalloc.") and name not in marked
    }
    assert {("boot", True), ("heap", False), ("frames", False), ("map", False), ("core", False)} <= rooms
    assert not {room for room, _ in rooms if {(room, True), (room, False)} <= rooms}
