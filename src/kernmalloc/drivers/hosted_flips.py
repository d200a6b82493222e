"""Flips: a bit of the kernel's memory is turned over, `check` is asked, and what follows is watched.

Concepts
  1. A trial begins with memory as it was saved, of which one bit is wrong. What `check` finds ends it. Else the kernel
     is used for a while, and checked again.
  2. Whoever uses it notes each block that is given out, wherever it came from, and fills it with a mark of its own. A
     block that has bytes of another one, or of what the kernel keeps for itself, is found by its address; two
     addresses of the same frame are found by the marks.
  3. A flip has no effect if memory afterwards is what it is without the flip, but for the bit itself.
  4. `Flips.trial` says how far a run has come, to whoever watches from outside: a trial may end the process.

Host-level code: it writes to the machine's RAM, and calls across to the kernel.
"""

from __future__ import annotations

from kernmalloc.kernel.calls import (
    block_get,
    cache_get,
    cache_put,
    device_get,
    device_put,
    drain,
    frame_get,
    frame_put,
    free,
    malloc,
    malloc_zeroed,
    page_clean,
    page_dirty,
    page_get,
    page_pin,
    page_unpin,
    range_get,
    range_put,
    source_poll,
    thread_free,
    thread_make,
    thread_run,
    umap_map,
    umap_unmap,
    window_close,
    window_open,
)
from kernmalloc.kernel.check.check import check
from kernmalloc.kernel.core.kern import ABSENT, DMA, PAGE, Byte, Cpu, Word
from kernmalloc.kernel.frames.claims import Thread
from kernmalloc.kernel.pages.source import SLOTS, Ring
from kernmalloc.kernel.pages.umap import Umap
from kernmalloc.lang import Record, array, element, entry, failed, field, i64, kernel, machine_record, shl
from kernmalloc.lang.status import OK
from kernmalloc.machine.hosted import Hosted, flush, memcpy

PAGE_SHIFT = 12
LARGE = 33000  # bytes of a block that is no slot
NODE = 552  # bytes that are marked of an object
BLOCKS = 256  # that can be noted
FRAME_SPACE = 1 << 62  # where frames lie beside addresses: what is noted of both is one list

# what a block is
NOTHING = 0
HEAP = 1
FRAMES = 2
RANGE = 3
KERNELS = 4  # the kernel's own
OBJECTS = 16  # an object of a cache: its number is added

# what became of a trial
FOUND = 1
NO_EFFECT = 2
FOUND_LATER = 3
OTHER = 4  # memory is another than without the flip, and nothing is wrong with it
OVERLAP = 5
WILD = 6  # a block was given out where there is no memory


class Given(Record):
    """A block that was given out."""

    kind: i64 = field("NOTHING, HEAP, FRAMES, RANGE, KERNELS, or OBJECTS plus the number of a cache")
    what: i64 = field("its address or first pfn")
    at: i64 = field("where it lies: its address, or FRAME_SPACE plus the physical one")
    bytes: i64 = field("how long it is")


class Flips(Record):
    """A kernel and what it is held against."""

    cpu: Cpu = field("the processor that is called")
    ram: i64 = field("host address of its RAM")
    first: i64 = field("physical address of the first byte of it that counts")
    bytes: i64 = field("how many count")
    saved: i64 = field("host address of a copy of them")
    after: i64 = field("host address of a copy of them after the kernel was used without a flip")
    window: i64 = field("address of the kernel's window")
    window_pages: i64 = field("pages of it")
    heap: i64 = field("address of the heap")
    heap_end: i64 = field("first address beyond what it may ever be")
    kept: i64 = field("blocks that were given out before")
    given: Given = array(BLOCKS, "the blocks that are given out")
    before: Given = array(BLOCKS, "those given out before")
    ring: Ring = field("the ring of the source of pages")
    umap: Umap = field("an address space")
    device: i64 = field("a device frame")
    node: i64 = field("number of a cache of objects")
    oid: i64 = field("object id of a page that is in the cache; the next ones are not")
    mapped: i64 = field("what the host had mapped when memory was last as saved")
    trial: i64 = field("the trial that is under way")
    used: i64 = field("1: nothing was found, and the kernel is in use")
    wrong: i64 = field("OK, or what the use of the kernel has brought to light")


@kernel
def _note(t: Flips, kind: int, what: int, at: int, bytes: int) -> int:
    """Note a block: its place in the list. OVERLAP, WILD: it cannot be one."""
    low = FRAME_SPACE + t.first if at >= FRAME_SPACE else t.heap
    high = FRAME_SPACE + t.first + t.bytes if at >= FRAME_SPACE else t.heap_end
    if at < low or bytes > high - at or at & 7 != 0:
        t.wrong = WILD
        return ABSENT
    place = ABSENT
    for i in range(BLOCKS):
        other = element(t.given, i)
        if other.kind == NOTHING:
            place = i
        elif at < other.at + other.bytes and other.at < at + bytes:
            t.wrong = OVERLAP
            return ABSENT
    block = element(t.given, place)
    block.kind = kind
    block.what = what
    block.at = at
    block.bytes = bytes
    return place


@kernel
def _where(t: Flips, block: Given) -> int:
    """Where a block can be written to."""
    return block.at - FRAME_SPACE + t.ram if block.at >= FRAME_SPACE else block.at


@kernel
def _mark(t: Flips, place: int) -> int:
    """Write all over a block whose it is."""
    if place >= 0:
        block = element(t.given, place)
        at = _where(t, block)
        for word in range(at, at + block.bytes, 8):
            Word(word).bits = block.addr
    return OK


@kernel
def _is_marked(t: Flips, block: Given) -> int:
    """1 if all of a block says whose it is."""
    at = _where(t, block)
    for word in range(at, at + block.bytes, 8):
        if Word(word).bits != block.addr:
            return 0
    return 1


@kernel
def _take(t: Flips, kind: int, what: int, bytes: int) -> int:
    """Note and mark a block, if it was given out at all."""
    if failed(what):
        return OK
    framed = 1 if kind == FRAMES or kind == RANGE else 0
    place = _note(t, kind, what, FRAME_SPACE + (what << PAGE_SHIFT) if framed != 0 else what, bytes)
    return _mark(t, place)


@kernel
def _give(t: Flips, block: Given) -> int:
    """Look at a block's mark, and give it back."""
    if _is_marked(t, block) == 0:
        t.wrong = OVERLAP
        return OK
    kind = block.kind
    block.kind = NOTHING
    if kind == HEAP:
        return free(t.cpu, block.what)
    if kind == FRAMES:
        return frame_put(t.cpu, block.what)
    if kind == RANGE:
        return range_put(t.cpu, block.what, block.bytes >> PAGE_SHIFT)
    return cache_put(t.cpu, kind - OBJECTS, block.what)


@kernel
def _give_some(t: Flips, first: int, step: int) -> int:
    """Give back every block of one parity, or, with a step of 1, every one."""
    for i in range(first, BLOCKS):
        block = element(t.given, i)
        if block.kind != NOTHING and block.kind != KERNELS and t.wrong == OK and (i - first) & (step - 1) == 0:
            _give(t, block)
    return OK


@kernel
def _take_some(t: Flips) -> int:
    """Take blocks of many kinds."""
    cpu = t.cpu
    bytes = 16
    for i in range(6):
        for _ in range(2):
            va = malloc(cpu, bytes + (i << 4))
            _take(t, HEAP, va, bytes + (i << 4))
        bytes = bytes << 1
    large = malloc(cpu, LARGE)
    _take(t, HEAP, large, LARGE)
    for _ in range(4):
        node = cache_get(cpu, t.node)
        _take(t, OBJECTS + t.node, node, NODE)
        pfn = frame_get(cpu, PAGE)
        _take(t, FRAMES, pfn, 1 << PAGE_SHIFT)
    block = block_get(cpu, 1, DMA)
    _take(t, FRAMES, block, 2 << PAGE_SHIFT)
    frames = range_get(cpu, 3, 1, 0, 1 << 24, 0, PAGE)
    _take(t, RANGE, frames, 3 << PAGE_SHIFT)
    zeros = malloc_zeroed(cpu, 2 << PAGE_SHIFT)
    _take(t, HEAP, zeros, 2 << PAGE_SHIFT)
    return OK


@kernel
def _serve(t: Flips) -> int:
    """Answer what the source was asked and has not answered."""
    ring = t.ring
    for _ in range(SLOTS):
        if ring.answered != ring.asked:
            at = ring.answered & (SLOTS - 1)
            element(ring.answers, at).frame = element(ring.requests, at).frame
            element(ring.answers, at).status = 0
            ring.answered = ring.answered + 1
    return source_poll(t.cpu)


@kernel
def _use_pages(t: Flips) -> int:
    """Use pages of the cache, an address space, a device, a window and threads."""
    cpu = t.cpu
    for oid in range(t.oid, t.oid + 4):
        pfn = page_get(cpu, oid)
        if failed(pfn):
            _serve(t)
            pfn = page_get(cpu, oid)
        if not failed(pfn):
            page_pin(cpu, pfn)
            umap_map(cpu, t.umap, oid << PAGE_SHIFT, oid, 1)
            page_unpin(cpu, pfn)
            page_dirty(cpu, pfn)
            page_clean(cpu, pfn)
            _serve(t)
    umap_unmap(cpu, t.umap, (t.oid + 1) << PAGE_SHIFT)
    device_get(cpu, t.device)
    device_get(cpu, t.device + 40)
    device_put(cpu, t.device + 40)
    thread = thread_make(cpu, 0)
    if not failed(thread):
        thread_run(cpu, Thread(thread))
        thread_free(cpu, Thread(thread))
    pfn = frame_get(cpu, PAGE)
    if not failed(pfn):
        window = window_open(cpu, pfn)
        if not failed(window):
            window_close(cpu, window)
        frame_put(cpu, pfn)
    return OK


@kernel
def _use(t: Flips) -> int:
    """Use the kernel for a while: OK, or what has come to light."""
    t.wrong = OK
    memcpy(t.given.addr, t.before.addr, BLOCKS * Given.size)
    _take_some(t)
    if t.wrong == OK:
        _use_pages(t)
    _give_some(t, 0, 2)
    if t.wrong == OK:
        _take_some(t)
    if t.wrong == OK:
        drain(t.cpu)
    _give_some(t, 0, 1)
    if t.wrong == OK:
        drain(t.cpu)
    return t.wrong


@kernel
def _differs(t: Flips, bit: int) -> int:
    """1 if memory is not what it is after an undamaged kernel was used, but for that bit."""
    here = t.ram + t.first
    for at in range(0, t.bytes, 8):
        other = Word(here + at).bits ^ Word(t.after + at).bits
        if other != 0 and (at != (bit >> 6) << 3 or other != shl(1, bit & 63)):
            return 1
    return 0


@kernel
def _restore(t: Flips) -> int:
    """Make memory as it was saved, and what the host maps agree with it."""
    memcpy(t.ram + t.first, t.saved, t.bytes)
    host = Hosted(machine_record())
    if host.mapped != t.mapped:
        flush(t.window, t.window_pages)
        t.mapped = host.mapped
    return OK


@kernel
def _try(t: Flips, bit: int) -> int:
    """What becomes of a kernel of which one bit, counted from the first byte that counts, is turned over."""
    word = Word(t.ram + t.first + ((bit >> 6) << 3))
    word.bits = word.bits ^ shl(1, bit & 63)
    t.used = 0
    if failed(check(t.cpu)):
        return FOUND
    t.used = 1
    wrong = _use(t)
    if wrong != OK:
        return wrong
    if failed(check(t.cpu)):
        return FOUND_LATER
    return OTHER if _differs(t, bit) != 0 else NO_EFFECT


@entry
def flips_take(t: Flips) -> int:
    """Take blocks of many kinds, which stay given out: OK, or what has come to light."""
    t.wrong = OK
    _take_some(t)
    return t.wrong


@entry
def flips_note(t: Flips, at: int, bytes: int) -> int:
    """Note memory that the kernel keeps for itself."""
    return _note(t, KERNELS, 0, at, bytes)


@entry
def flips_give(t: Flips) -> int:
    """Give half of the blocks back."""
    return _give_some(t, 0, 2)


@entry
def flips_begin(t: Flips) -> int:
    """Save memory, and the memory that there is after the kernel was used: OK, or what has come to light."""
    memcpy(t.before.addr, t.given.addr, BLOCKS * Given.size)
    memcpy(t.saved, t.ram + t.first, t.bytes)
    host = Hosted(machine_record())
    t.mapped = host.mapped
    check(t.cpu)
    wrong = _use(t)
    if failed(check(t.cpu)):
        wrong = FOUND_LATER
    memcpy(t.after, t.ram + t.first, t.bytes)
    _restore(t)
    return wrong


@entry
def flips_run(t: Flips, bits: Word, outcomes: Byte, first: int, end: int) -> int:
    """Try so many of an array of bits, one after the other."""
    for i in range(first, end):
        t.trial = i
        outcome = _try(t, element(bits, i).bits)
        element(outcomes, i).value = outcome
        _restore(t)
    t.trial = end
    return OK
