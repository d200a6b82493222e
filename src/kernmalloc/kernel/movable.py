"""Movable: which frames a range may claim although they are in use, and how a page comes to be in another frame.

Concepts
  1. All that leads to a page of the cache is known: its name, its queue, its depend entries. So it can be moved, unless somebody
     holds it in place (`pins`) or the source reads or writes it just now. Every other frame in use stays where it is.
  2. Moving is: nobody reaches the page any more (`page_hide`), it is copied, and all that led to the old frame leads to the
     new one (`page_replace`).
"""

from kernmalloc.kernel.depends import depends_hide, depends_move
from kernmalloc.kernel.frames import Page, entry_of, set_type
from kernmalloc.kernel.kern import FREE, PAGE
from kernmalloc.kernel.pages import is_linked, page_heir, page_of
from kernmalloc.lang import kernel


@kernel
def page_movable(cpu, region, pfn):
    """1 if the frame's content can be moved elsewhere now."""
    f = Page(entry_of(cpu, region, pfn))
    return 1 if f.type == PAGE and is_linked(f.state) != 0 and f.pins == 0 else 0


@kernel
def page_hide(cpu, pfn):
    """Let nobody reach a movable page, on any processor, until it has been moved."""
    return depends_hide(cpu, pfn)


@kernel
def page_replace(cpu, old, new):
    """Let frame `new`, which no one owns and no bitmap lists, hold the page that frame `old` holds; then no one owns `old`."""
    set_type(cpu, page_of(cpu, new), PAGE, 0)
    page_heir(cpu, old, new)
    set_type(cpu, page_of(cpu, old), FREE, 0)
    return depends_move(cpu, new)
