"""Which kernel a machine gets where nobody says one: a shipped one for its architecture.

A profile names the architectures whose usual kernel it is (`machines`). Of several it is the one with the shortest
physical addresses that reach all RAM and devices of the machine, else the one that reaches furthest. A machine whose
architecture no profile names, or that has told none, is taken for a PC, and that is said.
"""

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from kernmalloc.facade.profile import Profile
from kernmalloc.machine.memory_map import Machine, Range

PC = "x86_64"
UNKNOWN = "?"
PAGE_SHIFT = 12  # pages in which device windows are looked at: their ends alone count


class Choice(NamedTuple):
    """A kernel, and what is to be said of how it was chosen; "": it is the machine's own."""

    profile: Profile
    note: str


@cache
def usual_of(arch: str) -> tuple[Profile, ...]:
    """The shipped kernels for machines of an architecture, that with the shortest physical addresses first."""
    profiles = map(Profile.load, Profile.shipped())
    return tuple(sorted((each for each in profiles if arch in each.machines), key=lambda each: each.phys_bits))


def usual_kernel(machine: Machine, more: Iterable[Range] = ()) -> Choice:
    """The kernel for a machine, which is given more RAM later."""
    known = usual_of(machine.arch)
    kernels = known or usual_of(PC)
    end = max([_end(machine), *(r.end for r in more)])
    profile = next((each for each in kernels if end <= 1 << each.phys_bits), kernels[-1])
    if known:
        return Choice(profile, "")
    what = "its architecture is not told" if machine.arch == UNKNOWN else f"no shipped kernel is for {machine.arch}"
    return Choice(profile, f"{what}: {profile.name} stands in, a PC's (--kernel names another)")


def _end(machine: Machine) -> int:
    """Physical address behind all RAM and devices of a machine that a kernel could have."""
    devices = (each.end << PAGE_SHIFT for each in machine.device_ranges(PAGE_SHIFT))
    return max([*(r.end for r in machine.ram), *devices], default=0)
