"""What a plan comes to in single numbers, and conditions on them: a build or a test ends where one holds of a machine.

heap > 300 MiB      available<1000      scale<100%      extent-only>0
"""

import operator
import re
from collections.abc import Callable
from typing import NamedTuple

from kernmalloc.facade.configure import EXTENT_ONLY, FITS, LAST, REFUSED, UNPLACED
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.sizes import parse_size, size
from kernmalloc.plan.plan import Plan


class Measure(NamedTuple):
    """One number of a plan: what it is, in which unit ("bytes", "%" or things), and the worst of several machines."""

    meaning: str
    unit: str
    worst: Callable[..., int]
    of: Callable[[Plan], int]


def _devices(status: str) -> Measure:
    def count(plan: Plan) -> int:
        return sum(device.status == status for device in (*plan.devices, *plan.unplaced))

    return Measure(f"device ranges that come to be {status}", "ranges", min if status == FITS else max, count)


MEASURES = {
    "frames": Measure("frames of RAM that are described", "frames", min, lambda plan: plan.frames),
    "heap": Measure("the heap at the end of the boot", "bytes", max, lambda plan: plan.top),
    "backed": Measure("that with its records: what has frames behind it", "bytes", max, lambda plan: plan.backed),
    "bound": Measure("the most that there may ever be of that", "bytes", min, lambda plan: plan.bound),
    "image": Measure("the kernel's image", "bytes", max, lambda plan: _beside(plan, "image")),
    "area": Measure("the boot area", "bytes", max, lambda plan: _beside(plan, "boot area")),
    "tables": Measure("mapping frames", "bytes", max, lambda plan: _beside(plan, "mapping frames")),
    "available": Measure(
        "page space, once the devices are published", "frames", min, lambda plan: plan.after.available
    ),
    "promised": Measure("of that, promised to the bank", "frames", min, lambda plan: plan.after.promised),
    "broken": Measure("what page space lacks of it", "frames", max, lambda plan: plan.after.broken_by),
    "scale": Measure("share of the wanted objects that the window holds", "%", min, lambda plan: int(plan.scale * 100)),
    "tlb": Measure("entries that map the window then", "entries", max, lambda plan: plan.after.tlb),
    "clipped": Measure("RAM above the limit of physical addresses", "bytes", max, lambda plan: plan.clipped),
    **{status: _devices(status) for status in (FITS, LAST, EXTENT_ONLY, REFUSED, UNPLACED)},
}
"""Numbers of a plan, by name."""

_OPERATORS = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(rf"\s*([a-z-]+)\s*({'|'.join(_OPERATORS)})\s*([^<>=!\s][^<>=!]*?)(%?)\s*", re.ASCII)


def _beside(plan: Plan, name: str) -> int:
    return next(item.bytes for item in plan.beside if item.name == name)


class Condition(NamedTuple):
    """A measure, compared with a number, which was `written` so."""

    name: str
    operator: str
    value: int
    written: str

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Raises InputError for what is none."""
        match = _CONDITION.fullmatch(text)
        if not match or match[1] not in MEASURES:
            raise InputError(
                repr(text[:40]), 0, "no condition", f"NAME<VALUE, by < <= > >= == !=, of {', '.join(MEASURES)}"
            )
        if match[4] and MEASURES[match[1]].unit != "%":
            raise InputError(repr(text[:40]), 0, f"{match[1]} is no share", "leave the % out")
        return cls(match[1], match[2], parse_size(match[3]), match[3] + match[4])

    def holds(self, plan: Plan) -> bool:
        """Whether it holds of a plan."""
        return bool(_OPERATORS[self.operator](MEASURES[self.name].of(plan), self.value))

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.written}"


def shown(name: str, value: int) -> str:
    """The value of a measure with its unit."""
    unit = MEASURES[name].unit
    return size(value) if unit == "bytes" else f"{value}%" if unit == "%" else f"{value:,}"
