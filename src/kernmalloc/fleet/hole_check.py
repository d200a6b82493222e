"""Checks a placement, by the rules of PCI alone and without the placer: the proof that a hole is large enough."""

import re
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from kernmalloc.fleet.buses import registers
from kernmalloc.fleet.hole import Placement
from kernmalloc.machine.memory_map import Machine

if TYPE_CHECKING:
    from kernmalloc.fleet.placing import Placed
    from kernmalloc.inputs.facts import Range

_UNIT = 1 << 20  # of bridges' windows
_LOW_END = 1 << 32


def violations(machine: Machine, placement: Placement, bits: int) -> list[str]:
    """What is wrong with a placement, nothing if it holds:

    - every register of the machine has exactly one place, of its size, at a multiple of it;
    - everything is inside the window of the bridge that it is behind, or, on a root bus, inside one of the two holes;
    - nothing overlaps but what is in a window with that window;
    - windows begin and end at multiples of 1 MiB, and no bridge has two of one kind;
    - what has 32 bits, and what a bridge's window of 32 bits forwards, ends below 4 GiB;
    - a device is behind the bridge that leads to its bus, if the machine tells one;
    - the aperture ends below `1 << bits`, and the holes overlap neither each other nor the guest's RAM.
    """
    return [*_registers(machine, placement), *_windows(placement), *_holes(machine, placement, bits)]


def _registers(machine: Machine, placement: Placement) -> list[str]:
    wrong = []
    wanted = {(r.name, r.bar, r.size): r for r in registers(machine)}
    asked = Counter((r.name, r.bar, r.size) for r in registers(machine))
    got = Counter((p.name, p.bar, p.size) for p in placement.placed if not p.window)
    wrong += [
        f"{name} {bar}: {asked[key]} wanted, {got[key]} placed"
        for key in asked | got
        for name, bar, _ in [key]
        if asked[key] != got[key]
    ]
    leads = {(b.name.split(":")[0], b.bus): b.name for b in machine.bridges}
    for each in placement.placed:
        register = None if each.window else wanted.get((each.name, each.bar, each.size))
        if register is None:
            continue
        power = 1
        while power < each.size:
            power *= 2
        if each.base % power:
            wrong.append(f"{each.name} {each.bar}: {each.base:#x} is no multiple of {power:#x}")
        if each.end > _LOW_END and not register.wide:
            wrong.append(f"{each.name} {each.bar}: ends at {each.end:#x}, and has 32 bits")
        if each.end > _LOW_END and each.behind and not register.prefetch:
            wrong.append(f"{each.name} {each.bar}: ends at {each.end:#x}, behind a bridge, and is not prefetchable")
        if match := re.match(r"([0-9a-f]+):([0-9a-f]{2}):", each.name):
            bridge = leads.get((match[1], int(match[2], 16)))
            if bridge and each.behind != bridge:
                wrong.append(f"{each.name} {each.bar}: behind {each.behind or 'no bridge'}, not {bridge}")
    return wrong


def _windows(placement: Placement) -> list[str]:
    wrong = []
    windows: dict[str, list[Placed]] = defaultdict(list)
    behind: dict[str, list[Placed]] = defaultdict(list)
    for each in placement.placed:
        behind[each.behind].append(each)
        if each.window:
            windows[each.name].append(each)
            if each.base % _UNIT or each.size % _UNIT:
                wrong.append(f"window of {each.name}: {each.base:#x} + {each.size:#x} is not in units of 1 MiB")
            if each.window == "memory" and each.end > _LOW_END:
                wrong.append(f"window of {each.name}: ends at {each.end:#x}, and has 32 bits")
    for name, found in windows.items():
        if len({each.window for each in found}) < len(found):
            wrong.append(f"windows of {name}: two of one kind")
    for bridge, members in behind.items():
        rooms: list[Placed] | list[Range] = windows[bridge] if bridge else [placement.low_hole, placement.aperture]
        wrong += [
            f"{each.name} {each.bar}: {each.base:#x} + {each.size:#x} is in no window of {bridge!r}"
            for each in members
            if not any(room.base <= each.base and each.end <= room.end for room in rooms)
        ]
        for low, high in pairwise(sorted(members)):
            if high.base < low.end:
                wrong.append(f"{low.name} {low.bar} and {high.name} {high.bar}: overlap at {high.base:#x}")
    return wrong


def _holes(machine: Machine, placement: Placement, bits: int) -> list[str]:
    low, high = placement.low_hole, placement.aperture
    below = 2 << 30 if machine.ram_bytes >= 11 << 28 else machine.ram_bytes  # q35: 11 * 256 MiB are 2.75 GiB
    above = _LOW_END + machine.ram_bytes - below
    wrong = []
    if high.end > 1 << bits:
        wrong.append(f"the aperture ends at {high.end:#x}, above {bits} bits")
    if low.base < below or low.end > _LOW_END or high.base < above:
        wrong.append("a hole overlaps RAM, or the low one 4 GiB")
    return wrong
