"""The simulation of what an example kernel has done: the machine that it found, its profile, its calls.

Concepts
  1. Nothing is known but what the kernel said. Of its ranges a machine is made, with the image where it lay, and the
     facade boots the kernel's profile on it, for as many processors.
  2. Each call is done again by the processor that did it, in order; its result must be the one that was told, to the
     last bit of every address. Mode soft has the target's addresses.
  3. In the end regions, frames by type and the heap's bytes must be equal. What processors did side by side is not
     told, and leaves no trace in them once all is freed and drained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kernmalloc.emulate.console import Region, Told
from kernmalloc.facade.kernel import Kernel
from kernmalloc.inputs.facts import Range
from kernmalloc.lang import failed
from kernmalloc.machine.memory_map import Machine
from kernmalloc.results.shown import html
from kernmalloc.results.tables import row

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow

    from kernmalloc.emulate.console import Step
    from kernmalloc.facade.profile import Profile

KINDS = {"ram": "ram", "reserved": "reserved", "rom": "rom", "nvram": "nvram"}
WORD = 1 << 64
MOST_DIFFERENCES = 10


class Outcome(NamedTuple):
    """What a simulation found: how many calls had equal results, and what differs, in words."""

    calls: int
    differences: list[str]

    def _repr_html_(self) -> str:
        return html(self)

    def to_arrow(self) -> pyarrow.Table:
        """A table of one row. Raises NoArrow."""
        return row(self)


def machine(told: Told, page_shift: int) -> Machine:
    """The machine that a kernel found: its ranges, with what was carved for its boot area RAM again."""
    ram: list[Range] = []
    carved, firmware = [Range(told.image[0], told.image[1], "image", "")], []
    for first, count, kind in told.ranges:
        base, size = first << page_shift, count << page_shift
        if kind in ("ram", "carved"):
            if ram and ram[-1].end == base:
                base, size = ram[-1].base, ram.pop().size + size
            ram.append(Range(base, size, "ram", ""))
            if kind == "carved" and first << page_shift not in (told.image[0], told.area[0]):
                carved.append(Range(first << page_shift, count << page_shift, "firmware", ""))
        else:
            firmware.append(Range(base, size, KINDS[kind], ""))
    return Machine(name="emulated", file="", ram=tuple(ram), firmware=tuple(firmware), carved=tuple(carved))


def compare(told: Told, profile: Profile) -> Outcome:
    """Do all calls again. What the kernel refuses to boot in the simulation is TooSmall or LifeError, as ever."""
    with Kernel.boot(machine(told, profile.page_shift), profile, "soft", cpus=told.cpus) as kernel:
        return go_on(kernel, told)


def go_on(kernel: Kernel, told: Told, done: int = 0) -> Outcome:
    """Do the calls that come after the first `done` in a kernel that has come so far; its end must be the told one."""
    given: dict[str, list[list[int]]] = {}
    calls, differences = 0, []
    for step in told.steps[done:]:
        try:
            equal, wrong = _again(kernel, step, given)
        except (IndexError, KeyError, TypeError):  # no such processor, no such call, or not so many arguments
            equal, wrong = 0, [f"{step.text}: no such call here"]
        calls += equal
        differences += wrong
        if len(differences) >= MOST_DIFFERENCES:
            break  # what follows follows from these
    return Outcome(calls, differences or list(_states(kernel, told)))


def _again(kernel: Kernel, step: Step, given: dict[str, list[list[int]]]) -> tuple[int, list[str]]:
    """Do the calls of one line: how many were equal, and what was not."""
    handle = kernel.cpu(step.cpu)
    if step.times is None:
        result = handle.call(step.name, *(step.arguments or ()))
        return (1, []) if result == step.result else (0, [f"{step.text}: here {_told(result)}"])
    giver = {"free": "malloc", "frame_put": "frame"}.get(step.name, step.name)
    if step.arguments is None:
        results = given.get(giver, [[]]).pop()
        lost = sum(handle.call(step.name, result) != 0 for result in reversed(results))
        if (len(results), lost) != (step.times, step.result):
            return 0, [f"{step.text}: here {len(results)}, of which {lost} fail"]
        return step.times, []
    results, mixed = [], 0
    while not failed(result := handle.call(step.name, *step.arguments)):
        results.append(result)
        mixed = (mixed * 31 + result) % WORD
    given.setdefault("frame" if step.name.endswith("_get") else giver, []).append(results)
    if (len(results), mixed, result) != (step.times, step.result % WORD, step.refusal):
        return 0, [f"{step.text}: here {len(results)}, {mixed:#x}, then {result}"]
    return step.times, []


def _told(result: int) -> str:
    return f"{result}" if -4096 < result < 65536 else f"{result % WORD:#x}"


def _states(kernel: Kernel, told: Told) -> Iterator[str]:
    """What differs in the end."""
    page = kernel.profile.page
    for title, theirs, ours in (
        (
            "regions",
            told.regions,
            [Region(r.pfn * page, (r.pfn + r.frames) * page - 1, r.kind, r.free) for r in kernel.regions],
        ),
        ("frames", told.frames, kernel.view.frames()),
        ("heap", told.heap, {name: int(kernel.view.kern[name]) * page for name in ("backed", "idle")}),
        ("check", told.check, 0 if kernel.check().passed else 1),
    ):
        if theirs != ours:
            yield f"{title}: {theirs}; here {ours}"
