"""Pages on demand: found, read, written back, stolen and brought back, in every life and against a model.

Rows E30, E31 (the free list is empty: pages are evicted, malloc succeeds), E39, E14 (the kernel maps no page), E17, E18
(mapping tables lie in kernel space, with a type of their own), C11."""

import random
from itertools import takewhile

import pytest
from page_source import Source
from page_walk import leaves
from small_machines import MIB, MODES, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import DIRTY, FAILED, WRITING
from kernmalloc.kernel.pages.source import SLOTS
from kernmalloc.kernel.pages.umap import Umap
from kernmalloc.lang import failed
from kernmalloc.lang.status import (
    BAD_ADDRESS,
    BAD_FRAME,
    BUSY,
    IO_ERROR,
    NO_FRAMES,
    NO_SOURCE,
    NOT_ALLOCATED,
    OK,
    WOULD_BLOCK,
)
from kernmalloc.machine.arch import FORMATS

PAGE = 4096
STEPS = {"raw": 6000, "soft": 2500, "twin": 300}


def booted(mode: str = "raw", frames: int = 0, profile: str = "eros2") -> Kernel:
    """A kernel of a few MiB, all but `frames` of whose free frames (0: none) are held by somebody."""
    kernel = Kernel.boot(
        machine((0, 8 * MIB), (16 * MIB, 16 * MIB)) if profile == "x86_64" else machine((0, 8 * MIB)),
        Profile.load(profile),
        mode,
    )
    while frames and kernel.frames_by_type()["free"] > frames:
        kernel.frame_get()
    return kernel


class Load:
    """Random use of pages, by frame and by mapping, against what each page's content must be."""

    def __init__(self, kernel: Kernel, seed: int, pages: int) -> None:
        self.kernel, self.source, self.pick, self.pages = kernel, Source(kernel), random.Random(seed), pages
        self.content: dict[int, bytes] = {}
        self.umaps = [self.source.call("umap_make") for _ in range(3)]
        self.mapped: dict[tuple[int, int], int] = {}

    def oid(self) -> int:
        return int(self.pick.paretovariate(0.6)) % self.pages

    def expect(self, oid: int, pfn: int) -> None:
        assert self.source.contents(pfn) == self.content.get(oid, bytes(PAGE)), oid

    def write(self, oid: int, pfn: int) -> None:
        at = pfn * PAGE + 8 * self.pick.randrange(PAGE // 8)
        self.source.memory[at : at + 8] = self.pick.randbytes(8)
        self.content[oid] = self.source.contents(pfn)

    def get(self) -> None:
        oid = self.oid()
        pfn = self.source.call("page_get", oid)
        assert pfn >= 0
        self.expect(oid, pfn)
        if self.pick.random() < 0.4:
            assert self.kernel.call("page_dirty", pfn) == OK
            self.write(oid, pfn)

    def map(self) -> None:
        umap, oid, write = self.pick.choice(self.umaps), self.oid(), self.pick.random() < 0.3
        va = oid << 12
        result = self.source.call("umap_map", umap, va, oid, int(write))
        assert result == OK
        self.mapped[umap, va] = oid
        pfn = self.source.call("page_get", oid)
        self.expect(oid, pfn)
        if write:
            self.write(oid, pfn)

    def unmap(self) -> None:
        if self.mapped:
            (umap, va) = self.pick.choice(list(self.mapped))
            del self.mapped[umap, va]
            assert self.kernel.call("umap_unmap", umap, va) in (OK, NOT_ALLOCATED)  # it may have been stolen

    def block(self) -> None:
        va = self.source.call("malloc", self.pick.choice((100, 5000, 40_000, 200_000)))
        assert va > 0, "the heap grows at the cost of pages"
        self.kernel.call("free", va)

    def clean(self) -> None:
        pfn = self.source.call("page_get", self.oid())
        assert self.source.call("page_clean", pfn) == OK

    def step(self) -> None:
        self.pick.choices((self.get, self.map, self.unmap, self.block, self.clean), (8, 6, 2, 1, 1))[0]()


@pytest.mark.parametrize("mode", MODES)
def test_every_page_comes_back_as_it_was_E30_E31_E39(mode):
    """Four times as many pages as frames: what was stolen comes back byte for byte, whoever wrote to it and however,
    and the heap gets what it asks for; nothing is lost, and `check` holds."""
    with booted(mode, 200) as kernel:
        load = Load(kernel, 7, 800)
        for i in range(STEPS[mode]):
            load.step()
            if i % (STEPS[mode] // 8) == 0:
                conserved(kernel)
        if mode != "twin":
            pages = kernel.view.kern["pages"]
            assert pages["evictions"] > 50 and pages["writes"] > 30
        for oid in load.content:
            load.expect(oid, load.source.call("page_get", oid))
        for umap in load.umaps:
            assert kernel.call("umap_free", umap) == OK
        conserved(kernel)


def test_the_lives_agree_on_every_eviction():
    """The same load in raw, soft and twin: the same results, counts and memory."""
    found = []
    for mode in MODES:
        with booted(mode, 150) as kernel:
            load = Load(kernel, 3, 300)
            for _ in range(200):
                load.step()
            found.append((kernel.view.kern["pages"].tobytes(), kernel.snapshot().keys() and kernel.frames_by_type()))
    assert found[0] == found[1] == found[2]


def test_malloc_evicts_where_the_free_list_is_empty_E30_E31():
    """E30, E31: with no free frame, malloc takes the frames of clean pages; with dirty ones only it waits for them to
    be written; with pinned ones only it is refused, and nothing has changed."""
    with booted("raw", 40) as kernel:
        source = Source(kernel)
        pages = [source.call("page_get", oid) for oid in range(kernel.frames_by_type()["free"])]
        assert kernel.frames_by_type()["free"] == 0
        assert kernel.call("malloc", 3 * PAGE) > 0
        pages = [pfn for pfn in pages if kernel.call("page_pin", pfn) == OK]
        for pfn in pages:
            kernel.call("page_dirty", pfn)
        held = []
        while (va := kernel.call("malloc", 20 * PAGE)) > 0:
            held.append(va)
        assert va in (NO_FRAMES, WOULD_BLOCK) and all(kernel.frame_type(pfn) == "page" for pfn in pages)
        for pfn in pages:
            kernel.call("page_unpin", pfn)
        assert kernel.call("malloc", 10 * PAGE) == WOULD_BLOCK, "the source was asked to write"
        assert kernel.view.kern["pages"]["counts"][WRITING] > 0
        assert source.call("malloc", 10 * PAGE) > 0
        conserved(kernel)


def test_what_is_written_while_it_is_written_back_is_written_again():
    """A page that is changed after its write-back was asked for is dirty when that is done."""
    with booted() as kernel:
        source = Source(kernel)
        pfn = source.call("page_get", 5)
        kernel.call("page_dirty", pfn)
        assert kernel.call("page_clean", pfn) == OK
        (request,) = source.waiting()
        assert request == (5, pfn, 1)
        kernel.call("page_dirty", pfn)
        source.answer(pfn, 1, 0)
        kernel.call("source_poll")
        assert kernel.view.kern["pages"]["counts"][DIRTY] == 1
        conserved(kernel)


def test_a_source_that_fails():
    """A page that cannot be read is told of once, and asked for again then; one that cannot be written stays dirty."""
    with booted() as kernel:
        broken = {1, 2}
        source = Source(kernel, lambda oid, write: oid in broken)
        assert source.call("page_get", 1) == IO_ERROR
        assert source.call("page_get", 1) == IO_ERROR
        broken.clear()
        assert source.call("page_get", 1) >= 0
        pfn = source.call("page_get", 2)
        kernel.call("page_dirty", pfn)
        broken.add(2)
        kernel.call("page_clean", pfn)
        source.poll()
        counts = kernel.view.kern["pages"]["counts"]
        assert counts[DIRTY] == 1 and counts[FAILED] == 0
        conserved(kernel)


def test_a_driver_that_lies_changes_nothing():
    """Answers to what was not asked, of frames that are none or hold none, are counted and that is all."""
    with booted() as kernel:
        source = Source(kernel)
        page = source.call("page_get", 3)
        for pfn, write in ((page, 0), (page, 1), (1, 1), (1 << 40, 0), (-5, 1), (kernel.frame_get(), 0)):
            source.answer(pfn, write, 0)
        assert kernel.call("source_poll") == 0
        assert kernel.view.kern["pages"]["lies"] == 6
        source.put(4, 12345, 4)  # so many more answers at once
        assert kernel.call("source_poll") == 0
        conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_as_many_pages_are_read_at_once_as_the_ring_has_room_for(mode):
    """E31: one more waits, until the driver has answered one."""
    with booted(mode) as kernel:
        source = Source(kernel)
        for oid in range(SLOTS):
            assert kernel.call("page_get", oid) == WOULD_BLOCK
        asked = source.waiting()
        assert [oid for oid, _, _ in asked] == list(range(SLOTS))
        free = kernel.frames_by_type()["free"]
        for _ in range(3):
            assert kernel.call("page_get", SLOTS) == WOULD_BLOCK
        assert source.waiting() == []
        assert kernel.frames_by_type()["free"] == free
        conserved(kernel)
        source.answer(asked[0][1], 0, OK)
        kernel.call("source_poll")
        assert kernel.call("page_get", SLOTS) == WOULD_BLOCK
        assert [oid for oid, _, _ in source.waiting()] == [SLOTS]
        conserved(kernel)


def test_refusals():
    """Wrong arguments are refused with a status each, and change nothing."""
    with booted() as kernel:
        assert kernel.call("page_get", 1) == NO_SOURCE == kernel.call("source_poll") == kernel.call("source_close")
        source = Source(kernel)
        assert kernel.call("source_open") == BUSY
        umap = source.call("umap_make")
        pfn = source.call("page_get", 9)
        mine = kernel.frame_get()
        end = FORMATS["i386-pae"].user_end
        state = kernel.snapshot()
        for entry, args, status in (
            ("page_get", (-1,), BAD_ADDRESS), ("umap_map", (umap, 1, 9, 0), BAD_ADDRESS),
            ("umap_map", (umap, end, 9, 0), BAD_ADDRESS),
            ("umap_map", (umap, -PAGE, 9, 0), BAD_ADDRESS), ("umap_map", (umap + 8, 0, 9, 0), BAD_ADDRESS),
            ("umap_map", (umap, 0, -9, 0), BAD_ADDRESS),
            ("umap_unmap", (umap, 0), NOT_ALLOCATED), ("umap_free", (0,), BAD_ADDRESS),
            ("umap_free", (ring_of(kernel),), BAD_ADDRESS),
            ("page_pin", (mine,), BAD_FRAME), ("page_dirty", (1 << 40,), BAD_FRAME),
            ("page_unpin", (pfn,), NOT_ALLOCATED),
            ("frame_put", (pfn,), BAD_FRAME), ("page_discard", (mine,), BAD_FRAME), ("page_clean", (-1,), BAD_FRAME),
        ):  # fmt: skip
            assert kernel.call(entry, *args) == status, (entry, args)
        after = kernel.snapshot()
        cpu = kernel.view.pa(kernel.handle.loaded.cpu) & -PAGE
        assert {at for at in state.keys() | after.keys() if state.get(at) != after.get(at)} <= {cpu}
        assert kernel.call("umap_map", umap, 0, 9, 0) == OK
        assert source.call("umap_map", umap, 0, 10, 0) == BUSY
        conserved(kernel)


def ring_of(kernel: Kernel) -> int:
    return int(kernel.view.kern["pages"]["source"])


@pytest.mark.parametrize("profile", ["eros2", "x86_64", "coyotos-i386"])
def test_tables_lie_in_kernel_space_and_have_a_type_of_their_own_E17_E18(profile):
    """E17, E18: mapping one page takes tables, which are MAPPING frames behind kernel addresses; a page that is mapped
    is mapped by no entry of the kernel's (E14, held by `check`); the address space gives all of them back (C11)."""
    with booted(profile=profile) as kernel:
        source = Source(kernel)
        kernel.drain()
        before = kernel.frames_by_type()
        umap = source.call("umap_make")
        for va in (0, PAGE, 1 << 30, (1 << 31) - PAGE):
            assert source.call("umap_map", umap, va, va >> 12, 1) == OK
        state = kernel.view.read(Umap, umap)[0]
        assert state["pages"] == 4 and state["tables"] > 3
        now = kernel.frames_by_type()
        assert now["mapping"] >= before["mapping"] + int(state["tables"])
        conserved(kernel)
        assert kernel.call("umap_free", umap) == OK
        for oid in (0, 1, 1 << 18, (1 << 19) - 1):
            kernel.call("page_discard", source.call("page_get", oid))
        kernel.drain()
        assert kernel.frames_by_type() == before
        conserved(kernel)


def test_a_mapping_that_lacks_a_table_leaves_none_E17_E18():
    """E17, E18: with so few frames that the second or third table cannot be made, those made before go again."""
    with booted(profile="x86_64") as kernel:
        source = Source(kernel)
        umap = source.call("umap_make")
        pfn = source.call("page_get", 1)
        assert kernel.call("page_pin", pfn) == OK
        held = [kernel.frame_get("dma") for _ in range(kernel.frames_by_type()["free"])]
        blocks = list(takewhile(lambda va: not failed(va), (kernel.call("malloc", PAGE) for _ in range(8192))))
        made = set()
        for turn in range(12):
            tables = int(kernel.view.read(Umap, umap)[0]["tables"])
            status = kernel.call("umap_map", umap, (turn + 1) << 39, 1, 1)
            made.add(int(kernel.view.read(Umap, umap)[0]["tables"]) - tables)
            assert status in (OK, NO_FRAMES, WOULD_BLOCK) and made <= {0, 3}
            assert kernel.check().passed, kernel.check().failure
            kernel.frame_put(held.pop())
        assert made == {0, 3}
        for block in blocks:
            kernel.free(block)
        assert kernel.call("page_unpin", pfn) == OK
        conserved(kernel)


def test_nobody_keeps_a_translation_by_which_a_page_could_be_written_E31():
    """When the write-back of a page is asked for, every mapping of it is forgotten by all processors."""
    with booted("twin") as kernel:
        source, forgotten = Source(kernel), []
        spaces = [source.call("umap_make") for _ in range(2)]
        for number, umap in enumerate(spaces):
            assert source.call("umap_map", umap, (number + 1) << 12, 5, 1) == OK
        roots = [int(kernel.view.read(Umap, umap)[0]["root_pa"]) for umap in spaces]
        kernel.handle.life.km_port_forget = lambda root, va: forgotten.append((root, va)) or 0
        assert kernel.call("page_clean", source.call("page_get", 5)) == OK
        assert sorted(forgotten) == sorted((root, (number + 1) << 12) for number, root in enumerate(roots))
        source.poll()
        conserved(kernel)


def test_a_pinned_page_is_never_stolen_E14():
    """Pages go when the free list is empty; one that is pinned stays, with what is in it."""
    with booted(frames=40) as kernel:
        source = Source(kernel)
        pfn = source.call("page_get", 5)
        source.memory[pfn * PAGE : (pfn + 1) * PAGE] = b"\x5a" * PAGE
        assert kernel.call("page_pin", pfn) == OK
        for oid in range(100, 400):
            assert source.call("page_get", oid) != pfn
        assert source.contents(pfn) == b"\x5a" * PAGE
        assert source.call("page_get", 5) == pfn and source.reads == 301
        assert kernel.call("page_unpin", pfn) == OK
        conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_a_page_that_is_written_back_can_not_be_written_meanwhile_E31(mode):
    """Its mappings lose the right to write when the write-back is asked for; who writes comes to the kernel first."""
    with booted(mode) as kernel:
        source = Source(kernel)
        umap = source.call("umap_make")
        assert source.call("umap_map", umap, 0x1000, 5, 1) == OK
        root = int(kernel.view.read(Umap, umap)[0]["root_pa"])

        def writable() -> bool:
            (leaf,) = leaves(source.memory, "i386-pae", root)
            return bool(leaf.entry & 2)

        assert writable()
        pfn = source.call("page_get", 5)
        assert kernel.call("page_clean", pfn) == OK
        assert not writable()
        source.poll()
        assert not writable(), "it is clean: the first to write makes it dirty"
        assert source.call("umap_map", umap, 0x1000, 5, 1) == OK and writable()
        conserved(kernel)
