"""Cards of a machine as lspci lists them: which functions, how large, and what they are called."""

from pathlib import Path
from typing import NamedTuple

import pytest
from collection import DATA
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs.cards import cards_of
from kernmalloc.inputs.cards.listed import LEAST_WINDOW, cards_in
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.sizes import PREFIXES

MIB, GIB = 1 << 20, 1 << 30
LISTED = """\
00:02.0 VGA compatible controller [0300]: Intel Corporation UHD Graphics 770 [8086:4680] (rev 0c)
	Region 0: Memory at 6000000000 (64-bit, non-prefetchable) [size=16M]
	Region 2: Memory at 4000000000 (64-bit, prefetchable) [size=256M]
01:00.0 VGA compatible controller [0300]: NVIDIA Corporation AD102 [GeForce RTX 4090] [10de:2684] (rev a1) \
(prog-if 00 [VGA controller])
	Subsystem: Gigabyte Technology Co., Ltd Device [1458:40bf]
	Region 0: Memory at 83000000 (32-bit, non-prefetchable) [size=16M]
	Region 1: Memory at 6010000000 (64-bit, prefetchable) [size=256M]
	Region 3: Memory at 6020000000 (64-bit, prefetchable) [size=32M]
	Region 5: I/O ports at 4000 [size=128]
	Expansion ROM at 84000000 [virtual] [disabled] [size=512K]
	Capabilities: [bb0 v1] Physical Resizable BAR
		BAR 0: current size: 16MB, supported: 16MB
		BAR 1: current size: 256MB, supported: 64MB 128MB 256MB 512MB 1GB 2GB 4GB 8GB 16GB 32GB
		BAR 3: current size: 32MB, supported: 32MB
01:00.1 Audio device [0403]: NVIDIA Corporation Device [10de:22ba] (rev a1)
	Region 0: Memory at 84080000 (32-bit, non-prefetchable) [size=16K]
02:00.0 Non-Volatile memory controller [0108]: Samsung Electronics Co Ltd NVMe SSD Controller [144d:a80a]
	Region 0: Memory at 85000000 (64-bit, non-prefetchable) [size=16K]
03:00.0 Ethernet controller [0200]: Mellanox Technologies Device [15b3:1021]
	Region 0: Memory at 6030000000 (64-bit, prefetchable) [size=32M]
	Capabilities: [180 v1] Single Root I/O Virtualization (SR-IOV)
		Region 0: Memory at 0000006040000000 (64-bit, prefetchable)
	Capabilities: [400 v1] Virtual Resizable BAR
		BAR 0: current size: 1GB, supported: 1GB 2GB
"""


@pytest.fixture
def listed(tmp_path: Path) -> str:
    file = tmp_path / "lspci.txt"
    file.write_text(LISTED)
    return str(file)


def test_the_cards_of_a_machine_are_what_has_large_windows(listed: str) -> None:
    """As large as its registers can be made; not the processor's own graphics, no ROM and no virtual function."""
    card, network = cards_of(listed)
    assert (card.name, card.ids, card.bars) == ("GeForce RTX 4090", ("10de:2684",), (16 * MIB, 32 * GIB, 32 * MIB))
    assert card.resizable and card.windows == card.bars and card.source == f"{listed}: 0000:01:00.0"
    assert (network.bars, network.resizable) == ((32 * MIB,), None)


@pytest.mark.parametrize(
    "place, largest",
    [
        ("01:00.0", [32 * GIB]),
        ("0000:01:00.0", [32 * GIB]),
        ("01:00", [32 * GIB, 16 << 10]),
        ("01:00.1", [16 << 10]),
        ("00:02.0", [256 * MIB]),
    ],
)
def test_a_place_names_one_function_or_a_slot(listed: str, place: str, largest: list[int]) -> None:
    """However small it is, and on whichever bus."""
    assert [max(card.bars) for card in cards_of(f"{listed}:{place}")] == largest
    assert len(cards_of(f"3 x {listed}:{place}")) == 3 * len(largest)


def test_what_has_no_name_has_it_from_pci_ids(listed: str, tmp_path: Path) -> None:
    (card,) = cards_of(f"{listed}:03:00.0")
    told = card.name
    (tmp_path / "pci.ids").write_text(
        "# a list\n\n10de  NVIDIA Corporation\n\t1021  not this\n15b3  Mellanox Technologies\n\t1017  MT27800\n"
        "\t\t15b3 1021  nor this\n\n\t1021  MT2910 Family [ConnectX-7]\nC 02  Network controller\n"
    )
    (card,) = cards_of(f"{listed}:03:00.0")
    assert card.name == "ConnectX-7" and told in ("ConnectX-7", "15b3:1021")
    file = tmp_path / "numbers.txt"
    file.write_text("03:00.0 0200: 15b3:1021\n\tMemory at 6030000000 (64-bit, prefetchable) [size=32M]\n")
    assert [(card.name, card.ids) for card in cards_of(str(file))] == [("ConnectX-7", ("15b3:1021",))]
    file.write_text("03:00.0 0200: 15b3:ffff\n\tMemory at 6030000000 (64-bit, prefetchable) [size=32M]\n")
    assert [card.name for card in cards_of(str(file))] == ["15b3:ffff"]


class Register(NamedTuple):
    """log2 of its size, and of the largest that it can be made."""

    power: int
    most: int


REGISTERS = st.lists(st.builds(Register, st.integers(12, 38), st.integers(0, 38)), min_size=1, max_size=6)
PLACES = st.tuples(st.integers(0, 3), st.integers(0, 255), st.integers(0, 31), st.integers(0, 7))


def printed(size: int, unit: str) -> str:
    power = (size.bit_length() - 1) // 10
    return f"{size >> 10 * power}{PREFIXES[power - 1]}{unit}"


@given(st.dictionaries(PLACES, REGISTERS, min_size=1, max_size=5), st.booleans())
def test_any_list_tells_each_function_with_a_large_window(
    tmp_path_factory: pytest.TempPathFactory, machine: dict[tuple[int, ...], list[Register]], numbered: bool
) -> None:
    """Sizes that a register can have are told with its number alone (-vv)."""
    text, expected = "", {}
    for place, registers in machine.items():
        at = "{:04x}:{:02x}:{:02x}.{:x}".format(*place)
        text += f"{at} Display controller: A maker's card (rev 01)\n"
        for bar, register in enumerate(registers):
            base = (1 << 45) + (place[1] << 40) + (bar << 38)
            text += f"\t{f'Region {bar}: ' if numbered else ''}Memory at {base:x} (64-bit, prefetchable) "
            text += f"[size={printed(1 << register.power, '')}]\n"
        text += "\tCapabilities: [bb0] Physical Resizable BAR\n"
        for bar, register in enumerate(registers):
            if register.most > register.power:
                sizes = " ".join(printed(1 << power, "B") for power in range(register.power, register.most + 1))
                text += f"\t\tBAR {bar}: current size: {printed(1 << register.power, 'B')}, supported: {sizes}\n"
        bars = tuple(1 << (max(register) if numbered else register.power) for register in registers)
        if place[1] and max(bars) >= LEAST_WINDOW:
            expected[at] = bars
    file = tmp_path_factory.getbasetemp() / "listed.txt"
    file.write_text(text)
    if expected:
        found = cards_in(str(file))
        assert {card.source.split(": ")[1]: card.bars for card in found} == expected
        assert all(card.name == "A maker's card" for card in found)
    else:
        with pytest.raises(InputError, match="no card with a window of 16 MiB or more"):
            cards_in(str(file))


@pytest.mark.parametrize(
    "text, reason",
    [
        ("BIOS-e820: [mem 0x0-0x3ffffff] usable\n", "no list of PCI devices"),
        ("01:00.0 VGA compatible controller: NVIDIA Corporation AD102\n", "lspci without -v"),
        ("01:00.0 VGA compatible controller: Some\n\tMemory at 83000000 (32-bit, non-prefetchable)\n", "no card"),
        ("", "no list of PCI devices"),
    ],
)
def test_what_tells_no_card_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "list.txt"
    file.write_text(text)
    with pytest.raises(InputError, match=reason):
        cards_of(str(file))
    with pytest.raises(InputError, match=f"{reason}|no register with a size at 07:00.0"):
        cards_of(f"{file}:07:00.0")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is a directory"):
        cards_of(str(tmp_path))


@pytest.mark.skipif(not (DATA / "machines").exists(), reason="no collection beside the repository")
def test_real_lists() -> None:
    """Every list of the collection tells cards, or why there is none."""
    told = {}
    for path in sorted((DATA / "machines" / "lspci").iterdir()):
        try:
            told[path.name] = cards_of(str(path))
        except InputError as error:
            assert any(each in error.reason for each in ("no card", "no list", "without -v")), error
    assert len(told) > 25
    resized = next(cards for name, cards in told.items() if "efe91f" in name)
    assert [max(card.windows) for card in resized] == [8 * GIB]
