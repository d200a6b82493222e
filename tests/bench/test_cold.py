"""The cold start where nothing has to be mapped, and what this computer takes where something has."""

import numpy
import pytest

from kernmalloc.bench import cold, traces
from kernmalloc.bench.allocators import NoFigures, Ours, Peer
from kernmalloc.bench.rows import OURS

PAIRS = numpy.array([(slot, 4000) for slot in range(2000)] + [(slot, 0) for slot in range(2000)], numpy.int32)
TRACE = traces.Trace("pages", "pages", PAIRS)


@pytest.mark.parametrize("where", cold.WHERE)
def test_where_nothing_is_mapped_this_computer_takes_nothing(where, tmp_path):
    """No mapping, and no page fault but those of the harness's own tables: a slot's is 8 bytes."""
    figures = cold.Touched(where).measure("time", TRACE, tmp_path / "trace", 0)
    assert figures.mappings == 0 and figures.faults < 20 and figures.cold > 0 == figures.warm


def test_in_mode_raw_it_maps_and_gives_each_page(tmp_path):
    figures = Ours(OURS).measure("time", TRACE, tmp_path / "trace", 0)
    assert figures.mappings > 0 and figures.faults >= 8_000_000 // 4096
    assert min(cold.host()) > 0


def test_a_peers_pages_are_counted_too(tmp_path):
    file = tmp_path / "trace"
    file.write_bytes(PAIRS.tobytes())
    assert Peer("glibc", "-").measure("time", TRACE, file, 0).faults >= 8_000_000 // 4096


def test_a_trace_of_very_much_is_none_for_it(tmp_path):
    huge = traces.Trace("huge", "huge", numpy.array([(0, 1 << 29), (0, 0)], numpy.int32))
    with pytest.raises(NoFigures, match=r"^affine heap on huge: more than 256 MiB are live$"):
        cold.Touched(cold.AFFINE).measure("time", huge, tmp_path / "trace", 0)


def test_all_that_is_mapped_is_touched():
    with cold.Touched(cold.AFFINE).boot(TRACE) as kernel:
        assert cold.touch(kernel) >= int(kernel.view.kern["fixed"]) * kernel.profile.page
        assert kernel.check().passed
    with cold.Touched(cold.DIRECT).boot(TRACE) as kernel:
        assert cold.touch(kernel) == kernel.view.ram.top
