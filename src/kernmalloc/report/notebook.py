"""Results as notebooks show them: what the text reports say first of each, laid out as HTML.

`fragment` knows the classes that say `_repr_html_ = html` (`results/shown.py`).
"""

from functools import singledispatch

from numpy import bincount

from kernmalloc.emulate import simulation
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.view import DAMAGE
from kernmalloc.inputs.sizes import size
from kernmalloc.inputs.traces.trace import ORDERS, Trace
from kernmalloc.kernel.core.kern import UP
from kernmalloc.machine.lives import LifeError
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.plan import Plan
from kernmalloc.report import boot, emulate, outcome, plan, replay, run
from kernmalloc.report import machine as machines
from kernmalloc.report.html import bar, folded, paragraph, table, whole
from kernmalloc.report.text import Cells
from kernmalloc.report.units import address, several, span
from kernmalloc.sim.outcome import Outcome
from kernmalloc.sim.replay import Replayed

MOST_USED = 20  # caches of a trace that are listed


@singledispatch
def fragment(result: object) -> str:
    """HTML of a result. TypeError for what is none."""
    raise TypeError(f"no HTML is known of {type(result).__name__}")


@fragment.register
def _(kernel: Kernel) -> str:
    machine = kernel.machine.name or kernel.machine.file
    title = f"Kernel {kernel.profile.name} on {machine}"
    if kernel.handle.monitor.closed:
        lines = (
            ["closed; its core table stays: kernel.frames"] if kernel.handle.monitor.kept is not None else ["closed"]
        )
        return whole(title, paragraph([*boot.kernel_line(kernel), *_origin(kernel), *lines]))
    lines = [*boot.kernel_line(kernel), *_origin(kernel)]
    try:
        if kernel.view.kern["stage"] != UP:
            return whole(title, paragraph([*lines, "loaded; its boot is not over"]))
        return whole(title, paragraph(lines), *_inside(kernel))
    except (LifeError, *DAMAGE) as error:
        return whole(title, paragraph([*lines, f"its records cannot be read: {error}"]))


def _origin(kernel: Kernel) -> list[str]:
    lines = [f"booted at {kernel.origin}"] if kernel.origin else []
    if kernel.displaced_by:
        lines.append(f"it lies elsewhere in this process: the place of its window is that of {kernel.displaced_by}")
    return lines


def _inside(kernel: Kernel) -> list[str]:
    """What there is to see of a kernel that is open."""
    heap = kernel.heap
    told = f"Heap: used {size(heap.used)}, backed {size(heap.backed)}, bound {size(heap.bound)}"
    return [
        bar(kernel.frames_by_type(), kernel.profile.page),
        paragraph([told, *boot.mapped(kernel)]),
        table(boot.object_rows(kernel)),
        paragraph([boot.ratio(kernel), *boot.ledger_line(kernel.ledger)]),
        folded("Regions", table(_region_rows(kernel), notes=True)),
        folded("Donation and core tables", paragraph(boot.tables(kernel))),
    ]


def _region_rows(kernel: Kernel) -> list[Cells]:
    page = kernel.profile.page
    rows: list[Cells] = [("range", "class", "frames", "free", "described by")]
    for each in kernel.regions:
        described = f"{size(each.area_bytes)} at {address(each.area)}" if each.area else ""
        free = f"{each.free:,}" if each.area else ""
        where = span(each.pfn * page, (each.pfn + each.frames) * page)
        rows.append((where, each.kind, f"{each.frames:,}", free, described))
    return rows


@fragment.register
def _(machine: Machine) -> str:
    head = ("range (as /proc/iomem)", "size", "line")
    rows: dict[bool, list[Cells]] = {False: [], True: []}  # of devices?
    for told, bytes, line, of_device in machines.listed(machine):
        rows[of_device].append((told, size(bytes), f"{line}" if line else ""))
    problems = [(line,) for line in machines.problems(machine)]
    first, *more = machines.opening(machine)
    return whole(
        first,
        paragraph([*more, f"This file: {machines.judged(machine)}."]),
        table([head, *rows[False]]),
        folded("Device windows", table([head, *rows[True]]) if rows[True] else ""),
        folded("What there is to tell of the file", table(problems, head=False)),
    )


@fragment.register
def _(made: Plan) -> str:
    title = f"Plan of kernel {made.profile.name} for {made.machine.name or made.machine.file}"
    devices = [*made.devices, *made.unplaced]
    return whole(
        title,
        paragraph(plan.kernel_line(made)),
        table(plan.item_rows(made), notes=True),
        paragraph([*plan.held(made), *plan.space(made)]),
        folded("How it lies", paragraph(plan.layout(made))),
        folded("Devices", table(boot.device_rows(devices), notes=True) if devices else ""),
        folded("RAM that comes after the boot", table(boot.added_rows(made.added), notes=True) if made.added else ""),
    )


@fragment.register
def _(became: outcome.Outcome) -> str:
    devices: list[Cells] = [("range", "size", "cost", "status", "")]
    devices += [
        (span(each.base, each.base + each.size), size(each.size), size(each.cost), each.status, each.advice)
        for each in became.devices
    ]
    parts = [bar(became.frames, became.page)] if became.frames else []
    if became.heap:
        told = (("used", became.heap.used), ("backed", became.heap.backed), ("bound", became.heap.bound))
        parts.append(paragraph([f"Heap: {', '.join(f'{name} {size(bytes)}' for name, bytes in told)}"]))
    parts.append(folded("Devices", table(devices, notes=True) if became.devices else ""))
    return whole(f"{became.machine or became.file}: {became.status}", paragraph([boot.verdict(became)]), *parts)


@fragment.register
def _(came: Outcome) -> str:
    return whole(
        f"Scenario {came.scenario}, seed {came.seed}, kernel {came.kernel}, mode {came.mode}",
        paragraph([run.verdict(came)]),
        table(run.cache_rows(came), head=False),
        table(run.load_rows(came), notes=True),
        table(run.memory_rows(came), head=False),
        folded("Free blocks, from one frame on", paragraph([" ".join(map(str, came.free_blocks))])),
    )


@fragment.register
def _(done: Replayed) -> str:
    figures = [] if done.failure or done.status != "replayed" else replay.figure_rows(done)
    left = list(replay.left_out_rows(done.skipped)) if done.skipped else []
    caches = [
        (line.name, *(f"{number:,}" for number in (line.active_objs, line.num_objs, line.objsize, line.num_slabs)))
        for line in done.caches
    ]
    head = ("cache", "in use", "slots", "size", "slabs")
    return whole(
        f"{done.file}: {done.status}",
        paragraph([replay.verdict(done)]),
        table(figures, notes=True, head=False),
        folded("Caches at the peak of backed memory", table([head, *caches]) if caches else ""),
        folded("Not in it", table(left, notes=True, head=False)),
    )


@fragment.register
def _(found: simulation.Outcome) -> str:
    return whole("Simulation of an emulated kernel", paragraph(emulate.simulated(found)))


@fragment.register
def _(trace: Trace) -> str:
    kinds, allocates, bytes = trace.kinds, trace.allocates, trace.bytes()
    live = size(int(bytes.cumsum().max(initial=0)))
    rows: list[Cells] = [("", "allocated", "freed", "bytes allocated")]
    for name, these in (
        ("heap blocks", kinds < 0),
        ("blocks of pages", (kinds >= 0) & (kinds < ORDERS)),
        ("objects", kinds >= ORDERS),
    ):
        here = these & allocates
        rows.append((name, f"{here.sum():,}", f"{(these & ~allocates).sum():,}", f"{bytes[here].sum():,}"))
    return whole(
        f"{trace.file}: {trace.form}",
        paragraph(
            [
                f"{several(len(trace.ops), 'operation')}, at most {live} live at once (pages of 4 KiB), "
                f"{trace.live_at_end:,} never freed in the trace"
            ]
        ),
        table(rows),
        folded("Caches that are used most", table(_cache_rows(trace))),
        folded("Not in it", table(list(replay.left_out_rows(trace.skipped)), notes=True, head=False)),
    )


def _cache_rows(trace: Trace) -> list[Cells]:
    """The caches with most allocations; no rows if there are none."""
    uses = bincount(trace.kinds[trace.allocates & (trace.kinds >= ORDERS)] - ORDERS, minlength=len(trace.caches))
    first = uses.argsort(kind="stable")[::-1][:MOST_USED].tolist()
    rows = [(trace.caches[at].name, f"{trace.caches[at].size:,}", f"{uses[at]:,}") for at in first]
    return [("cache", "size", "objects allocated"), *rows] if rows else []
