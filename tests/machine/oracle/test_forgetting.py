"""A processor that keeps its translations until the kernel has it forget them finds what the tables say all the same.

The kernel's calls of `flush`, `shootdown` and `forget` are made by the instructions of `machine/arch`, on the emulated
processor. Whenever it has forgotten something it looks at other places at once, as one that speculates does. Entries
that lead to tables it does not keep: what a processor would keep of these is noted, and may not have changed.

Rows E14, E16 (a window that was opened for another frame shows that one), E17 (tables come and go), E30 (a page that
was stolen is reached no more)."""

from pathlib import Path

import pytest
from emulated import PROCESSORS
from oracle import Tables
from processes import World
from watched import Watched, watched

from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.walker import READ

KNOWN = [name for name in FORMATS if name in PROCESSORS]
BY_DAY = ("i386-pae", "armv7", "aarch64-16k", "riscv64-sv39")  # the twin takes its time
STEPS, ROUNDS = 40, 12


class Watch:
    """A kernel, and accesses to where it has just changed something."""

    def __init__(self, tables: Tables, deaf: bool) -> None:
        self.tables, self.kernel, self.pick = tables, tables.kernel, tables.pick
        self.cpu, code = tables.emulated(), int(tables.loaded.info["image_pa"])
        tables.ram.bytes[code : code + len(self.cpu.instructions)] = self.cpu.instructions
        self.cpu.begin(tables.loaded.root, 0, tables.base % (1 << 8 * tables.words))
        self.life = tables.kernel.handle.life
        assert isinstance(self.life, Watched)
        self.life.cpu, self.life.deaf = self.cpu, deaf
        self.life.forgets, self.life.speculates = self.forget, self.speculate
        kern = self.kernel.view.kern
        self.leaves = range(int(kern["tables"]), int(kern["tables"]) + self.page_of(self.tables.end) * self.step)
        self.broken: set[int] = set()  # leaf entries that led somewhere, and have not been forgotten yet
        if tables.arch.break_first:
            self.life.stores = self.breaks
        self.upper: dict[tuple[int, int], tuple[int, int]] = {}  # where it lies and what it is, by level and address
        self.blocks: list[int] = []
        self.seen: list[int] = []

    def keep_upper(self, va: int) -> None:
        """Note what led to the last table of a walk."""
        walks, levels = self.tables.walks, self.tables.arch.levels
        for number, at in enumerate(walks.way[: len(levels) - 1]):
            entry = walks.memory.load(at, walks.width)
            if entry & self.tables.arch.present:
                self.upper[number, va >> levels[number].shift] = at, entry

    @property
    def step(self) -> int:
        """Bytes from one leaf entry of the window to the next."""
        return 1 << self.tables.arch.entry_shift

    def page_of(self, va: int) -> int:
        """The number of a page of the window."""
        return (va - self.tables.base) // self.tables.page

    def breaks(self, at: int, entry: int) -> None:
        """A leaf entry leads elsewhere only after it led nowhere, and that was forgotten: `break_first`."""
        arch = self.tables.arch
        if at in self.leaves:
            before = self.life.load(at, 1 << arch.word_shift)
            if before & arch.present and entry & arch.present:
                assert before & arch.address == entry & arch.address, f"0x{at:x} led elsewhere"
            elif before & arch.present:
                self.broken.add(at)
            elif entry & arch.present:
                assert at not in self.broken, f"0x{at:x} was not forgotten"

    def forget(self, va: int) -> None:
        """What goes when the page at va is forgotten."""
        signed = va - (1 << 64) if va >> 63 else va
        self.broken.discard(self.leaves.start + self.page_of(signed) * self.step)
        self.forget_upper(va)

    def forget_upper(self, va: int) -> None:
        """Of the entries that lead to tables."""
        if self.cpu.family.forgets_upper == "all":
            self.upper.clear()
        elif self.cpu.family.forgets_upper == "way":
            for number, level in enumerate(self.tables.arch.levels):
                self.upper.pop((number, va >> level.shift), None)

    def speculate(self) -> None:
        """Load from places for no reason, and fault for no reason."""
        for va in self.pick.sample(self.seen, min(3, len(self.seen))):
            self.tables.walks(self.tables.loaded.root, va, READ)
            self.keep_upper(va)
            self.cpu.load(va)

    def change(self) -> None:
        """Let the heap grow or shrink, or show another frame."""
        if self.pick.random() < 0.3 and len(tables_windows := self.tables.windows) < 4:
            tables_windows.append(self.kernel.call("window_open", self.kernel.frame_get()))
        elif self.pick.random() < 0.3 and self.tables.windows:
            assert self.kernel.call("window_close", self.tables.windows.pop()) == 0
        elif (len(self.blocks) < 3 and self.pick.random() < 0.5) or not self.blocks:
            self.blocks.append(self.kernel.malloc(self.pick.choice([3000, 100_000, 3_000_000])))
        else:
            self.kernel.free(self.blocks.pop(self.pick.randrange(len(self.blocks))))
            self.kernel.drain()

    def look(self) -> None:
        """Access what was accessed before, and other places."""
        windows = int(self.tables.kernel.view.kern["windows"])
        for _ in range(12):
            va = self.pick.choice(self.seen) if self.seen and self.pick.random() < 0.6 else self.tables.address()
            page = va & -self.tables.page
            signed = page - (page >> 63 << 64)
            closed = 0 <= signed - windows < self.tables.arch.large_page and signed not in self.tables.windows
            if closed or page == self.tables.base % (1 << 8 * self.tables.words):
                continue  # nobody looks into a window that is closed
            self.seen.append(va)
            expected = self.tables.expected(self.cpu, self.tables.loaded.root, va, READ)
            self.keep_upper(va)
            if expected.pa >= 0:
                there = self.tables.ram.bytes[expected.pa : expected.pa + self.tables.words]
                expected = expected._replace(value=int.from_bytes(there, "little"))
            assert self.cpu.load(va) == expected, f"{va:#x}"


def watch(format: str, steps: int, deaf: bool = False) -> None:
    with watched() as mode, Tables(format, "demand", steps, mode) as tables:
        watch = Watch(tables, deaf)
        for _ in range(steps):
            watch.change()
            for (_, prefix), (at, entry) in watch.upper.items():
                assert tables.walks.memory.load(at, tables.walks.width) == entry, f"kept of {prefix:#x}"
            watch.look()
        print(f"{format}: {watch.life.forgotten} pages forgotten, {dict(tables.counts)}")
        assert watch.life.forgotten > steps


def watch_process(format: str, rounds: int, file: Path, deaf: bool = False) -> None:
    """One process, whose processor is never told to forget but by the kernel."""
    with watched() as mode, Tables(format, "demand", rounds, mode) as tables:
        world = World(tables, file, spaces=1, keeps=True)
        life = tables.kernel.handle.life
        assert isinstance(life, Watched)
        life.cpu, life.deaf = world.cpu, deaf
        for _ in range(rounds):
            world.run(world.change(), 20)
        print(f"{format}: {life.forgotten} pages of a process forgotten, {dict(tables.counts)}")
        assert life.forgotten > rounds
        world.close()


@pytest.mark.parametrize("format", BY_DAY)
def test_a_processor_forgets_what_the_kernel_says_and_no_more_E14_E16_E17(format: str) -> None:
    watch(format, STEPS)


@pytest.mark.parametrize("format", BY_DAY)
def test_a_process_is_to_forget_what_was_taken_from_it_E14_E30(format: str, tmp_path: Path) -> None:
    watch_process(format, ROUNDS, tmp_path / "pages")


def test_one_that_does_not_forget_finds_what_was_there_before_E16(tmp_path: Path) -> None:
    """Or nothing would be tested here."""
    with pytest.raises(AssertionError, match="0x"):
        watch(BY_DAY[0], STEPS, deaf=True)
    with pytest.raises(AssertionError, match="0x"):
        watch_process(BY_DAY[0], ROUNDS, tmp_path / "pages", deaf=True)


@pytest.mark.nightly
@pytest.mark.parametrize("format", KNOWN)
def test_every_processor_forgets_what_the_kernel_says_E14_E16_E17(format: str, tmp_path: Path) -> None:
    watch(format, 10 * STEPS)
    watch_process(format, 10 * ROUNDS, tmp_path / "pages")
