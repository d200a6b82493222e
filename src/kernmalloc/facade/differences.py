"""In what two kernels differ: their counts, and field by field the records of two states of one kernel."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy

from kernmalloc.facade.holdings import allocations, blocks, cache_uses, processors
from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.boot.config import Config
from kernmalloc.kernel.core.kern import TYPE_NAMES, Cpu, Kern
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.kernel.heap.bins import SLAB, HeapPage
from kernmalloc.kernel.heap.slabs import Cache, SlabPage
from kernmalloc.lang.records import hexadecimal

LISTED = 20  # changes that are listed of each kind


class Change(NamedTuple):
    """One field of one record, in the one kernel and in the other."""

    record: str
    field: str
    one: str
    other: str


class Changes(NamedTuple):
    """How many fields of one kind of record differ, and the first of them."""

    kind: str
    total: int
    listed: tuple[Change, ...]


def counts(kernel: Kernel) -> dict[str, int]:
    """What a kernel's state comes to, by what is counted."""
    heap, tlb, ledger = kernel.heap, kernel.mappings, kernel.ledger
    told = {f"frames: {name}": count for name, count in kernel.frames_by_type().items()}
    told |= {f"heap: {name}": getattr(heap, name) for name in ("used", "backed", "bound", "maps")}
    told |= {"window: large entries": tlb.large, "window: small entries": tlb.small}
    told |= {f"bank: {name}": getattr(ledger, name) for name in ("promised", "available", "added")}
    for region in kernel.regions:
        where = f"{region.kind} at {region.pfn * kernel.profile.page:x}"
        told |= {f"{where}: frames": region.frames, f"{where}: free": region.free}
    for cache in cache_uses(kernel.view, kernel.names):
        told |= {f"{cache.name}: slots": cache.slots, f"{cache.name}: in use": cache.used}
    for cpu in processors(kernel.view):
        told |= {f"processor {cpu.number}: {name}": getattr(cpu, name) for name in ("frames", "chunks", "slots")}
    held = allocations(kernel.view)
    told |= {"large allocations": len(held), "large allocations: bytes": sum(each.bytes for each in held)}
    held_blocks = blocks(kernel.handle)
    return told | {"DMA blocks": len(held_blocks), "DMA blocks: frames": sum(each.frames for each in held_blocks)}


def one_kernel(one: Kernel, other: Kernel) -> bool:
    """Whether these are two states of one kernel: booted with the same, in the same place."""
    told = [kernel.layout.tobytes()[: Config.size] for kernel in (one, other)]
    return told[0] == told[1] and one.view.kern_va == other.view.kern_va


def changes(one: Kernel, other: Kernel) -> Iterator[Changes]:
    """The fields that differ between two states of one kernel, by kind of record. What `check` counted is none."""
    kinds: dict[str, Iterator[Change]] = {
        "Kern": _fields(Kern, one.view.kern, other.view.kern, hexadecimal(one.view.kern_va)),
        "Cpu": _rows(Cpu, one.view.cpus(), other.view.cpus(), "processor "),
        "Cache": _rows(Cache, _caches(one), _caches(other), ""),
        "Region": _regions(one, other),
        "HeapPage": _heap_pages(one, other),
        "Frame": _frames(one, other),
        "free bitmap": _bits(one, other),
    }
    for kind, found in kinds.items():
        listed = tuple(islice(found, LISTED))
        if listed:
            yield Changes(kind, len(listed) + sum(1 for _ in found), listed)


def _fields(record: Any, one: Any, other: Any, where: str, path: str = "") -> Iterator[Change]:
    """Fields of a record that differ; those of a record inside by the way to it."""
    if one.tobytes() == other.tobytes():
        return
    for name, field in record.fields.items():
        a, b = one[name], other[name]
        if (path + name) == "checked":
            continue
        inner = field.kind if field.inline and a.dtype.names else None
        many = a.ndim > 0
        for i in numpy.flatnonzero(a != b).tolist() if many else [0]:
            place = f"{path}{name}[{i}]" if many else f"{path}{name}"
            left, right = (a[i], b[i]) if many else (a, b)
            if inner is not None:
                yield from _fields(inner, left, right, where, f"{place}.")
            elif left != right:
                show = hexadecimal if field.target and not field.inline else "{:,}".format
                yield Change(where, place, show(int(left)), show(int(right)))


def _rows(record: Any, one: Any, other: Any, what: str) -> Iterator[Change]:
    """Records in a row that differ; what only one of the kernels has counts as well."""
    for i in range(min(len(one), len(other))):
        yield from _fields(record, one[i], other[i], f"{what}{i}")
    if len(one) != len(other):
        yield Change(f"{what}{min(len(one), len(other))} and on", "count", f"{len(one):,}", f"{len(other):,}")


def _caches(kernel: Kernel) -> list[numpy.void]:
    return [kernel.view.cache(id) for id in range(int(kernel.view.kern["cache_count"]))]


def _regions(one: Kernel, other: Kernel) -> Iterator[Change]:
    """Regions by their first frame."""
    old, new = ({int(r["base"]): r for r in kernel.view.regions()} for kernel in (one, other))
    for base in sorted(old.keys() | new.keys()):
        if base in old and base in new:
            yield from _fields(Region, old[base], new[base], f"at frame {base:#x}")
        else:
            yield Change(f"at frame {base:#x}", "there", *("yes" if base in it else "no" for it in (old, new)))


def _heap_pages(one: Kernel, other: Kernel) -> Iterator[Change]:
    """The records of heap pages below the top of both."""
    a, b = one.view.heap_pages(), other.view.heap_pages()
    count, heap = min(len(a), len(b)), int(one.view.kern["heap"])
    differ = (one.view.heap_map()[:count] != other.view.heap_map()[:count]).any(axis=1)
    for page in numpy.flatnonzero(differ).tolist():
        kind = SlabPage if SLAB == a["use"][page] == b["use"][page] else HeapPage
        left, right = (pages[page : page + 1].view(kind.dtype)[0] for pages in (a, b))
        yield from _fields(kind, left, right, f"of {hexadecimal(heap + page * one.view.page)}")


def _both(one: Kernel, other: Kernel) -> Iterator[tuple[numpy.void, numpy.void]]:
    """Regions of RAM that both have, with as many frames."""
    old = {(int(r["base"]), int(r["count"])): r for r in one.view.regions() if r["area"]}
    for region in other.view.regions():
        if region["area"] and (found := old.get((int(region["base"]), int(region["count"])))) is not None:
            yield found, region


def _frames(one: Kernel, other: Kernel) -> Iterator[Change]:
    """Entries of the core tables."""
    tables = [dict(kernel.frames) for kernel in (one, other)]
    for base in tables[0].keys() & tables[1].keys():
        a, b = tables[0][base], tables[1][base]
        count = min(len(a), len(b))
        differs = numpy.zeros(count, bool)
        for name in a.dtype.names or ():
            differs |= a[name][:count] != b[name][:count]
        for at in numpy.flatnonzero(differs).tolist():
            for name in a.dtype.names or ():
                left, right = int(a[name][at]), int(b[name][at])
                if left != right:
                    shown = [_type(it) for it in (left, right)] if name == "type" else [f"{left:,}", f"{right:,}"]
                    yield Change(f"{base + at:#x}", name, *shown)


def _type(number: int) -> str:
    return TYPE_NAMES[number] if number < len(TYPE_NAMES) else str(number)


def _bits(one: Kernel, other: Kernel) -> Iterator[Change]:
    """Frames whose bit in the free bitmap differs."""
    for left, right in _both(one, other):
        words = [_words(kernel, region) for kernel, region in ((one, left), (other, right))]
        for at in numpy.flatnonzero(words[0] != words[1]).tolist():
            yield Change(f"{int(left['origin']) + at:#x}", "free", *(str(int(it[at])) for it in words))


def _words(kernel: Kernel, region: numpy.void) -> Any:
    """A region's free bitmap, bit by bit."""
    data = kernel.view.peek(int(region["words"]), int(region["word_count"]) * 8)
    return numpy.unpackbits(numpy.frombuffer(data, numpy.uint8), bitorder="little")


def differing(one: dict[str, int], other: dict[str, int]) -> Iterable[tuple[str, int, int]]:
    """Counts that differ: what, and both; 0 where a kernel has none."""
    for name in dict.fromkeys([*one, *other]):
        if one.get(name, 0) != other.get(name, 0):
            yield name, one.get(name, 0), other.get(name, 0)
