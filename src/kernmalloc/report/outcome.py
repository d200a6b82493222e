"""What became of one machine, as `--json` prints it: one object per line, its keys stable (docs/json.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kernmalloc.facade.tlb import TlbCounts
from kernmalloc.machine.memory_map import Device, Machine, Problem, Range
from kernmalloc.plan.advised import Advised, advised
from kernmalloc.results.shown import html
from kernmalloc.results.tables import row

if TYPE_CHECKING:
    import pyarrow

    from kernmalloc.facade import state
    from kernmalloc.facade.configure import Added, Configured
    from kernmalloc.facade.kernel import Kernel
    from kernmalloc.facade.state import HeapState
    from kernmalloc.plan.advice import Advice, Became
    from kernmalloc.plan.plan import Plan


class Heap(msgspec.Struct, frozen=True):
    """Bytes of the kernel heap at the end of the boot: pages in use, what was planned of them, pages with frames behind
    them, and the most there can be."""

    used: int
    planned: int
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


class DeviceLine(msgspec.Struct, frozen=True):
    """One range of device memory: `status` is fits, extent-only or refused, `cost` its bytes of the heap, `advice` why
    it does not fit; `helped`: with the settings of the machine's advice it does."""

    base: int
    size: int
    status: str
    cost: int
    advice: str = ""
    helped: bool = False

    @classmethod
    def of(cls, each: Became, advice: Advice | None) -> DeviceLine:
        """The line of a range, with the advice about its machine."""
        return cls(each.base, each.size, each.status, each.cost, *_said(each, advice))


class AddedLine(msgspec.Struct, frozen=True):
    """One range of RAM that came after the boot: `status` is added or refused, `cost` the bytes of the heap that are in
    use for it, `taken` the frames that heap and tables took for it, `hosted` those of them that are its own,
    `self_hosted` whether it was to hold what describes it, `advice` why it is refused; `helped`: with the settings of
    the machine's advice it is added."""

    base: int
    size: int
    status: str
    cost: int
    taken: int
    hosted: int = 0
    self_hosted: bool = False
    advice: str = ""
    helped: bool = False

    @classmethod
    def of(cls, each: Added, advice: Advice | None) -> AddedLine:
        """The line of a range, with the advice about its machine."""
        return cls(
            each.base,
            each.size,
            each.status,
            each.cost,
            each.taken,
            each.hosted,
            each.self_hosted,
            *_said(each, advice),
        )


def _said(each: Became, advice: Advice | None) -> tuple[str, bool]:
    """Why a range is not as it should be, then the options that help it, or why none does; and whether they do."""
    helped = advice is not None and advice.helps(each)
    more = ""
    if advice is not None and each.reason:
        more = advice.options if helped else advice.reason if each.base in advice.beyond else ""
    return "; ".join(filter(None, (each.reason, more))), helped


class LedgerLine(msgspec.Struct, frozen=True):
    """Frames, once the devices are published: promised to the space bank, in page space, and what that lacks of the
    promise."""

    promised: int
    available: int
    broken_by: int


class TlbLine(msgspec.Struct, frozen=True):
    """Entries that map the kernel's window."""

    entries: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One machine. `status` is booted (of a plan: planned), refused or unreadable; `reason` says why it is not booted.
    `frames` counts by type; `page` is the bytes of one. What does not exist because nothing booted is null. `released`
    are the bytes that the heap gave back once its devices were published, `clipped` those of RAM above the kernel's
    address limit, `added` what came of RAM after the boot. `seconds` is all the time that this machine
    took. `note` says how the kernel was chosen where that is not obvious. `tlb_counted` is what the TLBs of mode soft
    counted, without the check. `advice` is what to set where something is refused; null where nothing is."""

    file: str
    machine: str
    status: str
    reason: str = ""
    frames: dict[str, int] | None = None
    heap: Heap | None = None
    donation: Donation | None = None
    check: Check | None = None
    seconds: float = 0.0
    strategy: str = ""
    devices: tuple[DeviceLine, ...] = ()
    ledger: LedgerLine | None = None
    tlb: TlbLine | None = None
    released: int = 0
    page: int = 0
    clipped: int = 0
    added: tuple[AddedLine, ...] = ()
    kernel: str = ""
    note: str = ""
    tlb_counted: TlbCounts | None = None
    advice: Advised | None = None

    _repr_html_ = html

    def to_arrow(self) -> pyarrow.Table:
        """A table of one row; `table(DeviceLine, outcome.devices)` has one for each device range. Raises NoArrow."""
        return row(self)

    @classmethod
    def of(
        cls,
        kernel: Kernel,
        heap: HeapState,
        done: Configured,
        found: state.Check,
        seconds: float,
        file: str,
        machine: str,
        note: str,
        counted: TlbCounts | None,
        advice: Advice | None = None,
        told: Advised | None = None,
    ) -> Outcome:
        """The outcome of a kernel that booted with `heap`, of its devices, and of the check that was made of it; the
        advice about it, and what is `told` of that."""
        donation, ledger = kernel.donation, done.ledger
        return cls(
            file=file,
            machine=machine,
            status="booted",
            reason=found.failure,
            frames=kernel.frames_by_type(),
            heap=Heap(heap.used, heap.planned, heap.backed, heap.bound),
            donation=Donation(donation.frames, donation.bytes),
            check=Check(found.passed, found.assertions),
            seconds=seconds,
            strategy=kernel.profile.strategy,
            devices=tuple(DeviceLine.of(each, advice) for each in (*done.devices, *done.unplaced)),
            ledger=LedgerLine(ledger.promised, ledger.available, ledger.broken_by),
            tlb=TlbLine(done.tlb.entries),
            released=done.released,
            page=kernel.profile.page,
            clipped=kernel.clipped,
            added=tuple(AddedLine.of(each, advice) for each in done.added),
            kernel=kernel.profile.name,
            note=note,
            tlb_counted=counted,
            advice=told,
        )

    @classmethod
    def planned(
        cls, plan: Plan, advice: Advice | None, line: str, seconds: float, file: str, machine: str, note: str
    ) -> Outcome:
        """The outcome of a plan: what a boot would come to; `line` is the boot line that takes the advice."""
        return cls(
            file=file,
            machine=machine,
            status="planned",
            heap=Heap(plan.planned, plan.planned, plan.backed, plan.bound),
            seconds=seconds,
            strategy=plan.profile.strategy,
            devices=tuple(DeviceLine.of(each, advice) for each in (*plan.devices, *plan.unplaced)),
            ledger=LedgerLine(plan.after.promised, plan.after.available, plan.after.broken_by),
            tlb=TlbLine(plan.after.tlb),
            released=plan.after.released,
            page=plan.page,
            clipped=plan.clipped,
            added=tuple(AddedLine.of(each, advice) for each in plan.added),
            kernel=plan.profile.name,
            note=note,
            advice=advised(plan, advice, line),
        )


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What `kernmalloc check --json` prints of one machine. `status` is readable or unreadable; `ranges` are the
    memory map and what is carved out of its RAM, in bytes; `problems` is what is wrong with the machine, `missing` what
    the file lacks, `unread` what was not understood; `ignored` counts harmless lines by reason.  `map` and `other_ram`
    are for logs with two maps."""

    file: str
    machine: str = ""
    status: str = "readable"
    reason: str = ""
    arch: str = "?"
    ram: int = 0
    ranges: tuple[Range, ...] = ()
    devices: tuple[Device, ...] = ()
    problems: tuple[Problem, ...] = ()
    missing: tuple[Problem, ...] = ()
    unread: tuple[Problem, ...] = ()
    ignored: dict[str, int] = {}
    map: str = ""
    other_ram: int = 0

    @classmethod
    def of(cls, machine: Machine) -> Reading:
        """The reading of a machine that could be read."""
        return cls(
            file=machine.file,
            machine=machine.name,
            arch=machine.arch,
            ram=machine.ram_bytes,
            ranges=(
                *machine.ram,
                *machine.firmware,
                *machine.carved,
                *(msgspec.structs.replace(r, kind="unused") for r in machine.unused),
            ),
            devices=machine.devices,
            problems=machine.problems,
            missing=machine.missing,
            unread=machine.unread,
            ignored=machine.ignored,
            map=machine.map,
            other_ram=machine.other_ram,
        )
