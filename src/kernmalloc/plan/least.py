"""The least and the most of one setting with which a machine is covered, found by planning (C15, C23).

A machine is covered when every device range that can exist on it has entries for all its frames. What a strategy sets
aside for these entries is one tunable: `device-frames`, or as many bytes of `growable` or `excess` as those entries
take; all else stays as the profile has it. Slots of entries come in slabs, so slabs are what is counted here.

With too little a device lacks entries. With too much the machine no longer holds the kernel, and its memory alone
decides that.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from kernmalloc.facade.profile import STRATEGIES, Profile
from kernmalloc.kernel.devices import CHUNK_FRAMES, chunks_guaranteed
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.advice import IN_BYTES, tuned
from kernmalloc.plan.plan import Memory, planned, why_not
from kernmalloc.plan.scratch import Slabs

MOST = 1 << 34  # device frames up to which is looked: the windows of a hundred cards of 192 GiB, and more


class Reserve(NamedTuple):
    """Slabs of entries with which a machine is covered, from `least` to `most`, what a slab is, and whether more than
    `most` were not looked at."""

    least: int
    most: int
    kind: Slabs
    endless: bool


def swept(strategy: str) -> str:
    """The option by which a strategy sets aside what it will need for entries; "" if it sets nothing aside."""
    kind = STRATEGIES[strategy]
    if kind.devices:
        return "device-frames"
    if kind.affine:
        return "growable" if kind.grows else "excess"
    return ""


def frames_of(kind: Slabs) -> int:
    """Device frames of whose entries a slab is full."""
    return kind.slots * CHUNK_FRAMES


def value_of(option: str, slabs: int, kind: Slabs) -> int:
    """The value of an option that sets so many slabs aside: frames or, of an option in bytes, bytes."""
    return slabs * (kind.pages << kind.page_shift if option in IN_BYTES else frames_of(kind))


def reserve(machine: Machine, profile: Profile) -> Reserve | None:
    """What a strategy that sets something aside needs on a machine; None if no number covers it."""
    option = swept(profile.strategy)
    first = planned(machine, tuned(profile, {option: 0}))
    if first is None:
        return None
    kind = first.basis.room.chunks.kind
    top = MOST // frames_of(kind)
    most = _most(Memory.of(machine), profile, option, kind, top)

    def covered(slabs: int) -> bool:
        made = planned(machine, tuned(profile, {option: value_of(option, slabs, kind)})) if slabs else first
        return made is not None and made.configured

    windows = [(device.base // first.page, device.size // first.page) for device in first.devices if device.curable]
    near = kind.slabs(sum(chunks_guaranteed(pfn, count, count) for pfn, count in windows))
    least = first_that(covered, near, most)
    return None if least is None else Reserve(least, most, kind, most == top)


@lru_cache(4096)
def _most(memory: Memory, profile: Profile, option: str, kind: Slabs, top: int) -> int:
    """The most slabs, up to `top`, with which a machine of that memory holds the kernel; it does with none.

    Just below the most there may be a few numbers that do not hold, for a heap scales its objects down in steps. So the
    search depends on this memory alone, and every process finds one and the same number."""

    def holds(slabs: int) -> bool:
        return not why_not(memory, tuned(profile, {option: value_of(option, slabs, kind)}))

    if holds(top):
        return top
    pages = min(sum(each.size for each in memory.ram), int(profile.va.size)) >> profile.page_shift
    near = min(pages // kind.pages, top)  # slabs that are set aside lie in RAM and window; a limit of growth need not
    return last_that(holds, near, top) if holds(near) else last_that(holds, 0, near)


def first_that(holds: Callable[[int], bool], near: int, most: int) -> int | None:
    """The smallest number from 0 to `most` from which on it holds, looked for near a number; None if `most` does not
    hold."""
    if holds(0):
        return 0
    high = min(near, most)
    if holds(high):
        step = 1
        while holds(low := max(high - step, 0)):
            high, step = low, 2 * step
    else:
        if not holds(most):
            return None
        low, step = high, 1
        while not holds(high := min(low + step, most)):
            low, step = high, 2 * step
    return 1 + last_that(lambda n: not holds(n), low, high)


def last_that(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The largest number from `low`, which holds or is taken to, to `high`, which does not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
