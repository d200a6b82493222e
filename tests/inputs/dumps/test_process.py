"""The memory of a process: files that it shares with itself, private pages that are there, and nothing else."""

import ctypes
import mmap
import os

import pytest

from kernmalloc.inputs.dumps import Dump, process
from kernmalloc.inputs.errors import InputError

PAGE = mmap.PAGESIZE


def address(memory):
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


@pytest.mark.parametrize("shared", [True, False])
def test_anonymous_memory_is_read_where_it_is_there(shared):
    flags = mmap.MAP_ANONYMOUS | (mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE)
    memory = mmap.mmap(-1, 1 << 30, flags)
    memory[5 * PAGE : 5 * PAGE + 4] = b"here"
    memory[700 * PAGE : 700 * PAGE + 5] = b"there"
    at = address(memory)
    with Dump.open("/proc/self/mem") as dump:
        assert dump.live and dump.form == f"process {os.getpid()}"
        assert dump.read(at + 5 * PAGE, 4) == b"here" and dump.read(at + 700 * PAGE, 5) == b"there"
        inside = [piece for piece in dump.data() if at <= piece.address < at + (1 << 30)]
        assert sum(piece.size for piece in inside) <= 4 << 20  # huge pages may be there as a whole


def test_a_file_that_is_mapped_twice_is_read_once():
    file = os.memfd_create("twice")
    os.ftruncate(file, 1 << 40)
    whole, part = (mmap.mmap(file, size, offset=at) for size, at in ((1 << 38, 0), (PAGE, 9 * PAGE)))
    part[:4] = b"seen"
    with Dump.open("/proc/self/mem") as dump:
        assert dump.read(address(whole) + 9 * PAGE, 4) == b"seen"
        assert dump.read(address(part), 4) == b""
        assert sum(p.size for p in dump.data() if address(whole) <= p.address < address(whole) + (1 << 38)) == PAGE
    os.close(file)


def test_only_memory_that_can_be_written_to():
    lines = [
        "7f0000000000-7f0000001000 r--p 00000000 08:01 7 /lib/libc.so",
        "7f0000001000-7f0000002000 rw-p 00001000 08:01 7 /lib/libc.so",
        "7f0000002000-7f0000003000 rw-s 00000000 00:05 8 /dev/dri/card0",
        "7f0000003000-7f0000004000 rw-s 00000000 00:01 9 /dev/zero (deleted)",
        "7f0000004000-7f0000005000 rw-s 00000000 00:17 9 /dev/shm/ram",
        "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]",
        "no line of maps",
    ]
    found = [mapping.start for line in lines for mapping in process._mapping(line)]
    assert found == [0x7F0000001000, 0x7F0000003000, 0x7F0000004000]


def test_a_process_that_is_not_there():
    with pytest.raises(InputError, match=r"^/proc/999999999/mem: No such file"):
        Dump.open("/proc/999999999/mem")
