"""Kernels in a dump: found by their marks, and opened, so that they can be looked at and go on.

Concepts
  1. The record `Kern` begins with a mark (`kernel/core/kern.py`): magic, version, layout, own address. It leads to what
     the loader told the kernel, which lies in front of it and says where in physical memory both are. A mark for which
     that is not so is a copy.
  2. From that follows where physical address 0 is in the dump: a file of RAM may begin anywhere, and the memory of a
     process has addresses of its own.
  3. The dump is laid over the RAM of a hosted machine, and nothing of it is read before the kernel looks there. What
     cannot be laid is copied: where pages of the file are not those of memory, where its memory may change, and for
     mode raw, whose window must show the same memory as the RAM.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Literal, NamedTuple

import numpy

import kernmalloc.kernel.calls  # noqa: F401 (what the records lead to)
import kernmalloc.kernel.check.check  # noqa: F401
from kernmalloc.facade import recovered
from kernmalloc.facade.handle import Handle
from kernmalloc.facade.loader import Loaded, Span, area_at, has_tables, without
from kernmalloc.facade.profile import HOSTED_LIMIT
from kernmalloc.facade.view import DAMAGE, View, view_of
from kernmalloc.inputs.dumps import AT_ONCE, Dump, read
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.limits import hold
from kernmalloc.inputs.sizes import size
from kernmalloc.kernel.boot.config import LEAST_SHIFT, MOST_SHIFT, BootRange, Config
from kernmalloc.kernel.core.kern import CPUS, MAGIC, MODE_NAMES, VERSION, Kern
from kernmalloc.kernel.heap.caches import ObjectType
from kernmalloc.lang.records import hexadecimal
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.lives import LIVES, LifeError, Raw
from kernmalloc.machine.ram import HIGHEST, LATER, PAGE, Ram

MARK = 16  # bytes; a record lies at a multiple of it
NEAR = 1 << 21  # bytes of a hole that are laid like data: a file in a million pieces is not mapped in as many
SWAPPED = int.from_bytes(MAGIC.to_bytes(4, "little"), "big")


class NoKernelError(InputError):
    """A dump in which there is no kernel, none that can be opened, or more than one: `found` has all."""

    found: Sequence["Found"] = ()


class Found(NamedTuple):
    """A mark: where in the dump, what it says, and why its kernel cannot be opened, if so. `pa` is where its record is
    in physical memory, as far as that is known; `other`: its layout, or the order of its bytes, is another one."""

    address: int
    own: int
    version: int
    layout: int
    pa: int = -1
    info: numpy.void | None = None
    why: str = ""
    other: bool = False
    order: Literal["little", "big"] = "little"


def kernels(dump: Dump) -> list[Found]:
    """Every kernel in a dump, in order of address."""
    found = [each for address in _marks(dump) for each in _judged(dump, address)]
    whole = {(each.own, each.pa) for each in found if not each.why and each.address != each.own}
    return [each for each in found if each.address != each.own or (each.own, each.pa) not in whole]


def _marks(dump: Dump) -> Iterator[int]:
    """Where magic numbers are."""
    for piece in dump.data():
        for start in range(piece.address, piece.end, AT_ONCE):
            part = piece.part(start, start + AT_ONCE)
            data = read(part.file, part.size, part.offset)
            skipped = -start % MARK
            words = numpy.frombuffer(data, numpy.uint32, max(len(data) - skipped, 0) // 4, min(skipped, len(data)))
            heads = words[:: MARK // 4]
            for at in numpy.flatnonzero((heads == MAGIC) | (heads == SWAPPED)).tolist():
                yield start + skipped + at * MARK


def _judged(dump: Dump, address: int) -> Iterator[Found]:
    """The kernel of a mark; nothing if it is none."""
    data = dump.read(address, Kern.size)
    if len(data) < MARK:
        return
    order: Literal["little", "big"] = "little" if int.from_bytes(data[:4], "little") == MAGIC else "big"
    version, layout = (int.from_bytes(data[at : at + 2], order) for at in (4, 6))
    own = int.from_bytes(data[8:16], order, signed=True)
    found = Found(address, own, version, layout)
    if (own - address) % PAGE or not version:
        return  # no record of a kernel lies so
    if order == "big":
        why = "made for a machine whose numbers begin with the highest byte"
        yield found._replace(why=why, other=True, order=order)
    elif (version, layout) != (VERSION, Kern.layout):
        why = f"made by another kernmalloc; this one reads version {VERSION}, layout {Kern.layout:04x}"
        yield found._replace(why=why, other=True)
    elif len(data) < Kern.size:
        yield found._replace(why="the dump ends in its record")
    else:
        yield _informed(dump, found, numpy.frombuffer(data, Kern.dtype)[0])


def _informed(dump: Dump, found: Found, kern: numpy.void) -> Found:
    """The kernel with what its loader told it, if that is where it says."""
    before = found.own - int(kern["info"])
    data = dump.read(found.address - before, Config.size) if 0 < before < 1 << 40 else b""
    if len(data) < Config.size:
        return found._replace(why="what its loader told it is not in front of it: damaged, or a copy")
    info = numpy.frombuffer(data, Config.dtype)[0]
    format = {format.number: format for format in FORMATS.values()}.get(int(info["arch"]))
    shift = int(info["page_shift"])
    right = int(info["kern"]) == before and 1 <= int(info["cpus"]) <= CPUS
    if not right or format is None or int(info["mode"]) not in range(len(MODE_NAMES)):
        return found._replace(why="what its loader told it is damaged")
    pages = (format.page_shift,) if format.has_tables else range(LEAST_SHIFT, MOST_SHIFT + 1)
    if shift not in pages or (has_tables(info) and not format.has_tables):
        return found._replace(why="what its loader told it is damaged")
    pa = int(info["area_pa"]) + before
    if dump.physical and pa != found.address:
        return found._replace(why=f"a copy: its place is {pa:#x}")
    if not 0 <= int(info["area_pa"]) < HIGHEST:
        return found._replace(why="what its loader told it is damaged")
    if found.address == found.own and not dump.physical and found.own != pa and has_tables(info):
        return found._replace(pa=pa, why="its window, without its RAM")
    return found._replace(pa=pa, info=info)


def chosen(dump: Dump, at: int | None, others: bool = False) -> Found:
    """The kernel whose record is at `at`, in physical memory or in the dump; without, the only one. Where there is
    none that can be opened, and `others` are wanted, one with another layout. Raises NoKernelError."""
    found = kernels(dump)
    here = [each for each in found if at is None or at in (each.pa, each.address)]
    able = [each for each in here if not each.why] or [each for each in here if others and each.other]
    if len(able) == 1:
        return able[0]
    if able:
        why, advice = f"{len(able)} kernels", f"choose by --at: {_said(able)}"
    elif here:
        why, advice = f"no kernel that can be opened: {_said(here)}", ""
    elif found:
        why, advice = f"no kernel at {at:#x}", f"there is {_said(found)}"
    else:
        why, advice = "no kernel found", dump.other_form() or "its memory has no mark of one"
    error = NoKernelError(dump.name, 0, why, advice)
    error.found = found
    raise error


def _said(found: list[Found]) -> str:
    """Kernels in words."""
    return "; ".join(
        f"one at {each.pa if each.pa >= 0 else each.address:#x}" + (f", {each.why}" if each.why else "")
        for each in found
    )


def opened(dump: Dump, found: Found, mode: str) -> Handle:
    """A kernel of a dump, to be called. Raises InputError, LifeError."""
    if mode not in LIVES:
        raise LifeError(f"no mode {mode!r}: raw, soft or twin")
    info = found.info
    assert info is not None  # it can be opened
    shift, base = int(info["page_shift"]), found.address - found.pa
    area = base + int(info["area_pa"])
    ranges = _records(dump, area, info, BootRange, "range")
    objects = _records(dump, area, info, ObjectType, "object")
    place = recovered.placement(info, ranges)
    format = next(format for format in FORMATS.values() if format.number == info["arch"])
    loaded = Loaded(info, found.own - int(info["kern"] - info["cpu"]), found.pa, format, place)
    if mode == "raw" and not 0 < loaded.window <= HOSTED_LIMIT - loaded.window_bytes:
        raise LifeError(
            f"its window at {hexadecimal(loaded.window)} is nowhere that a process can have it: use mode soft"
        )
    top = max((high for _, high in [*place.ram, *place.reserved]), default=0) << shift
    limit = min(int(info["max_pfn"]) << shift, HIGHEST)
    if not 0 < top <= limit:
        raise NoKernelError(dump.name, 0, "the ranges of memory that its loader told it are damaged")
    end = ExitStack()
    try:
        ram = Ram(top, min(top + LATER, limit))
        end.callback(ram.close)
        ram.fresh = False
        _lay(dump, ram, base, mode == "raw")
        life = LIVES[mode](ram)
        end.callback(life.close)
        if isinstance(life, Raw):
            life.whose = f"the kernel of dump {dump.name!r}"
        view = view_of(ram, loaded)
        _add_later(view, life.reach)
        _refuse_incomplete(dump, found, view)
        life.enter(loaded)
        life.refresh()
        machine = recovered.machine(dump.name, shift, ranges)
        handle = Handle(life, loaded, machine, recovered.profile(info, objects, place.frames), mode, end)
    except BaseException:
        end.close()
        raise
    handle.held = int(view.kern["lock"])
    return handle


def _records(dump: Dump, area: int, info: numpy.void, record: Any, name: str) -> list[numpy.void]:
    """An array that the loader left beside the boot information."""
    count, at = int(info[f"{name}_count"]), int(info[f"{name}s"]) - area_at(info)
    data = b""
    if count >= 0 and Config.size <= at <= at + count * record.size <= int(info["info_bytes"]):
        data = dump.read(area + at, count * record.size)
    if len(data) < count * record.size or count < 0:
        raise NoKernelError(dump.name, 0, f"the {name}s that its loader told it are damaged, or not in the dump")
    return list(numpy.frombuffer(data, record.dtype))


def _lay(dump: Dump, ram: Ram, base: int, copied: bool) -> None:
    """Make RAM what the dump has from address `base` on; `copied` or laid. Raises UnreadableError for too much to
    copy."""
    taken = 0
    near = max(NEAR, sum(segment.size for segment in dump.segments) >> 14)
    for piece in dump.data(near):
        part = piece.part(base, base + ram.limit)
        first, end = part.address, part.address
        if not (copied or dump.live or (part.offset + base - part.address) % PAGE):
            first = base + -(-(part.address - base) // PAGE) * PAGE
            end = max(base + (part.end - base) // PAGE * PAGE, first)
            if first < end:
                ram.lay(first - base, end - first, part.file, part.part(first, end).offset)
        for rest in (part.part(part.address, first), part.part(end, part.end)):
            for start in range(rest.address, rest.end, AT_ONCE):
                step = rest.part(start, start + AT_ONCE)
                taken += ram.put(start - base, read(step.file, step.size, step.offset))
                hold("dump", taken, dump.name)


def _add_later(view: View, reach: Callable[[int], None]) -> None:
    """Take in the RAM that came after the boot."""
    with suppress(*DAMAGE):
        ends = [int(region["base"] + region["count"]) for region in view.regions() if region["area"]]
        end = max(ends, default=0) * view.page
        if view.ram.top < end <= view.ram.limit:
            reach(end)
            view.ram.later = int(view.kern["added"]) * view.page


def missing(dump: Dump, found: Found) -> list[Span]:
    """RAM that a kernel has and the dump does not hold: frames, first and one past the last. Of a process that runs,
    pages that are not there are zero."""
    info = found.info
    if info is None or dump.live:
        return []
    base, shift = found.address - found.pa, int(info["page_shift"])
    ranges = _records(dump, base + int(info["area_pa"]), info, BootRange, "range")
    place = recovered.placement(info, ranges)
    spans = sorted([*place.ram, *place.reserved])
    for segment in dump.segments:
        spans = without(spans, (-(-(segment.address - base) >> shift), (segment.end - base) >> shift))
    return spans


def _refuse_incomplete(dump: Dump, found: Found, view: View) -> None:
    """Raise NoKernelError where a page that the kernel's window maps is not in the dump."""
    lacking = missing(dump, found)
    if not lacking:
        return
    pages = numpy.zeros(0, numpy.int64)
    with suppress(*DAMAGE):
        pages = view.mapped() // view.page
    gone = sum(int(((pages >= first) & (pages < end)).sum()) for first, end in lacking)
    first, end = lacking[0]
    if gone or not len(pages):
        raise NoKernelError(
            dump.name,
            0,
            f"the dump lacks {size(sum(high - low for low, high in lacking) * view.page)} of this kernel's RAM, first "
            f"{first * view.page:#x}-{end * view.page - 1:#x}, and with it {gone} pages of the kernel's own",
            "was it cut off? Does its file leave out the holes between ranges of memory?",
        )
