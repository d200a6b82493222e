"""The soft machine, in kernel Python: every access walks the page tables that the kernel wrote, through TLBs.

Concepts
  1. Each processor has the TLBs of a real one (`tlb.py`); which processor runs is noted. An access that no entry maps
     is a fault: its address is noted for the caller, and it goes to the sink, a page of no use.
  2. What is counted, is counted by structure. Image and boot area, the window of tables, the heap's map, the heap and
     the windows lie one behind the other. Which pages of the heap are core tables the host tells, when that changes.
  3. A call of the kernel is an operation. It touches the text and the stack that the profile declares: the first pages
     of the image, and the last ones. Nothing is loaded from there.
  4. Where there is no root, addresses are physical, counted from `window` on: that is a direct map, and at 0 it is a
     machine with paging off. Nothing is counted then.
  5. RAM may be sparse (`soft_ram.py`): a frame that nobody has written to reads as zeros. No shortcut leads there.

Host-level code: its accesses are to the host's memory.
"""

from __future__ import annotations

from kernmalloc.lang import (
    Record,
    element,
    entry,
    field,
    i64,
    inline,
    kernel,
    machine_record,
    port,
    primitive,
    ram_at,
    ram_given,
)
from kernmalloc.machine.mmu import Format
from kernmalloc.machine.soft_ram import Sparse, frame_memory, memory_of
from kernmalloc.machine.tlb import (
    CORE_TABLE,
    DATA,
    GLOBAL,
    HEAP,
    INSTRUCTION,
    MAPPING,
    OTHER,
    READABLE,
    SHORTCUTS,
    STACK,
    TEXT,
    UNCOUNTED,
    WINDOWS,
    WRITABLE,
    Core,
    Slot,
    remember,
    settle_all,
    tlb_clear,
    tlb_drop,
    tlb_find,
    tlb_load,
    tlb_lock,
    tlb_rights,
)
from kernmalloc.machine.users import users_forget
from kernmalloc.machine.walker import EXECUTE, NOT_USED, READ, WRITE, Walked, alike, walk_hardware

memcpy = primitive("memcpy", 3, "The C library's.")
memset = primitive("memset", 3, "The C library's.")

NO_ROOT = -1
ALL = 1 << 16  # processors: more than there are


class Span(Record):
    """Pages of the heap that are a core table."""

    start: i64 = field("VA of the first")
    end: i64 = field("VA behind the last")


class Soft(Record):
    """The soft machine's state."""

    core: Core = field("the processor that runs")
    page_shift: i64 = field("log2 of the bytes in a page")
    ram: i64 = field("host address of physical address 0")
    ram_bytes: i64 = field("length of RAM")
    format: Format = inline("the format of the page tables")
    root: i64 = field("physical address of the root table; NO_ROOT: there are no tables")
    window: i64 = field("VA of the kernel's window as the kernel uses it")
    target: i64 = field("VA of the window on the target")
    fresh: i64 = field("1 if RAM was zero when the kernel was started")
    users: Core = field("the first of the processors")
    processors: i64 = field("how many there are")
    sink: i64 = field("host address of a page that takes faulting accesses")
    zeros: i64 = field("host address of a page of zeros; 0 where RAM is one piece")
    sparse: Sparse = inline("where the memory of frames is, where it is not")
    faults: i64 = field("accesses that nothing mapped")
    fault: i64 = field("address of the first of them")
    tables: i64 = field("VA of the window of tables")
    heap_map: i64 = field("VA of the heap's map, which ends that window")
    heap: i64 = field("VA of the heap, which ends the map")
    windows: i64 = field("VA of the windows, which end the heap")
    cores: Span = field("the core tables, by address")
    core_count: i64 = field("how many")
    text_pages: i64 = field("pages of text that an operation touches, from `window` on")
    stack_pages: i64 = field("pages of stack that it touches, up to `image_end`")
    image_end: i64 = field("VA behind the image")


@kernel
def _is_core_table(m: Soft, va: int) -> int:
    """1 if a core table lies in the page of va."""
    low = 0
    high = m.core_count
    while low < high:
        middle = (low + high) >> 1
        if element(m.cores, middle).end <= va:
            low = middle + 1
        else:
            high = middle
    return 1 if low < m.core_count and element(m.cores, low).start < va + (1 << m.page_shift) else 0


@kernel
def _structure(m: Soft, va: int) -> int:
    """What the page at va is part of."""
    if va < m.tables:
        below = (m.image_end - va) >> m.page_shift
        return STACK if below > 0 and below <= m.stack_pages else OTHER
    if va < m.heap_map:
        return MAPPING
    if va < m.heap:
        return OTHER
    if va >= m.windows:
        return WINDOWS
    return CORE_TABLE if _is_core_table(m, va) != 0 else HEAP


@kernel
def _walk(m: Soft, core: Core, at: int, access: int) -> Walked:
    """Walk for a target address: where that led; null: it is a fault, or leads out of RAM."""
    found = core.walked
    fault = walk_hardware(core.hardware, m.ram, m.ram_bytes, m.root, at, access, found)
    if fault == NOT_USED and core.marks != 0:
        fault = 0  # and not marked, so that memory is what it is in other lives
    return found if fault == 0 and found.pa >= 0 and found.pa < m.ram_bytes else Walked(0)


@kernel
def _access(m: Soft, core: Core, kind: int, va: int, rights: int, what: int) -> Slot:
    """Access the page at va: its slot in level 1; null: nothing maps it."""
    at = va - m.window + m.target
    page = at >> m.page_shift
    slot = tlb_find(core, m.page_shift, kind, GLOBAL, page, rights, what)
    if slot != 0:
        return slot
    access = EXECUTE if kind == INSTRUCTION else WRITE if rights == WRITABLE else READ
    found = _walk(m, core, at, access)
    if found == 0:
        return Slot(0)
    size = found.page - m.page_shift
    return tlb_load(core, m.page_shift, kind, GLOBAL, page, found.pa, size, tlb_rights(core, access), what)


@kernel
def miss(m: Soft, va: int, write: int) -> int:
    """An access that no shortcut leads to: the host address."""
    core = m.core
    shift = m.page_shift
    tag = va >> shift
    start = tag << shift
    slot = core.always
    what = UNCOUNTED
    pa = start - m.window
    if m.root != NO_ROOT:
        what = _structure(m, start)
        slot = _access(m, core, DATA, start, WRITABLE if write != 0 else READABLE, what)
        pa = slot.pa + start - m.window + m.target - (slot.page << shift) if slot != 0 else 0
    elif start < m.window or start - m.window >= m.ram_bytes:
        slot = Slot(0)
    if slot == 0:
        if m.faults == 0:
            m.fault = va
        m.faults = m.faults + 1
        return m.sink + va - start
    if write == 0 and ram_given(pa) == 0:
        return m.zeros + va - start
    delta = ram_at(m.ram, pa) - start
    remember(core, tag, slot, GLOBAL, what, delta)
    return va + delta


@port
def translate(va: int, write: int) -> int:
    """The host address of va. This is part of every access of the kernel: what is not needed for a hit is in `miss`."""
    m = Soft(machine_record())
    core = m.core
    tag = va >> m.page_shift
    known = element(core.shortcuts, tag & (SHORTCUTS - 1))
    slot = known.slot
    if (known.write if write != 0 else known.read) == tag and slot.serial == known.serial:
        clock = core.clock + 1
        core.clock = clock
        slot.stamp = clock
        known.hits = known.hits + 1
        return va + known.delta
    return miss(m, va, write)


@kernel
def _touch_text(m: Soft, core: Core) -> int:
    """Touch the declared text. While nothing else happens to the TLBs that have it, the next time is like the last."""
    misses = element(core.traffic, TEXT).misses
    for i in range(m.text_pages):
        _access(m, core, INSTRUCTION, m.window + (i << m.page_shift), READABLE, TEXT)
    core.quiet = 1 if element(core.traffic, TEXT).misses == misses else 0
    return 0


@port
def sparse_at(pa: int) -> int:
    """Where sparse RAM has physical address pa; its frame has memory from now on."""
    return memory_of(Soft(machine_record()).sparse, pa)


@port
def sparse_given(pa: int) -> int:
    """1 if the frame at pa has memory."""
    return 1 if frame_memory(Soft(machine_record()).sparse, pa) != 0 else 0


@port
def operation() -> int:
    """A call of the kernel begins."""
    m = Soft(machine_record())
    core = m.core
    core.operations = core.operations + 1
    if core.quiet != 0:
        text = element(core.traffic, TEXT)
        text.accesses = text.accesses + m.text_pages
    else:
        _touch_text(m, core)
    for i in range(m.stack_pages):
        translate(m.image_end - ((i + 1) << m.page_shift), 1)
    return 0


@kernel
def _flush_one(m: Soft, core: Core, va: int, pages: int) -> int:
    """Drop a processor's translations of these pages."""
    if m.root != NO_ROOT and pages > 0:
        tlb_drop(core, GLOBAL, (va - m.window + m.target) >> m.page_shift, pages)
    return 0


@port
def flush(va: int, pages: int) -> int:
    """Drop this processor's translations of these pages."""
    m = Soft(machine_record())
    return _flush_one(m, m.core, va, pages)


@port
def shootdown(va: int, pages: int) -> int:
    """Drop every processor's."""
    m = Soft(machine_record())
    for i in range(m.processors):
        _flush_one(m, element(m.users, i), va, pages)
    return 0


@port
def map(va: int, pa: int, pages: int) -> int:
    """The entries say it, too."""
    flush(va, pages)
    return 1


@port
def unmap(va: int, pages: int) -> int:
    """The entries say it, too."""
    return shootdown(va, pages)


@port
def reach() -> int:
    """All processors are here."""
    return ALL


@port
def barrier() -> int:
    """One thread runs all processors."""
    return 1


@port
def forget(root: int, va: int) -> int:
    """Drop the translation from every processor's TLBs."""
    m = Soft(machine_record())
    core = m.core
    status = users_forget(m.users, m.processors, m.page_shift, root, va)
    m.core = core
    return status


@entry
def walked(va: int) -> int:
    """Where the kernel's address va leads, for whoever looks on: physical address << 6 | log2 of the bytes of the page
    that maps it; -1: nowhere. No TLB notices."""
    m = Soft(machine_record())
    if m.root == NO_ROOT:
        pa = va - m.window
        return pa << 6 | m.page_shift if pa >= 0 and pa < m.ram_bytes else -1
    found = _walk(m, m.core, va - m.window + m.target, READ)
    return found.pa << 6 | found.page if found != 0 else -1


@entry
def walked_bytes(va: int, end: int) -> int:
    """How many bytes from va on, up to `end`, lead to physical addresses one behind the other, through pages of one
    size; of an address that leads nowhere, how many lead nowhere."""
    m = Soft(machine_record())
    if m.root == NO_ROOT:
        return end - va
    first = walked(va)
    at = va
    while at < end and walked(at) == first + ((at - va) << 6 if first >= 0 else 0):
        pages = 1
        size = m.page_shift
        if first >= 0:
            size = first & 63
            to = at - m.window + m.target
            pages = alike(m.core.hardware, m.ram, m.core.walked, to, 1 << m.page_shift)
        at = ((at >> size) + pages) << size
    return min(at, end) - va


@entry
def tlb_settle() -> int:
    """Count what shortcuts have not counted yet, and find out anew what pages are."""
    m = Soft(machine_record())
    for i in range(m.processors):
        settle_all(element(m.users, i))
    return 0


@entry
def tlb_forget() -> int:
    """Drop every translation: memory was replaced as a whole."""
    m = Soft(machine_record())
    for i in range(m.processors):
        settle_all(element(m.users, i))
        tlb_clear(element(m.users, i), 1)
    return 0


@entry
def tlb_fix(va: int, pages: int) -> int:
    """Lock the large pages that map these pages into every processor's TLB: how many entries, on each; as many as there
    is room for."""
    m = Soft(machine_record())
    locked = 0
    at = va - m.window + m.target
    end = at + (pages << m.page_shift)
    while at < end:
        found = _walk(m, m.core, at, WRITE)
        if found == 0:
            return locked
        room = 1
        for i in range(m.processors):
            size = found.page - m.page_shift
            room = room & tlb_lock(element(m.users, i), m.page_shift, at >> m.page_shift, found.pa, size)
        locked += room
        at = ((at >> found.page) + 1) << found.page
    return locked


@port
def zero(va: int, bytes: int) -> int:
    """Fill with zeros, page by page."""
    page = 1 << Soft(machine_record()).page_shift
    at = va
    while at < va + bytes:
        n = min(page - (at & (page - 1)), va + bytes - at)
        memset(translate(at, 1), 0, n)
        at += n
    return 0


@port
def zero_ram(pa: int, bytes: int) -> int:
    """Windows are counted: what is filled is reached through them, as on a bare machine."""
    return 0


@port
def copy(to: int, of: int, bytes: int) -> int:
    """Copy, up to the next end of a page on either side at a time."""
    page = 1 << Soft(machine_record()).page_shift
    done = 0
    while done < bytes:
        n = page - max((to + done) & (page - 1), (of + done) & (page - 1))
        n = min(n, bytes - done)
        there = translate(to + done, 1)
        here = translate(of + done, 0)
        memcpy(there, here, n)
        done += n
    return 0


@port
def known_zero(pa: int, bytes: int) -> int:
    """Fresh memory is zero."""
    return Soft(machine_record()).fresh


@port
def interrupts_save() -> int:
    """The soft machine has no interrupts."""
    return 0


@port
def interrupts_restore(flags: int) -> int:
    """Nothing was taken off."""
    return 0
