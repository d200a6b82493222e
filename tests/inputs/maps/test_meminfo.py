"""/proc/meminfo."""

from kernmalloc.inputs import read_bytes
from kernmalloc.machine.memory_map import resolve


def test_a_total_is_laid_out_as_on_a_pc():
    text = "MemTotal:       16303428 kB\nMemFree:          203428 kB\nMemAvailable:    9303428 kB\n"
    (facts,) = read_bytes(text.encode(), "meminfo")
    assert facts.total == 16303428 << 10
    found = resolve(facts)
    assert [(r.base, r.name) for r in found.ram] == [(0, "assumed"), (1 << 20, "assumed"), (4 << 30, "assumed")]
    assert found.ram_bytes == (16303428 << 10) - (384 << 10)
