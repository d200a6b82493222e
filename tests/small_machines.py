"""Small machines to run the kernel on, and what must hold of every kernel at the end of a test."""

from msgspec.structs import replace

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Address, Bytes, Profile, Window
from kernmalloc.facade.view import View
from kernmalloc.inputs.facts import Range
from kernmalloc.kernel.heap.bins import OWN
from kernmalloc.kernel.heap.slabs import LISTED, SlabPage
from kernmalloc.machine.memory_map import Machine
from kernmalloc.machine.ram import Ram

MIB = 1 << 20
DIRECT = 3 << 45  # where a direct map can lie in a process
MODES = ("raw", "soft", "twin")


def machine(*ranges: tuple[int, int], kind: str = "ram") -> Machine:
    """A machine with RAM at (base, bytes) ranges."""
    ram = tuple(Range(base=base, size=size, kind=kind, name="", line=0) for base, size in ranges)
    return Machine(name="test", file="test", arch="i386", ram=ram)


def guest(size: int = 1 << 40, name: str = "guest", **more: object) -> Profile:
    """A kernel in a direct map that lies at one place in every mode."""
    return replace(Profile.load(name), va=Window(base=Address(DIRECT), size=Bytes(size)), **more)


def poison(ram: Ram) -> None:
    """No byte of RAM is zero when the kernel starts."""
    ram.poison([(0, ram.top)])


def own_bytes(kernel: Kernel, va: int) -> int:
    """Bytes of the allocation of the kernel's own that begins at va: callers cannot ask."""
    page = kernel.profile.page
    record = kernel.view.heap_pages()[(va - int(kernel.view.kern["heap"])) // page]
    assert record["use"] == OWN
    return int(record["pages"]) * page


def slots_of(kernel: Kernel, page: int) -> list[int]:
    """Addresses of the slots that start in a heap page, which belongs to a slab."""
    record, bytes = kernel.view.heap_pages().view(SlabPage.dtype)[page], kernel.profile.page
    cache, back = kernel.view.cache(int(record["cache"])), int(record["place"]) & ~LISTED
    head = int(kernel.view.kern["heap"]) + (page - back) * bytes
    starts = (slot * int(cache["size"]) for slot in range(int(cache["slots"])))
    return [head + start for start in starts if back * bytes <= start < (back + 1) * bytes]


def poke(view: View, va: int, data: bytes) -> None:
    """Overwrite kernel memory within one page."""
    pa = view.pa(va)
    view.ram.bytes[pa : pa + len(data)] = data


def conserved(kernel: Kernel) -> None:
    """Every invariant holds, and the frames by type are the machine's and those that came later."""
    result = kernel.check()
    assert result.passed, result.failure
    assert result.assertions > 0
    pages, _, _ = kernel.machine.ram_pages(kernel.profile.page_shift, kernel.profile.phys_bits)
    carved = sum(region.frames for region in kernel.regions if region.kind == "carved")
    given_back = sum(end - first for first, end in kernel.placement.reserved) - carved
    came = int(kernel.view.kern["added"]) - given_back
    assert sum(kernel.frames_by_type().values()) == sum(count for _, count in pages) + came


SMALL_TOML = """
name = "small"
memory = [
  { base = 0x0, size = 0xa0000, kind = "ram" },
  { base = 0xf0000, size = 0x10000, kind = "reserved" },
  { base = 0x100000, size = 0x3f00000, kind = "ram" },
]
devices = [{ base = 0xfd000000, size = 0x1000000, kind = "bar", name = "0000:00:02.0", bar = 0, bits = 32 }]
"""
"""A PC with 64 MiB and one device, as a file."""
