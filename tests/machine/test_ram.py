"""Hosted RAM: sparse, poisoned on demand, copied and put back byte for byte. Rows E3 and E4 (64 GiB and more)."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.machine.ram import PAGE, POISON, Ram

SIZE = 40 * PAGE
Writes = list[tuple[int, bytes]]
WRITES = st.lists(st.tuples(st.integers(0, SIZE - 1), st.binary(min_size=1, max_size=3 * PAGE)), max_size=6)


@pytest.fixture
def ram() -> Iterator[Ram]:
    ram = Ram(SIZE)
    yield ram
    ram.close()


def put(ram: Ram, model: bytearray, writes: Writes) -> None:
    for at, data in writes:
        data = data[: SIZE - at]
        ram.bytes[at : at + len(data)] = data
        model[at : at + len(data)] = data


@given(WRITES, WRITES)
def test_a_snapshot_restores_every_byte(first: Writes, second: Writes) -> None:
    """Whatever was written before and after, zeros over data included: memory is what it was."""
    ram, model = Ram(SIZE), bytearray(SIZE)
    put(ram, model, first)
    snapshot = ram.snapshot()
    assert snapshot == {at: model[at : at + PAGE] for at in range(0, SIZE, PAGE) if any(model[at : at + PAGE])}
    put(ram, bytearray(SIZE), second)
    for at, _ in second:
        ram.bytes[at : at + 1] = b"\0"
    ram.restore(snapshot)
    assert ram.bytes[:] == bytes(model)
    assert ram.snapshot() == snapshot
    ram.close()


def test_a_snapshot_is_a_copy(ram: Ram) -> None:
    ram.bytes[5:7] = b"ab"
    snapshot = ram.snapshot()
    ram.bytes[5:7] = b"cd"
    assert snapshot[0][5:7] == b"ab"


def test_memory_that_is_restored_stays_mapped(ram: Ram) -> None:
    """Addresses of RAM stay good: it is the same memory, with what it had in it."""
    snapshot = ram.snapshot()
    word = ctypes.c_int64.from_address(ram.address + 8)
    word.value = 7
    ram.restore(snapshot)
    assert word.value == 0
    ram.bytes[8:16] = (9).to_bytes(8, "little")
    assert word.value == 9


@pytest.mark.parametrize("top", [1, PAGE - 1, PAGE, PAGE + 1, 10 * PAGE + 5])
def test_ram_is_whole_pages(top: int) -> None:
    ram = Ram(top)
    assert ram.top % PAGE == 0 and top <= ram.top < top + PAGE
    assert len(ram.bytes) == ram.top and not any(ram.bytes[:])
    ram.close()


def test_256_gigabytes_take_the_room_of_what_is_written_E3_E4() -> None:
    """Larger than this computer's memory; snapshots and restores look only at what was touched."""
    ram = Ram(256 << 30)
    places = [0, (4 << 30) - 1, 64 << 30, (256 << 30) - 1]
    for at in places:
        ram.bytes[at : at + 1] = b"x"
    assert os.fstat(ram.fd).st_blocks * 512 < 64 << 20
    snapshot = ram.snapshot()
    assert sorted(snapshot) == [at // PAGE * PAGE for at in places]
    ram.bytes[100 << 30 : (100 << 30) + 1] = b"y"
    ram.restore(snapshot)
    assert ram.snapshot() == snapshot
    ram.close()


def test_poison_fills_its_ranges_and_vouches_for_nothing(ram: Ram) -> None:
    assert ram.fresh
    ram.poison([(3, 5), (PAGE + 1, 2 * PAGE)])
    assert not ram.fresh
    assert ram.bytes[:9] == bytes(3) + bytes([POISON]) * 5 + bytes(1)
    assert ram.bytes[PAGE : 3 * PAGE + 2] == bytes(1) + bytes([POISON]) * 2 * PAGE + bytes(1)
    assert ram.bytes[3 * PAGE + 2 :] == bytes(SIZE - 3 * PAGE - 2)


def test_closing_lets_the_memory_go() -> None:
    ram = Ram(SIZE)
    fd = ram.fd
    ram.close()
    with pytest.raises(OSError):
        os.fstat(fd)
    assert ram.bytes.closed


def test_where_addresses_are_limited_ram_has_its_own():
    """A process that may not have many addresses (ulimit -v) keeps none for RAM that comes later."""
    code = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
from kernmalloc.machine.ram import Ram
print(Ram(1 << 20, 1 << 40).limit, Ram(1 << 20, 1 << 30).limit)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == [str(1 << 20), str(1 << 30)]
