"""Programs of processes, run by a processor that is not ours on the tables that the kernel wrote: page faults enter the
page cache, the file source brings pages, and what is computed is right though the pages were stolen meanwhile.

Rows E17, E18 (mapping tables), E30, E31, E39 (pages are taken and come back), C11."""

import random
from collections import Counter
from pathlib import Path

import pytest
from small_machines import MIB, conserved, machine
from user_processor import Processor, machine_code, summed

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile

BASE = 0x0040_0000  # where a process finds its pages: code, stack, data
CODE, STACK, DATA = range(3)  # object ids
RETURN = 0xF00  # offset in the code's page
COUNT, FRAMES, PASSES = 150, 60, 3  # pages of data, frames for all pages, rounds
PROFILES = {"i386": "eros2"}


class Process:
    """A process whose pages are those of a new file of so many pages."""

    def __init__(self, kernel: Kernel, arch: str, path: Path, pages: int) -> None:
        self.kernel, self.pages, self.page = kernel, kernel.pages, kernel.profile.page
        self.source = self.pages.source(path, pages)
        self.space = self.pages.space()
        self.processor = Processor(arch, kernel.handle.life.ram, self.space.root)
        self.faults: Counter[int] = Counter()  # by object id
        code = machine_code(arch, self.page)
        assert len(code) <= RETURN
        self.stack = self.va(STACK) + self.page - 64
        self.store(CODE, 0, code)
        self.store(STACK, self.page - 64, (self.va(CODE) + RETURN).to_bytes(8, "little"))

    def va(self, oid: int) -> int:
        return BASE + oid * self.page

    def store(self, oid: int, offset: int, data: bytes) -> None:
        with self.pages.get(oid) as page:
            page.write(offset, data)

    def fault(self, va: int, readable: bool) -> None:
        oid = (va - BASE) // self.page
        self.faults[oid] += not readable
        self.space.map(self.va(oid), oid, write=readable)

    def run(self, count: int) -> int:
        """The sum of so many pages of data."""
        args = (self.va(DATA), count, PASSES)
        return self.processor.run(self.va(CODE), self.va(CODE) + RETURN, self.stack, args, self.fault)


@pytest.mark.parametrize("mode", ("raw", "soft"))
@pytest.mark.parametrize("arch", PROFILES)
def test_a_program_computes_what_it_should_though_its_pages_were_stolen_E30_E31_E39(arch, mode, tmp_path):
    """A third of its pages fit. Each page, that of its code too, is stolen from it and brought back; its stack lies
    there from the beginning, is stolen, and is needed once, at the end."""
    ram = machine((0, 8 * MIB), (16 * MIB, 8 * MIB)) if arch == "x86_64" else machine((0, 4 * MIB))
    with Kernel.boot(ram, Profile.load(PROFILES[arch]), mode) as kernel:
        while kernel.frames_by_type()["free"] > FRAMES:
            kernel.frame_get()
        process, rng = Process(kernel, arch, tmp_path / "pages", DATA + COUNT), random.Random(5)
        data = [bytearray(rng.randbytes(process.page)) for _ in range(COUNT)]
        for oid, page in enumerate(data, DATA):
            process.store(oid, 0, page)
        assert process.run(COUNT) == summed(data, PASSES)
        assert kernel.pages.state["evictions"] > PASSES * (COUNT - FRAMES)
        assert process.faults[STACK] >= 1 and min(process.faults[oid] for oid in (CODE, *range(DATA, DATA + COUNT))) > 1
        for oid, page in enumerate(data, DATA):
            assert process.pages.get(oid).read() == page
        process.space.free()
        conserved(kernel)
