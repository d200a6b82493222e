"""What a person asks a running kernel about: its bootstrap, heap, donation, regions and core table."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import NDArray

import kernmalloc.kernel.calls  # noqa: F401 (the first: records lead to those of rooms above)
from kernmalloc.facade.errors import TooLarge
from kernmalloc.facade.handle import Handle
from kernmalloc.facade.view import View
from kernmalloc.inputs import sizes
from kernmalloc.inputs.limits import excess
from kernmalloc.kernel.check.check import RECORDS
from kernmalloc.kernel.check.tally import MOST_EQUATIONS, Tally
from kernmalloc.kernel.core.kern import FREE, TYPE_NAMES
from kernmalloc.kernel.frames.table import Frame, Page
from kernmalloc.lang.records import hexadecimal
from kernmalloc.results.tables import arrow

if TYPE_CHECKING:
    import pyarrow


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
    """The frames set aside for the heap before the first core table (E35): first pfn, how many, bytes of each, and for
    what."""

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


class Snapshot(dict[int, bytes]):
    """A machine's whole memory: every page that is not all zeros, by physical address. `written`: pages that its
    sources had written by then; `cached`: pages that the kernel had in memory."""

    written = cached = 0


class CoreTable:
    """The core table, region by region: NumPy structured arrays of `Frame` records, one element per frame. They are the
    kernel's memory itself, which stays as long as anybody has them. `table[pfn]` is one entry. When the kernel is
    closed, the table is what it was then, as long as anybody has it or the kernel: LifeError only of a kernel in a
    dump, which can be opened again, and of one whose tables were damaged."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def __iter__(self) -> Iterator[tuple[int, NDArray[numpy.void]]]:
        """(first pfn, entries) of each region of RAM, from the lowest."""
        spaced = _spaced(Frame, self._handle.profile.core.stride)
        kept = self._handle.monitor.kept
        for base, data in self._handle.view.core_tables() if kept is None else kept:
            yield base, numpy.frombuffer(data, spaced)

    def __getitem__(self, pfn: int) -> numpy.void:
        if self._handle.monitor.kept is not None:
            for base, entries in self:
                if base <= pfn < base + len(entries):
                    kept: numpy.void = entries[pfn - base]
                    return kept
            raise KeyError(f"no core table entry for frame {pfn:#x}")
        region, stride = self._handle.view.region(pfn), self._handle.profile.core.stride
        if not region["area"]:
            raise KeyError(f"no core table entry for frame {pfn:#x}")
        data = self._handle.view.shared(int(region["entries"]) + (pfn - int(region["base"])) * stride, stride)
        entry: numpy.void = numpy.frombuffer(data, _spaced(Frame, stride))[0]
        return entry

    def to_arrow(self) -> "pyarrow.Table":
        """A table with a row for each entry that is not free: its pfn, and the fields of `Frame`; the entry at the head
        of a block speaks for 2 ** order frames. Raises NoArrow, and TooLarge where that would read more core tables
        than the limit of `memory`."""
        pa = arrow()
        tables = list(self)
        refuse_large(sum(entries.nbytes for _, entries in tables))
        used = [numpy.flatnonzero(entries["type"] != FREE) for _, entries in tables]
        columns = {"pfn": [base + at for (base, _), at in zip(tables, used, strict=True)]}
        for name in Frame.fields:
            columns[name] = [entries[name][at] for (_, entries), at in zip(tables, used, strict=True)]
        arrays = {name: pa.array(numpy.concatenate(parts or [numpy.zeros(0, int)])) for name, parts in columns.items()}
        arrays["type"] = pa.DictionaryArray.from_arrays(arrays["type"].cast(pa.int8()), pa.array(TYPE_NAMES))
        return pa.table(arrays)


def refuse_large(tables: int) -> None:
    """TooLarge where so many bytes of core tables would be read, those that nobody has used, too, and the limit of
    `memory` is less."""
    reason, advice = excess("memory", tables)
    if reason:
        raise TooLarge(f"{reason}, they are {sizes.size(tables)} ({advice})")


def core_entries(view: View, stride: int, region: numpy.void) -> NDArray[numpy.void]:
    """The core table entries of a region that is described: the kernel's memory itself."""
    return numpy.frombuffer(view.shared(int(region["entries"]), int(region["count"]) * stride), _spaced(Frame, stride))


def page_layout(stride: int) -> numpy.dtype[numpy.void]:
    """The dtype that reads core table entries as those of cached pages."""
    return _spaced(Page, stride)


def _spaced(record: Any, stride: int) -> numpy.dtype[numpy.void]:
    dtype = record.dtype
    return numpy.dtype(
        {
            "names": list(dtype.names),
            "formats": [dtype.fields[name][0] for name in dtype.names],
            "offsets": [dtype.fields[name][1] for name in dtype.names],
            "itemsize": stride,
        }
    )


def failure(view: View) -> str:
    """What the last check that failed found: the equation that does not hold, and what its fields are."""
    tally = view.kern["checked"]
    number, index = divmod(int(tally["failed"]) - 1, MOST_EQUATIONS)
    record, culprit = RECORDS[number], int(tally["culprit"])
    equation = record.invariants[index]
    known = {}
    with suppress(KeyError):  # the tables that a person reads it through may be what is damaged
        values = view.read(record, culprit)[0]
        known = {
            name: hexadecimal(int(values[name])) if field.target else f"{values[name]}"
            for name, field in record.fields.items()
            if not field.inline
        }
    known |= {f"tally.{name}": f"{tally[name]}" for name in Tally.fields}
    told = ", ".join(
        f"{name} = {value}" for name, value in known.items() if re.search(rf"(?<![.\w]){re.escape(name)}\b", equation)
    )
    return f"{record.name} at {hexadecimal(culprit)}: {equation} does not hold ({told})"
