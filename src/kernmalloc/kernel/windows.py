"""Windows: a frame of page space in the kernel's virtual window, for a moment and for one processor (E14 to E16).

Concepts
  1. Page space is not mapped. What the kernel does to a page (zero it, copy it, copy parts of it in and out) it does
     through a window: a page of the kernel's virtual window that is this processor's own, eight of them.
  2. A window is open from `window_open` to `window_close`, the bracket. Outside of one no entry of the kernel's maps a
     frame of page space. Brackets nest; when all windows are open another is refused.
  3. Closing takes the entry away and nothing else. A translation that this processor may still have leads to the frame
     that the window had last; it is flushed when the window opens for another, one page at a time. No other
     processor ever uses these addresses, so none has anything to flush: there is no shootdown here.
  4. The leaf tables of all windows are part of the boot area: opening one takes no memory and cannot fail for want of it.

    windows(cpu) = Kern.windows + cpu.id * WINDOWS pages
    the entry of window i is present  <=>  bit i of `open`;   at rest `open` is 0

Cost: a bracket is two stores to the entry and one flush, however large memory is.
"""

from kernmalloc.kernel.frames import frame_type
from kernmalloc.kernel.kern import DMA, PAGE, WINDOWS_SHIFT, Cpu, Kern
from kernmalloc.kernel.kmap import leaf_of, pfn_at
from kernmalloc.lang import ctz, kernel, popcount, shl, shr
from kernmalloc.lang.status import BAD_ADDRESS, BAD_FRAME, BAD_SIZE, NOT_ALLOCATED, NO_VA, OK, OVERLAP
from kernmalloc.machine.mmu import Entry, leaf_entry
from kernmalloc.machine.primitives import copy, flush, zero

WINDOWS = 1 << WINDOWS_SHIFT


@kernel
def windows_left(cpu):
    """Windows that this processor can open now."""
    return WINDOWS - popcount(Cpu(cpu).open)


@kernel
def show(cpu, pfn):
    """Open a window on any frame: its VA. The caller has seen that one is left."""
    c = Cpu(cpu)
    k = Kern(c.kern)
    window = ctz(~c.open)
    va = c.windows + (window << k.page_shift)
    c.open = c.open | shl(1, window)
    c.opened = c.opened + 1
    Entry(leaf_of(k.addr, va)).bits = leaf_entry(k.arch, pfn << k.page_shift)
    flush(va, 1)
    return va


@kernel
def hide(cpu, va):
    """Close the window at va, which is open."""
    c = Cpu(cpu)
    k = Kern(c.kern)
    Entry(leaf_of(k.addr, va)).bits = 0
    c.open = c.open & ~shl(1, (va - c.windows) >> k.page_shift)
    return OK


@kernel
def _shows(cpu, pfn, windows):
    """OK if a frame may be shown, being a page or for DMA, and so many windows are left. BAD_FRAME, NO_VA."""
    type = frame_type(cpu, pfn)
    if type != PAGE and type != DMA:
        return BAD_FRAME
    return OK if windows_left(cpu) >= windows else NO_VA


@kernel
def window_open(cpu, pfn):
    """Map a page or a DMA frame for this processor, until `window_close`: its VA. BAD_FRAME; NO_VA: all windows are open."""
    status = _shows(cpu, pfn, 1)
    return show(cpu, pfn) if status == OK else status


@kernel
def window_close(cpu, va):
    """End what `window_open` began. BAD_ADDRESS: no window of this processor. NOT_ALLOCATED: it is not open."""
    c = Cpu(cpu)
    shift = Kern(c.kern).page_shift
    if va < c.windows or va >= c.windows + (WINDOWS << shift) or va & ((1 << shift) - 1) != 0:
        return BAD_ADDRESS
    if shr(c.open, (va - c.windows) >> shift) & 1 == 0:
        return NOT_ALLOCATED
    return hide(cpu, va)


@kernel
def wipe(cpu, pfn):
    """Fill any frame with zeros. The caller has seen that a window is left."""
    va = show(cpu, pfn)
    zero(va, 1 << Kern(Cpu(cpu).kern).page_shift)
    return hide(cpu, va)


@kernel
def duplicate(cpu, to, of):
    """Make any frame `to` a copy of frame `of`. The caller has seen that two windows are left."""
    there = show(cpu, to)
    here = show(cpu, of)
    copy(there, here, 1 << Kern(Cpu(cpu).kern).page_shift)
    hide(cpu, here)
    return hide(cpu, there)


@kernel
def zero_frame(cpu, pfn):
    """Fill a page or a DMA frame with zeros. BAD_FRAME, NO_VA."""
    status = _shows(cpu, pfn, 1)
    return wipe(cpu, pfn) if status == OK else status


@kernel
def copy_frame(cpu, to, of):
    """Make frame `to` a copy of frame `of`. BAD_FRAME, NO_VA; OVERLAP: they are one."""
    status = _shows(cpu, to, 2)
    if status == OK:
        status = _shows(cpu, of, 2)
    if status < 0:
        return status
    return duplicate(cpu, to, of) if to != of else OVERLAP


@kernel
def _part(cpu, pfn, offset, va, bytes):
    """OK if bytes [offset, offset + bytes) of a frame can be copied to or from kernel memory at va: heap that is backed.

    BAD_SIZE, BAD_ADDRESS, BAD_FRAME, NO_VA. The two cannot overlap: no frame that is shown is the heap's."""
    k = Kern(Cpu(cpu).kern)
    page = 1 << k.page_shift
    if bytes <= 0 or bytes > page or offset < 0 or offset > page - bytes:
        return BAD_SIZE
    if va < k.heap or va > k.heap + (k.top << k.page_shift) - bytes:
        return BAD_ADDRESS
    if pfn_at(cpu, va) < 0 or pfn_at(cpu, va + bytes - 1) < 0:
        return BAD_ADDRESS
    return _shows(cpu, pfn, 1)


@kernel
def copyin(cpu, pfn, offset, va, bytes):
    """Copy `bytes` of a frame, from `offset` on, to kernel memory at va. BAD_SIZE (beyond the frame), BAD_ADDRESS (va is not
    backed heap), BAD_FRAME, NO_VA."""
    status = _part(cpu, pfn, offset, va, bytes)
    if status < 0:
        return status
    window = show(cpu, pfn)
    copy(va, window + offset, bytes)
    return hide(cpu, window)


@kernel
def copyout(cpu, pfn, offset, va, bytes):
    """Copy `bytes` of kernel memory at va to a frame, from `offset` on. As `copyin`."""
    status = _part(cpu, pfn, offset, va, bytes)
    if status < 0:
        return status
    window = show(cpu, pfn)
    copy(window + offset, va, bytes)
    return hide(cpu, window)
