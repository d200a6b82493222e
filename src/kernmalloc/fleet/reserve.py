"""A fleet's reserve, and its heap: settings of the kernel, tried by planning.

A machine is covered when every device range that can exist on it has entries for all its frames (C15). The reserve is
what the kernel's strategy sets aside for them; the heap is bounded by the kernel's virtual window (C1).
"""

from collections.abc import Callable
from functools import cache, partial

from kernmalloc.facade.configure import FITS
from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import Profile
from kernmalloc.fleet.need import Need
from kernmalloc.fleet.rows import Figures, Judged
from kernmalloc.inputs.sizes import size
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.advice import IN_BYTES, tuned
from kernmalloc.plan.least import first_that, frames_of, reserve, swept, value_of
from kernmalloc.plan.plan import Memory, Plan, plan, planned, why_not, with_strategy

WINDOW = "window"
MOST_WINDOW = 1 << 42
"""Bytes of a window up to which is looked: eight times the window of the profile x86_64."""


class Reserve:
    """What the kernel's strategy sets aside for devices, which come after the boot."""

    of_kernels = True

    def kernel(self, profile: Profile) -> Profile:
        """A heap on demand sets nothing aside: it is taken as one with a reserve."""
        return profile if swept(profile.strategy) else with_strategy(profile, "reserve")

    def option(self, profile: Profile) -> str:
        return swept(profile.strategy)

    def unit(self, profile: Profile) -> str:
        return "bytes" if self.option(profile) in IN_BYTES else "frames"

    def need(self, machine: Machine, profile: Profile) -> Need:
        found = reserve(machine, profile)
        option = self.option(profile)
        if found is None:
            return Need(None, None, _why(machine, tuned(profile, {option: 0})))
        value = partial(value_of, option, kind=found.kind)
        return Need(value(found.least), None if found.endless else value(found.most + 1) - 1)

    def judge(self, machine: Machine, profile: Profile, value: int) -> Judged:
        return _judged(machine, tuned(profile, {self.option(profile): value}), partial(_set_aside, value))

    def lines(self, value: int, option: str, boot: str, most: tuple[int, ...]) -> list[str]:
        return [f"{boot} --{option} {value}"]


class Heap:
    """The length of the kernel's virtual window: the heap and what describes it lie there. Its base stays."""

    of_kernels = True

    def kernel(self, profile: Profile) -> Profile:
        return profile

    def option(self, profile: Profile) -> str:
        return WINDOW

    def unit(self, profile: Profile) -> str:
        return "bytes"

    def need(self, machine: Machine, profile: Profile) -> Need:
        unit, most = _windows(profile)
        near = _least_window(Memory.of(machine), profile)

        def covered(windows: int) -> bool:
            made = planned(machine, tuned(profile, {WINDOW: windows * unit}))
            return made is not None and made.configured

        least = None if near is None else first_that(covered, near, most)
        if least is None:
            return Need(None, None, _why(machine, tuned(profile, {WINDOW: most * unit})))
        return Need(least * unit)

    def judge(self, machine: Machine, profile: Profile, value: int) -> Judged:
        return _judged(machine, tuned(profile, {WINDOW: value}), lambda made: made.backed)

    def lines(self, value: int, option: str, boot: str, most: tuple[int, ...]) -> list[str]:
        return [f"{boot} --{option} {value}"]


def _set_aside(value: int, made: Plan) -> int:
    """Bytes of slabs that a value of the setting sets aside."""
    option, kind = swept(made.profile.strategy), made.basis.room.chunks.kind
    return value if option in IN_BYTES else value // frames_of(kind) * kind.pages << kind.page_shift


def _judged(machine: Machine, profile: Profile, cost: Callable[[Plan], int]) -> Judged:
    """What a plan with a profile says, and what that costs, in bytes."""
    try:
        made = plan(machine, profile)
    except TooSmall as error:
        return Judged(False, str(error))
    return Judged(
        made.configured,
        "" if made.configured else _lacking(made),
        cost(made),
        Figures(
            made.clipped,
            made.backed,
            made.after.idle,
            made.scale,
            made.after.promised,
            made.after.available,
            made.after.tlb,
        ),
        tuple(
            (d.base, d.size, " ".join(d.names), d.status, d.cost, d.missing, d.reason)
            for d in (*made.devices, *made.unplaced)
        ),
    )


def _why(machine: Machine, profile: Profile) -> str:
    """Why no value covers a machine: what a plan with one says."""
    try:
        return _lacking(plan(machine, profile))
    except TooSmall as error:
        return str(error)


def _lacking(made: Plan) -> str:
    """The first device range that lacks something a setting could give, in words."""
    device = next((each for each in made.devices if each.status != FITS and each.curable), None)
    if device is None:
        return "no larger value leaves room for the kernel"
    return f"{size(device.size)} at {device.base:#x} ({', '.join(device.names)}): {device.reason}"


@cache
def _windows(profile: Profile) -> tuple[int, int]:
    """What windows are a multiple of, in bytes, and how many of these at most."""
    unit = profile.large_page
    space = 1 << (32 if int(profile.va.base) < 1 << 32 else 64)
    return unit, min(space - int(profile.va.base), MOST_WINDOW) // unit


@cache
def _least_window(memory: Memory, profile: Profile) -> int | None:
    """The smallest window, in units, with which that memory holds the kernel; None if none does."""
    unit, most = _windows(profile)
    least = -(-int(profile.va.windows) // unit) + 1
    return first_that(lambda n: n >= least and not why_not(memory, tuned(profile, {WINDOW: n * unit})), least, most)
