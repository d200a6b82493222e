"""What somebody who knows nothing is told of a boot: three sentences, a map, what to try next."""

import shlex
from collections.abc import Iterator, Sequence

from kernmalloc.facade.configure import ADDED, FITS, REFUSED, Configured
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.physical import pieces
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.facade.state import Check, HeapState
from kernmalloc.inputs.sizes import size
from kernmalloc.report.boot import clipped
from kernmalloc.report.physical import physical_map
from kernmalloc.report.text import fitted, paragraph, section, width
from kernmalloc.report.units import several

RUNS = {
    "raw": "compiled",
    "soft": "compiled, with its page tables walked in software",
    "twin": "interpreted, with every overflow checked",
}
"""Of each mode, how the kernel's code ran."""


def whole(
    kernel: Kernel, heap: HeapState, done: Configured, operations: int, checked: Check, seconds: float
) -> Iterator[str]:
    """All that is told first of a kernel that booted with `heap`, configured its devices and did so many `operations`;
    then it was `checked`."""
    for sentence in (_booted(kernel, seconds), _described(kernel), _held(done, operations, checked)):
        yield from paragraph(sentence)
    for fact in (*clipped(kernel.clipped, kernel.profile), *_but(kernel, heap, done)):
        yield from paragraph(fact)
    yield from section(
        "Physical memory now, the lowest address first", physical_map(pieces(kernel), kernel.profile.page)
    )


def _booted(kernel: Kernel, seconds: float) -> str:
    """Which kernel was booted on what."""
    machine, profile = kernel.machine, kernel.profile
    return (
        f"Kernel {profile.name} was booted on {machine.name or machine.file} in {seconds:.2f} s: its memory manager, "
        f"{RUNS[kernel.mode]}, has {size(machine.ram_bytes)} of RAM to give out, and for itself "
        f"{size(profile.va.size)} of addresses."
    )


def _described(kernel: Kernel) -> str:
    """That the memory describes itself, and what that cost."""
    page, donation = kernel.profile.page, kernel.donation
    described = [region for region in kernel.regions if region.area]
    area, frames = sum(region.area_bytes for region in described), sum(region.frames for region in described)
    what = "its whole heap" if STRATEGIES[kernel.profile.strategy].affine else "the first of these tables"
    return (
        f"The memory now describes itself, at a cost of {size(area)}, {area / (frames * page):.1%} of it: each of its "
        f"{several(frames, 'frame')}, pieces of {size(page)}, has an entry in a core table, the tables lie in frames, "
        f"too, and {several(donation.frames, 'frame')} had to be donated for {what} before any entry existed."
    )


def _held(done: Configured, operations: int, checked: Check) -> str:
    """Whether every invariant held, and after what."""
    published = sum(device.status != REFUSED for device in done.devices)
    used = [several(operations, "allocation and free", "allocations and frees")] if operations else []
    used += [f"{several(published, 'device range')} published"] if published else []
    after = f" after {' and '.join(used)}" if used else ""
    if checked.passed:
        return f"Every invariant held{after}: {several(checked.assertions, 'assertion')} about the kernel's records."
    return f"AN INVARIANT DID NOT HOLD{after}: {checked.failure}."


def _but(kernel: Kernel, heap: HeapState, done: Configured) -> Iterator[str]:
    """What is not as one would wish."""
    if heap.used != heap.planned:
        yield f"PLANNED {heap.planned:,} BYTES OF HEAP, USED {heap.used:,}"
    statuses = [device.status for device in (*done.devices, *done.unplaced)]
    if short := {status: statuses.count(status) for status in statuses if status != FITS}:
        counts = ", ".join(f"{count:,} {status}" for status, count in short.items())
        yield f"Not every device has all its entries: of {several(len(statuses), 'range')} {counts} (--verbose: why)."
    for each in done.added:
        yield f"{size(each.size)} of RAM {'added later' if each.status == ADDED else f'NOT ADDED: {each.reason}'}."
    if done.ledger.broken_by:
        yield (
            f"The heap took {several(done.ledger.broken_by, 'frame')} that were promised to programs (the bank): "
            f"strategy {kernel.profile.strategy} may."
        )


def next_steps(words: Sequence[str], options: Sequence[str], card: str) -> Iterator[str]:
    """What to try next, with the words that name the machine, the options that name the kernel, and a card that it has
    a place for, "" for none."""
    known = [*words, *options]
    more = ["--with", card] if card else []
    tries = [
        (["show", *known], "this machine as a page in the browser: step the boot, try malloc and free"),
        (
            ["plan", *words, *more, *options],
            f"what a card of {card} would cost" if card else "what will be, to the byte",
        ),
        (["run", "storm"], "the same memory manager under pressure"),
        (["boot", *known, "--verbose"], "all figures, as tables; with --step, step by step"),
    ]
    lines = [(shlex.join(["kernmalloc", *line]), what) for line, what in tries]
    longest = max(len(line) for line, _ in lines)
    room = longest + 4 + max(len(what) for _, what in lines) <= width()
    yield from section("What to try next", _commands(lines, longest if room else 0))


def _commands(lines: Sequence[tuple[str, str]], longest: int) -> Iterator[str]:
    """Lines to type, each with what it does behind it or, 0, above it."""
    for line, what in lines:
        if longest:
            yield f"{line:<{longest}}  # {what}"
        else:
            yield from fitted(f"# {what}")
            yield line
