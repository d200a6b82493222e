"""What changing the map costs."""

import pytest
from small_machines import MIB, conserved

from kernmalloc.bench import emulator
from kernmalloc.bench.map import measure, run
from kernmalloc.bench.rows import OURS
from kernmalloc.bench.timed import HOST
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile


@pytest.mark.parametrize("mode", ["soft", "raw"])
def test_the_works_leave_the_kernel_as_they_found_it(mode):
    with Kernel.boot(emulator.machine(128 * MIB), Profile.load("x86_64"), mode) as kernel:

        def call(entry, *arguments):
            return kernel._life.call(entry, *arguments), 1

        measure(kernel, call, 1)  # what is kept for the next time is there now
        kernel.drain()
        before = kernel.frames_by_type()
        found = measure(kernel, call, 3)
        kernel.drain()
        conserved(kernel)
        assert kernel.frames_by_type() == before
        assert {len(each) for each in found.values()} == {3} and len(found) == 11


def test_each_work_is_counted_timed_and_divided():
    """Instructions are the same in every run; this computer's part is of those works that change the kernel's own map."""
    rows = list(run(3, lambda name, part: None))
    counted = {row.work: row for row in rows if row.unit == "instructions"}
    timed = {row.work: row for row in rows if row.who == OURS and row.unit == "ns"}
    host = {row.work: row.median for row in rows if row.who == HOST}
    assert len(rows) == 3 * len(counted) == 3 * len(timed) == 3 * len(host)
    for row in counted.values():
        assert min(row.values) == max(row.values) > 10
    zeros, copies = counted["fill a page with zeros"].median, counted["copy a page"].median
    window = counted["open a window on a page"].median + counted["close it"].median
    assert 512 <= zeros - window <= 8 * 512 and 1024 <= copies - 2 * window <= 8 * 512
    maps = {"open a window on a page", "fill a page with zeros", "copy a page", "get 2 MiB of zeros for DMA",
            "grow the heap by 16 pages", "shrink it again", "copy 64 bytes out of a page"}  # fmt: skip
    assert {work for work, value in host.items() if value > 0} >= maps
    assert {"close it", "unmap it"}.isdisjoint(work for work, value in host.items() if value > 0)
