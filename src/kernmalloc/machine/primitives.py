"""The machine boundary: everything that the kernel needs and only a machine can do.

Each life supplies these: `hosted` out of mmap, `soft` out of its TLB model, `twin` in Python, `bare` in a few
instructions of the target. Addresses are kernel virtual unless called `pa`; lengths are bytes or whole pages.
"""

from kernmalloc.lang import primitive

flush = primitive(
    "km_port_flush",
    2,
    """flush(va, pages): forget this processor's translations of these pages.
Before: the table entries are written. After: the next access to each page walks the tables, from the root.""",
)

shootdown = primitive(
    "km_port_shootdown",
    2,
    """shootdown(va, pages): the same on every processor.
After: no processor can reach the frames that the pages had; only now may those frames change owner.""",
)

map_pages = primitive(
    "km_port_map",
    3,
    """map(va, pa, pages): the kernel around maps these pages, writable, to memory at pa that is contiguous.
Only mode SHADOW asks. Before: they are not mapped, or they are windows of this processor. After: this processor reaches
the memory. It cannot fail: whatever page tables the window takes are there. 1; 0: this port maps nothing, and the boot
is refused; 0 pages: nothing but that is asked.""",
)

unmap_pages = primitive(
    "km_port_unmap",
    2,
    """unmap(va, pages): the kernel around takes out what was mapped at these pages.
After: no processor can reach the frames that the pages had; only now may those frames change owner.""",
)

barrier = primitive(
    "km_port_barrier",
    0,
    """barrier(): every other processor passes a full memory barrier, between two of its
instructions, after this begins and before it ends: an interrupt that it acknowledges does. 1; 0: this port has none,
and what other processors keep idle stays theirs. It is called inside the kernel, with interrupts off here.""",
)

reach = primitive(
    "km_port_reach",
    0,
    """reach(): how many processors a shootdown reaches at most. The boot asks, and refuses to serve more.""",
)

forget = primitive(
    "km_port_forget",
    2,
    """forget(root, va): every processor forgets the translation of the page at va, which may be a large one, in the
address space whose root table is at physical address root, and what led to it: under PAE paging the entries of the
root, too, which it has read when CR3 was loaded. After: no process reaches the frame that the page had, and each finds
what is mapped there now.""",
)

zero = primitive(
    "km_port_zero", 2, """zero(va, bytes): fill mapped memory with zeros. va and bytes are multiples of 8."""
)

zero_ram = primitive(
    "km_port_zero_ram",
    2,
    """zero_ram(pa, bytes): fill whole frames of RAM with zeros, from physical address pa on,
where this port reaches them as they are. 1; 0: it does not, and the kernel opens a window on each.""",
)

copy = primitive(
    "km_port_copy",
    3,
    """copy(to, of, bytes): make mapped memory at `to` a copy of that at `of`. They do not overlap.""",
)

interrupts_save = primitive(
    "km_port_interrupts_save",
    0,
    """interrupts_save(): take this processor's interrupts off.
After: none is taken; returns what interrupts_restore needs to make them as they were.""",
)

interrupts_restore = primitive(
    "km_port_interrupts_restore",
    1,
    """interrupts_restore(flags): make interrupts as they were
when interrupts_save returned flags.""",
)

known_zero = primitive(
    "km_port_known_zero",
    2,
    """known_zero(pa, bytes): 1 if the machine vouches that this RAM was zero
when the kernel was started (fresh hosted memory), else 0. It says nothing of what was written since.""",
)
