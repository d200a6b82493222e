"""What a plan consists of (`plan/plan`): sizes are bytes unless they say frames."""

from typing import NamedTuple

from kernmalloc.facade.places import Span
from kernmalloc.plan.devices import Room
from kernmalloc.plan.scratch import Scratch


class Item(NamedTuple):
    """One structure: its name, its bytes, how they come about."""

    name: str
    bytes: int
    note: str = ""


class Tlb(NamedTuple):
    """Entries that map the kernel's window; a direct map has none. `large`: large pages of the heap. `small`: single
    pages of the heap and of what describes it. `static`: entries for image, boot area and table window, which are there
    before the heap is."""

    large: int
    small: int
    static: int

    @property
    def entries(self) -> int:
        return self.heap + self.static

    @property
    def heap(self) -> int:
        """Entries for the heap and what describes it."""
        return self.large + self.small


class Fixed(NamedTuple):
    """The fixed part of an affine heap: where it lies, virtual and physical, and its bytes."""

    va: int
    pa: int
    bytes: int

    @property
    def constant(self) -> int:
        """VA = PA + constant."""
        return self.va - self.pa


class Configured(NamedTuple):
    """The heap once the machine's devices are published, RAM has been added, and what the strategy releases is
    released. `heap`: its bytes. `idle`: bytes of it that were reserved and serve nothing. `released`: bytes given back.
    `taken`: frames taken from page space. `available`: frames in page space then. `promised`: frames promised to the
    bank, and `broken_by`: how many of them are missing. `tlb`: the TLB entries of the window.

    Exact where no range lacks entries and growth keeps clear of its bound: a publication that fails half way, and
    growth that needs what was idle, may leave pages that are not counted here. Only a lenient heap ever breaks the
    promise."""

    heap: int
    idle: int
    released: int
    taken: int
    available: int
    promised: int
    broken_by: int
    tlb: int


class Basis(NamedTuple):
    """What comes after the boot is planned with. `spans`: ranges of memory, `own`: the ranges of image and boot area.
    `hash_at`: the page of the heap where the page cache's hash begins. `room`: for devices. `scratch`: the kernel's own
    functions. `excess`: it is released. `extents`: ranges without entries are published by their extent."""

    spans: list[Span]
    own: list[Span]
    hash_at: int
    room: Room
    scratch: Scratch
    excess: bool
    extents: bool
