"""The loops of processes for the hosted machine: its accesses are to the host's memory, its calls to the kernel cross over."""

from kernmalloc.drivers.processes import choose_all, due_by, note_requests, run_all, run_one
from kernmalloc.lang import entry


@entry
def processes_run(world):
    """As `run_all`."""
    return run_all(world)


@entry
def processor_run(world, processor):
    """As `run_one`."""
    return run_one(world, processor)


@entry
def requests_noted(world, now):
    """As `note_requests`."""
    return note_requests(world, now)


@entry
def requests_due(world, now):
    """As `due_by`."""
    return due_by(world, now)


@entry
def pages_chosen(process, into, count):
    """As `choose_all`."""
    return choose_all(process, into, count)
