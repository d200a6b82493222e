"""Whatever a file holds, reading it gives a machine or an InputError, never another exception."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.inputs import read_bytes
from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.memory_map import PA_LIMIT, resolve

SEEDS = (
    """\
[    0.000000] Linux version 6.1.0 (builder@host) (gcc 12) #1 SMP
[    0.000000] BIOS-provided physical RAM map:
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff] reserved
[    0.000000]  BIOS-e820: 0000000000100000 - 00000000efff6500 (usable)
[    0.000000] efi: mem46: [MMIO        |RUN|  |UC] range=[0x00000000dfa00000-0x00000000dfa0ffff] (0MB)
[    0.000000] efi: Remove mem56: MMIO range=[0x860000000-0x8801fffff] (514MB) from e820 map
[    0.000000] RAMDISK: [mem 0x2f007000-0x337fafff]
[    0.000000]   node   0: [mem 0x0000000000001000-0x000000000009efff]
[    0.000000] Memory: 261408K/3145048K available (12295K kernel code)
[    0.100000] pci_bus 0000:00: root bus resource [mem 0x000a0000-0x000bffff window]
[    0.100000] pci 0000:04:00.0: reg 0x10: [mem 0xfd800000-0xfd803fff 64bit]
[    0.100000] pci 0000:04:00.0: BAR 0 [mem size 0x01000000]: can't assign; no space
""",
    """\
00000000-00000fff : Reserved
00001000-0009dfff : System RAM
00100000-9ffeac3f : System RAM
  00100000-002aec85 : Kernel code
fd000000-fdffffff : 0000:00:06.0
850000000-684fffffff : Soft Reserved
  850000000-284fffffff : System RAM (kmem)
""",
    """\
name = "A board"
memory = [
  { base = 0x80000000, size = 0x40000000, kind = "ram" },
]
[[devices]]
base = 0x40000000
size = 0x10000000
""",
)
JUNK = st.sampled_from(["0x", "ffffffffffffffff",
                        "-", "[", "]", "[mem ", "\n", " ", "\0", "\u00a0", "é", "\x1b[32m",
                        "0", "usable", "\"", "{", "=", "BIOS-e820: ", "99999999999999999999999999", "\r", "> ", "(", "²"])


@st.composite
def mutated(draw):
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 12))
        text = text[:at] + draw(JUNK) + text[at + cut:]
    return text


@settings(max_examples=600, deadline=None)
@given(mutated() | st.text(max_size=300), st.sampled_from(["utf-8", "latin-1", "utf-16"]))
def test_mutated_text_never_ends_in_a_traceback(text, encoding):
    try:
        machine = resolve(read_bytes(text.encode(encoding, "replace"), "fuzz")[-1])
    except InputError as error:
        assert error.file == "fuzz" and error.reason and "\n" not in str(error)
        return
    ends = [r.end for r in (*machine.ram, *machine.firmware, *machine.carved, *machine.windows)]
    assert max(ends) <= PA_LIMIT
    assert all(d.end <= PA_LIMIT or d.status == "beyond" for d in machine.devices)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_binary_data_never_ends_in_a_traceback(data):
    try:
        read_bytes(data, "fuzz")
    except InputError:
        pass


def test_long_lines_and_long_maps_take_linear_time():
    hostile = ("[mem ", "range=[", "> ", "a", "ab cd ", "[ 1", "0x1 - ", "BIOS-e820: [mem 0x")
    start = time.perf_counter()
    for piece in hostile:
        try:
            read_bytes(b"BIOS-e820: x\n" + piece.encode() * 100_000, "fuzz")
        except InputError:
            pass
    entries = (f"BIOS-e820: [mem 0x{i << 13:016x}-0x{(i << 13) + 4095:016x}] usable" for i in range(20_000))
    assert len(resolve(read_bytes("\n".join(entries).encode(), "fuzz")[0]).ram) == 20_000
    assert time.perf_counter() - start < 10  # about 1 s alone
