"""Windows: a frame of page space in the kernel's virtual window, for a moment and for one processor (E14 to E16).

Concepts
  1. Page space is not mapped. What the kernel does to a page (zero it, copy it, copy parts of it in and out) it does
     through a window: one of eight pages of the kernel's virtual window that are this processor's own.
  2. A window is open from `window_open` to `window_close`, the bracket. Outside of one no entry of the kernel's maps a
     frame of page space. Brackets nest; when all windows are open another is refused.
  3. Closing a window takes its entry away and nothing else. The processor may keep a translation to the frame that
     the window had last; it is flushed when the window opens for another frame, one page at a time. No other
     processor ever uses these addresses, so none has anything to flush: there is no shootdown here.
  4. In a direct map a window is the map itself: there may be any number, and opening and closing one changes nothing.
     A frame that the map does not reach has none.
  5. The leaf tables of all windows are part of the boot area: opening one takes no memory and cannot lack any.

    windows(cpu) = Kern.windows + cpu.id * WINDOWS pages
    the entry of window i is present  <=>  bit i of `open`;   at rest `open` is 0

Cost: a bracket is two stores to the entry and one flush, however large memory is. Frames are filled without one where
the port fills RAM itself.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import ABSENT, DMA, PAGE, WINDOWS_SHIFT, Cpu, Kern
from kernmalloc.kernel.core.modes import has_tables
from kernmalloc.kernel.frames.table import frame_type
from kernmalloc.kernel.map.direct import direct_end, direct_pfn, direct_va, reaches_all
from kernmalloc.kernel.map.kmap import appear, leaf_at, pfn_at
from kernmalloc.lang import ctz, failed, kernel, popcount, shl, shr
from kernmalloc.lang.status import BAD_ADDRESS, BAD_FRAME, BAD_SIZE, NO_VA, NOT_ALLOCATED, OK, OVERLAP
from kernmalloc.machine.mmu import leaf_entry, store_entry
from kernmalloc.machine.primitives import copy, flush, zero, zero_ram

WINDOWS = 1 << WINDOWS_SHIFT


@kernel
def windows_left(cpu: Cpu) -> int:
    """Windows that this processor can open now."""
    return WINDOWS - popcount(cpu.open)


@kernel
def shown_end(kern: Kern) -> int:
    """The first pfn that no window can show."""
    return kern.max_pfn if has_tables(kern) != 0 else min(direct_end(kern), kern.max_pfn)


@kernel
def shows_all(kern: Kern) -> int:
    """1 if windows can show all RAM."""
    return 1 if has_tables(kern) != 0 else reaches_all(kern)


@kernel
def show(cpu: Cpu, pfn: int) -> int:
    """Open a window on any frame below `shown_end`: its VA. The caller has seen that one is left."""
    kern = cpu.kern
    if has_tables(kern) == 0:
        return direct_va(kern, pfn)
    window = ctz(~cpu.open)
    va = cpu.windows + (window << kern.page_shift)
    cpu.open = cpu.open | shl(1, window)
    cpu.opened = cpu.opened + 1
    store_entry(kern.format, leaf_at(kern, va), leaf_entry(kern.format, pfn << kern.page_shift))
    appear(kern, va, pfn, 1)
    return va


@kernel
def hide(cpu: Cpu, va: int) -> int:
    """Close the window at va, which is open."""
    kern = cpu.kern
    if has_tables(kern) == 0:
        return OK
    store_entry(kern.format, leaf_at(kern, va), 0)
    if kern.format.break_first != 0:
        flush(va, 1)
    cpu.open = cpu.open & ~shl(1, (va - cpu.windows) >> kern.page_shift)
    return OK


@kernel
def _shows(cpu: Cpu, pfn: int, windows: int) -> int:
    """OK if a frame may be shown, being a page or for DMA, and so many windows are left. BAD_FRAME, NO_VA."""
    type = frame_type(cpu, pfn)
    if type != PAGE and type != DMA:
        return BAD_FRAME
    return OK if windows_left(cpu) >= windows and pfn < shown_end(cpu.kern) else NO_VA


@kernel
def window_open(cpu: Cpu, pfn: int) -> int:
    """Map frame `pfn`, a page or a DMA frame, for this processor until `window_close`: its VA.

    BAD_FRAME: the frame is of another type. NO_VA: all windows are open, or the direct map does not reach it.
    """
    status = _shows(cpu, pfn, 1)
    return show(cpu, pfn) if status == OK else status


@kernel
def _close_direct(cpu: Cpu, va: int) -> int:
    """Say what `window_close` says in a direct map, where there is nothing to do."""
    kern = cpu.kern
    if va & ((1 << kern.page_shift) - 1) != 0:
        return BAD_ADDRESS
    pfn = direct_pfn(kern, va)
    return BAD_ADDRESS if pfn == ABSENT or failed(_shows(cpu, pfn, 1)) else OK


@kernel
def window_close(cpu: Cpu, va: int) -> int:
    """Close the window at va, which `window_open` opened: OK.

    BAD_ADDRESS: no window of this processor begins there. NOT_ALLOCATED: it is not open.
    """
    if has_tables(cpu.kern) == 0:
        return _close_direct(cpu, va)
    shift = cpu.kern.page_shift
    if va < cpu.windows or va >= cpu.windows + (WINDOWS << shift) or va & ((1 << shift) - 1) != 0:
        return BAD_ADDRESS
    if shr(cpu.open, (va - cpu.windows) >> shift) & 1 == 0:
        return NOT_ALLOCATED
    return hide(cpu, va)


@kernel
def wipe(cpu: Cpu, pfn: int, count: int) -> int:
    """Fill `count` frames from `pfn` on, which windows can show, with zeros. The caller has seen that one is left."""
    kern = cpu.kern
    bytes = count << kern.page_shift
    if has_tables(kern) == 0:
        return zero(direct_va(kern, pfn), bytes)
    if zero_ram(pfn << kern.page_shift, bytes) != 0:
        cpu.opened = cpu.opened + count
        return OK
    for frame in range(pfn, pfn + count):
        va = show(cpu, frame)
        zero(va, 1 << kern.page_shift)
        hide(cpu, va)
    return OK


@kernel
def duplicate(cpu: Cpu, to: int, of: int) -> int:
    """Make any frame `to` a copy of frame `of`. The caller has seen that two windows are left."""
    there = show(cpu, to)
    here = show(cpu, of)
    copy(there, here, 1 << cpu.kern.page_shift)
    hide(cpu, here)
    return hide(cpu, there)


@kernel
def zero_frame(cpu: Cpu, pfn: int) -> int:
    """Fill frame `pfn`, a page or a DMA frame, with zeros: OK, or a status of `window_open`."""
    status = _shows(cpu, pfn, 1)
    return wipe(cpu, pfn, 1) if status == OK else status


@kernel
def copy_frame(cpu: Cpu, to: int, of: int) -> int:
    """Make frame `to` a copy of frame `of`, each a page or a DMA frame: OK.

    OVERLAP: they are one. NO_VA: fewer than two windows are left. BAD_FRAME: one is of another type.
    """
    status = _shows(cpu, to, 2)
    if status == OK:
        status = _shows(cpu, of, 2)
    if failed(status):
        return status
    return duplicate(cpu, to, of) if to != of else OVERLAP


@kernel
def _part(cpu: Cpu, pfn: int, offset: int, va: int, bytes: int) -> int:
    """OK if bytes [offset, offset + bytes) of a frame can be copied to or from kernel memory at va, backed heap.
    BAD_SIZE, BAD_ADDRESS, BAD_FRAME, NO_VA. The two cannot overlap, as no frame that is shown is the heap's."""
    kern = cpu.kern
    page = 1 << kern.page_shift
    if bytes <= 0 or bytes > page or offset < 0 or offset > page - bytes:
        return BAD_SIZE
    if va < kern.heap or va > kern.heap + (kern.top << kern.page_shift) - bytes:
        return BAD_ADDRESS
    if pfn_at(cpu, va) == ABSENT or pfn_at(cpu, va + bytes - 1) == ABSENT:
        return BAD_ADDRESS
    return _shows(cpu, pfn, 1)


@kernel
def copyin(cpu: Cpu, pfn: int, offset: int, va: int, bytes: int) -> int:
    """Copy `bytes` bytes of frame `pfn`, from byte `offset` on, to kernel memory at va: OK.

    BAD_SIZE: they are none, or not all in the frame. BAD_ADDRESS: va is not heap that is backed. Else a status of
    `window_open`.
    """
    status = _part(cpu, pfn, offset, va, bytes)
    if failed(status):
        return status
    window = show(cpu, pfn)
    copy(va, window + offset, bytes)
    return hide(cpu, window)


@kernel
def copyout(cpu: Cpu, pfn: int, offset: int, va: int, bytes: int) -> int:
    """Copy `bytes` bytes of kernel memory at va to frame `pfn`, from byte `offset` on: OK, or a status of `copyin`."""
    status = _part(cpu, pfn, offset, va, bytes)
    if failed(status):
        return status
    window = show(cpu, pfn)
    copy(window + offset, va, bytes)
    return hide(cpu, window)
