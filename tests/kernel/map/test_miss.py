"""The miss handler of a TLB that software loads, on an independent model of ColdFire's MMU, written from the manual.

Rows C2 (the direct-mapped heap takes the TLB entries that the plan says) and C12 (after boot it takes no more, and
never misses). What is mapped is told by `page_walk`, written from the manual, too, and by the kernel's own view."""

import random
from collections.abc import Iterator

import numpy
import pytest
import walk_models
from coldfire_mmu import ENTRIES, FETCH, LK, READ, SG, WRITE, AccessError, Entry, Processor, V
from collection import DATA
from effort import EFFORT
from flat_memory import FlatMemory
from hypothesis import given, settings
from hypothesis import strategies as st
from page_walk import Translation, coldfire
from small_machines import MIB, conserved, machine

from kernmalloc import Kernel, Machine, Profile
from kernmalloc.facade.errors import OutOfMemory, TooSmall, WouldBlock
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.kernel.map.miss import MISSES, Refill
from kernmalloc.lang import twin
from kernmalloc.plan.plan import plan, with_strategy

PROFILE = Profile.load("coyotos-coldfire")
PAGE = PROFILE.page
AFFINE = [name for name, strategy in STRATEGIES.items() if strategy.affine]
BOUNDED = [name for name in AFFINE if not STRATEGIES[name].grows]
TOWER = machine((0x4000_0000, 32 * MIB))
USED = 1 << 10


class Board(Processor):
    """A processor that runs a kernel, with the kernel's own handler."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.life = kernel, kernel.handle.life
        self.record = numpy.zeros((), Refill.dtype)
        self.refill = self.record.ctypes.data
        super().__init__(self.miss)
        root = kernel.handle.loaded.root
        assert self.life.call("coldfire_aim", self.refill, self.life.ram.address, root) == 0

    def miss(self, va: int) -> int:
        return self.life.call("coldfire_miss", self.refill, va)

    def run(self, root: int, space: int) -> None:
        """Let a process run."""
        assert self.life.call("coldfire_process", self.refill, root, space) == 0
        self.mmu.asid = space

    def lock(self) -> int:
        """Lock what the kernel says: how many entries."""
        number = 0
        while words := self.kernel.call("coldfire_locked", number):
            self.load(words)
            number += 1
        return number

    @property
    def translations(self) -> list[Translation]:
        return list(coldfire(self.life.ram.bytes, self.kernel.handle.loaded.root))


@pytest.fixture
def board() -> Iterator[Board]:
    with Kernel.boot(TOWER, with_strategy(PROFILE, "hybrid"), "raw") as kernel:
        yield Board(kernel)
        conserved(kernel)


def places(board: Board, pick: random.Random, count: int) -> Iterator[int]:
    """Addresses: in and at the edges of what is mapped and of the window, and anywhere."""
    loaded, mapped = board.kernel.handle.loaded, board.translations
    edges = [t.va for t in mapped] + [t.va + t.size for t in mapped]
    edges += [loaded.target, loaded.target + loaded.window_bytes, PAGE, 1 << 32]
    for _ in range(count):
        each = pick.choice(mapped)
        kind = pick.randrange(4)
        if kind == 0:
            yield each.va + pick.randrange(each.size)
        elif kind == 1:
            yield (pick.choice(edges) + pick.choice((-1, 0, 1))) % (1 << 32)
        elif kind == 2:
            yield loaded.target + pick.randrange(loaded.window_bytes)
        else:
            yield pick.randrange(1 << 32)


def translated(board: Board, count: int) -> None:
    """Each address leads where the tables lead by the manual, and by the kernel's own view; the others fault."""
    pick = random.Random(count)
    pages = {t.va + inside: t.pa + inside for t in board.translations for inside in range(0, t.size, PAGE)}
    shift = board.kernel.handle.loaded.window - board.kernel.handle.loaded.target
    met = 0
    for va in places(board, pick, count):
        access = pick.choice((READ, WRITE, FETCH))
        page = pages.get(va & -PAGE)
        try:
            told = board.access(va, access)
        except AccessError as error:
            assert page is None, f"{va:#x} is mapped to {page:#x}, FS {error.status:04b}"
            with pytest.raises(KeyError):
                board.kernel.view.pa(va + shift)
            continue
        assert page is not None and told == page + va % PAGE == board.kernel.view.pa(va + shift)
        met += 1
    assert count // 4 < met < count


def test_translations(board: Board) -> None:
    """2,000 of a kernel whose heap is large pages and single ones; a user is refused all of them."""
    for size in (100, 5000, 200_000, 3 * MIB):
        board.kernel.malloc(size)
    assert {t.size for t in board.translations} == {PAGE, MIB}
    ram = TOWER.ram[0]
    before = board.life.ram.bytes[ram.base : ram.base + ram.size]
    translated(board, 2000)
    after = board.life.ram.bytes[ram.base : ram.base + ram.size]
    assert after == before, "the kernel's entries are marked as used from the start"
    for each in board.translations[:40]:
        with pytest.raises(AccessError):
            board.access(each.va, supervisor=False)


@pytest.mark.nightly
def test_100_000_translations(board: Board) -> None:
    board.kernel.malloc(3 * MIB)
    translated(board, 100_000 * EFFORT)


@pytest.mark.parametrize("strategy", AFFINE)
def test_C2_as_many_entries_are_locked_as_the_plan_says(strategy: str) -> None:
    """C2: one for each large page of the fixed part; with them locked no access to it misses, however much else is."""
    made = plan(TOWER, with_strategy(PROFILE, strategy))
    assert made.fixed is not None
    with Kernel.boot(TOWER, made.profile, "raw") as kernel:
        board = Board(kernel)
        assert board.lock() == board.mmu.locked == made.tlb.large == made.fixed.bytes // MIB < ENTRIES
        pick = random.Random(2)
        for va in places(board, pick, 500):  # whatever else there is comes and goes
            try:
                board.access(va)
            except AccessError:
                continue
        misses = board.mmu.misses
        for at in range(0, made.fixed.bytes, PAGE // 2):
            assert board.access(made.fixed.va + at, pick.choice((READ, WRITE))) == made.fixed.pa + at
        assert board.mmu.misses == misses and board.mmu.locked == made.tlb.large
        conserved(kernel)


@pytest.mark.parametrize("strategy", BOUNDED)
def test_C12_after_boot_the_affine_heap_never_misses(strategy: str) -> None:
    """C12: devices are published and the heap is filled and emptied: no new translation, no miss on any block."""
    with Kernel.boot(TOWER, with_strategy(PROFILE, strategy), "raw") as kernel:
        board = Board(kernel)
        locked, misses, blocks = board.lock(), board.mmu.misses, []
        shift = kernel.handle.loaded.window - kernel.handle.loaded.target
        kernel.devices.publish(0xFC00_0000, 2 * MIB)
        with pytest.raises((OutOfMemory, WouldBlock)):
            while True:
                blocks.append(kernel.malloc(1000))
                board.access(blocks[-1] - shift, WRITE)
        for block in blocks:
            board.access(block - shift)
            kernel.free(block)
        assert len(blocks) > 10 and board.mmu.misses == misses
        assert board.mmu.locked == locked == board.lock()
        conserved(kernel)


def test_C12_a_heap_of_single_pages_misses() -> None:
    """The other strategies map pages one by one, and lock none: a walk through more than the TLB holds misses."""
    with Kernel.boot(TOWER, with_strategy(PROFILE, "demand"), "raw") as kernel:
        board = Board(kernel)
        assert board.lock() == 0
        heap = int(kernel.view.kern["heap"]) - kernel.handle.loaded.window + kernel.handle.loaded.target
        pages = [t.va for t in board.translations if t.va >= heap]
        assert len(pages) > ENTRIES
        for _ in range(2):
            before = board.mmu.misses
            for va in pages:
                board.access(va)
            assert board.mmu.misses - before > len(pages) // 2


def test_what_release_gives_back_is_forgotten() -> None:
    """A locked entry goes with its large page."""
    with Kernel.boot(TOWER, with_strategy(PROFILE, "release"), "raw") as kernel:
        board = Board(kernel)
        locked, heap = board.lock(), board.kernel.view.kern["heap"] - kernel.handle.loaded.window
        heap = int(heap) + kernel.handle.loaded.target
        given = kernel.release() // MIB
        assert given > 0
        for number in range(locked - given, locked):
            board.forget(heap + number * MIB)
            with pytest.raises(AccessError):
                board.access(heap + number * MIB)
        assert board.mmu.locked == locked - given
        assert kernel.call("coldfire_locked", locked - given) == 0 != kernel.call("coldfire_locked", 0)


def test_no_other_number_is_locked(board: Board) -> None:
    count = board.lock()
    assert [board.kernel.call("coldfire_locked", n) for n in (-1, count, count + 1, 1 << 40, -1 << 63)] == [0] * 5


def test_processes_each_see_their_own_pages(board: Board, tmp_path: object) -> None:
    """A miss below the kernel's share looks into the tables of the process that runs. The note of use is made in the
    entry that was used; what is read only is a fault, which the kernel is called for, and no miss."""
    pages = board.kernel.pages
    with pages.source(f"{tmp_path}/pages", 40):
        spaces = [pages.space() for _ in range(2)]
        for number, space in enumerate(spaces):
            for page in range(10):
                space.map(0x10_0000 + page * 37 * PAGE, 10 * number + page, write=page % 2 == 0)
        frames = [[pages.get(10 * n + page).pfn * PAGE for page in range(10)] for n in range(2)]
        for turn in range(4):
            number = turn % 2
            board.run(spaces[number].root, number + 1)
            if turn < 2:  # as the page cache does, which then looks whether the note is made again
                _forget_use(board, spaces[number].root)
            assert all(bool(word & USED) == (turn >= 2) for _, word, _ in _leaves(board, spaces[number].root))
            for page in range(10):
                va = 0x10_0000 + page * 37 * PAGE
                assert board.access(va + 12, FETCH, supervisor=False) == frames[number][page] + 12
                assert board.access(va + 4, READ, supervisor=False) == frames[number][page] + 4
                if page % 2:
                    with pytest.raises(AccessError) as refused:
                        board.access(va, WRITE, supervisor=False)
                    assert refused.value.status == 0b1001, "a protected page"
                else:
                    assert board.access(va, WRITE, supervisor=False) == frames[number][page]
            assert all(word & USED for _, word, _ in _leaves(board, spaces[number].root))
            with pytest.raises(AccessError) as refused:
                board.access(0x10_0000 + PAGE, supervisor=False)
            assert refused.value.status == 0b1110, "nothing is mapped there"
        for space in spaces:
            space.free()


def _forget_use(board: Board, root: int) -> None:
    for _, word, at in _leaves(board, root):
        board.life.ram.bytes[at : at + 4] = (word & ~USED).to_bytes(4, "little")


def _leaves(board: Board, root: int) -> Iterator[tuple[int, int, int]]:
    """(address, entry, its place) of the pages of a process, by the levels' shifts."""
    words = memoryview(board.life.ram.bytes).cast("I")

    def entries(table: int) -> Iterator[tuple[int, int, int]]:
        for i in range(128):
            word = words[(table + 64 * i) // 4]
            if word & 1:
                yield i, word, table + 64 * i

    for i, root_word, _ in entries(root):
        for j, word, _ in entries(root_word & -PAGE):
            for page, leaf, at in entries(word & -PAGE):
                yield i << 27 | j << 20 | page << 13, leaf, at


LOOKUP = twin.compile([MISSES["coldfire"]["coldfire_miss"]])["coldfire_miss"]
BASE, TABLES = 2 * PAGE, 4  # where physical address 0 is, and in how many frames there are tables


@settings(max_examples=20 * EFFORT)
@given(st.integers(0, 1 << 32), st.integers(0, 1), st.integers(0, 255))
def test_whatever_the_tables_say_the_handler_loads_what_a_walk_finds(seed: int, root: int, space: int) -> None:
    """Over tables of random entries, which lead to one another, on memory of nothing else: the model of a walk, written
    from the manual, finds that page, of that size, with those rights, and marks that entry and no other."""
    numbers = numpy.random.default_rng(seed)
    entries = numpy.zeros((TABLES * 128, 16), "<u4")
    entries[:, 0] = numbers.integers(0, 1 << 32, len(entries)) & 0xFFFF_E7FD | 0x10  # it maps
    leads = numbers.random(len(entries)) < 0.6
    leads[: 2 * 128] = True  # two frames of roots
    entries[leads, 0] = numbers.integers(2, TABLES, leads.sum()) << 13 | (numbers.random(leads.sum()) < 0.9)
    flat = FlatMemory(BASE + TABLES * PAGE + 4096)
    flat.top = len(flat.bytes)
    flat.bytes[BASE : BASE + TABLES * PAGE] = entries.tobytes()
    tables = bytearray(entries.tobytes())
    refill = BASE + TABLES * PAGE
    memory = walk_models.Memory(lambda at, width: int.from_bytes(tables[at : at + width], "little"), len(tables))
    twin.use(flat)
    for _ in range(20):
        va = int(numbers.integers(0, 1 << 32))
        for offset, value in ((0, BASE), (8, BASE), (16, BASE + root * PAGE), (24, space << 2 | V)):
            flat.store(refill + offset, 8, value)
        mine, shared = (0, SG | V) if va >= 0xC000_0000 else (root * PAGE, space << 2 | V)
        words = LOOKUP(refill, va) % (1 << 64)
        memory.marks.clear()
        try:
            pa, shift = walk_models.coldfire(memory, mine, va, "read", user=False)
        except walk_models.Fault as fault:
            assert words == 0 or str(fault) != "not present"
        else:
            entry = Entry(words >> 32, words & 0xFFFF_FFFF)
            assert entry.tag == va >> shift << shift | shared
            word = next(iter(memory.marks.values()))
            assert entry.data & 0x3FC == word & 0x3FC and not entry.data & LK and not entry.data & USED
            assert entry.data & -1 << shift == pa & -1 << shift
        for at, word in memory.marks.items():
            tables[at : at + 4] = word.to_bytes(4, "little")
        if words == 0 or memory.marks:
            assert flat.bytes[BASE : BASE + len(tables)] == tables
        else:
            tables[:] = flat.bytes[BASE : BASE + len(tables)]  # the root is not asked whether it maps


def test_C2_the_number_on_every_board_of_the_collection() -> None:
    """C2: planned equals locked, on all ColdFire boards of U-Boot that differ and have room for the heap's pages."""
    seen: set[object] = set()
    for path in sorted((DATA / "machines" / "dts").glob("coldfire-*.txt")):
        computer = Machine.read(path)
        shape = tuple((r.base, r.size) for r in computer.ram)
        if shape in seen:
            continue
        seen.add(shape)
        for strategy in AFFINE:
            try:
                made = plan(computer, with_strategy(PROFILE, strategy))
            except TooSmall:
                continue
            with Kernel.boot(computer, made.profile, "raw") as kernel:
                assert Board(kernel).lock() == made.tlb.large, f"{path.name}, {strategy}"
    assert len(seen) >= 8
