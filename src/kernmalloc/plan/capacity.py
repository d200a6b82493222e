"""How much RAM a kernel really carries in its virtual window (E4, E40).

The note's rule of thumb: one node for each page of RAM and seven nodes in a page of heap, hence about eight times the
kernel's address space. That is nodes alone; a kernel also keeps an entry, an identity and depend entries for each page.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from kernmalloc.facade.profile import Profile
from kernmalloc.inputs import sizes
from kernmalloc.inputs.facts import Range
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.plan import Plan, planned, with_strategy

MOST = 1 << 46  # bytes: what a hosted machine can have
STEP = 64 << 20


class Capacity(NamedTuple):
    """One kernel. `full`: the most RAM, in bytes, for which the window holds every object that its ratios ask for;
    `least`: the most for which it can boot at all; `heap`: the heap's bound."""

    kernel: str
    window: int
    heap: int
    full: int
    least: int

    @property
    def times(self) -> float:
        """RAM carried in full, as a multiple of the heap's bound."""
        return self.full / self.heap if self.heap else 0.0


def nodes_alone(per_page: int = 7) -> float:
    """The note's figure: RAM as a multiple of kernel address space if a page of heap serves seven pages of RAM,
    counting the heap itself as RAM: 7 + 1."""
    return float(per_page + 1)


def nodes_in_page(size: int, page: int = 4096) -> int:
    """Nodes of `size` bytes in a page."""
    return page // size


def capacity(profile: Profile) -> Capacity:
    """What a kernel carries, found by planning machines of one range of RAM; its heap is allocated at boot."""
    profile = with_strategy(profile, "static")
    profile = msgspec.structs.replace(profile, devices=msgspec.structs.replace(profile.devices, frames=0, ranges=0))
    top = min(MOST, 1 << profile.phys_bits)
    full = _most(profile, top, lambda made: made.scale >= 1)
    least = _most(profile, top, lambda made: True)
    made = _plan(profile, max(full, least, STEP))
    return Capacity(profile.name, int(profile.va.size), made.most if made else 0, full, least)


def _most(profile: Profile, top: int, holds: Callable[[Plan], bool]) -> int:
    """The most RAM, in steps, for which a plan exists and holds."""
    low, high = 0, top // STEP
    while low < high:
        middle = (low + high + 1) // 2
        made = _plan(profile, middle * STEP)
        if made is not None and holds(made):
            low = middle
        else:
            high = middle - 1
    return low * STEP


def _plan(profile: Profile, ram: int) -> Plan | None:
    machine = Machine(name=sizes.size(ram), file="", ram=(Range(0, ram, "ram"),))
    return planned(machine, profile)
