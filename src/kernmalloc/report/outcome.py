"""What became of one machine, as `--json` prints it: one object per line, its keys stable (docs/json.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kernmalloc.machine.memory_map import Device, Machine, Problem, Range

if TYPE_CHECKING:
    from kernmalloc.facade import kernel as facade
    from kernmalloc.facade.kernel import Kernel


class Heap(msgspec.Struct, frozen=True):
    """Bytes of the kernel heap: allocated, with frames behind them, and the most there can be."""

    used: int
    backed: int
    bound: int


class Donation(msgspec.Struct, frozen=True):
    """What the heap was given before the first core table existed (E33 to E37)."""

    frames: int
    bytes: int


class Check(msgspec.Struct, frozen=True):
    """Whether every invariant held, and how many were asserted."""

    passed: bool
    assertions: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One machine. `status` is booted, refused or unreadable; `reason` says why it is not the first. `frames` counts
    by type. What does not exist because nothing booted is null. `seconds` is all the time that this machine took."""

    file: str
    machine: str
    status: str
    reason: str = ""
    frames: dict[str, int] | None = None
    heap: Heap | None = None
    donation: Donation | None = None
    check: Check | None = None
    seconds: float = 0.0

    @classmethod
    def of(cls, kernel: Kernel, found: facade.Check, seconds: float, file: str, machine: str) -> Outcome:
        """The outcome of a kernel that booted, and of the check that was made of it."""
        heap, donation = kernel.heap, kernel.donation
        return cls(
            file=file, machine=machine, status="booted", reason=found.failure, frames=kernel.frames_by_type(),
            heap=Heap(heap.used, heap.backed, heap.bound), donation=Donation(donation.frames, donation.bytes),
            check=Check(found.passed, found.assertions), seconds=seconds,
        )

    def line(self) -> str:
        """The JSON object, on one line."""
        return msgspec.json.encode(self).decode()


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What `kernmalloc check --json` prints of one machine. `status` is readable or unreadable; `ranges` are the
    memory map and what is carved out of its RAM, in bytes; `ignored` counts harmless lines by reason."""

    file: str
    machine: str = ""
    status: str = "readable"
    reason: str = ""
    arch: str = "?"
    ram: int = 0
    ranges: tuple[Range, ...] = ()
    devices: tuple[Device, ...] = ()
    problems: tuple[Problem, ...] = ()
    ignored: dict[str, int] = {}

    @classmethod
    def of(cls, machine: Machine) -> Reading:
        """The reading of a machine that could be read."""
        return cls(
            file=machine.file, machine=machine.name, arch=machine.arch, ram=machine.ram_bytes,
            ranges=(*machine.ram, *machine.firmware, *machine.carved), devices=machine.devices,
            problems=machine.problems, ignored=machine.ignored,
        )

    def line(self) -> str:
        """The JSON object, on one line."""
        return msgspec.json.encode(self).decode()
