"""One source, many lives: raw, soft, the twin and C find the same ranges in the same memory, whole or damaged."""

import struct
from collections.abc import Iterator
from contextlib import nullcontext

import gcc_kernel
import pytest
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel.loaders.test_fdt import BOARD
from kernel.loaders.test_protocols import STRUCTURES
from loader_maps import AT, M64, MODULES, Reader
from small_machines import MODES

ALL = {**STRUCTURES, "fdt": ({AT: BOARD}, (AT,))}


@pytest.fixture(scope="module", params=["llvm", "gcc"])
def readers(request) -> Iterator[list[Reader]]:
    """A reader in each life; the raw one of LLVM or of gcc."""
    if request.param == "gcc" and not gcc_kernel.installed():
        pytest.skip("gcc is not installed")
    with gcc_kernel.used() if request.param == "gcc" else nullcontext():
        readers = [Reader(mode) for mode in MODES]
    yield readers
    for reader in readers:
        reader.close()


def relocated(pieces: dict[int, bytes], phys: int) -> dict[int, bytes]:
    """Limine's structure where physical address 0 is at `phys`: its pointers lead there."""

    def moved(data: bytes) -> bytes:
        return b"".join(struct.pack("<Q", at + phys & M64) for (at,) in struct.iter_unpack("<Q", data))

    return pieces | {AT: pieces[AT][:16] + moved(pieces[AT][16:]), MODULES: moved(pieces[MODULES])}


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=80 * EFFORT)
@given(data=st.data())
def test_the_same_ranges_in_every_life(readers, name, data):
    pieces, args = ALL[name]  # a damaged count of Limine's would make pointers of what has not been relocated
    damaged = {pa: bytearray(piece) for pa, piece in pieces.items()}
    places = [pa for pa, piece in damaged.items() if piece and (name, pa) != ("limine", AT)]
    for _ in range(data.draw(st.integers(0, 2))):
        piece = damaged[data.draw(st.sampled_from(places))]
        at = data.draw(st.integers(0, len(piece) - 1))
        piece[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))[: len(piece) - at]
    found = []
    for reader in readers:
        phys = reader.life.phys if name == "limine" else 0  # whose pointers are virtual
        moved = {pa: bytes(piece) for pa, piece in damaged.items()}
        if name == "limine":
            moved = relocated(moved, phys)
        status = reader.read(name, moved, args[0] + phys, *args[1:])
        found.append((status, reader.rows, reader.dropped, reader.frames(), reader.frames(16, 1 << 20, 3)))
    assert found[0] == found[1] == found[2]
