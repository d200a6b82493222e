"""Inputs out of people's reports, each with the right answer: `field/INDEX.csv` of the data.

Where the index names no number, the bytes stand here; they were summed apart from the readers.
"""

import pytest
from collection import DATA

from kernmalloc.machine.memory_map import Machine

FIELD = DATA / "field"

RAM = {
    "34-kata-4847-vm-256m.txt": 267910144,
}
"""Bytes of RAM, by file."""


@pytest.mark.parametrize("name", RAM)
def test_ram(name: str) -> None:
    assert Machine.read(FIELD / name).ram_bytes == RAM[name]
