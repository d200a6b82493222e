"""A window in page tables that are there already: what they map stays, and the window is reached beside it."""

import pytest
from flat_memory import FlatMemory
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from page_walk import leaves
from small_machines import MODES, conserved, machine

from kernmalloc.facade import loader
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.boot import layout
from kernmalloc.kernel.boot.config import LAYOUT_SHIFT, BootRange, Config
from kernmalloc.kernel.core.kern import VERSION
from kernmalloc.kernel.heap.caches import ObjectType
from kernmalloc.lang import twin
from kernmalloc.lang.status import BAD_BOOT, WINDOW_USED
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.arch.model import Format

MIB, GIB = 1 << 20, 1 << 30
PAGE = 4096
AREA = 2 * MIB
DO = twin.compile([layout.area_bytes, layout.init])
PAE, X86_64 = FORMATS["i386-pae"], FORMATS["x86_64"]


def signed(va: int) -> int:
    return va - (1 << 64) if va >= 1 << 63 else va


class World:
    """Memory in which a client has mapped pages, and a window is to be hung into its tables."""

    def __init__(self, format: Format, pages: list[int]) -> None:
        self.format, self.memory = format, FlatMemory(8 * MIB)
        self.memory.top = MIB
        twin.use(self.memory)
        self.root = self.table()
        for va in pages:
            self.map(va)
        self.pages = self.seen(self.root)
        self.config = Config(self.memory.new(Config.size))
        self.memory.top = len(self.memory.bytes)

    def table(self) -> int:
        at = -(-self.memory.top // PAGE) * PAGE
        self.memory.top = at + PAGE
        return at

    def entry(self, table: int, va: int, shift: int) -> int:
        return table + ((va >> shift & 511) << 3)

    def map(self, va: int) -> None:
        """Map some page there."""
        table, shift = self.root, self.format.root_shift
        while shift > 12:
            at = self.entry(table, va, shift)
            if not self.memory.load(at, 8):
                kind = self.format.root if shift == self.format.root_shift else self.format.table
                self.memory.store(at, 8, self.table() | kind)
            table, shift = self.memory.load(at, 8) & self.format.address, shift - 9
        self.memory.store(self.entry(table, va, shift), 8, va & 0xFFF_F000 | self.format.leaf)

    def seen(self, root: int) -> set[tuple[int, int]]:
        return {(leaf.va, leaf.pa) for leaf in leaves(self.memory.bytes, self.format.name, root)}

    def used(self, window: int, size: int) -> bool:
        """Whether a table or large page of the client's has addresses of a gigabyte that the window touches."""
        for va in range(window & -GIB, window + size, GIB):
            table, shift = self.root, self.format.root_shift
            while word := self.memory.load(self.entry(table, va, shift), 8):
                if shift == 30:
                    return True
                table, shift = word & self.format.address, shift - 9
        return False

    def init(self, window: int, size: int, **fields: int) -> int:
        told = {"version": VERSION << LAYOUT_SHIFT | Config.layout, "bytes": Config.size, "cpus": 1, "target": 0}
        told |= {"arch": self.format.number, "window": signed(window), "window_bytes": size, "upper": self.root}
        told |= {"image_pa": 16 * MIB, "image_bytes": MIB, "area_pa": AREA, "area_room": 6 * MIB}
        for name, value in (told | fields).items():
            setattr(self.config, name, value)
        self.config.ranges, self.config.objects = BootRange(4096), ObjectType(4096)
        return int(DO["init"](self.config.addr, 0))


SPANS = {
    PAE.name: st.integers(1, 2046),
    X86_64.name: st.integers(1, 1 << 12) | st.integers((1 << 26) - (1 << 12), (1 << 26) + (1 << 12)),
}


def address(format: Format, span: int) -> int:
    """Of a span; in x86-64 the upper half follows the lower one."""
    va = span << 21
    return va | 0xFFFF << 48 if format is X86_64 and va >> 47 else va


@pytest.mark.parametrize("format", [PAE, X86_64], ids=lambda format: format.name)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_the_window_is_hung_beside_what_is_there(format: Format, data: st.DataObject) -> None:
    """Or it is in use, and nothing has changed."""
    spans = SPANS[format.name]
    world = World(format, [address(format, span) for span in data.draw(st.lists(spans, max_size=6))])
    first, count = data.draw(spans), data.draw(st.integers(8, 600))
    window, size = address(format, first), count << 21
    end = 2048 if format is PAE else 1 << 26 if first < 1 << 26 else 1 << 27
    assume(first + count < end)
    before = bytes(world.memory.bytes)
    used = world.used(window, size)
    answer = world.init(window, size)
    event("used" if used else "free")
    if used:
        assert answer == WINDOW_USED
        told = slice(world.config.addr, world.config.addr + Config.size)
        world.memory.bytes[told] = before[told]
        assert world.memory.bytes == before
        return
    assert answer == world.root
    own = world.seen(AREA + world.config.root)
    assert own and world.seen(world.root) == world.pages | own
    changed = [at for at in range(0, world.config.addr, 8) if world.memory.bytes[at : at + 8] != before[at : at + 8]]
    assert 0 < len(changed) <= world.config.directories, "beside the area only the entries that lead to it"


def test_a_page_of_a_gigabyte_is_in_the_way() -> None:
    world = World(X86_64, [64 * GIB + 5 * PAGE])
    directory = world.entry(world.memory.load(world.root, 8) & X86_64.address, 64 * GIB, 30)
    world.memory.store(directory, 8, 5 * GIB | X86_64.large)
    assert world.init(64 * GIB + 512 * MIB, 256 * MIB) == WINDOW_USED
    assert world.init(65 * GIB, 256 * MIB) == world.root


def test_pages_that_cannot_be_executed() -> None:
    """All of the window but the image; where the format has no such bit it is refused."""
    world = World(X86_64, [])
    assert world.init(64 * GIB, GIB, no_execute=1) == world.root
    leaf = {each.va: each.entry >> 63 for each in leaves(world.memory.bytes, X86_64.name, world.root)}
    image = {va for va in leaf if va < 64 * GIB + MIB}
    assert len(image) == 256 and {leaf[va] for va in image} == {0} and {leaf[va] for va in leaf.keys() - image} == {1}
    world = World(FORMATS["i386"], [])
    assert world.init(0xC000_0000, GIB, no_execute=1, upper=0) == BAD_BOOT


def test_a_root_that_is_the_windows_directory_is_not_shared() -> None:
    """With two levels of tables the root is the directory, which the kernel writes to."""
    for name in ("i386", "armv7", "riscv32-sv32"):
        assert World(FORMATS[name], []).init(0xC000_0000, GIB) == BAD_BOOT


@pytest.mark.parametrize("no_execute", [0, 1], ids=["", "no_execute"])
@pytest.mark.parametrize("mode", MODES)
def test_a_kernel_runs_under_a_root_of_its_clients(mode: str, no_execute: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mode walks from that root. What the client maps stays as it was, whatever the kernel does."""
    root, directory = 0x4000, 0x5000  # in memory that is not the kernel's
    told = loader.configuration

    def configuration(profile: Profile, frames: int):  # type: ignore[no-untyped-def]
        info = told(profile, frames)
        info["upper"], info["no_execute"] = root, no_execute
        return info

    def prepare(ram) -> None:  # type: ignore[no-untyped-def]
        ram.bytes[root : root + 8] = (directory | PAE.root).to_bytes(8, "little")
        ram.bytes[directory : directory + 8] = (0x40_0000 | PAE.large).to_bytes(8, "little")

    monkeypatch.setattr(loader, "configuration", configuration)
    with Kernel.boot(machine((MIB, 12 * MIB)), Profile.load("eros2"), mode, prepare=prepare) as kernel:
        ram = kernel.handle.life.ram.bytes
        assert kernel.handle.loaded.root == root
        blocks = [kernel.malloc(size) for size in (100, 70_000, MIB)]
        pfn = kernel.frame_get("page")
        assert kernel.call("window_close", kernel.call("window_open", pfn)) == 0
        kernel.frame_put(pfn)
        for va in blocks:
            kernel.free(va)
        kernel.drain()
        entries = [int.from_bytes(ram[root + at : root + at + 8], "little") for at in range(0, 32, 8)]
        assert entries[0] == directory | PAE.root and entries[1:3] == [0, 0] and entries[3]
        assert int.from_bytes(ram[directory : directory + 8], "little") == 0x40_0000 | PAE.large
        conserved(kernel)
