"""A booted kernel as text: regions as /proc/iomem has them, free blocks as buddyinfo, caches as slabinfo."""

from collections.abc import Iterable, Iterator

from kernmalloc.facade.blocks import free_blocks
from kernmalloc.facade.configure import (
    ADDED,
    EXTENT_ONLY,
    FITS,
    LAST,
    REFUSED,
    UNPLACED,
    Added,
    Configured,
    Published,
)
from kernmalloc.facade.devices import Ledger
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.measure import TableRate
from kernmalloc.facade.profile import Profile
from kernmalloc.facade.state import HeapState, Step
from kernmalloc.inputs.sizes import size
from kernmalloc.plan.devices import Device
from kernmalloc.report.outcome import Outcome
from kernmalloc.report.text import Cells, columns, fitted, paragraph, section
from kernmalloc.report.units import address, several, span

SHOWN = 40  # devices that are listed singly
CLIPPED = "CLIPPED by the kernel's address limit"
BAR = 32  # characters of the bar that shows the donation
MARGIN = 14  # columns before the text of a step


def whole(kernel: Kernel, heap: HeapState, done: Configured, operations: int) -> Iterator[str]:
    """All about one kernel that booted with `heap` and then configured its devices; `operations` were done in it."""
    yield from kernel_line(kernel)
    yield from section("Regions (as /proc/iomem)", regions(kernel))
    yield from section("Donation and core tables", tables(kernel))
    yield from section("Page space", frames(kernel))
    yield from section("Heap and object caches (as /proc/slabinfo)", _heap(kernel, heap))
    yield from section("Devices, published after the boot", _devices(kernel, done))
    if done.added:
        yield from section("RAM that came after the boot", columns(added_rows(done.added), notes=True))
    yield ""
    yield from fitted(f"Used it: {several(operations, 'allocation and free', 'allocations and frees')}.")


def rate(made: TableRate) -> Iterator[str]:
    """How fast the core tables were made, beside memset."""
    poisoned, memset = (size(int(made.bytes / seconds)) for seconds in (made.poisoned, made.memset))
    yield from fitted(
        f"Described all RAM in {made.fresh * 1000:.1f} ms, its core tables being known to be zero; booted again on "
        f"poisoned RAM, {size(made.bytes)} of heap at {poisoned}/s, memset {memset}/s: {made.ratio:.2f} of memset."
    )


def verdict(outcome: Outcome) -> str:
    """One line: what became of a machine."""
    name = outcome.file + (f" ({outcome.machine})" if outcome.machine not in ("", outcome.file) else "")
    heap, donation, check = outcome.heap, outcome.donation, outcome.check
    if heap is None or donation is None or check is None:
        return f"{name}: {outcome.status}: {outcome.reason}"
    came = sum(each.size for each in outcome.added if each.status == ADDED)
    ram = sum((outcome.frames or {}).values()) * outcome.page - came
    had = (
        f"{size(ram)} of {size(ram + outcome.clipped)} of RAM, {CLIPPED}" if outcome.clipped else f"{size(ram)} of RAM"
    )
    for each in outcome.added:
        had += f", {size(each.size)} added later" if each.status == ADDED else f", {size(each.size)} NOT ADDED"
    held = several(check.assertions, "assertion") + (" held" if check.passed else " held, one did not")
    if heap.used != heap.planned:
        held += f", PLANNED {heap.planned:,} BYTES OF HEAP, USED {heap.used:,}"
    return (
        f"{name}: booted: {had}, kernel {outcome.kernel}, donation {several(donation.frames, 'frame')}, "
        f"heap {size(heap.used)} of {size(heap.bound)}, {held}, {outcome.seconds:.2f} s"
        + (f": {outcome.reason}" if outcome.reason else "")
        + (f"; {outcome.note}" if outcome.note else "")
    )


def step(state: Step, number: int) -> Iterator[str]:
    """One step of the bootstrap: what was done, and the state of the donated frames after it."""
    yield from paragraph(f"{number:>3}  {state.name:<8} {state.text}", MARGIN)
    now = state.state
    heap, maps = now["used by the heap"], now["used by mapping tables"]
    unused = now["donated"] - heap - maps
    marked = now["marked heap"] + now["marked mapping"] == heap + maps > 0
    told = f"heap {heap:,}, mapping {maps:,}, unused {unused:,} of {now['donated']:,}"
    said = "entries say so" if marked else "no entry says so" if heap else "no entry exists"
    free = f"; free frames {now['free']:,}" if now["free"] else ""
    yield from fitted(f"{'':{MARGIN}}[{_bar(heap, maps, unused, marked)}] {told}; {said}{free}", MARGIN)


def _bar(heap: int, maps: int, unused: int, marked: bool) -> str:
    """The donated frames as a bar: h the heap's, m mapping tables, in capitals once their entries say so, . unused."""
    few = [-(-BAR * count // max(heap + maps + unused, 1)) for count in (maps, unused)]
    bar = "h" * (BAR - sum(few)) + "m" * few[0] + "." * few[1]
    return bar.upper() if marked else bar


def chosen(note: str) -> Iterator[str]:
    """What is to be said of how a kernel was chosen, if anything."""
    if note:
        yield from fitted(f"Kernel not named, and {note}")


def window_name(profile: Profile) -> str:
    """What the kernel's virtual addresses are to it."""
    return "direct map" if profile.direct else "window"


def kernel_line(kernel: Kernel) -> Iterator[str]:
    """Which kernel it is, and what RAM it cannot have."""
    profile = kernel.profile
    va = profile.va
    where = f"{window_name(profile)} {span(va.base, va.base + va.size)}"
    if kernel.layout["window"] != kernel.layout["target"]:
        where += f", hosted at {address(int(kernel.layout['window']))}"
    yield from fitted(
        f"Kernel {profile.name} ({profile.arch}, {profile.phys_bits}-bit physical addresses, {profile.strategy} heap), "
        f"{where}, {size(va.size)}; runs {kernel.mode}"
    )
    yield from clipped(kernel.clipped, profile)
    if kernel.lost:
        yield from fitted(f"Lost: {size(kernel.lost)} in pages that are only partly RAM")


def clipped(bytes: int, profile: Profile) -> Iterator[str]:
    """RAM that a kernel cannot address; nothing if there is none."""
    if bytes:
        limit = f"the {profile.phys_bits} bits of its physical addresses"
        yield from fitted(f"{CLIPPED}: {size(bytes)} of RAM lie above {limit} and are not used")


def regions(kernel: Kernel) -> Iterator[str]:
    """Its regions, as /proc/iomem has them."""
    page = kernel.profile.page
    for region in kernel.regions:
        text = f"{span(region.pfn * page, (region.pfn + region.frames) * page):<24} : {region.kind:<8}"
        text += f" {region.frames:>12,} {'frame' if region.frames == 1 else 'frames'}"
        if region.area:
            text += f", {region.free:>12,} free, described by {size(region.area_bytes)} at {address(region.area)}"
        yield text


def tables(kernel: Kernel) -> Iterator[str]:
    """Its donation, and the core tables."""
    donation = kernel.donation
    yield from fitted(
        f"{several(donation.frames, 'frame')} ({size(donation.bytes)}) from {donation.pfn * donation.page:x}: "
        f"{donation.heap:,} for the heap, {donation.maps:,} for mapping tables; the only donation"
    )
    described = [region for region in kernel.regions if region.area]
    area, frames = sum(r.area_bytes for r in described), sum(r.frames for r in described)
    named = int(kernel.view.kern["identity"])
    identities = f"{named} B for the identity of a cached page, " if named else ""
    yield from fitted(
        f"Core tables: {size(area)} for {several(frames, 'frame')}: {kernel.profile.core.stride} B each, "
        f"{identities}and free bitmaps"
    )


def frames(kernel: Kernel) -> Iterator[str]:
    """Its frames by type, and free blocks, as buddyinfo has them."""
    counts = kernel.frames_by_type()
    yield from columns([("type", *counts), ("frames", *(f"{count:,}" for count in counts.values()))])
    blocks = free_blocks(kernel.view)
    while len(blocks) > 1 and not blocks[-1]:
        blocks.pop()
    yield from columns([("order", *map(str, range(len(blocks)))), ("free blocks", *map(str, blocks))])


def _heap(kernel: Kernel, heap: HeapState) -> Iterator[str]:
    right = "as planned" if heap.used == heap.planned else f"PLANNED {heap.planned:,} BYTES, USED {heap.used:,}"
    yield from fitted(
        f"at the end of the boot: used {size(heap.used)}, {right}, backed {size(heap.backed)}, bound {size(heap.bound)}"
    )
    yield from mapped(kernel)
    yield from objects(kernel)


def mapped(kernel: Kernel) -> Iterator[str]:
    """How its heap is mapped."""
    affine, large = kernel.view.shares()
    tlb = kernel.mappings
    yield from fitted(
        f"VA = PA + constant for {affine:.1%} of it, {large:.1%} in large pages; TLB entries {tlb.entries:,}: "
        f"{tlb.large:,} large, {tlb.small:,} small"
    )


def object_rows(kernel: Kernel) -> list[Cells]:
    """A table of its object caches."""
    rows: list[Cells] = [("object", "size", "wanted", "limit", "slots", "in use")]
    for cache in kernel.caches:
        asked = (f"{cache.wanted:,}", f"{cache.limit:,}") if not cache.own else ("", "")
        rows.append((cache.name, f"{cache.size:,}", *asked, f"{cache.slots:,}", f"{cache.used:,}"))
    return rows


def objects(kernel: Kernel) -> Iterator[str]:
    """Its object caches, as slabinfo has them."""
    yield from columns(object_rows(kernel))
    yield from fitted(ratio(kernel))


def _devices(kernel: Kernel, done: Configured) -> Iterator[str]:
    if done.devices or done.unplaced:
        yield from columns(device_rows([*done.devices, *done.unplaced]), notes=True)
    if done.released:
        yield from fitted(
            f"released {size(done.released)} of the heap for good; its bound is now {size(kernel.heap.bound)}"
        )
    yield from ledger_line(done.ledger)


def ledger_line(ledger: Ledger) -> Iterator[str]:
    """How page space stands against what the bank was promised."""
    state = f"BROKEN by {several(ledger.broken_by, 'frame')}" if ledger.broken_by else "kept"
    came = f"{several(ledger.added, 'frame')} of RAM came and " if ledger.added else ""
    took = f"gave back {-ledger.heap:,}" if ledger.heap < 0 else f"took {ledger.heap:,}"
    yield from fitted(
        f"ledger: promised {ledger.promised:,} frames, {ledger.available:,} in page space now: {state}; at the end of "
        f"the boot {ledger.opening:,}, withheld {ledger.withheld:,}; since then {came}the heap {took}, "
        f"DMA {ledger.dma:,}"
    )


def device_rows(devices: Iterable[Published | Device]) -> list[Cells]:
    """A table of devices: those that fit in full are counted if there are many, the others are listed."""
    devices = list(devices)
    rows = [("range", "size", "cost", "status", "")]
    for device in devices:
        if len(devices) > SHOWN and device.status == FITS:
            continue
        said = ", ".join(filter(None, device.names)) + (f": {device.reason}" if device.reason else "")
        where = span(device.base, device.base + device.size) if device.status != UNPLACED else "no place"
        rows.append((where, size(device.size), size(device.cost), device.status, said))
    seldom = {LAST, UNPLACED} - {d.status for d in devices}
    statuses = [status for status in (FITS, LAST, EXTENT_ONLY, REFUSED, UNPLACED) if status not in seldom]
    counts = [f"{sum(d.status == status for d in devices):,} {status}" for status in statuses]
    cost, bytes = (sum(getattr(d, name) for d in devices) for name in ("cost", "size"))
    return [*rows, (several(len(devices), "range"), size(bytes), size(cost), "", ", ".join(counts))]


def added_rows(added: Iterable[Added]) -> list[Cells]:
    """A table of RAM that comes later."""
    rows: list[Cells] = [("range", "size", "cost", "status", "")]
    for each in added:
        where = span(each.base, each.base + each.size)
        rows.append((where, size(each.size), size(each.cost), each.status, each.reason or taken_for(each)))
    return rows


def taken_for(added: Added) -> str:
    """Which frames RAM that came took."""
    before = f"{several(added.taken - added.hosted, 'frame')} of page space go to it before it is there"
    if not added.self_hosted:
        return before
    own = f"{several(added.hosted, 'frame')} of its own hold what describes it"
    return f"{own}, {before}" if added.taken > added.hosted else own


def ratio(kernel: Kernel) -> str:
    """One line: what share of the wanted objects the window holds, and what that comes to for the first type."""
    frames = sum(kernel.frames_by_type().values())
    first = next((cache for cache in kernel.caches if cache.wanted and not cache.own), None)
    if first is None:
        return "No object types."
    each = frames / max(first.limit, 1)
    held = "all" if kernel.scale >= 1 else f"{kernel.scale:.1%}"
    return f"The window holds {held} of the objects that the ratios ask for: one {first.name} per {each:.1f} pages."
