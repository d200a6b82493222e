"""What a person asks a running kernel about: its heap, donation, regions, object caches and core table."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy

from kernmalloc.facade.errors import checked
from kernmalloc.kernel.frames import Frame, Page

if TYPE_CHECKING:
    from kernmalloc.facade.kernel import Kernel


@dataclass(frozen=True)
class Step:
    """One step of the bootstrap, as `Kernel.boot(observe=...)` reports it: the stage that it was of, its name, what it
    did in words, and the counts that show the state of the donated frames."""

    stage: int
    name: str
    text: str
    state: dict[str, int]
    seconds: float


@dataclass(frozen=True)
class HeapState:
    """The heap in bytes: pages in use (slabs and large allocations), what the boot was planned to use of them (C7, C8),
    pages with frames behind them, and the bound of that (C1); the latter two with the heap's own records.

    `maps` are the bytes of mapping frames, which are not part of the heap (E18)."""

    used: int
    planned: int
    backed: int
    bound: int
    maps: int


@dataclass(frozen=True)
class Donation:
    """The frames set aside for the heap before the first core table (E35): first pfn, how many of how many bytes, and for what."""

    pfn: int
    frames: int
    page: int
    heap: int
    maps: int

    @property
    def bytes(self) -> int:
        return self.frames * self.page


@dataclass(frozen=True)
class Check:
    """What a check found: whether all held, how many assertions did, and the first that did not."""

    passed: bool
    assertions: int
    failure: str = ""


@dataclass(frozen=True)
class RegionState:
    """One region: first pfn and frames, its class; and, if its frames are described, where and in how many bytes."""

    pfn: int
    frames: int
    kind: str
    free: int
    area: int
    area_bytes: int


class ObjectCache:
    """One object type's cache: `get` and `put` objects of it (E19, E22)."""

    def __init__(self, kernel: "Kernel", id: int, name: str) -> None:
        self._kernel, self.id, self.name = kernel, id, name

    def get(self) -> int:
        """A new object: its address. Raises OutOfMemory, WouldBlock."""
        return checked(self._kernel.call("cache_get", self.id), f"{self.name}.get()")

    def put(self, va: int) -> None:
        """Give an object back. Raises BadAddress."""
        checked(self._kernel.call("cache_put", self.id, va), f"{self.name}.put({va:#x})")

    @property
    def state(self) -> numpy.void:
        """The cache's record."""
        return self._kernel.view.cache(self.id)

    @property
    def size(self) -> int:
        """Bytes of one object as declared."""
        return int(self.state["object"])

    @property
    def wanted(self) -> int:
        """Objects that the profile's ratio asks for on this machine."""
        return int(self.state["wanted"])

    @property
    def limit(self) -> int:
        """Objects there may be, in whole slabs: the lesser of wanted and what the window holds."""
        return int(self.state["limit"]) * int(self.state["slots"])

    @property
    def used(self) -> int:
        """Objects given out now, recounted."""
        return self._kernel.view.used_slots().get(self.id, 0)

    @property
    def slots(self) -> int:
        """Objects for which there is memory now."""
        return int(self.state["slabs"]) * int(self.state["slots"])


class CoreTable:
    """The core table, region by region: NumPy structured arrays of `Frame` records, one element per frame.

    In raw mode they are views of the kernel's memory, in the other modes copies. `table[pfn]` is one entry."""

    def __init__(self, kernel: "Kernel") -> None:
        self._kernel = kernel

    def __iter__(self) -> Iterator[tuple[int, numpy.ndarray]]:
        """(first pfn, entries) of each region of RAM, from the lowest."""
        stride = self._kernel.profile.core.stride
        spaced = _spaced(Frame, stride)
        for region in self._kernel.view.regions():
            if region["area"]:
                data = self._kernel.view.peek(int(region["entries"]), int(region["count"]) * stride)
                yield int(region["base"]), numpy.frombuffer(data, spaced)

    def __getitem__(self, pfn: int) -> numpy.void:
        for base, entries in self:
            if base <= pfn < base + len(entries):
                return entries[pfn - base]
        raise KeyError(f"no core table entry for frame {pfn:#x}")


def page_layout(stride: int) -> numpy.dtype:
    """The dtype that reads core table entries as those of cached pages."""
    return _spaced(Page, stride)


def _spaced(record: Any, stride: int) -> numpy.dtype:
    dtype = record.dtype
    return numpy.dtype(
        {
            "names": list(dtype.names),
            "formats": [dtype.fields[name][0] for name in dtype.names],
            "offsets": [dtype.fields[name][1] for name in dtype.names],
            "itemsize": stride,
        }
    )
