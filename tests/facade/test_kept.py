"""The core table of a kernel that is closed: what it was, for as long as anybody has it, and nothing beside it."""

import os
import threading
from pathlib import Path

import numpy
import pytest
from dump_files import raw
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st
from small_machines import MIB, conserved, guest, machine

from kernmalloc.facade.errors import TooLarge
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.inputs.limits import raised
from kernmalloc.kernel.core.kern import FREE, TYPE_NAMES
from kernmalloc.machine.lives import LifeError

ORDERS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["page", "dma"])), max_size=12)


def boot(mode: str = "raw", profile: Profile | None = None) -> Kernel:
    return Kernel.boot(machine((0, 5 * MIB), (8 * MIB, 16 * MIB)), profile or Profile.load("eros2"), mode)


@pytest.mark.parametrize("mode", ["raw", "soft"])
@settings(max_examples=3 * EFFORT, deadline=None)
@given(orders=ORDERS, put=st.integers(0, 12), looked=st.booleans())
def test_the_table_stays_as_it_was(mode, orders, put, looked):
    """Also what nobody has looked at before; in a direct map, too."""
    with boot(mode, None if put % 2 else guest()) as kernel:
        taken = [kernel.block_get(order, kind) for order, kind in orders]
        for pfn in taken[:put]:
            kernel.frame_put(pfn)
        table = kernel.frames if looked else None
        entries = {base: entries.tobytes() for base, entries in kernel.frames}
        rows = kernel.frames.to_arrow()
        single = {pfn: kernel.frames[pfn].tobytes() for pfn in taken}
        counts = kernel.frames_by_type()
        conserved(kernel)
    for frames in (table or kernel.frames, kernel.frames):
        assert {base: entries.tobytes() for base, entries in frames} == entries
        assert {pfn: frames[pfn].tobytes() for pfn in taken} == single
        assert frames.to_arrow().equals(rows)
    names, found = rows["type"].to_pylist(), rows.to_pydict()
    assert sorted(found["pfn"]) == found["pfn"]
    for name in TYPE_NAMES:
        held = sum(1 << order for kind, order in zip(names, found["order"], strict=True) if kind == name)
        assert name in ("free", "reserved", "device") or held == counts[name]
    with pytest.raises(KeyError, match="no core table entry for frame"):
        kernel.frames[1 << 40]
    with pytest.raises(LifeError, match="closed"):
        _ = kernel.regions


def test_all_but_the_table_is_given_back():
    kernel = boot()
    va = kernel.malloc(4 * MIB)
    numpy.frombuffer(kernel.view.shared(va, 4 * MIB), numpy.uint8)[:] = 1
    memory = os.dup(kernel.view.ram.fd)
    assert os.fstat(memory).st_blocks * 512 > 4 * MIB
    kernel.close()
    tables = sum(entries.nbytes for _, entries in kernel.frames)
    assert 0 < os.fstat(memory).st_blocks * 512 <= 2 * tables
    os.close(memory)
    del kernel
    assert "memfd:kernmalloc" not in Path("/proc/self/maps").read_text()


def test_what_somebody_looks_at_stays_beside_it():
    with boot() as kernel:
        shared = kernel.view.shared(kernel.malloc(100_000), 100_000)
        shared[:] = b"x" * 100_000
    assert bytes(shared) == b"x" * 100_000
    assert any((entries["type"] != FREE).any() for _, entries in kernel.frames)


def test_several_threads_close_at_once():
    for _ in range(5):
        kernel = boot()
        pfn = kernel.frame_get("dma")
        before = kernel.frames[pfn].tobytes()
        threads = [threading.Thread(target=kernel.close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert kernel.frames[pfn].tobytes() == before


def test_the_kernel_of_a_dump_is_in_the_dump(tmp_path):
    """What is closed can be opened again: nothing is copied for it."""
    with boot("soft") as kernel:
        path = raw(kernel, tmp_path / "dump")
    with Kernel.open(path) as opened:
        assert dict(opened.frames)
    with pytest.raises(LifeError, match="closed"):
        dict(opened.frames)


def test_damaged_tables_are_not_kept():
    with boot("soft") as kernel:
        area = kernel.view.pa(kernel.view.kern_va)
        kernel.view.memory[area : area + 64 * 64] = b"\xff" * 4096
    with pytest.raises(LifeError, match="closed"):
        dict(kernel.frames)


def test_a_table_above_the_limit_is_refused_in_one_line():
    with (
        boot() as kernel,
        raised(memory=1000),
        pytest.raises(TooLarge, match=r"more than 1000 B of core tables.*--limit"),
    ):
        kernel.frames.to_arrow()
