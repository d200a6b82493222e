"""One heap, with small and with huge pages of this computer behind it."""

import pytest

from kernmalloc.bench import tlb
from kernmalloc.bench.allocators import machine
from kernmalloc.bench.cold import affine
from kernmalloc.bench.counters import Counters
from kernmalloc.bench.run import Work, run
from kernmalloc.bench.tlb import ADVICE, HUGE_PAGES, SMALL_PAGES, NoHugePages, exchange, huge_bytes, measure
from kernmalloc.facade.kernel import Kernel

TRACES = tlb.generated(0.01)


@pytest.mark.parametrize("who", ADVICE)
def test_the_heap_goes_on_where_it_was_on_other_memory(who):
    """What was allocated before is still there, to the byte, and every invariant holds."""
    with Kernel.boot(machine(), affine(tlb.SPARE)) as kernel:
        blocks = [kernel.malloc(size) for size in (1, 100, 5000, 1 << 20)]
        start, sizes = int(kernel.view.kern["heap"]), [kernel.size_of(va) for va in blocks]
        place = exchange(kernel, ADVICE[who])
        assert place.start == start and len(place) >= tlb.SPARE
        assert [kernel.size_of(va) for va in blocks] == sizes
        more = [kernel.malloc(3000) for _ in range(2000)]
        for va in blocks + more:
            kernel.free(va)
        assert kernel.check().passed
        assert (huge_bytes(place) > 0) <= (who == HUGE_PAGES)


def test_both_sizes_of_pages_are_measured_on_the_same_load(monkeypatch):
    monkeypatch.setattr(tlb, "generated", lambda share: TRACES[:1])
    told = []
    rows = list(run(["tlb"], Work().quick(), 2, lambda name, part: None, told.append))
    assert all(isinstance(each, tlb.NoCounters | NoHugePages) for each in told)
    if any(isinstance(each, NoHugePages) for each in told):
        pytest.skip(str(told))
    times = [row for row in rows if row.unit == "ns"]
    assert [row.who for row in times] == [SMALL_PAGES, HUGE_PAGES]
    assert all(len(row.values) == 2 and min(row.values) > 0 for row in times)
    counted = {(row.work, row.who): row.median for row in rows if row.unit == tlb.PER}
    for what in ("misses of level 1", "walks"):
        work = f"in mode soft, {what}: {TRACES[0].name}"
        assert counted[work, SMALL_PAGES] > counted[work, HUGE_PAGES] > 0
    held = {row.who: row.median for row in rows if row.unit == "MiB"}
    assert held[SMALL_PAGES] == 0 < held[HUGE_PAGES]


def test_a_computer_without_huge_pages_says_so(monkeypatch):
    monkeypatch.setattr(tlb, "huge_bytes", lambda place: 0)
    told = []
    rows = list(tlb.run(TRACES[:1], 1, 1, lambda name, part: None, told.append))
    assert rows == [] and any("this computer gave none" in str(each) for each in told)


@pytest.mark.nightly
def test_huge_pages_are_no_slower_where_the_heap_is_large():
    """Of 50,000 live blocks a TLB reaches few by small pages: medians of eleven runs, in turns."""
    trace = tlb.generated(1.0)[-1]
    found = {who: [] for who in ADVICE}
    for _ in range(11):
        for who, advice in ADVICE.items():
            found[who].append(measure(trace, advice, 2, Counters({})))
    if not found[HUGE_PAGES][0].huge:
        pytest.skip("this computer gives no huge pages")
    small, huge = (sorted(each.ns for each in figures)[5] for figures in found.values())
    assert huge < small
