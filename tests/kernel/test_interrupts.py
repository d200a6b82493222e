"""Calls from handlers of interrupts: wherever one may come, in a build for that, it finds the kernel whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernmalloc.lang.layout import VARIABLE, Layout

PROGRAM = """
import random, sys
from small_machines import MIB, machine
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.lang import failed, twin
from kernmalloc.machine import lives

chance = random.Random(int(sys.argv[1]))
kernel = Kernel.boot(machine((0, 12 * MIB)), Profile.load("eros2"), "twin", cpus=int(sys.argv[2]))
life, cpu = kernel.handle.life, kernel.processor
on, handled, held = True, 0, []
load, store = life.load, life.store

def save():
    global on
    interrupt()
    was, on = on, False
    return int(was)

def restore(flags):
    global on
    on = bool(flags)
    interrupt()
    return 0

def call(name, *args):
    return lives._functions[name](cpu, *args)

def step(mine):
    what = chance.randrange(4)
    if what == 0:
        got = call("malloc", chance.choice((24, 100, 100, 3000)))
        mine += [] if failed(got) else [("free", got)]
    elif what == 1:
        got = call("frame_get", 3)
        mine += [] if failed(got) else [("frame_put", got)]
    elif mine:
        name, got = mine.pop(chance.randrange(len(mine)))
        assert call(name, got) == 0, name

def interrupt():
    global on, handled
    if on and chance.random() < 0.2:
        on, handled = False, handled + 1  # the handler itself is not interrupted
        step(held)
        on = True

def interrupted(access):
    return lambda *args: (interrupt(), access(*args))[1]

mine = []
for _ in range(20):
    step(mine)  # the slabs are there, and the stock
life.load, life.store = interrupted(load), interrupted(store)
life.km_port_interrupts_save, life.km_port_interrupts_restore = save, restore
twin.use(life)
for _ in range(400):
    step(mine)
    assert on
del life.load, life.store, life.km_port_interrupts_save, life.km_port_interrupts_restore
twin.use(life)
for name, got in mine + held:
    assert call(name, got) == 0, name
assert handled > 100, handled
assert kernel.check().passed, kernel.check()
print("sound")
"""


def run(seed: int, cpus: int, **parameters: int) -> subprocess.CompletedProcess[str]:
    """In an interpreter of the layout with these parameters."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    env = {**os.environ, "PYTHONPATH": path, VARIABLE: Layout(parameters=parameters).text()}
    words = [sys.executable, "-c", PROGRAM, str(seed), str(cpus)]
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("cpus", [1, 2])
def test_handlers_may_call_in_a_build_for_that(cpus: int) -> None:
    """At any access with interrupts on, also between the ways of one call: nothing is lost, nothing given twice."""
    done = run(1, cpus, INTERRUPTS=1)
    assert done.stdout == "sound\n", done.stderr


def test_elsewhere_they_may_not() -> None:
    """The usual build's quick paths are not for that, and this test sees it."""
    assert any(run(seed, 1).stdout != "sound\n" for seed in range(3))
