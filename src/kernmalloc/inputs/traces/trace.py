"""A trace: what a kernel or a program allocated and freed, one operation after the other.

Concepts
  1. An operation is a slot and a code, int32 each. Each slot holds one allocation at a time: the first operation on it
     allocates, the next one frees, and so on. Slots are used again, the one freed last first, so that there are as many
     as were ever live at once.
  2. The code says what is allocated, or freed:

         n > 0               a heap block of n bytes
         0                   free the heap block
         ~(2 * what)         2 ** what pages in one block, or, from ORDERS on, an object of cache number what - ORDERS
         ~(2 * what + 1)     free those

  3. A recording begins and ends in the middle of a kernel's life, and is not complete: frees of what was allocated
     before it, frees that were lost or that the kernel does not report (objects freed in bulk). What no operation can
     be made of is counted in `Skipped`. A block that is given out again was freed before: that free is put in.
  4. A line that cannot be read is counted, too, and the first such lines are named: one line must not cost the trace.
     Where most lines are unread, it is none.
"""

from array import array
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy

from kernmalloc.inputs.errors import InputError, UnreadableError
from kernmalloc.inputs.limits import hold, limits
from kernmalloc.results.shown import html
from kernmalloc.results.tables import arrow

if TYPE_CHECKING:
    import pyarrow

ORDERS = 32  # of blocks of pages
LARGEST = (1 << 31) - 1  # bytes of a heap block or object
LARGEST_ORDER = 20  # of a block of pages: no kernel has larger ones
NAMED = 3  # unread lines that are named

OP = numpy.dtype([("slot", "<i4"), ("code", "<i4")])
"""An operation."""


class TracedCache(NamedTuple):
    """A cache of the traced kernel: its name ("" if its kernel tells none) and the bytes of an object."""

    name: str
    size: int


class Skipped(msgspec.Struct):
    """What no operation could be made of, and what was put in.

    `before` frees of what was allocated before the trace began; `null` frees of nothing; `failed` allocations; `unseen`
    frees that are not in the trace, though the block was given out again: they were put in; `other` events; `lost`
    events, as the recorder counted them; `cut` 1 if the last line is cut short; `passed` lines that tell no event, by
    what they are; `unread` lines that cannot be read, of which `first` names the first: where, and why."""

    before: int = 0
    null: int = 0
    failed: int = 0
    unseen: int = 0
    other: int = 0
    lost: int = 0
    cut: int = 0
    passed: dict[str, int] = {}
    unread: int = 0
    first: list[str] = []


@dataclass(frozen=True, eq=False)
class Trace:
    """A trace that was read. `form` names its file's form; `ops` is an array of `OP`; `slots` is how many there are."""

    file: str
    form: str
    ops: numpy.ndarray
    slots: int
    caches: tuple[TracedCache, ...]
    skipped: Skipped

    @property
    def live_at_end(self) -> int:
        """Allocations that the trace never frees."""
        return int(self.allocates.sum()) * 2 - len(self.ops)

    @cached_property
    def allocates(self) -> numpy.ndarray:
        """Of each operation: whether it allocates."""
        code = self.ops["code"]
        allocates: numpy.ndarray = (code > 0) | ((code < 0) & (~code & 1 == 0))
        return allocates

    @cached_property
    def kinds(self) -> numpy.ndarray:
        """Of each operation: -1 for a heap block, the order of pages, or ORDERS and the number of a cache."""
        code = self.ops["code"]
        return numpy.where(code < 0, ~code >> 1, -1)

    @cached_property
    def origins(self) -> numpy.ndarray:
        """Of each operation: the number of the one that allocates what it is about; of one that allocates, its own."""
        by_slot = numpy.argsort(self.ops["slot"], kind="stable")
        frees = numpy.flatnonzero(~self.allocates[by_slot])  # in this order, what is freed stands just before
        origins = numpy.arange(len(self.ops))
        origins[by_slot[frees]] = by_slot[frees - 1]
        return origins

    @cached_property
    def ending(self) -> numpy.ndarray:
        """An array of `OP` that frees what the trace never frees, by slot."""
        left = self.ops[numpy.bincount(self.origins, minlength=len(self.ops)) == 1]
        ops = numpy.sort(left, order="slot")
        ops["code"] = numpy.where(ops["code"] > 0, 0, ops["code"] - 1)
        return ops

    def bytes(self, page: int = 4096) -> numpy.ndarray:
        """int64, of each operation: bytes that it allocates (as asked for), or the negative of what it frees."""
        code, kinds = self.ops["code"].astype(numpy.int64), self.kinds
        sizes = [page << order for order in range(ORDERS)] + [cache.size for cache in self.caches]
        asked = numpy.where(kinds < 0, code, numpy.array(sizes, numpy.int64)[kinds])
        return numpy.where(self.allocates, asked, -asked[self.origins])

    _repr_html_ = html

    def to_arrow(self, page: int = 4096) -> "pyarrow.Table":
        """A table with a row for each operation: its slot; what it is about, "block", "pages" or "object"; the name and
        number of an object's cache; whether it allocates; `bytes`, negative of what it frees; and `origin`, the row
        that allocates what it is about. Raises NoArrow."""
        pa = arrow()
        kinds, known = self.kinds, [cache.name for cache in self.caches]
        what = numpy.where(kinds < 0, 0, numpy.where(kinds < ORDERS, 1, 2)).astype(numpy.int8)
        none, number = kinds < ORDERS, numpy.maximum(kinds - ORDERS, 0).astype(numpy.int32)
        return pa.table(
            {
                "slot": pa.array(self.ops["slot"]),
                "what": pa.DictionaryArray.from_arrays(pa.array(what), pa.array(["block", "pages", "object"])),
                "cache": pa.DictionaryArray.from_arrays(pa.array(number, mask=none), pa.array(known, pa.string())),
                "allocates": pa.array(self.allocates),
                "bytes": pa.array(self.bytes(page)),
                "origin": pa.array(self.origins),
            }
        )

    def pairs(self) -> numpy.ndarray:
        """The heap's part as int32 pairs (slot, bytes), shape (n, 2): bytes > 0 allocates, 0 frees. Blocks and objects
        alike; pages are left out, for it is not the heap that gives them. What the trace never frees stays
        allocated."""
        heap = (self.kinds < 0) | (self.kinds >= ORDERS)
        slots = numpy.unique(self.ops["slot"][heap], return_inverse=True)[1]
        return numpy.stack([slots, numpy.maximum(self.bytes()[heap], 0)], axis=1).astype(numpy.int32)


def alternates(slots: numpy.ndarray, allocates: numpy.ndarray) -> bool:
    """Whether every slot is allocated first, and from then on freed and allocated in turn."""
    by_slot = numpy.argsort(slots, kind="stable")
    slots, allocates = slots[by_slot], allocates[by_slot]
    again = slots[1:] == slots[:-1]
    return bool(allocates[:1].all() and (allocates[1:] == ~(again & allocates[:-1])).all())


_MOVED = 1 << 64  # the name of a block that is moved: no key


class Recorder:
    """Makes a trace out of events in their order. Keys name what is live, as the traced system names it."""

    def __init__(self, file: str) -> None:
        self.file, self.line = file, 0
        self.skipped = Skipped()
        self._ops, self._most = array("i"), 2 * limits().operations
        self._live: dict[int, tuple[int, int]] = {}  # key: slot, code of its free
        self._free: list[int] = []
        self._slots = 0
        self._caches: dict[tuple[str, int], int] = {}
        self._unread: InputError | None = None

    def block(self, key: int, bytes: int) -> None:
        """A heap block was allocated."""
        self._allocate(key, self._sized(bytes), 0)

    def object(self, key: int, name: str, bytes: int) -> None:
        """An object of a cache was allocated."""
        number = self._caches.setdefault((name, self._sized(bytes)), len(self._caches) + ORDERS)
        self._allocate(key, ~(2 * number), ~(2 * number + 1))

    def pages(self, key: int, order: int) -> None:
        """A block of pages was allocated."""
        if order > LARGEST_ORDER:
            raise InputError(self.file, self.line, f"a block of 2^{order} pages, more than any kernel has")
        self._allocate(key, ~(2 * order), ~(2 * order + 1))

    def free(self, key: int) -> None:
        """What a key names was freed."""
        found = self._live.pop(key, None)
        if found is None:
            self.skipped.before += 1
            return
        self._free.append(found[0])
        self._ops.extend(found)

    def moved(self, key: int, to: int, bytes: int) -> None:
        """The heap block that a key names became one of so many bytes, of that name: a new one was taken first."""
        self._live[_MOVED] = self._live.pop(key)
        self.block(to, bytes)
        self.free(_MOVED)

    def is_live(self, key: int) -> bool:
        """Whether a key names something."""
        return key in self._live

    def passed(self, what: str) -> None:
        """A line tells no event."""
        self.skipped.passed[what] = self.skipped.passed.get(what, 0) + 1

    def unread(self, line: int, reason: str, advice: str = "", lines: int = 1) -> None:
        """Lines from one on, or what they say, cannot be read."""
        self.skipped.unread += lines
        if self.skipped.unread > (most := limits().lines):
            reason = f"more than {most:,} lines cannot be read"
            raise UnreadableError(self.file, line, reason, "--limit lines=N takes more")
        self._unread = self._unread or InputError(self.file, line, reason, advice)
        if len(self.skipped.first) < NAMED:
            self.skipped.first.append(f"line {line}: {reason}")

    def damaged(self, error: InputError) -> None:
        """What this line says cannot be. Raises what is wrong with the whole."""
        if isinstance(error, UnreadableError):
            raise error
        self.unread(self.line, error.reason, error.advice)

    def forget_unread(self) -> None:
        """What was unread is of no trace."""
        self.skipped.unread, self.skipped.first, self._unread = 0, [], None

    def trace(self, form: str, known: int = 0, advice: str = "") -> Trace:
        """All that was recorded; so many lines are known. Raises UnreadableError if most are not."""
        unread, first = self.skipped.unread, self._unread
        if first and unread > known:
            reason = f"{first.reason}; {unread} of {unread + known} lines cannot be read"
            raise UnreadableError(self.file, first.line, reason, first.advice or advice)
        ops = numpy.frombuffer(self._ops, OP) if self._ops else numpy.empty(0, OP)
        return Trace(self.file, form, ops, self._slots, tuple(TracedCache(*key) for key in self._caches), self.skipped)

    def _sized(self, bytes: int) -> int:
        if bytes > LARGEST:
            raise InputError(self.file, self.line, f"{bytes} bytes in one block, more than 2 GiB")
        return max(bytes, 1)

    def _allocate(self, key: int, code: int, freed: int) -> None:
        if key in self._live:
            self.free(key)
            self.skipped.unseen += 1
        if self._free:
            slot = self._free.pop()
        else:
            slot = self._slots
            self._slots += 1
        self._live[key] = slot, freed
        self._ops.extend((slot, code))
        if len(self._ops) > self._most:
            hold("operations", len(self._ops) // 2, self.file, self.line)
