"""Arenas: all lives of a layout are equal byte by byte, and small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from effort import EFFORT

from kernmalloc.build.arena import Shape
from kernmalloc.lang.layout import VARIABLE, Layout

TESTS = Path(__file__).parents[1]
SHAPES = [Shape(), Shape(32, 3, 8192), Shape(24, 1, 256, 4, True)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_lives_are_equal(shape: Shape) -> None:
    """The same operations leave the same bytes, every invariant holds, and in the end the heap is one free run."""
    env = {**os.environ, VARIABLE: shape.layout().text(), "PYTHONPATH": os.pathsep.join(sys.path)}
    script = [sys.executable, str(TESTS / "arena_lives.py"), str(EFFORT), str(80 * EFFORT)]
    done = subprocess.run(script, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 200, "too little is asserted"


def equations(layout: Layout) -> dict[str, list[str]]:
    """What is asserted of each record under a layout."""
    code = "\n".join(
        (
            "import json; from kernmalloc.lang.pipeline import import_kernel; import_kernel()",
            "from kernmalloc.kernel.check.check import RECORDS",
            "print(json.dumps({r.name: r.invariants for r in RECORDS}))",
        )
    )
    env = {**os.environ, VARIABLE: layout.text()}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_what_an_arena_asserts() -> None:
    """Equations go with the fields that they need: those of the heap are all there, and of a few others those that say
    something of an arena."""
    arena, usual = equations(Shape().layout()), equations(Layout())
    for name in ("HeapPage", "Cache", "SlabPage"):
        assert arena[name] == usual[name]
    stacks = ["bottom == tally.magazine_bottom and end == tally.magazine_end", "tally.stack_errors == 0"]
    assert arena["Magazine"] and [*arena["Magazine"], *stacks] == usual["Magazine"]
    assert arena["Cpu"] == [each for each in usual["Cpu"] if each.startswith(("id ", "seal ", "depth ", "quick "))]
    assert arena["Kern"] == [
        "seal == tally.kern_seal and area_seal == tally.area_seal",
        "top >= 0 and top <= heap_pages",
        "map_pages == tally.map_pages",
        "cache_count >= 0 and cache_count <= CACHES",
        "lock == 0",
        "idle == tally.idle and idle <= idle_most",
        "kept == tally.kept and kept <= fixed",
        "backed == tally.backed",
        "backed - idle - kept <= peak",
        "tally.runs == tally.filed",
        "tally.bin_errors == 0",
        "tally.unused_errors == 0",
    ]
