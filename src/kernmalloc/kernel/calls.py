"""The calls: how the kernel is entered for all that it does.

Concepts
  1. What a call does stands in the room of its concept, as a function that either does all of it or nothing. Its
     docstring is what the call promises. Here it becomes the entry km_call_<name>, and only here: this file is the
     list of what the kernel can be asked for.
  2. `call` puts around a function what every call needs. Where there are quick paths, these are tried first: they take
     no lock. Then the function is done under the lock. Where there is one processor a quick path passes the gate
     `alone`. Where there are more it passes the gate `shared`, and is marked: others see that it is under way.
  3. A call that is refused for want of frames has changed nothing. This processor's stock is put back, then what all
     processors keep idle is fetched, then frames are reclaimed, and each time the whole function is done again (E26,
     E30). If that does not help, the thread waits.
  4. While threads wait, every call ends by waking those for whom there is now what they wait for. `settled` says what a
     call may have brought: nothing, frames, or memory of the heap.

A handler of an interrupt may call in a build for that (INTERRUPTS): a call is under the lock, or takes a quick way,
with interrupts off, and waits for the lock with interrupts as they were. While a handler waits for it, the interrupts
by which a port shoots down and orders memory must come through.

What any call may answer that needs frames: WOULD_BLOCK, and its thread waits, to do the call again when it is woken;
DEADLOCK instead, where nothing could ever end that wait.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any, TypeVar

from kernmalloc.kernel import devices, held, stalls
from kernmalloc.kernel.boot import added
from kernmalloc.kernel.boot.arena import SEVERAL, next_of
from kernmalloc.kernel.core.kern import LARGEST_CLASS, Cpu
from kernmalloc.kernel.core.locks import SLOW, enter, gate_of, leave, quick_begin, quick_end
from kernmalloc.kernel.frames import bulk, stock, table
from kernmalloc.kernel.heap import bulk as objects
from kernmalloc.kernel.heap import caches
from kernmalloc.kernel.heap import fetch as idle
from kernmalloc.kernel.heap import malloc as heap
from kernmalloc.kernel.heap import resize as sized
from kernmalloc.kernel.heap import usage as figures
from kernmalloc.kernel.heap.caches import slot_bytes
from kernmalloc.kernel.heap.resize import MOVE, product
from kernmalloc.kernel.map import windows
from kernmalloc.kernel.pages import faults, ranges, reclaim, roots, source
from kernmalloc.lang import entry, failed, parameter, rare, small
from kernmalloc.lang.functions import signature
from kernmalloc.lang.status import BAD_ADDRESS, NO_FRAMES, NO_VA, WOULD_BLOCK
from kernmalloc.machine.primitives import copy, interrupts_restore, interrupts_save, zero

QUICK_WAYS = parameter("QUICK_WAYS", 2)  # of a call, at most
INTERRUPTS = parameter("INTERRUPTS", 0)  # 1: handlers of interrupts call, too; none comes inside of a quick way

F = TypeVar("F", bound=Callable[..., int])
Way = Callable[..., int]

_LOCKED = '''
def {name}({parameters}) -> int:
    """Under the lock, and again as long as that may bring frames for it."""
    enter(cpu)
    result = inner({arguments})
    while (result == NO_FRAMES or result == WOULD_BLOCK) and stock_drain(cpu) > 0:
        result = inner({arguments})
    if (result == NO_FRAMES or (result == WOULD_BLOCK and cpu.kern.wanted > 0)) and fetch(cpu) != 0:
        result = inner({arguments})
    while failed(result) and again(cpu, result) != 0:
        result = inner({arguments})
    if failed(result) or quiet(cpu) == 0:
        result = settled(cpu, result)
    leave(cpu)
    return result
'''
_CHAINED = '''
def {name}({parameters}) -> int:
    """In this arena, and in those behind it as long as each passes it on."""
    result = here({arguments})
    while PASSED and next_of(cpu) != 0:
        cpu = next_of(cpu)
        result = here({arguments})
    return result
'''


def _quick(marked: bool) -> str:
    """A call without the lock, or the next way if that cannot be; `marked`: others see that it is under way."""
    lines = ["result = quick({arguments}, {gate})"]
    if marked:
        lines = ["quick_begin(cpu)", *lines, "quick_end(cpu)"]
    if INTERRUPTS:
        lines = ["flags = interrupts_save()", *lines, "interrupts_restore(flags)"]
    lines = ["def {name}({parameters}) -> int:", *lines, "return slower({arguments}) if result == SLOW else result"]
    return "\n    ".join(lines) + "\n"


_NAMES = {
    "gate_of": gate_of,
    "quick_begin": quick_begin,
    "quick_end": quick_end,
    "enter": enter,
    "leave": leave,
    "stock_drain": stock.stock_drain,
    "fetch": idle.fetch,
    "again": reclaim.again,
    "quiet": stalls.quiet,
    "interrupts_save": interrupts_save,
    "interrupts_restore": interrupts_restore,
    "failed": failed,
    "NO_FRAMES": NO_FRAMES,
    "WOULD_BLOCK": WOULD_BLOCK,
    "SLOW": SLOW,
    "NO_VA": NO_VA,
    "BAD_ADDRESS": BAD_ADDRESS,
    "next_of": next_of,
}
"""What the templates name; `inner`, `settled`, `quick`, `slower` and `here` are each call's own."""


def _made(template: str, function: F, way: str, gate: str = "", **own: object) -> F:
    """A function with the arguments of another, made from a template; `way` is added to its name. `gate`: where the
    gate of its quick path is."""
    name = function.__name__ + way
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    kinds = signature(function).arguments
    records = {kind.name: kind for kind in kinds if kind}
    parameters = [
        f"{argument}: {kind.name if kind else 'int'}" for argument, kind in zip(arguments, kinds, strict=True)
    ]
    text = template.format(name=name, parameters=", ".join(parameters), arguments=", ".join(arguments), gate=gate)

    file = f"<call of {function.__module__}.{name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)  # the gates and the twin read it there
    space: dict[str, Any] = {**_NAMES, **records, **own, "__name__": __name__}
    exec(compile(text, file, "exec", dont_inherit=True), space)  # its annotations are records, not names
    made: F = space[name]
    return made


def _passed(function: F, all: bool) -> str:
    """What an arena that is one of several says where the next one is asked, too."""
    if all:
        return "failed(result) == 0"
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    return "result == BAD_ADDRESS" if "va" in arguments else "result == NO_VA"


def call(
    function: F,
    quick: Way | None = None,
    own: Way | None = None,
    *,
    shared: Way | None = None,
    settled: Callable[[Cpu, int], int] = stalls.settled,
    all_arenas: bool = False,
) -> F:
    """Make a kernel function the entry km_call_<name>, with its arguments and results.

    `quick` is a way to do it without the lock, `own` is tried after it. Each is given the gate that it must pass, last,
    and says SLOW where it cannot. `shared` stands in for `quick` where there are several processors. `settled` ends a
    call that is refused, or that ends while threads wait. A layout in which other tasks may take the processor
    inside of a quick way has none. Of several arenas, what one has no room for or does not know the next one is asked;
    `all_arenas`: the call concerns them all.
    """
    quick, own = (quick, own)[:QUICK_WAYS] + (None,) * (2 - QUICK_WAYS)
    made = small(_made(_LOCKED, function, "_locked" if quick or SEVERAL else "", inner=function, settled=settled))
    if own:
        made = _made(_quick(True), function, "_own", quick=own, slower=rare(made), gate="gate_of(cpu)")
    if quick:
        made = _made(_quick(True), function, "_shared", quick=shared or quick, slower=rare(made), gate="cpu.shared")
        made = _made(_quick(False), function, "", quick=quick, slower=rare(made), gate="cpu.alone")
    if SEVERAL:
        made = _made(_CHAINED.replace("PASSED", _passed(function, all_arenas)), function, "", here=rare(made))
    made.__doc__ = function.__doc__
    return entry(made)


# how a call ends that may have brought frames, or memory of the heap
FRAMES = stalls.frames_came
MEMORY = stalls.memory_came

malloc = call(heap.malloc, heap.malloc_quick, heap.malloc_own)
malloc_aligned = call(heap.malloc_aligned)
malloc_zeroed = call(heap.malloc_zeroed)
free = call(heap.free, heap.free_quick, heap.free_own, settled=MEMORY)
free_sized = call(sized.free_sized, sized.free_sized_quick, sized.free_sized_own, settled=MEMORY)
size_of = call(heap.size_of)
resize = call(sized.resize, settled=MEMORY)
usage = call(figures.usage)
drain = call(idle.drain, settled=FRAMES, all_arenas=True)
release = call(idle.release, settled=FRAMES)

cache_create = call(caches.cache_create, all_arenas=True)
cache_create_aligned = call(caches.cache_create_aligned, all_arenas=True)
cache_destroy = call(caches.cache_destroy, settled=MEMORY)
cache_get = call(caches.cache_get, caches.cache_get_quick, caches.cache_get_own)
cache_put = call(caches.cache_put, caches.cache_put_quick, caches.cache_put_own, settled=MEMORY)
cache_get_bulk = call(objects.cache_get_bulk, objects.cache_get_bulk_own)
cache_put_bulk = call(objects.cache_put_bulk, objects.cache_put_bulk_own, settled=MEMORY)

frame_get = call(stock.frame_get, stock.frame_get_quick)
block_get = call(stock.block_get, stock.block_get_quick)
range_get = call(ranges.range_get)
frames_get = call(bulk.frames_get, bulk.frames_get_quick)
frame_put = call(stock.frame_put, stock.frame_put_quick, shared=stock.frame_put_shared, settled=FRAMES)
frames_put = call(bulk.frames_put, bulk.frames_put_quick, settled=FRAMES)
range_put = call(ranges.range_put, settled=FRAMES)
frame_type = call(table.frame_type)

collect = call(reclaim.collect, settled=FRAMES)

ram_add = call(added.ram_add, settled=FRAMES)

window_open = call(windows.window_open)
window_close = call(windows.window_close)
zero_frame = call(windows.zero_frame)
copy_frame = call(windows.copy_frame)
copyin = call(windows.copyin)
copyout = call(windows.copyout)

publish = call(devices.publish)
withdraw = call(devices.withdraw, settled=MEMORY)
device_get = call(devices.device_get)
device_put = call(devices.device_put, settled=MEMORY)
device_used = call(devices.device_used)
device_attribute = call(devices.device_attribute)
device_cache = call(devices.device_cache)

page_get = call(faults.page_get)
page_pin = call(faults.page_pin)
page_unpin = call(faults.page_unpin, settled=FRAMES)
page_dirty = call(faults.page_dirty)
page_clean = call(faults.page_clean, settled=FRAMES)
page_discard = call(faults.page_discard, settled=FRAMES)
umap_make = call(roots.umap_make)
umap_map = call(faults.umap_map)
umap_map_large = call(held.umap_map_large)
umap_map_device = call(held.umap_map_device)
umap_unmap = call(held.umap_unmap, settled=MEMORY)
umap_unmap_range = call(held.umap_unmap_range, settled=MEMORY)
umap_free = call(held.umap_free, settled=MEMORY)
source_open = call(source.source_open)
source_close = call(source.source_close, settled=MEMORY)
source_poll = call(source.source_poll, settled=FRAMES)

thread_make = call(stalls.thread_make)
thread_run = call(stalls.thread_run, settled=stalls.served)
thread_next = call(stalls.thread_next, settled=stalls.served)
thread_limit = call(stalls.thread_limit, settled=stalls.served)
thread_cancel = call(stalls.thread_cancel, settled=stalls.served)
thread_free = call(stalls.thread_free, settled=stalls.served)
tick = call(stalls.tick, settled=stalls.served)

# calls made of calls: between these the lock is free


@entry
def calloc(cpu: Cpu, count: int, bytes: int) -> int:
    """Allocate `count` times `bytes` bytes of zeros: the VA, or a status of `malloc`.

    BAD_SIZE: one of them is below 1. NO_VA: the heap's bound is below their product.
    """
    whole = product(count, bytes)
    if failed(whole):
        return whole
    if whole > LARGEST_CLASS:
        return malloc_zeroed(cpu, whole)
    va = malloc(cpu, whole)
    if not failed(va):
        zero(va, slot_bytes(whole))
    return va


@entry
def realloc(cpu: Cpu, va: int, bytes: int) -> int:
    """Make the allocation at va one of `bytes` bytes, with what it held as far as that fits: its VA from now on.

    If it moves it is aligned as malloc's are. A status of `resize` or of `malloc`: it is as it was.
    """
    here = resize(cpu, va, bytes)
    if here != MOVE and here != NO_VA:
        return here
    room = size_of(cpu, va)
    if failed(room):
        return room
    moved = malloc(cpu, bytes)
    if failed(moved):
        return va if bytes <= room else moved
    copy(moved, va, min(room, bytes))
    free(cpu, va)
    return moved
