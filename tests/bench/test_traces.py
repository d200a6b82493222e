"""Traces for the heap: generated ones are whole, recorded ones are found in files and folders."""

from pathlib import Path

import numpy
import pytest

from kernmalloc.bench import traces
from kernmalloc.inputs.errors import InputError

DATA = Path(__file__).parents[1] / "data" / "traces"


@pytest.mark.parametrize("trace", traces.generated(0.01), ids=lambda trace: trace.name)
def test_a_generated_trace_uses_each_slot_in_turn_and_frees_all(trace):
    for slot in numpy.unique(trace.pairs[:, 0]):
        sizes = trace.pairs[trace.pairs[:, 0] == slot, 1]
        assert (sizes[0::2] > 0).all() and (sizes[1::2] == 0).all() and len(sizes) % 2 == 0
        assert sizes.max() <= traces.MOST


def test_generated_traces_are_what_they_are_called():
    made = {trace.name: trace.pairs for trace in traces.generated(0.02)}
    live = {name: numpy.cumsum(numpy.where(pairs[:, 1] > 0, 1, -1)).max() for name, pairs in made.items()}
    assert live["random, 50,000 live"] == 1000 and live["random, 1,000 live"] == 20
    assert set(made["kernel-like"][:, 1]) == {0, 32, 256, 584, 1216}
    assert set(made["584 bytes"][:, 1]) == {0, 584}
    freed = {name: made[f"bulk, {name}"][made[f"bulk, {name}"][:, 1] == 0, 0][:3].tolist() for name in ("fifo", "lifo")}
    assert freed == {"fifo": [0, 1, 2], "lifo": [399, 398, 397]}


def test_the_shipped_ones_are_whole_and_free_what_they_allocated():
    told = (traces.SHIPPED / "README.md").read_text()
    for trace in traces.shipped():
        file, allocates = traces.SHIPPED / f"{trace.name}.bin.zst", trace.pairs[:, 1] > 0
        assert file.stat().st_size < 300_000 and f"| `{file.name}` | {len(trace.pairs):,} |" in told
        by_slot = numpy.argsort(trace.pairs[:, 0], kind="stable")
        slots, kinds = trace.pairs[by_slot, 0], allocates[by_slot]
        again = slots[1:] == slots[:-1]
        assert (kinds[1:] != kinds[:-1])[again].all() and kinds[0] and kinds[1:][~again].all()
    assert len(traces.shipped()) == 6


def test_a_folder_of_traces_is_read_and_what_is_none_is_told(tmp_path):
    for name in ("freeciv.rep", "sqlite.bin", "gcc.tracefs.gz"):
        (tmp_path / name).write_bytes((DATA / name).read_bytes())
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "notes.txt").write_text("none\n")
    told = []
    found = traces.recorded(tmp_path, told.append)
    assert [(t.name, t.column) for t in found] == [("freeciv", "malloc-lab"), ("gcc", "gcc"), ("sqlite", "sqlite")]
    assert all(t.pairs.dtype == numpy.int32 and t.pairs.flags.c_contiguous and len(t.pairs) for t in found)
    assert len(told) == 1 and "notes.txt" in str(told[0])


def test_a_file_that_is_no_trace_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("none\n")
    with pytest.raises(InputError, match=r"notes\.txt: not a trace"):
        traces.recorded(tmp_path / "notes.txt", pytest.fail)
    with pytest.raises(InputError, match="no trace in this folder"):
        traces.recorded(tmp_path, lambda error: None)
