"""What this computer counts."""

import mmap

import pytest

from kernmalloc.bench.counters import FAULTS, Counters, Event, NoCounters


def test_a_page_that_is_met_for_the_first_time_is_one_fault():
    """The way to ask is right: page faults are counted by every Linux, also where the processor has no counters."""
    memory = mmap.mmap(-1, 64 * mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    try:
        counters = Counters({"faults": FAULTS})
    except NoCounters as error:
        pytest.skip(str(error))
    with counters:
        for expected in (64, 0):
            with counters.during() as counted:
                for at in range(0, len(memory), mmap.PAGESIZE):
                    memory[at] = 1
            assert expected <= counted["faults"] <= expected + 8  # and some of the interpreter's own


def test_what_no_computer_counts_is_told_in_one_line():
    with pytest.raises(NoCounters, match=r"^nothing: .+$"):
        Counters({"faults": FAULTS, "nothing": Event(1, 1 << 40)})
