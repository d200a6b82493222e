"""Frames: every allocator on every work, small; and what is noticed when one does not do its work."""

from kernmalloc.bench import frames
from kernmalloc.bench.rows import OURS, judge

FEW = 1 << 14


def test_every_allocator_does_every_work():
    rows = list(frames.run(FEW, 500, 2, lambda what, done: None))
    works = {row.work for row in rows}
    assert len(works) == len(frames.WORKS) * 4 + 1
    for work in works:
        on = [row for row in rows if row.work == work]
        assert {(row.who, row.keeps) for row in on} == {
            (OURS, True), *((who, keeps) for who in ("bitmap", "buddy", "magazines") for keeps in (False, True))
        }  # fmt: skip
        assert work == frames.STATE or all(len(row.values) == 2 and row.harness > 0 for row in on)
    assert len(judge(frames.GOALS, rows)) == len(frames.GOALS)
