"""What changing the map costs."""

import sys

import pytest
from small_machines import MIB, conserved

from kernmalloc.bench import emulator, zeros
from kernmalloc.bench.map import counted, measure, timed
from kernmalloc.bench.rows import OURS
from kernmalloc.bench.run import Work, run
from kernmalloc.bench.timed import HOST
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile


@pytest.mark.parametrize("mode", ["soft", "raw"])
def test_the_works_leave_the_kernel_as_they_found_it(mode):
    with Kernel.boot(emulator.machine(128 * MIB), Profile.load("x86_64"), mode) as kernel:

        def call(entry, *arguments):
            return kernel.handle.life.call(entry, *arguments), 1

        measure(kernel, call, 1)  # what is kept for the next time is there now
        kernel.drain()
        before = kernel.frames_by_type()
        found = measure(kernel, call, 3)
        kernel.drain()
        conserved(kernel)
        assert kernel.frames_by_type() == before
        assert {len(each) for each in found.values()} == {3} and len(found) == 11


def works(rows):
    return {row.work.partition(": ")[2]: row for row in rows}


def test_instructions_are_the_same_in_every_run():
    found = works(counted(3))
    assert len(found) == 11
    for row in found.values():
        assert min(row.values) == max(row.values) > 10
    zeros, copies = found["fill a page with zeros"].median, found["copy a page"].median
    window = found["open a window on a page"].median + found["close it"].median
    assert zeros < window + 100 and copies < 2 * window + 100  # each by a string instruction


def test_this_computers_part_is_of_works_that_change_the_kernels_own_map():
    rows = list(timed(3))
    ours, host = (works(row for row in rows if row.who == who) for who in (OURS, HOST))
    assert len(ours) == len(host) == 11
    none = {work for work, row in host.items() if row.median == 0}
    assert {"close it", "unmap it", "fill a page with zeros", "get 2 MiB of zeros for DMA"} <= none
    assert none.isdisjoint({"open a window on a page", "copy a page", "shrink it again"})


def test_without_an_emulator_the_times_are_measured_and_what_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "unicorn", None)
    told = []
    monkeypatch.setattr(zeros, "run", lambda runs: ())
    rows = list(run(["map"], Work(), 2, lambda name, part: None, told.append))
    assert {row.unit for row in rows} == {"ns"} and len(rows) == 22
    assert ["unicorn" in str(error) for error in told] == [True]
