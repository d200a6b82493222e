"""Loads for the comparison of mappings (`sim/tlb.py`): what is done to a kernel once it is up.

A load is begun on a kernel: what it needs beforehand is made, and what it then does can be run, once. Meanwhile it has
somebody `look`, also when most is allocated, and last when it is over: what it does then, to see that all is well, does
not count. It returns how many of its requests were refused, or not served in full: that is another load.

    boot       the machine's devices are published, and what the strategy reserves in excess is released
    a trace    what a real kernel allocated (`sim/replay.py`), once, and all is freed
    a scenario its processes, drivers and devices (`sim/run.py`), at most TOUCHES touches
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from kernmalloc.facade.configure import FITS, configure
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.inputs.traces import read_trace
from kernmalloc.inputs.traces.trace import Trace
from kernmalloc.sim.replay import Stage
from kernmalloc.sim.run import run_on
from kernmalloc.sim.scenario import Scenario

BOOT = "boot"
STEP = 2048  # operations between two looks
TOUCHES = 200_000

Look = Callable[[], object]
Go = Callable[[Look], int]


def _lenient(profile: Profile) -> Profile:
    """The kernel with a bank whose promise growth may break."""
    return msgspec.structs.replace(profile, bank=msgspec.structs.replace(profile.bank, lenient=True))


class Load(Protocol):
    """A load: its name, the processors that it needs, and whether it takes memory that a heap must have for it."""

    name: str
    cpus: int
    mallocs: bool

    def fitted(self, profile: Profile) -> Profile:
        """The kernel with the bank that the load is for."""

    def begin(self, kernel: Kernel) -> Go:
        """Make what is needed beforehand: what does the load."""


class Boot:
    """What a machine asks of a kernel that has just booted."""

    name, cpus, mallocs = BOOT, 1, False

    def fitted(self, profile: Profile) -> Profile:
        """A heap on demand takes what it wants."""
        return _lenient(profile)

    def begin(self, kernel: Kernel) -> Go:
        """Nothing is needed."""

        def go(look: Look) -> int:
            done = configure(kernel)
            look()
            return sum(device.status != FITS for device in done.devices)

        return go


class Replay:
    """A trace."""

    cpus, mallocs = 1, True

    def __init__(self, trace: Trace) -> None:
        self.name, self.trace = Path(trace.file).name, trace

    def fitted(self, profile: Profile) -> Profile:
        """A heap on demand takes what it wants."""
        return _lenient(profile)

    def begin(self, kernel: Kernel) -> Go:
        """Its caches, and room in the kernel's heap for its list of operations and its table of blocks."""
        stage, ops = Stage(kernel, self.trace), self.trace.ops

        def go(look: Look) -> int:
            refused = 0
            for at in range(0, len(ops), STEP):
                refused += stage.run(ops[at : at + STEP]).refused
                look()
            stage.run(stage.ending)
            look()
            return refused

        return go


class Play:
    """A scenario, on whatever kernel and machine it is given."""

    mallocs = True

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = msgspec.structs.replace(scenario, touches=min(scenario.touches, TOUCHES))
        self.name, self.cpus = scenario.name, scenario.cpus

    def fitted(self, profile: Profile) -> Profile:
        """The bank is the scenario's: what it lets the heap take is part of it."""
        return msgspec.structs.replace(profile, bank=self.scenario.changed(profile).bank)

    def begin(self, kernel: Kernel) -> Go:
        """Nothing is needed."""

        def go(look: Look) -> int:
            done = run_on(kernel, self.scenario, over=look)
            return sum(sum(load.refused.values()) for load in done.loads)

        return go


def load_named(name: str) -> Load:
    """The load of that name: boot, a scenario that is shipped or in a TOML file, or the trace in a file. Raises
    InputError."""
    if name == BOOT:
        return Boot()
    if name in Scenario.shipped() or name.endswith(".toml"):
        return Play(Scenario.load(name))
    return Replay(read_trace(name))
