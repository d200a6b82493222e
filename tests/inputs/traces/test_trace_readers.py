"""A recording given as a machine is told as what it is; a log in which there is one is a machine still."""

import time
from pathlib import Path

import pytest

from kernmalloc.inputs import read, read_bytes
from kernmalloc.inputs.errors import InputError

SMALL = sorted((Path(__file__).parents[2] / "data" / "traces").iterdir())
TOLD = r": a recording of what was allocated, no machine \(kernmalloc replay reads it\)$"


@pytest.mark.parametrize("path", [path for path in SMALL if path.suffix != ".bin"], ids=lambda path: path.name)
def test_a_recording_is_no_machine(path):
    with pytest.raises(InputError, match=TOLD):
        read(path)


def test_a_long_recording_is_told_at_once():
    """Though it is longer than a machine's description may be."""
    line = b"bash-1 [000] ..... 1.234567: kfree: call_site=f+0x1/0x2 ptr=00000000746b13c6\n"
    started = time.process_time()
    with pytest.raises(InputError, match=TOLD):
        read_bytes(line * 900_000, "long")
    assert time.process_time() - started < 1


def test_a_log_with_a_dump_is_a_machine():
    log = b"[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000fffffff] usable\n"
    dump = b"[    1.5] Dumping ftrace buffer:\n[    1.5] bash-1 1d..1 123us : kfree: call_site=f ptr=ffff888012345000\n"
    assert read_bytes(log + dump, "log")[0].memory[0].size == 1 << 28
