"""The text about a guest that grows has the figures of its growth."""

from kernmalloc.fleet.hotadd import Growth, Step
from kernmalloc.fleet.need import Need
from kernmalloc.report import hotadd

MIB, GIB = 1 << 20, 1 << 30


def test_steps_and_least_boot_memory():
    steps = (Step(8 * GIB, 128 * MIB, 8 * GIB), Step(2 * GIB, 32 * MIB, 10 * GIB), Step(2 * GIB, 32 * MIB, 12 * GIB))
    found = Growth(256 * MIB, 12 * GIB, 130 * MIB, 192 * MIB, 62 * MIB, steps)
    text = "\n".join(hotadd.whole(found, Need(126 * MIB), Need(320 * MIB)))
    assert "takes 192 MiB before it is there; 62 MiB are missing. It grows in 3 steps." in text
    assert hotadd.step_rows(found)[1:] == [
        ("1", "8 GiB", "128 MiB", "8.2 GiB", "8 GiB"),
        ("2", "2 GiB", "32 MiB", "12.2 GiB", "12 GiB"),
    ]
    assert "126 MiB" in text and "320 MiB" in text


def test_what_cannot_grow_says_why():
    stuck = Growth(256 * MIB, 12 * GIB, 130 * MIB, 0, 0, (), "its heap is bounded")
    text = "\n".join(hotadd.whole(stuck, Need(None, None, "its heap is bounded"), Need(4 * MIB, 64 * MIB)))
    assert "It can grow no further: its heap is bounded." in text and "Steps" not in text
    assert hotadd.boot_rows(Need(None, None, "why"), Need(4 * MIB, 64 * MIB))[1:] == [
        ("in steps", "none", "", "why"),
        ("at once", "4 MiB", "64 MiB", ""),
    ]
    assert "need not grow" in hotadd.verdict(Growth(GIB, 0, GIB, 0, 0, ()))
