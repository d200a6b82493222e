"""Boot, and devices: what is measured is there, and what must not happen does not."""

import pytest
from small_machines import MIB, poison

from kernmalloc.bench import boot
from kernmalloc.bench.boot import FAULTS, GOALS, MEMSET, needless, run, tables, touched
from kernmalloc.bench.emulator import machine
from kernmalloc.bench.rows import OURS, judge
from kernmalloc.bench.timed import HOST
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile


@pytest.fixture(scope="module")
def rows():
    return list(run(2, [1], [4 * MIB, 256 * MIB], lambda name, part: None, pytest.fail))


def test_core_tables_are_compared_with_memset(rows):
    found = {(row.work, row.who): row for row in rows}
    assert all(len(found[tables(1), who].values) == 2 for who in (OURS, MEMSET, FAULTS))
    assert {verdict.goal.work for verdict in judge(GOALS, rows)} == {tables(1), needless(1)}
    assert found["whole boot: 1 GiB", OURS].median > found["core tables, known to be zero: 1 GiB", OURS].median > 0


def test_devices_are_published_whole_and_by_their_extent(rows):
    """By its extent: nothing is mapped, whatever its size (E11)."""
    for what in ("publish", "withdraw"):
        for size in ("4 MiB", "256 MiB"):
            ours, host = (row for row in rows if row.work == f"devices: {what} {size}, by its extent")
            assert (ours.who, host.who) == (OURS, HOST) and len(ours.values) == 2 and set(host.values) == {0}
        ours, host = (row for row in rows if row.work == f"devices: {what} 256 MiB, an entry for each frame")
        assert len(ours.values) == 2 and (min(host.values) > 0) == (what == "publish")  # the heap keeps what comes back


def test_nothing_is_written_where_memory_is_known_to_be_zero(rows):
    """Entries that are zero have no memory behind them; on memory of unknown contents all do."""
    assert next(row.values for row in rows if row.work == needless(1)) == (0,)
    with Kernel.boot(machine(256 * MIB), Profile.load("x86_64"), prepare=poison) as kernel:
        assert touched(kernel) > 100


def test_what_this_computer_has_no_memory_for_is_told(monkeypatch):
    monkeypatch.setattr(boot, "room_for", lambda kernel: False)
    told = []
    assert list(run(2, [1], [], lambda name, part: None, told.append)) == []
    assert [str(error) for error in told] == [
        "core tables: 1 GiB: this computer has too little free memory to measure them"
    ]
