"""Sparse RAM of the soft machine: a frame gets memory when it is first written.

Concepts
  1. A computer's own memory is sparse, so in life soft RAM is one piece of it, and nothing here is called. A
     WebAssembly module has little memory, and all of it is real: in life wasm machines of terabytes are booted in it.
  2. A hash table says where a frame's memory is. What has been given is never taken back.

        the slot of a frame = the first from its hash on that has the frame, or none
        slots in use = given <= slots / 2

  3. Whoever calls the kernel sees to it that there is room for what a call may write. Where there is none, the frame
     shares the last one's memory, and `lost` says so: the caller must not go on.

Host-level code: its accesses are to the host's memory.
"""

from __future__ import annotations

from kernmalloc.lang import Record, element, field, i64, kernel

SPREAD = 0x1E3779B1  # odd, of 29 bits: times the number of a frame it is an int64
HASHED = 32  # low bits of the product, of which the upper ones are the hash


class Given(Record):
    """A frame that has memory."""

    number: i64 = field("of the frame, and 1; 0: the slot is empty")
    at: i64 = field("host address of its memory")


class Sparse(Record):
    """Where the memory of frames is."""

    slots: Given = field("the first slot")
    slots_shift: i64 = field("log2 of the number of slots")
    shift: i64 = field("log2 of the bytes of a frame")
    given: i64 = field("frames that have memory")
    next: i64 = field("host address of the memory that is given next")
    end: i64 = field("host address behind what can be given")
    lost: i64 = field("frames for which there was none")


@kernel
def _slot_of(s: Sparse, frame: int) -> Given:
    """The slot of a frame, which may be empty."""
    at = ((frame * SPREAD) & ((1 << HASHED) - 1)) >> (HASHED - s.slots_shift)
    slot = element(s.slots, at)
    while slot.number != 0 and slot.number != frame + 1:
        at = (at + 1) & ((1 << s.slots_shift) - 1)
        slot = element(s.slots, at)
    return slot


@kernel
def frame_memory(s: Sparse, pa: int) -> int:
    """Host address of the memory of the frame at pa; 0: it has none."""
    slot = _slot_of(s, pa >> s.shift)
    return slot.at if slot.number != 0 else 0


@kernel
def memory_of(s: Sparse, pa: int) -> int:
    """Host address of physical address pa, whose frame has memory from now on."""
    frame = pa >> s.shift
    bytes = 1 << s.shift
    slot = _slot_of(s, frame)
    if slot.number == 0:
        if s.next + bytes > s.end or s.given << 1 >> s.slots_shift != 0:
            s.lost = s.lost + 1
            return s.next - bytes + (pa & (bytes - 1))
        slot.number = frame + 1
        slot.at = s.next
        s.next = s.next + bytes
        s.given = s.given + 1
    return slot.at + (pa & (bytes - 1))
