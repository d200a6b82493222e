"""The loops of `processes` for the soft machine: they touch the host's memory, and call across to the kernel."""

from __future__ import annotations

from kernmalloc.drivers.processes import Process, Processor, World, choose_all, due_by, note_requests, run_all, run_one
from kernmalloc.kernel.core.kern import Index
from kernmalloc.lang import entry


@entry
def processes_run(world: World) -> int:
    """As `run_all`."""
    return run_all(world)


@entry
def processor_run(world: World, processor: Processor) -> int:
    """As `run_one`."""
    return run_one(world, processor)


@entry
def requests_noted(world: World, now: int) -> int:
    """As `note_requests`."""
    return note_requests(world, now)


@entry
def requests_due(world: World, now: int) -> int:
    """As `due_by`."""
    return due_by(world, now)


@entry
def pages_chosen(process: Process, into: Index, count: int) -> int:
    """As `choose_all`."""
    return choose_all(process, into, count)
