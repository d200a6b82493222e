"""What clears memory clears it, all of it, and nothing else."""

import ctypes
import platform

import pytest

from kernmalloc.bench import zeros
from kernmalloc.bench.rows import OURS, judge


def test_ranges_and_pages_stand_beside_memset(monkeypatch):
    monkeypatch.setattr(zeros, "CALLS", 100)
    rows = list(zeros.run(2))
    assert all(len(row.values) == 2 and row.median > 0 for row in rows)
    works = {work: {row.who for row in rows if row.work == work} for work in (zeros.RANGE, zeros.BARE)}
    assert works[zeros.RANGE] == {OURS, zeros.MEMSET}
    if platform.machine() == "x86_64":
        assert works[zeros.BARE] == {OURS, zeros.MEMSET}
        assert [verdict.best.who for verdict in judge(zeros.GOALS, rows)] == [zeros.MEMSET] * 2


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the object's code is x86-64's")
def test_the_bare_objects_code_clears_what_it_is_told():
    clear = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    with zeros.Code() as code:
        for size in (8, 64, 4096, 4104):
            place = ctypes.create_string_buffer(b"\1" * 8192, 8192)
            assert clear(code.zero)(ctypes.addressof(place) + 16, size) == 0
            assert place.raw == b"\1" * 16 + bytes(size) + b"\1" * (8192 - 16 - size)
