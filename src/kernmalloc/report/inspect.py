"""A kernel in a dump as text: what `boot` shows, who holds what, and in what it differs from another dump."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from kernmalloc.facade.differences import Changes, changes, counts, differing, one_kernel
from kernmalloc.facade.dump import Found
from kernmalloc.facade.holdings import allocations, blocks, cache_uses, processors
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.loader import Span
from kernmalloc.facade.state import Check
from kernmalloc.facade.story import NAMES
from kernmalloc.facade.threads import waits
from kernmalloc.facade.view import DAMAGE
from kernmalloc.inputs.dumps import Dump
from kernmalloc.inputs.sizes import size
from kernmalloc.kernel.core.kern import UP
from kernmalloc.machine.lives import LifeError
from kernmalloc.report.boot import frames, kernel_line, ledger_line, mapped, objects, regions, tables
from kernmalloc.report.outcome import Check as CheckLine
from kernmalloc.report.outcome import Donation, Heap, LedgerLine, TlbLine
from kernmalloc.report.text import Cells, columns, fitted, section
from kernmalloc.report.units import address, several, span

LARGEST = 10  # allocations and blocks that are listed singly
SOUND, BROKEN = "sound", "broken"


def opening(dump: Dump, found: Found, lacking: list[Span], page: int) -> Iterator[str]:
    """What the dump is, and where in it the kernel."""
    held = sum(segment.size for segment in dump.segments)
    base = found.address - found.pa
    where = f", physical address 0 at {address(base)}" if base else ""
    yield from fitted(
        f"{dump.name}: {dump.form}, {size(held)} in {several(len(dump.segments), 'part')}{where}; kernel at physical "
        f"address {found.pa:x}, version {found.version}, layout {found.layout:04x}"
    )
    if lacking:
        first, end = lacking[0]
        yield from fitted(
            f"Missing: {size(sum(high - low for low, high in lacking) * page)} of its RAM, first "
            f"{span(first * page, end * page)}; no page of the kernel's own is there"
        )


def table(found: Sequence[Found]) -> Iterator[str]:
    """The kernels of a dump, a row for each; nothing if there are none."""
    if not found:
        return
    rows: list[Cells] = [("at", "record", "version", "layout", "")]
    for each in found:
        place = each.pa if each.pa >= 0 else each.address
        rows.append((f"{place:#x}", address(each.own), str(each.version), f"{each.layout:04x}", each.why))
    yield from columns(rows, notes=True)


def whole(kernel: Kernel, check: Check) -> Iterator[str]:
    """All about one kernel. What damage makes unreadable is said where it would stand."""
    yield from _guarded(lambda: kernel_line(kernel))
    yield from _guarded(lambda: _stage(kernel))
    for title, lines in (
        ("Regions (as /proc/iomem)", lambda: regions(kernel)),
        ("Donation and core tables", lambda: tables(kernel)),
        ("Page space", lambda: _space(kernel)),
        ("Heap and object caches (as /proc/slabinfo)", lambda: _heap(kernel)),
        ("Who holds what", lambda: _holders(kernel)),
    ):
        yield from section(title, _guarded(lines))
    yield from section("Check", fitted(_checked(check)))


def _guarded(lines: Callable[[], Iterator[str]]) -> Iterator[str]:
    """Lines, or why there are none."""
    try:
        made = list(lines())
    except (*DAMAGE, LifeError) as error:
        made = [f"cannot be read: {error.args[0] if error.args else type(error).__name__}"]
    yield from made


def _stage(kernel: Kernel) -> Iterator[str]:
    stage = int(kernel.view.kern["stage"])
    if stage < UP:
        yield f"Its boot is not over: step {NAMES[stage]} comes next"
    if kernel.handle.held:
        yield from fitted(
            f"Processor {kernel.handle.held - 1} was inside the kernel: what it was about to change may be half done"
        )


def _space(kernel: Kernel) -> Iterator[str]:
    yield from frames(kernel)
    yield from ledger_line(kernel.ledger)


def _heap(kernel: Kernel) -> Iterator[str]:
    heap = kernel.heap
    yield from fitted(
        f"used {size(heap.used)}, backed {size(heap.backed)}, bound {size(heap.bound)}; at the end of the boot "
        f"{size(heap.planned)} were planned"
    )
    yield from mapped(kernel)
    yield from objects(kernel)


def _holders(kernel: Kernel) -> Iterator[str]:
    view = kernel.view
    rows: list[Cells] = [("processor", "frames", "in chunks", "slots", "windows", "")]
    for cpu in processors(view):
        numbers = (f"{n:,}" for n in (cpu.number, cpu.frames, cpu.chunks, cpu.slots, cpu.windows))
        rows.append((*numbers, "inside the kernel" if cpu.inside else ""))
    yield from columns(rows, notes=True)
    yield ""
    rows = [("cache", "size", "slots", "in use", "bytes")]
    for use in cache_uses(view, kernel.names):
        rows.append((use.name, *(f"{n:,}" for n in (use.size, use.slots, use.used, use.bytes))))
    yield from columns(rows)
    held = allocations(view)
    if held:
        yield ""
        rows = [("allocation", "bytes", "by")]
        rows += [(address(each.va), f"{each.bytes:,}", "kernel" if each.own else "caller") for each in held[:LARGEST]]
        yield from columns([*rows, _rest(len(held), sum(each.bytes for each in held))])
    taken = blocks(kernel.handle)
    if taken:
        yield ""
        rows = [("DMA block", "frames", "")]
        rows += [(address(each.pfn * view.page), f"{each.frames:,}", "") for each in taken[:LARGEST]]
        yield from columns([*rows, _rest(len(taken), sum(each.frames for each in taken))])
    for wait in waits(view):
        yield str(wait)


def _rest(count: int, total: int) -> Cells:
    """The last row of a table that lists the largest only."""
    return f"all {count:,}", f"{total:,}", ""


def _checked(check: Check) -> str:
    held = several(check.assertions, "assertion")
    return f"{held} held" if check.passed else f"{held} held, then one did not: {check.failure}"


def verdict(name: str, check: Check) -> str:
    """One line: whether the kernel is sound."""
    return f"{name}: {SOUND if check.passed else BROKEN.upper()}: {_checked(check)}"


def arena(dump: Dump, found: Found, told: dict[str, Any]) -> Iterator[str]:
    """All about an arena."""
    yield from fitted(
        f"{dump.name}: {dump.form}; an arena at {address(found.own)}, version {found.version}, layout "
        f"{found.layout:04x}: {told['classes']} size classes, {several(told['types'], 'type')} of objects at most, "
        f"pages of {size(told['page'])}, references of {told['reference']} bytes"
    )
    if told["inside"] >= 0:
        yield "Its processor was inside: what it was about to change may be half done"
    page = told["page"]
    yield from section("Heap and object caches (as /proc/slabinfo)", _arena_heap(told, page))
    yield from section("Check", fitted(_checked(Check(told["passed"], told["assertions"], told["failure"]))))


def _arena_heap(told: dict[str, Any], page: int) -> Iterator[str]:
    yield from fitted(
        f"from {address(told['heap'])} on {size(told['pages'] * page)}, of which {size(told['used'] * page)} are in use"
    )
    rows: list[Cells] = [("cache", "size", "slots", "in use", "bytes")]
    rows += [(name, *(f"{number:,}" for number in numbers)) for name, *numbers in told["caches"]]
    yield from columns(rows)
    held = told["allocations"]
    if held:
        rows = [("allocation", "bytes", "")]
        rows += [(address(va), f"{bytes:,}", "") for va, bytes in held[:LARGEST]]
        yield from columns([*rows, _rest(len(held), sum(bytes for _, bytes in held))])


def difference(one: Kernel, other: Kernel, names: tuple[str, str]) -> Iterator[str]:
    """In what two kernels differ."""
    yield from section(f"From {names[0]} to {names[1]}", _guarded(lambda: _counts(one, other)))
    if one_kernel(one, other):
        yield from _guarded(lambda: _records(changes(one, other)))
    else:
        yield from section("Records", iter(["these are two kernels, or one that was booted otherwise: not compared"]))


def _counts(one: Kernel, other: Kernel) -> Iterator[str]:
    rows: list[Cells] = [("count", "one", "other", "change")]
    rows += [(what, f"{a:,}", f"{b:,}", f"{b - a:+,}") for what, a, b in differing(counts(one), counts(other))]
    yield from columns(rows) if len(rows) > 1 else iter(["no count differs"])


def _records(found: Iterable[Changes]) -> Iterator[str]:
    """The records, a table for each kind."""
    some = False
    for each in found:
        some = True
        rows: list[Cells] = [("record", "field", "one", "other")]
        rows += [(change.record, change.field, change.one, change.other) for change in each.listed]
        more = each.total - len(each.listed)
        yield from section(f"{each.kind}: {several(each.total, 'field')}", columns(rows))
        if more:
            yield f"  and {more:,} more"
    if not some:
        yield from section("Records", iter(["no field of any record differs"]))


class CacheLine(msgspec.Struct, frozen=True):
    """A cache that has slabs: bytes of a slot, slots, those in use, bytes of its slabs."""

    name: str
    size: int
    slots: int
    used: int
    bytes: int


class ProcessorLine(msgspec.Struct, frozen=True):
    """What a processor holds: frames in its stock, single and in chunks, slots on its stacks, open windows; `inside`:
    it was inside the kernel."""

    number: int
    inside: bool
    frames: int
    chunks: int
    slots: int
    windows: int


class CountLine(msgspec.Struct, frozen=True):
    """A count that differs between the two dumps."""

    name: str
    one: int
    other: int


class RegionLine(msgspec.Struct, frozen=True):
    """A region: bytes, class, free frames."""

    base: int
    size: int
    kind: str
    free: int


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What `kernmalloc inspect --json` prints. `status` is sound, broken, or unreadable, and then `reason` says why;
    `at` is the physical address of the kernel's record. What damage makes unreadable is null. `differences` are counts,
    those of --diff."""

    file: str
    status: str
    reason: str = ""
    form: str = ""
    at: int = -1
    kernel: str = ""
    strategy: str = ""
    page: int = 0
    missing: int = 0
    frames: dict[str, int] | None = None
    regions: tuple[RegionLine, ...] | None = None
    heap: Heap | None = None
    donation: Donation | None = None
    ledger: LedgerLine | None = None
    tlb: TlbLine | None = None
    caches: tuple[CacheLine, ...] | None = None
    processors: tuple[ProcessorLine, ...] | None = None
    check: CheckLine | None = None
    differences: tuple[CountLine, ...] | None = None

    @classmethod
    def of_arena(cls, dump: Dump, found: Found, told: dict[str, Any]) -> "Inspection":
        """One arena."""
        page = told["page"]
        return cls(
            file=dump.name,
            status=SOUND if told["passed"] else BROKEN,
            reason=told["failure"],
            form=dump.form,
            at=found.address,
            kernel="arena",
            page=page,
            heap=Heap(told["used"] * page, told["pages"] * page, told["pages"] * page, told["pages"] * page),
            caches=tuple(CacheLine(*use) for use in told["caches"]),
            check=CheckLine(told["passed"], told["assertions"]),
        )

    @classmethod
    def of(
        cls, kernel: Kernel, dump: Dump, found: Found, lacking: int, check: Check, other: Kernel | None
    ) -> "Inspection":
        """One kernel, after its check."""
        view, page = kernel.view, kernel.profile.page

        def told(make: Callable[[], object]) -> object:
            try:
                return make()
            except (*DAMAGE, LifeError):
                return None

        parts = {
            "frames": kernel.frames_by_type,
            "regions": lambda: tuple(RegionLine(r.pfn * page, r.frames * page, r.kind, r.free) for r in kernel.regions),
            "heap": lambda: Heap(kernel.heap.used, kernel.heap.planned, kernel.heap.backed, kernel.heap.bound),
            "donation": lambda: Donation(kernel.donation.frames, kernel.donation.bytes),
            "ledger": lambda: LedgerLine(kernel.ledger.promised, kernel.ledger.available, kernel.ledger.broken_by),
            "tlb": lambda: TlbLine(kernel.mappings.entries),
            "caches": lambda: tuple(CacheLine(*use) for use in cache_uses(view, kernel.names)),
            "processors": lambda: tuple(ProcessorLine(*cpu) for cpu in processors(view)),
        }
        if other is not None:
            parts["differences"] = lambda: tuple(CountLine(*each) for each in differing(counts(kernel), counts(other)))
        return cls(
            file=dump.name,
            status=SOUND if check.passed else BROKEN,
            reason=check.failure,
            form=dump.form,
            at=found.pa,
            kernel=kernel.profile.name,
            strategy=kernel.profile.strategy,
            page=page,
            missing=lacking * page,
            check=CheckLine(check.passed, check.assertions),
            **{name: told(make) for name, make in parts.items()},  # type: ignore[arg-type]
        )
