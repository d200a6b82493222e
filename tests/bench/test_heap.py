"""The heap: every allocator on generated traces, small."""

from kernmalloc.bench import heap, traces
from kernmalloc.bench.rows import OURS, judge


def test_every_allocator_replays_every_trace():
    few = [trace._replace(pairs=trace.pairs[:2000]) for trace in traces.generated(0.002)[:2]]
    rows = list(heap.run(few, 3000, 2, lambda what, done: None))
    there, missing = heap.peers()
    everyone = {OURS, *(peer.who for peer in there)}
    assert "glibc" in everyone and not {peer.who for peer in there} & set(missing)
    for trace in few:
        for kind in ("warm", "cold", "p99.9 of malloc", "worst of free"):
            on = [row for row in rows if row.work == f"{kind}: {trace.name}"]
            assert {row.who for row in on} == everyone
            assert all(len(row.values) == 2 and row.median > 0 for row in on)
    assert judge(heap.goals(rows), rows)[0].goal.work == f"warm: {heap.MEAN}"
