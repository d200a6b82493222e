"""Arenas in dumps: of any shape, of either order of bytes, sound or not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kernmalloc.build.arena import Shape
from kernmalloc.cli import app
from kernmalloc.facade import dump
from kernmalloc.facade.arena import look
from kernmalloc.facade.dump import NoKernelError
from kernmalloc.inputs.dumps import Dump
from kernmalloc.lang.layout import VARIABLE

TESTS = Path(__file__).parents[1]
SHAPES = {"little": Shape(), "big": Shape(24, 3, 512, 4)}


@pytest.fixture(scope="module", params=SHAPES)
def arena(request, tmp_path_factory):
    """A dump with an arena, and its shape."""
    order, shape = request.param, SHAPES[request.param]
    path = tmp_path_factory.mktemp("arena") / "dump"
    env = {**os.environ, VARIABLE: shape.layout().text(), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, str(TESTS / "arena_dump.py"), str(path), order], env=env, check=True)
    return path, shape


def run(*words):
    return CliRunner().invoke(app, ["inspect", *map(str, words)])


def mark(path):
    """Where an arena's mark is in its dump."""
    with Dump.open(path) as memory:
        return dump.chosen(memory, None, others=True).address


def test_an_arena_is_told_whole(arena):
    path, shape = arena
    with Dump.open(path) as memory:
        found = dump.chosen(memory, None, others=True)
        with pytest.raises(NoKernelError, match=r"no kernel that can be opened: one at 0x\w+, made "):
            dump.chosen(memory, None)
        told = look(memory, found)
    assert (told["classes"], told["types"], told["page"], told["reference"]) == shape[:4]
    assert told["passed"] and told["assertions"] > 100 and told["inside"] == -1
    assert [cache[:2] + cache[3:4] for cache in told["caches"]] == [["size-112", 112, 7], ["type-0", 80, 1]]
    assert [bytes for _, bytes in told["allocations"]] == [9216]


def test_the_command_tells_it(arena):
    path, shape = arena
    if shape.reference == 4:
        line = json.loads(run("--json", path).stdout)
        assert (line["status"], line["kernel"], line["page"]) == ("sound", "arena", shape.page)
        assert line["caches"][0]["used"] == 7
        return
    result = run(path)
    assert result.exit_code == 0
    assert f"{shape.classes} size classes, {shape.types} types of objects at most" in result.stdout
    assert result.stdout.splitlines()[-1].startswith(f"{path}: sound: ")


def test_what_is_broken_is_named(arena, tmp_path):
    path, shape = arena
    if shape.reference == 8:
        pytest.skip("one order of bytes is enough for this")
    content = bytearray(path.read_bytes())
    content[mark(path) + 17] ^= 1  # of the lock
    broken = tmp_path / "broken"
    broken.write_bytes(content)
    result = run(broken)
    assert result.exit_code == 1 and "BROKEN: " in result.stdout and "lock == 0 does not hold (lock = " in result.stdout


def test_what_no_kernmalloc_of_this_kind_has_made_is_told(tmp_path, arena):
    path, shape = arena
    if shape.reference == 4:
        pytest.skip("one order of bytes is enough for this")
    content, at = bytearray(path.read_bytes()), mark(path)
    content[at + 6] ^= 0x55  # its layout
    other = tmp_path / "other"
    other.write_bytes(content)
    with Dump.open(other) as memory, pytest.raises(NoKernelError, match=f"the kernel at {at:#x} was made "):
        look(memory, dump.chosen(memory, None, others=True))
