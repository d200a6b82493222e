"""Sparse RAM: a frame gets memory when it is first written, and keeps it. Life wasm (docs/adding.md)."""

from flat_memory import FlatMemory
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.lang import twin
from kernmalloc.lang.functions import REGISTRY
from kernmalloc.machine import soft_ram
from kernmalloc.machine.soft_ram import Given, Sparse

DO = twin.compile([function for function in REGISTRY if function.__module__ == soft_ram.__name__])
SHIFT, SLOTS_SHIFT, BASE = 12, 4, 1 << 16
FRAMES = st.integers(0, (1 << 46 >> SHIFT) - 1)


def sparse(room: int) -> tuple[FlatMemory, int]:
    """Memory with an empty table of 16 slots, and room for so many frames: it, and where the record is."""
    memory = FlatMemory(1 << 20)
    memory.top = len(memory.bytes)
    twin.use(memory)
    at = 4096
    record = Sparse(at)
    record.slots, record.slots_shift, record.shift = Given(8192), SLOTS_SHIFT, SHIFT
    record.next, record.end = BASE, BASE + (room << SHIFT)
    return memory, at


@given(st.lists(st.tuples(FRAMES, st.integers(0, (1 << SHIFT) - 1)), max_size=30), st.integers(1, 12))
def test_frames_have_memory_of_their_own_from_their_first_write_on(touched: list[tuple[int, int]], room: int) -> None:
    _, at = sparse(room)
    places: dict[int, int] = {}
    most = min(room, 1 << SLOTS_SHIFT - 1)
    for frame, offset in touched:
        pa = (frame << SHIFT) + offset
        assert DO["frame_memory"](at, pa) == places.get(frame, 0)
        before = Sparse(at).lost
        found = DO["memory_of"](at, pa)
        if frame in places or len(places) < most:
            assert places.setdefault(frame, found - offset) == found - offset and Sparse(at).lost == before
        else:
            assert Sparse(at).lost == before + 1
    assert Sparse(at).given == len(places) <= most
    assert sorted(places.values()) == [BASE + (number << SHIFT) for number in range(len(places))]
