"""Programs of processes, run by a processor that is not ours on the tables that the kernel wrote: page faults enter the
page cache, the file source brings pages, and what is computed is right though the pages were stolen meanwhile.

Rows E3, E4 (frames above 4 GiB), E17, E18 (mapping tables), E30, E31, E39 (pages are taken and come back), C11."""

import random
from collections import Counter
from pathlib import Path

import pytest
from emulated import PROCESSORS, UNUSED
from oracle import profile
from small_machines import MIB, conserved, machine
from user_processor import Fault, Processor, machine_code, summed

from kernmalloc.facade.kernel import Kernel
from kernmalloc.machine.arch import FORMATS

CODE, STACK, DATA = range(3)  # object ids
RETURN = 0xF00  # offset in the code's page
COUNT, FRAMES, PASSES = 100, 40, 3  # pages of data, frames for all pages, rounds
KNOWN = [name for name in PROCESSORS if name != "aarch64-64k"]  # no kernel has a window for its large pages of 512 MiB


class Process:
    """A process whose pages are those of a new file of so many pages."""

    def __init__(self, kernel: Kernel, path: Path, pages: int) -> None:
        self.kernel, self.pages, self.page = kernel, kernel.pages, kernel.profile.page
        self.source = self.pages.source(path, pages)
        self.space = self.pages.space()
        self.base = FORMATS[kernel.profile.arch].large_page
        life = kernel.handle.life
        self.processor = Processor(kernel.profile.arch, life.ram, kernel.handle.loaded.root, self.space.root)
        self.faults: Counter[int] = Counter()  # by object id
        self.kinds: Counter[str] = Counter()
        code = machine_code(self.processor.target, self.page)
        assert len(code) <= RETURN
        self.stack = self.va(STACK) + self.page - 64
        self.store(CODE, 0, code)
        self.store(STACK, self.page - 64, (self.va(CODE) + RETURN).to_bytes(8, "little"))

    def va(self, oid: int) -> int:
        return self.base + oid * self.page

    def store(self, oid: int, offset: int, data: bytes) -> None:
        with self.pages.get(oid) as page:
            page.write(offset, data)

    def fault(self, fault: Fault) -> None:
        oid = (fault.va - self.base) // self.page
        self.kinds[fault.kind] += 1
        self.faults[oid] += fault.kind != UNUSED
        self.space.map(self.va(oid), oid, write=fault.write)

    def run(self, count: int) -> int:
        """The sum of so many pages of data."""
        args = (self.va(DATA), count, PASSES)
        return self.processor.run(self.va(CODE), self.va(CODE) + RETURN, self.stack, args, self.fault)


def booted(format: str, mode: str) -> Kernel:
    """On RAM below and, if the format has as much, above 4 GiB."""
    page = 1 << FORMATS[format].page_shift
    high = 5 << 30 if FORMATS[format].phys_bits > 32 else 64 * MIB
    return Kernel.boot(machine((0, 8 * MIB + 256 * page), (high, 256 * page)), profile(format, "demand"), mode)


@pytest.mark.parametrize("mode", ("raw", pytest.param("soft", marks=pytest.mark.nightly)))
@pytest.mark.parametrize("format", KNOWN)
def test_a_program_computes_what_it_should_though_its_pages_were_stolen_E3_E4_E30_E31_E39(format, mode, tmp_path):
    """Less than half of its pages fit. Each page of its data and its code is stolen from it and brought back; its stack
    lies there from the beginning, is stolen, and is needed once, at the end."""
    with booted(format, mode) as kernel:
        while kernel.frames_by_type()["free"] > FRAMES:
            kernel.frame_get()
        process, rng = Process(kernel, tmp_path / "pages", DATA + COUNT), random.Random(5)
        data = [bytearray(rng.randbytes(process.page)) for _ in range(COUNT)]
        for oid, page in enumerate(data, DATA):
            process.store(oid, 0, page)
        assert process.run(COUNT) == summed(data, PASSES)
        assert (process.kinds[UNUSED] > 0) == (not process.processor.family.sets_used)
        assert kernel.pages.state["evictions"] > PASSES * (COUNT - FRAMES)
        assert min(process.faults[oid] for oid in (CODE, *range(DATA, DATA + COUNT))) > 1
        assert process.faults[STACK] >= 1 or process.processor.convention.back
        for oid, page in enumerate(data, DATA):
            assert process.pages.get(oid).read() == page
        process.space.free()
        conserved(kernel)
