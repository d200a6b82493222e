"""Processes of a kernel of the oracle: what each should map, and what it finds there.

A processor keeps its translations, or forgets them whenever the process goes on; the second for kernels whose calls to
forget it does not hear (`watched`)."""

from contextlib import suppress
from pathlib import Path

from emulated import UNUSED, Outcome
from oracle import Tables

from kernmalloc.facade.errors import BadAddress
from kernmalloc.facade.pages import AddressSpace
from kernmalloc.machine.walker import READ, USER, WRITE

OIDS, FRAMES = 300, 150  # pages in the file, and frames that may hold them and the tables
CODE = 0  # the page with the instructions


class World:
    """A kernel with few free frames, processes, and what each should map: object id and writable, by address."""

    def __init__(self, tables: Tables, file: Path, spaces: int = 3, keeps: bool = False) -> None:
        self.spaces, self.keeps = spaces, keeps
        self.running: AddressSpace | None = None
        self.tables, self.pick, self.kernel = tables, tables.pick, tables.kernel
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

    def close(self) -> None:
        for space in self.mapped:
            space.free()
        self.pages.get(CODE).unpin()
        self.source.close()

    def somewhere(self) -> int:
        """An address of a page that a process may map; not so far from others that each has tables of its own."""
        page, end = self.tables.page, self.tables.arch.user_end
        start = self.pick.choice([0, end // 2, end - 200 * page, self.tables.arch.large_page])
        return start + self.pick.randrange(1, 200) * page

    def change(self) -> AddressSpace:
        """Make a process, or change what it maps."""
        if len(self.mapped) < self.spaces:
            space = self.pages.space()
            self.mapped[space] = {}
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
        return space

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
        places = list(self.mapped[space])
        for _ in range(accesses):
            va = self.pick.choice(places) + self.pick.choice([0, 0, 0, tables.page])
            if self.pick.random() < 0.1:
                va = tables.address()
            va += self.pick.randrange(64, tables.page, tables.words) - va % tables.page
            if va & -tables.page == self.code:
                continue  # its entry is used by every instruction
            store = self.pick.random() < 0.5
            outcome = self.access(space, va, store)
            if outcome.fault == UNUSED:
                self.use(space, va)
                outcome = self.access(space, va, store)
            if outcome.pa >= 0:
                self.after(space, va, outcome)

    def access(self, space: AddressSpace, va: int, store: bool) -> Outcome:
        """A load or a store: what came of it, as the walker says, and of the page that should be there."""
        tables, memory, value = self.tables, self.tables.ram.bytes, self.pick.getrandbits(8 * self.tables.words)
        expected = tables.expected(self.cpu, space.root, va, USER | (WRITE if store else READ))
        if expected.pa >= 0:
            oid, may_write = self.mapped[space][va & -tables.page]
            assert expected.pa & -tables.page == self.kernel.call("page_get", oid) * tables.page
            assert may_write >= store
            if not store:
                value = int.from_bytes(memory[expected.pa : expected.pa + tables.words], "little")
            expected = expected._replace(value=value)
        outcome = self.cpu.store(va, value) if store else self.cpu.load(va)
        assert outcome == expected, f"{va:#x}"
        assert tables.walks.entries() == tables.walks.marked, f"{va:#x}"
        tables.counts["accesses"] += 1
        return outcome

    def use(self, space: AddressSpace, va: int) -> None:
        """Note in an entry that it is used. As long as it was not, no processor has kept it."""
        at = self.tables.leaf_at(space.root, va)
        self.tables.put_entry(at, self.tables.entry(at) | self.tables.arch.used)

    def after(self, space: AddressSpace, va: int, outcome: Outcome) -> None:
        """The value is where it should be, and the entry says that it was used. Sometimes somebody takes that back."""
        tables, at = self.tables, self.tables.leaf_at(space.root, va)
        found = tables.ram.bytes[outcome.pa : outcome.pa + tables.words]
        assert found == outcome.value.to_bytes(tables.words, "little")
        assert tables.entry(at) & tables.arch.used
        if self.pick.random() < 0.2:
            tables.put_entry(at, tables.entry(at) & ~tables.arch.used)
            self.cpu.invalidate(va)
