"""Boot: making core tables against memset, the whole boot, and publishing devices, in mode raw under profile x86_64.

Concepts
  1. Core tables of RAM filled with a pattern are compared with a memset of as many bytes of such RAM, present and newly
     mapped, in turns in one run (`facade.measure`). Both meet every page for the first time, which is most of what they
     take on a computer without large pages for shared memory: what the page faults alone take stands beside.
  2. Where memory is known to be zero nothing is written: of the tables of a fresh machine, only pages that hold
     something have memory behind them. `touched` counts those that hold zeros alone; a single store or load would show.
  3. A device is published with entries for all of its frames, or by its extent, in chunks that come when they are used.
"""

import os
import time
from collections.abc import Iterator, Sequence

import numpy

from kernmalloc.bench.emulator import machine
from kernmalloc.bench.rows import LIMIT, OURS, Goal, Progress, Row, Tell
from kernmalloc.bench.timed import HOST, Call, Timed
from kernmalloc.facade.errors import checked
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.measure import room_for, table_rate
from kernmalloc.facade.profile import Profile
from kernmalloc.inputs import sizes
from kernmalloc.kernel.core.kern import DEVICE_MEMORY
from kernmalloc.kernel.devices import ANYONE
from kernmalloc.machine.lives import LifeError
from kernmalloc.machine.ram import PAGE, Ram

MIB, GIB = 1 << 20, 1 << 30
MACHINES = (1, 16, 64, 256)  # GiB of RAM
DEVICES = (256 * MIB, 16 * GIB, 256 * GIB)
WHERE = 1 << 40  # PA of devices
MEMSET, FAULTS = "memset", "page faults alone"


class NoRoom(LifeError):
    """This computer has too little free memory: one line."""


def tables(gib: int) -> str:
    """The work of making core tables."""
    return f"core tables: {gib} GiB"


def needless(gib: int) -> str:
    """What must not happen on a fresh machine."""
    return f"core tables, known to be zero, pages of zeros touched: {gib} GiB"


GOALS = [
    *(Goal("boot", tables(gib), 0.8, at_least=True) for gib in MACHINES),
    *(Goal("boot", needless(gib), 0, than=LIMIT) for gib in MACHINES),
]


def run(runs: int, machines: Sequence[int], devices: Sequence[int], progress: Progress, tell: Tell) -> Iterator[Row]:
    """Rows for machines of so many GiB, and for devices of so many bytes, published on the largest. `tell` is told of
    machines whose core tables this computer has no free memory for."""
    for number, gib in enumerate(machines):
        progress(f"boot with {gib} GiB", number / (len(machines) + 1))
        try:
            yield from _machine(gib, runs)
        except NoRoom as error:
            tell(error)
    progress("publishing devices", len(machines) / (len(machines) + 1))
    with _booted(max(machines)) as kernel:
        for size in devices:
            yield from _device(kernel, size, runs)


def _booted(gib: int) -> Kernel:
    return Kernel.boot(machine(gib * GIB), Profile.load("x86_64"))


def _machine(gib: int, runs: int) -> Iterator[Row]:
    wholes, rates = [], []
    for _ in range(runs):
        started = time.perf_counter()
        kernel = _booted(gib)
        wholes.append(1e3 * (time.perf_counter() - started))
        if not room_for(kernel):
            kernel.close()
            raise NoRoom(f"{tables(gib)}: this computer has too little free memory to measure them")
        zeros = touched(kernel)
        rates.append(table_rate(kernel))
    rate = [tuple(each.bytes / seconds / 1e9 for seconds in each[1:]) for each in rates]
    _, ours, memset, faults = zip(*rate, strict=True)
    yield Row("boot", tables(gib), OURS, "GB/s", ours)
    yield Row("boot", tables(gib), MEMSET, "GB/s", memset)
    yield Row("boot", tables(gib), FAULTS, "GB/s", faults, judged=False)
    yield Row(
        "boot", f"core tables, known to be zero: {gib} GiB", OURS, "ms", tuple(1e3 * each.fresh for each in rates)
    )
    yield Row("boot", needless(gib), OURS, "pages", (float(zeros),))
    yield Row("boot", f"whole boot: {gib} GiB", OURS, "ms", tuple(wholes))


def touched(kernel: Kernel) -> int:
    """Pages of core table entries and identities that this computer has memory for though they hold zeros alone."""
    va, pa, _ = kernel.view.backing()
    ram, core = kernel.view.ram, kernel.profile.core
    present = numpy.zeros(ram.top // PAGE, bool)
    for start, end in _present(ram):
        present[start // PAGE : end // PAGE] = True
    count = 0
    for region in kernel.regions:
        if region.area:
            end = region.area + region.frames * (core.stride + core.identity)
            pages = pa[(va >= region.area) & (va + PAGE <= end)]
            count += sum(not any(ram.bytes[at : at + PAGE]) for at in pages[present[pages // PAGE]].tolist())
    return count


def _present(ram: Ram) -> Iterator[tuple[int, int]]:
    """Ranges of RAM that have memory behind them."""
    at = 0
    while True:
        try:
            at = os.lseek(ram.fd, at, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(ram.fd, at, os.SEEK_HOLE)
        yield at, end
        at = end


def _device(kernel: Kernel, size: int, runs: int) -> Iterator[Row]:
    frames = size // kernel.profile.page
    first = WHERE // kernel.profile.page
    what = sizes.size(size)
    timed = Timed(kernel)
    for paid, how in ((frames, "an entry for each frame"), (0, "by its extent")):
        published: list[Call] = []
        withdrawn: list[Call] = []
        for _ in range(runs):
            published.append(timed.call("publish", kernel.processor, first, frames, DEVICE_MEMORY, paid, ANYONE))
            checked(published[-1].answer, "publish")
            withdrawn.append(timed.call("withdraw", kernel.processor, first))
            checked(withdrawn[-1].answer, "withdraw")
            kernel.drain()
        for work, calls in (("publish", published), ("withdraw", withdrawn)):
            name = f"devices: {work} {what}, {how}"
            yield Row("boot", name, OURS, "us", tuple(call.ns / 1e3 for call in calls), timed.way / 1e3)
            yield Row("boot", name, HOST, "us", tuple(timed.host(call) / 1e3 for call in calls), judged=False)
