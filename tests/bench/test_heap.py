"""The heap: every allocator on generated traces, small."""

import pytest

from kernmalloc.bench import allocators, cold, heap, traces
from kernmalloc.bench.rows import OURS, judge


@pytest.fixture(autouse=True)
def no_compilers(monkeypatch):
    """The exported C is seconds of a compiler: see test_allocators."""
    monkeypatch.setattr(allocators, "COMPILERS", ())


def test_every_allocator_replays_every_trace():
    few = [trace._replace(pairs=trace.pairs[:2000]) for trace in traces.generated(0.002)[:2]]
    told = []
    rows = list(heap.run(few, 3000, 2, lambda what, done: None, told.append))
    there, missing = allocators.peers()
    everyone = {OURS, f"{OURS}, {heap.OTHER}", *(peer.who for peer in there)}
    assert len(told) == bool(missing)
    assert "glibc" in everyone and not {peer.who for peer in there} & set(missing)
    for trace in few:
        for kind in ("warm", "cold", "p99.9 of malloc", "worst of free"):
            on = [row for row in rows if row.work == f"{kind}: {trace.name}"]
            beside = {*cold.WHERE} if kind == "cold" else set()
            assert {row.who for row in on} == everyone | beside
            assert all(len(row.values) == 2 and row.median >= 0 for row in on)
        for what, who in ((cold.FAULTS, everyone), (cold.MAPPINGS, everyone - {peer.who for peer in there})):
            on = [row for row in rows if row.work == f"cold, {what}: {trace.name}"]
            assert {row.who for row in on} == who and all(row.median >= 0 for row in on)
    (without,) = (row for row in rows if row.work.startswith("cold, without") and row.who == OURS)
    (whole,) = (row for row in rows if row.work == f"cold: {heap.MEAN}" and row.who == OURS)
    assert 0 < without.median <= whole.median
    judged = [(verdict.goal.work, verdict.goal.who) for verdict in judge(heap.goals(rows), rows)]
    assert judged[0] == (f"warm: {heap.MEAN}", OURS)
    assert {(f"cold: {heap.MEAN}", where) for where in cold.WHERE} < set(judged)


def test_who_is_late_is_told_and_has_no_row_of_that_trace(monkeypatch):
    monkeypatch.setattr(heap, "peers", lambda: ([allocators.Peer("glibc", "-")], []))
    late = allocators.Late("glibc", traces.generated(0.001)[1].name)

    def slow(self, what, trace, file, replays):
        if what == "time" and self.who == "glibc":
            raise late
        return measure(self, what, trace, file, replays)

    measure = allocators.Peer.measure
    monkeypatch.setattr(allocators.Peer, "measure", slow)
    told = []
    rows = list(heap.run([traces.generated(0.001)[1]], 100, 2, lambda what, done: None, told.append))
    assert told == [late]
    assert "glibc" not in {row.who for row in rows} and OURS in {row.who for row in rows}


def test_peers_that_are_not_installed_are_named_with_what_installs_them(monkeypatch):
    monkeypatch.setattr(allocators, "LIBRARIES", {"mimalloc": "libnone.so.1", "tcmalloc": "libnone.so.2"})
    told = []
    rows = list(heap.run([traces.generated(0.001)[1]], 100, 1, lambda what, done: None, told.append))
    peers = {row.who for row in rows if row.work.startswith("warm: ")} - {OURS, f"{OURS}, {heap.OTHER}"}
    assert peers == {"glibc"}
    assert told == [f"mimalloc, tcmalloc: {heap.INSTALL}"]
