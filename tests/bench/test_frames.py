"""Frames: every allocator on every work, small; and what is noticed when one does not do its work."""

import ctypes
from itertools import product

import numpy

from kernmalloc.bench import frames, native
from kernmalloc.bench.rows import OURS, judge

FEW = 1 << 14


def test_every_allocator_does_every_work():
    rows = list(frames.run(FEW, 500, 2, lambda what, done: None))
    works = {row.work for row in rows}
    assert len(works) == len(frames.WORKS) * 3 + len(frames.SINGLY) * 3 + 1
    for work in works:
        on = [row for row in rows if row.work == work]
        peers = () if "of 2" in work else ("bitmap", "buddy", "magazines")
        assert {(row.who, row.keeps) for row in on} == {(OURS, True), *product(peers, (False, True))}
        assert work == frames.STATE or all(len(row.values) == 2 and row.harness > 0 for row in on)
    assert len(judge(frames.GOALS, rows)) == len(frames.GOALS)


PEER_GET = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
PEER_PUT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int)


class Round:
    """A round of the bitmap that the tests can put something between."""

    def __init__(self, order: int = 0) -> None:
        self.harness = native.library("frames")
        self.harness.peer.restype = ctypes.POINTER(frames.Peer)
        self.peer = self.harness.peer(1).contents
        self.get, self.put = PEER_GET(self.peer.get), PEER_PUT(self.peer.put)
        state = self.peer.make(FEW)
        self.round = frames.Round(
            0, self.peer.get, self.peer.put, 0, 0, (state, state), 0, order, 1, FEW >> order, 100, top=FEW, checked=1
        )
        self._kept = []

    def between(self, get=None, put=None) -> None:
        for name, kind, function in (("get", PEER_GET, get), ("put", PEER_PUT, put)):
            if function:
                self._kept.append(kind(function))
                setattr(self.round, name, ctypes.cast(self._kept[-1], ctypes.c_void_p).value)

    def wrong(self) -> int:
        """Run it: how much the harness found wrong."""
        held = numpy.zeros(FEW, numpy.uint32)
        self.harness.run_round(ctypes.byref(self.round), held.ctypes)
        self.peer.end(self.round.context[0])
        return self.round.wrong


def test_a_round_that_is_right_has_nothing_wrong():
    assert Round().wrong() == Round(order=9).wrong() == 0


def test_a_frame_with_two_owners_is_noticed():
    r = Round()
    r.between(get=lambda state, cpu, order: r.get(state, cpu, order) & ~1, put=lambda *_: 0)
    assert r.wrong() > 0


def test_a_frame_that_is_not_there_is_noticed():
    r = Round()
    r.round.top = FEW - 1
    assert r.wrong() >= 3  # all of memory is got three times


def test_a_block_that_is_not_aligned_is_noticed():
    r = Round(order=9)
    r.between(
        get=lambda state, cpu, order: r.get(state, cpu, order) + 1,
        put=lambda state, cpu, pfn, order: r.put(state, cpu, pfn - 1, order),
    )
    assert r.wrong() > 0


def test_a_call_that_is_refused_is_noticed():
    r = Round()
    r.between(put=lambda state, cpu, pfn, order: r.put(state, cpu, pfn, order) - (pfn == 7))
    assert r.wrong() > 0


def test_a_peer_that_keeps_an_entry_refuses_what_is_not_owned():
    r = Round()
    for index in range(1, 11):
        peer = r.harness.peer(index).contents
        get, put = PEER_GET(peer.get), PEER_PUT(peer.put)
        state = peer.make(FEW)
        frame, block = get(state, 0, 0), get(state, 0, 9)
        if peer.keeps:
            assert (
                put(state, 0, block, 0)
                == put(state, 0, frame, 9)
                == put(state, 0, frame + 1, 0)
                == put(state, 0, FEW, 0)
                == -1
            )
        assert put(state, 0, frame, 0) == put(state, 0, block, 9) == 0
        if peer.keeps:
            assert put(state, 0, frame, 0) == put(state, 0, block, 9) == -1
        peer.end(state)
