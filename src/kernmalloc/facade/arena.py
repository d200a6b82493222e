"""Arenas in a dump: a heap that has a layout of its own, in memory of any machine.

An interpreter has one layout, so another looks into the arena. The number in a mark tells only whether a layout is the
right one. What does not depend on a build's choices tells these: the width of references, of which there are two; how
many caches there are; the class table.
"""

import json
import os
import subprocess
import sys
from typing import Any

from kernmalloc.build.arena import Shape
from kernmalloc.facade.dump import Found, NoKernelError
from kernmalloc.inputs.dumps import Dump
from kernmalloc.lang import cache
from kernmalloc.lang.layout import VARIABLE

REFERENCES = (8, 4)


def look(dump: Dump, found: Found) -> dict[str, Any]:
    """What is in the arena of a mark: as `facade.arena_inside.report` tells it, and `reference`, the width of its
    references. Raises NoKernelError if it is none that this kernmalloc could have made."""
    for reference in REFERENCES:
        told = _told(dump, found, Shape(reference=reference))
        if seen := told.get("shape"):
            told = _told(dump, found, Shape(seen["classes"], seen["types"], seen["page"], reference))
        if report := told.get("report"):
            return {**report, "reference": reference}
    error = NoKernelError(dump.name, 0, f"the kernel at {found.address:#x} was {found.why}", "look with that one")
    error.found = (found,)
    raise error


def _told(dump: Dump, found: Found, shape: Shape) -> dict[str, Any]:
    """What an interpreter with that shape's layout says."""
    path = os.pathsep.join(filter(None, [str(cache.PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, VARIABLE: shape.layout().text(), "PYTHONPATH": path}
    words = [dump.name, str(found.address - found.own), found.order, str(found.own)]
    command = [sys.executable, "-m", "kernmalloc.facade.arena_inside", *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoKernelError(dump.name, 0, (done.stderr.strip().splitlines() or ["it cannot be read"])[-1])
    told: dict[str, Any] = json.loads(done.stdout)
    return told
