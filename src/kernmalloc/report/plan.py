"""A plan as text: the heap structure by structure, how it lies, what is left, and which devices it will hold."""

from collections.abc import Iterable, Iterator, Sequence

from kernmalloc.facade.configure import EXTENT_ONLY, FITS, LAST, REFUSED, Added
from kernmalloc.inputs.sizes import size
from kernmalloc.machine.arch import FORMATS
from kernmalloc.plan.advice import STRATEGY, Advice, lacks, ranges
from kernmalloc.plan.devices import Device
from kernmalloc.plan.plan import Plan
from kernmalloc.report.boot import added_rows, clipped, device_rows, window_name
from kernmalloc.report.text import Cells, columns, fitted, paragraph, section
from kernmalloc.report.units import several, span

STATUSES = (FITS, LAST, EXTENT_ONLY, REFUSED)


def whole(plan: Plan, advice: Advice | None, line: str) -> Iterator[str]:
    """All about one plan; `line` is the boot line that takes the advice."""
    yield from kernel_line(plan)
    yield from section("Heap at the end of the boot, to the byte", _items(plan))
    yield from section("How it lies", _each(layout(plan)))
    yield from section("Page space", _each(space(plan)))
    if devices := [*plan.devices, *plan.unplaced]:
        yield from section("Devices, published in order of address", columns(device_rows(devices), notes=True))
    if plan.added:
        yield from section("RAM that comes after the boot", _added(plan))
    yield from advised(plan, advice, line)


def kernel_line(plan: Plan) -> Iterator[str]:
    """Which kernel it is, and what RAM it cannot have."""
    profile, va = plan.profile, plan.profile.va
    yield from fitted(
        f"Kernel {profile.name} ({profile.arch}, {profile.phys_bits}-bit physical addresses), "
        f"strategy {profile.strategy}, {window_name(profile)} {span(va.base, va.base + va.size)}, {size(va.size)}"
    )
    yield from clipped(plan.clipped, profile)


def item_rows(plan: Plan) -> list[Cells]:
    """A table of the heap, structure by structure, and of what comes with it."""
    rows: list[Cells] = [("structure", "bytes", "")]
    rows += [(item.name, f"{item.bytes:,}", item.note) for item in plan.items if item.bytes]
    rows.append(("heap", f"{plan.top:,}", f"{size(plan.planned)} in use, bound {size(plan.bound)}"))
    return [*rows, *((f"beside it: {item.name}", f"{item.bytes:,}", item.note) for item in plan.beside)]


def _items(plan: Plan) -> Iterator[str]:
    yield from columns(item_rows(plan), notes=True)
    yield from held(plan)


def held(plan: Plan) -> Iterator[str]:
    """One line: what share of the wanted objects the window holds."""
    share = "all" if plan.scale >= 1 else f"{plan.scale:.1%}"
    yield from fitted(f"The window holds {share} of the objects that the profile's ratios ask for.")


def layout(plan: Plan) -> Iterator[str]:
    """How the heap lies, what its mapping takes of the TLB, and whether all RAM could be mapped: a line each."""
    if plan.profile.heapless:
        yield "carved out of RAM in one piece, in the direct map: no page table is written"
        return
    if plan.fixed:
        fixed = plan.fixed
        sign = "-" if fixed.constant < 0 else "+"
        yield (
            f"fixed part: VA {span(fixed.va, fixed.va + fixed.bytes)}, PA {span(fixed.pa, fixed.pa + fixed.bytes)}, "
            f"VA = PA {sign} {abs(fixed.constant):#x}"
        )
        if plan.profile.direct:
            yield "all of it lies in the direct map, and so does what it grows by: no page table is written"
            return
        yield (
            f"affine and in large pages: {1:.0%} of the fixed part, {plan.affine_share:.0%} of the heap, "
            f"{plan.affine_share_at_bound:.1%} of it at its bound"
        )
    else:
        where = span(plan.heap_va, plan.heap_va + plan.top)
        yield f"VA {where}, single frames from anywhere; no share of it is affine by plan"
    tlb = plan.tlb
    after = "no more after boot" if plan.fixed and plan.most == plan.top else "more as the heap grows"
    yield (
        f"TLB entries: {tlb.entries:,}: {tlb.large:,} large pages, {tlb.small:,} single pages, "
        f"{tlb.static:,} of image and first tables; {after}"
    )
    window = plan.profile.va.size
    verdict = "it cannot be" if plan.direct_map > window else f"{size(window - plan.direct_map)} would be left"
    yield f"a direct map of all RAM would take {size(plan.direct_map)} of VA, the window has {size(window)}: {verdict}"
    if held := FORMATS[plan.profile.arch].tlb:
        yield f"the processor's TLB, loaded by software, holds {held}: {_loaded(plan, held)}"
    elif processor := plan.profile.processor:
        first, second = (
            sum(tlb.entries for tlb in processor.tlbs if tlb.level == level and tlb.kind != "instruction")
            for level in (1, 2)
        )
        more = f", {second:,} more in level 2" if second else ""
        yield f"the TLB of {processor.title} holds {first:,} for data{more}; the heap takes {plan.tlb.heap:,}"


def _loaded(plan: Plan, held: int) -> str:
    """What a TLB that software loads, of so many entries, does for the heap."""
    tlb = plan.tlb
    if plan.locked:
        return f"{plan.locked} locked for the heap, which then never misses, leave {held - plan.locked} for all else"
    if tlb.large:
        return f"too few to lock the {tlb.large:,} large pages of the heap"
    return f"{'all of the heap fits' if tlb.heap <= held else 'the heap takes more'}, {tlb.heap:,}, and none is locked"


def space(plan: Plan) -> Iterator[str]:
    """What is left for page space: a line each."""
    broken = "; growth may break that" if plan.lenient else ""
    yield (
        f"{several(plan.frames, 'frame')} described, {plan.available:,} left for page space, "
        f"{plan.promised:,} promised to the bank{broken}"
    )
    if plan.after.released:
        yield f"release gives back {size(plan.after.released)} once these devices are published"


def _each(lines: Iterable[str]) -> Iterator[str]:
    """Each line, as the terminal has room for it."""
    for line in lines:
        yield from fitted(line)


def _added(plan: Plan) -> Iterator[str]:
    yield from columns(added_rows(plan.added), notes=True)
    yield from fitted(
        f"page space then: {several(plan.after.available, 'frame')}, {plan.after.promised:,} promised to the bank"
    )


def advised(plan: Plan, advice: Advice | None, line: str) -> Iterator[str]:
    """What to do about the range that lacks most, as a colleague would say it; nothing if nothing is to be done."""
    if advice is None:
        return
    yield ""
    yield from paragraph(counsel(plan, advice))
    if advice.proof is not None:
        yield f"  {line}"


def counsel(plan: Plan, advice: Advice) -> str:
    """Advice in words: which device lacks most, or which RAM cannot be added; what to set, and what that comes to."""
    lacking = [each for each in ranges(plan) if lacks(each)]
    helped = [each for each in lacking if advice.helps(each)] or lacking
    what = f"Advice: {_lacking(plan, helped)}. "
    if advice.proof is None:
        return f"{what}No setting helps: {advice.reason}."
    settings = " and ".join(f"{name.replace('-', '_')}={value}" for name, value in advice.settings.items())
    what += (
        f"Set {settings}: planned again with that, everything fits that can, and the heap is "
        f"{size(advice.proof.top)} (now {size(plan.top)}), page space {advice.proof.available:,} frames "
        f"(now {plan.available:,})."
    )
    if advice.beyond:
        what += f" No setting helps {several(len(advice.beyond), 'range')} more: {advice.reason}."
    return what


def _lacking(plan: Plan, lacking: Sequence[Device | Added]) -> str:
    """What is the matter with the device that lacks most entries, or with the RAM that is refused, if no device lacks
    any."""
    devices = [each for each in lacking if isinstance(each, Device)]
    if not devices:
        ram = max(lacking, key=lambda each: each.size)
        return f"{size(ram.size)} of RAM at {ram.base:x} cannot be added: {ram.reason}"
    worst = max(devices, key=lambda device: device.missing)
    return (
        f"{', '.join(worst.names) or 'a device'} ({size(worst.size)} at {worst.base:x}) cannot be used in full: "
        f"entries for {worst.missing:,} of its {worst.size // plan.page:,} frames are missing"
    )


def way_out(advice: Advice) -> str:
    """In words, what to do about a machine that cannot hold a kernel."""
    if advice.proof is None:
        return advice.reason
    if STRATEGY not in advice.settings and len(advice.settings) == 1:
        return f"{advice.options} is the most that fits"
    return f"{advice.options} would do"


def several_machines(plans: Sequence[Plan]) -> Iterator[str]:
    """A table of plans for each kernel, a line for each machine."""
    for kernel in dict.fromkeys(map(_kernel, plans)):
        yield kernel
        yield from columns([HEAD, *(_row(plan) for plan in plans if _kernel(plan) == kernel)])


def _kernel(plan: Plan) -> str:
    return f"Kernel {plan.profile.name}, strategy {plan.profile.strategy}"


def _row(plan: Plan) -> Cells:
    count = {status: sum(d.status == status for d in plan.devices) for status in STATUSES}
    return (
        plan.machine.name or plan.machine.file,
        size(plan.frames * plan.page) + (f" of {size(plan.frames * plan.page + plan.clipped)}" if plan.clipped else ""),
        size(plan.planned),
        size(plan.top),
        size(plan.bound),
        f"{plan.scale:.1%}",
        f"{plan.tlb.entries:,}",
        f"{plan.promised:,}",
        *(str(count[status]) for status in STATUSES),
    )


HEAD = ("machine", "RAM", "in use", "heap", "bound", "objects", "TLB", "promised", *STATUSES)
