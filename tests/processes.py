"""Processes of a kernel of the oracle: what each should map, and what it finds there.

A processor keeps its translations, or forgets them whenever the process goes on; the second for kernels whose calls to
forget it does not hear (`watched`)."""

from contextlib import suppress
from pathlib import Path

from emulated import UNUSED, Outcome
from oracle import DEVICE, Tables

from kernmalloc.facade.errors import BadAddress
from kernmalloc.facade.pages import AddressSpace
from kernmalloc.machine.arch import ATTRIBUTE_NAMES
from kernmalloc.machine.walker import EXECUTE, READ, USER, WRITE

OIDS, FRAMES = 300, 150  # pages in the file, and frames that may hold them and the tables
CODE = 0  # the page with the instructions


class World:
    """A kernel with few free frames, processes, and what each should map: object id and writable, by address."""

    def __init__(self, tables: Tables, file: Path, spaces: int = 3, keeps: bool = False) -> None:
        self.spaces, self.keeps = spaces, keeps
        self.running: AddressSpace | None = None
        self.tables, self.pick, self.kernel = tables, tables.pick, tables.kernel
        page, pages = tables.page, 1 << tables.arch.index_bits
        self.large = self.kernel.range_get(pages, align=pages) * page, pages
        self.kernel.devices.publish(DEVICE, 2 * tables.arch.large_page)
        self.kernel.devices.cache(DEVICE, ATTRIBUTE_NAMES[2])
        for _ in range(self.kernel.frames_by_type()["free"] - FRAMES):
            self.kernel.frame_get()
        self.cpu = tables.emulated(user=True)
        self.pages = self.kernel.pages
        self.source = self.pages.source(file, pages=OIDS)
        self.code = tables.arch.large_page - 3 * tables.page
        code = self.pages.get(CODE)
        code.write(0, self.cpu.instructions)
        code.pin()
        self.mapped: dict[AddressSpace, dict[int, tuple[int, bool]]] = {}
        self.held: dict[AddressSpace, dict[int, tuple[int, int, bool]]] = {}  # physical address, pages, writable

    def close(self) -> None:
        for space in self.mapped:
            space.free()
        self.pages.get(CODE).unpin()
        self.source.close()
        self.kernel.devices.withdraw(DEVICE)
        self.kernel.range_put(self.large[0] // self.tables.page, self.large[1])

    def somewhere(self) -> int:
        """An address of a page that a process may map; not so far from others that each has tables of its own."""
        page, end = self.tables.page, self.tables.arch.user_end
        start = self.pick.choice([0, end // 2, end - 200 * page, self.tables.arch.large_page])
        return start + self.pick.randrange(1, 200) * page

    def change(self) -> AddressSpace:
        """Make a process, or change what it maps."""
        if len(self.mapped) < self.spaces:
            space = self.pages.space()
            self.mapped[space], self.held[space] = {}, {}
            self.map(space, self.code, CODE, False)
        space = self.pick.choice(list(self.mapped))
        mapped = self.mapped[space]
        for _ in range(20):
            va = self.somewhere()
            if va not in mapped:
                self.map(space, va, self.pick.randrange(1, OIDS), self.pick.random() < 0.5)
            elif va != self.code:
                del mapped[va]
                with suppress(BadAddress):  # it was stolen
                    space.unmap(va)
        for va in self.pick.sample(list(mapped), len(mapped) // 2):
            self.map(space, va, *mapped[va])
        self.hold(space)
        return space

    def hold(self, space: AddressSpace) -> None:
        """Map a large page or pages of a device, or take them out."""
        arch, page, held = self.tables.arch, self.tables.page, self.held[space]
        va, write = self.pick.randrange(3, 6) * arch.large_page, self.pick.random() < 0.5
        if va in held:
            space.unmap(va, held.pop(va)[1])
        elif self.pick.random() < 0.5:
            pa, pages = self.pick.choice([self.large, (DEVICE, 1 << arch.index_bits)])
            space.map_large(va, pa // page, write)
            held[va] = pa, pages, write
        else:
            pages = self.pick.randrange(1, 9)
            space.map_device(va, DEVICE // page + 5, pages, write)
            held[va] = DEVICE + 5 * page, pages, write

    def map(self, space: AddressSpace, va: int, oid: int, write: bool) -> None:
        space.map(va, oid, write)
        self.mapped[space][va] = oid, write

    def run(self, space: AddressSpace, accesses: int) -> None:
        """Let a process run: loads and stores in it, and where it may not."""
        tables, cpu = self.tables, self.cpu
        if not cpu.family.sets_used:
            self.use(space, self.code)
        if space is not self.running:
            cpu.begin(tables.loaded.root, space.root, self.code)
            self.running = space
        if not self.keeps:
            cpu.forget()
        places, held = list(self.mapped[space]), list(self.held[space])
        for _ in range(accesses):
            va = self.pick.choice(places) + self.pick.choice([0, 0, 0, tables.page])
            if held and self.pick.random() < 0.3:
                va = self.pick.choice(held) + self.pick.choice([0, 1, 7, 1 << tables.arch.index_bits]) * tables.page
            if self.pick.random() < 0.1:
                va = tables.address()
            va += self.pick.randrange(64, tables.page, tables.words) - va % tables.page
            if va & -tables.page == self.code:
                continue  # its entry is used by every instruction
            access = USER | self.pick.choices((READ, WRITE, EXECUTE), (4, 4, 1))[0]
            outcome = self.access(space, va, access)
            if outcome.fault == UNUSED:
                self.use(space, va)
                outcome = self.access(space, va, access)
            if outcome.pa >= 0 and va & -tables.page in self.mapped[space]:
                self.after(space, va)

    def access(self, space: AddressSpace, va: int, access: int) -> Outcome:
        """A load, a store or an instruction: what came of it, as the walker says, of what should be there."""
        outcome = self.tables.access(self.cpu, space.root, va, access)
        if outcome.pa >= 0:
            pa, may_write = self.should_be(space, va & -self.tables.page)
            assert outcome.pa & -self.tables.page == pa and (may_write or access != USER | WRITE)
        return outcome

    def should_be(self, space: AddressSpace, page: int) -> tuple[int, bool]:
        """The physical address of what a process has at a page, and whether it may write there."""
        if page in self.mapped[space]:
            oid, write = self.mapped[space][page]
            return self.kernel.call("page_get", oid) * self.tables.page, write
        (found,) = (
            (pa + page - va, write)
            for va, (pa, pages, write) in self.held[space].items()
            if va <= page < va + pages * self.tables.page
        )
        return found

    def use(self, space: AddressSpace, va: int) -> None:
        """Note in an entry that it is used. As long as it was not, no processor has kept it."""
        at = self.tables.leaf_at(space.root, va)
        self.tables.put_entry(at, self.tables.entry(at) | self.tables.arch.used)

    def after(self, space: AddressSpace, va: int) -> None:
        """The entry says that it was used. Sometimes somebody takes that back."""
        at = self.tables.leaf_at(space.root, va)
        assert self.tables.entry(at) & self.tables.arch.used
        if self.pick.random() < 0.2:
            self.tables.put_entry(at, self.tables.entry(at) & ~self.tables.arch.used)
            self.cpu.invalidate(va)
