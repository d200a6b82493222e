"""Movable: which frames a range may claim although they are in use, and how whoever knows them is told.

Concepts
  1. A page can be moved if all that leads to it is known: its owner, a word in the heap that holds its pfn. A page that
     somebody holds in place (`pins`), a block of pages, and every other type of frame stay where they are.
  2. Moving is: nobody reaches the page any more (`page_hide`), it is copied, and all that led to the old frame leads to the
     new one (`page_replace`).
"""

from kernmalloc.kernel.frames import Frame, entry_of, set_type
from kernmalloc.kernel.kern import FREE, PAGE, Word
from kernmalloc.kernel.regions import region_of
from kernmalloc.lang import kernel
from kernmalloc.lang.status import OK


@kernel
def page_movable(cpu, region, pfn):
    """1 if the frame's content can be moved elsewhere now."""
    f = Frame(entry_of(cpu, region, pfn))
    return 1 if f.type == PAGE and f.order == 0 and f.pins == 0 and f.owner != 0 else 0


@kernel
def page_hide(cpu, pfn):
    """Let nobody reach a movable page, on any processor, until it has been moved."""
    return OK


@kernel
def page_replace(cpu, old, new):
    """Let frame `new`, which no one owns and no bitmap lists, be the page that frame `old` is; then no one owns `old`."""
    f = Frame(entry_of(cpu, region_of(cpu, old), old))
    n = Frame(entry_of(cpu, region_of(cpu, new), new))
    set_type(cpu, n.addr, PAGE, 0)
    n.link = f.link
    n.owner = f.owner
    Word(n.owner).bits = new
    set_type(cpu, f.addr, FREE, 0)
    f.link = 0
    f.owner = 0
    return OK
