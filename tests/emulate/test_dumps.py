"""What a machine of another kind leaves in its memory."""

import shutil

import pytest

from kernmalloc.emulate.example import Example, MissingTool, Running
from kernmalloc.facade import dump
from kernmalloc.facade.arena import look
from kernmalloc.inputs.dumps import Dump

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def test_an_arena_of_a_coldfire(tmp_path):
    """Its numbers begin with the highest byte, and its references have 4: its RAM, a file here, when its program is
    over."""
    example, ram = Example("coldfire"), tmp_path / "ram"
    try:
        example.build(tmp_path)
    except MissingTool as missing:
        pytest.skip(str(missing))
    backend = f"memory-backend-file,id=ram,size=128M,mem-path={ram},share=on"
    command = [*example.command(tmp_path), "-object", backend, "-machine", "memory-backend=ram"]
    with Running(command, tmp_path) as machine:
        assert list(machine.lines())[-1] == "status 0"
    with Dump.open(ram) as memory:
        found = dump.chosen(memory, None, others=True)
        told = look(memory, found)
    assert (found.order, told["reference"]) == ("big", 4)
    assert told["passed"] and told["assertions"] > 100 and told["caches"]
    assert all(used == 0 for _, _, _, used, _ in told["caches"]) and not told["allocations"]
