"""Where RAM lies if only its amount is known (E5: no device has a say in it)."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import Device, Facts, Range
from kernmalloc.inputs.sizes import Ram
from kernmalloc.machine.memory_map import Machine, UnreadableError, resolve

MIB, GIB = 1 << 20, 1 << 30
LOST = 384 << 10


def facts(
    *devices: Device,
    memory: Iterable[Range] = (),
    windows: Iterable[Range] = (),
    base: int | None = None,
    like_pc: bool = True,
) -> Facts:
    made = Facts("made")
    made.devices, made.memory, made.windows = list(devices), list(memory), list(windows)
    made.ram_base, made.like_pc = base, like_pc
    return made


def spans(machine: Machine) -> list[tuple[int, int]]:
    return [(r.base, r.end) for r in machine.ram]


@pytest.mark.parametrize(
    "size, expected",
    [
        (512 << 10, [(0, 512 << 10)]),
        (MIB, [(0, 640 << 10)]),
        (2 * MIB, [(0, 640 << 10), (MIB, 2 * MIB)]),
        (2 * GIB, [(0, 640 << 10), (MIB, 2 * GIB)]),
        (2 * GIB + 4096, [(0, 640 << 10), (MIB, 2 * GIB), (4 * GIB, 4 * GIB + 4096)]),
        (64 * GIB, [(0, 640 << 10), (MIB, 2 * GIB), (4 * GIB, 66 * GIB)]),
    ],
)
def test_as_on_a_pc(size: int, expected: list[tuple[int, int]]) -> None:
    assert spans(resolve(facts(), Ram(size))) == expected


@given(st.integers(1, 1 << 51))
def test_a_pc_loses_no_more_than_lies_under_video_memory_and_firmware(size: int) -> None:
    machine = resolve(facts(), Ram(size))
    assert machine.ram_bytes == size - max(0, min(size, MIB) - (MIB - LOST))


DEVICES = st.lists(st.builds(Device, st.integers(0, 1 << 40), st.integers(1, 1 << 36)), max_size=6)


@given(DEVICES, st.integers(1, 1 << 40))
def test_ram_does_not_depend_on_devices(devices: list[Device], size: int) -> None:
    """E5."""
    assert resolve(facts(*devices), Ram(size)).ram == resolve(facts(), Ram(size)).ram


def test_a_device_that_is_in_the_way_is_told() -> None:
    """Where RAM lies was assumed: nothing is wrong with the machine."""
    machine = resolve(facts(Device(GIB, 4096, name="0000:00:02.0", line=7)), Ram(8 * GIB))
    assert [(p.line, p.reason, p.text) for p in machine.missing] == [
        (7, "device window where RAM is: not published", "0000:00:02.0 0x40000000 + 0x1000")
    ]
    assert not machine.device_ranges(12) and not machine.problems


def test_a_board_has_ram_where_its_device_tree_says() -> None:
    assert spans(resolve(facts(base=0x40000000, like_pc=False), Ram(3 * GIB))) == [(GIB, 4 * GIB)]
    assert spans(resolve(facts(base=0, like_pc=False), Ram(GIB))) == [(0, GIB)]
    with pytest.raises(UnreadableError, match="RAM unknown"):
        resolve(facts(like_pc=False), Ram(GIB))


def test_an_address_that_is_given_holds() -> None:
    windows = [Range(GIB, GIB, "window")]
    assert spans(resolve(facts(windows=windows), Ram(GIB, GIB))) == [(GIB, 2 * GIB)]
    assert spans(resolve(facts(base=0, like_pc=False), Ram(GIB, GIB))) == [(GIB, 2 * GIB)]


def test_what_the_file_tells_is_kept_free() -> None:
    windows = [Range(GIB, GIB, "window"), Range(0xA0000, 0x20000, "window")]
    memory = [Range(3 * GIB, GIB, "reserved")]
    assert spans(resolve(facts(windows=windows, memory=memory), Ram(4 * GIB))) == [
        (0, 0xA0000),
        (0xC0000, GIB),
        (2 * GIB, 3 * GIB),
        (4 * GIB, 6 * GIB + 0x20000),
    ]
    assert spans(resolve(facts(memory=memory), Ram(2 * GIB, 2 * GIB))) == [(2 * GIB, 3 * GIB), (4 * GIB, 5 * GIB)]


def test_ram_that_is_told_already_is_not_told_again() -> None:
    with pytest.raises(InputError, match="tells its RAM itself"):
        resolve(facts(memory=[Range(0, GIB, "ram")]), Ram(GIB))


@pytest.mark.parametrize("ram", [Ram(1 << 53), Ram(GIB, 1 << 52), Ram((1 << 52) - 4096)])
def test_ram_above_the_limit_is_refused(ram: Ram) -> None:
    with pytest.raises(UnreadableError, match="above 2\\^52"):
        resolve(facts(), ram)


@pytest.mark.parametrize("ram", [0, -1, "0", "x", "1GiB@x"])
def test_what_is_no_amount(tmp_path: Path, ram: int | str) -> None:
    file = tmp_path / "list.txt"
    file.write_text("00:02.0 VGA compatible controller: x\n\tMemory at f0000000 (32-bit, prefetchable) [size=4K]\n")
    with pytest.raises(InputError, match="write it as 8GiB"):
        Machine.read(file, ram)
    assert Machine.read(file, "1GiB") == Machine.read(file, 1 << 30) == Machine.read(file, Ram(1 << 30))
