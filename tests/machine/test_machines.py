"""The machines in tests/data/machines: facts of two dozen real machines, chosen for their differences.

Each file names its source.  Other tests boot them; this one holds what they are, so that none changes unseen.
"""

from pathlib import Path

import pytest

from kernmalloc.machine.memory_map import Machine

FOLDER = Path(__file__).parents[1] / "data" / "machines"

# architecture, RAM bytes, ranges of RAM, device windows, carved ranges
MACHINES = {
    "arm-512m": ("arm", 536870912, 1, 4, 0),
    "arm64-kdump-341m": ("arm64", 341377024, 6, 14, 0),
    "arm64-m2-16g": ("arm64", 16531980288, 1, 0, 8),
    "arm64-taishan-64g": ("arm64", 68715151360, 5, 37, 21),
    "arm64-tx2-8g": ("arm64", 8417968128, 5, 5, 0),
    "cxl-384g": ("x86_64", 412316860416, 1, 0, 0),
    "laptop-20m": ("i386", 20836352, 2, 0, 0),
    "laptop-504m": ("i386", 527956988, 2, 0, 0),
    "linuxbios-8g": ("x86_64", 8589537668, 3, 0, 0),
    "mips-32m": ("mips", 33554432, 1, 6, 0),
    "mips-octane-2g": ("mips", 2147418112, 2, 12, 0),
    "numaq-16g": ("i386", 16642604032, 3, 0, 0),
    "parisc-8g": ("parisc", 8587837440, 3, 14, 0),
    "pc-256m-types": ("i386", 266993664, 2, 0, 0),
    "pc-486-16m": ("i386", 16379904, 2, 0, 0),
    "pmem-256g": ("x86_64", 274542239488, 4, 55, 0),
    "ppc-powermac-2g": ("ppc", 2147483648, 1, 25, 0),
    "ppc64-power9-64g": ("ppc", 68719476736, 2, 16, 24),
    "proliant-144m": ("i386", 150601728, 2, 0, 0),
    "riscv64-16g": ("riscv64", 17179869184, 1, 12, 1),
    "surface-4g": ("x86_64", 4212715520, 6, 19, 1),
    "travelmate-3g": ("x86_64", 3146743808, 5, 10, 0),
    "xe9680-2t": ("x86_64", 2198513250304, 5, 184, 1),
    "xseries-345": ("i386", 2683866176, 2, 9, 1),
}


def read(name: str) -> Machine:
    return Machine.read(FOLDER / f"{name}.toml")


def test_every_file_is_listed() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(MACHINES)


@pytest.mark.parametrize("name", MACHINES)
def test_facts(name: str) -> None:
    m = read(name)
    assert (m.arch, m.ram_bytes, len(m.ram), len(m.devices), len(m.carved)) == MACHINES[name]
    assert m.origin and m.licence
    assert not m.problems or name == "parisc-8g"


def test_the_top_region_can_be_a_single_frame() -> None:
    pages, _, _ = read("travelmate-3g").ram_pages(12, 36)
    assert pages[-1][1] == 1


def test_edges_inside_pages() -> None:
    pages, clipped, lost = read("linuxbios-8g").ram_pages(12, 36)
    assert pages[0][0] == 1 and (clipped, lost) == (0, 0x1000 - 0xE7C)
    assert read("laptop-504m").ram[-1].end == 0x1F7DFFFC


def test_addresses_beyond_a_word_are_marked() -> None:
    assert {d.status for d in read("parisc-8g").devices} == {"beyond"}


def test_two_sockets_of_power9_lie_far_apart() -> None:
    assert [r.base for r in read("ppc64-power9-64g").ram] == [0, 1 << 45]
