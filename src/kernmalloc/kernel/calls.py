"""The calls: how the kernel is entered for all that it does.

Concepts
  1. What a call does stands in the module of its concept, as a function that either does all of it or nothing. Here it
     is made an entry, and only here: one list of what the kernel can be asked for.
  2. All that a call needs around it (who may be inside, what happens when frames are short) is in `call`, once: a quick
     path where there is one; else the lock. A call that is refused for want of frames has changed nothing: this
     processor's stock is put back, then frames are reclaimed, and it is done again from its beginning (E26, E30). If that
     is not possible its thread waits.
  3. While threads wait every call ends by waking those for whom there is now what they wait for. What a call can bring
     stands in the list: frames, or memory of the heap.
"""

import linecache
from types import FunctionType

from kernmalloc.kernel import caches, devices, faults, frames, heap, ranges, reclaim, source, stalls, stock, windows
from kernmalloc.kernel.locks import SLOW, enter, leave
from kernmalloc.lang import entry, rare
from kernmalloc.lang.status import NO_FRAMES, WOULD_BLOCK

_LOCKED = """
def {name}({arguments}):
    enter(cpu)
    result = inner({arguments})
    while (result == NO_FRAMES or result == WOULD_BLOCK) and stock_drain(cpu) > 0:
        result = inner({arguments})
    while result < 0 and again(cpu, result) != 0:
        result = inner({arguments})
    result = result if result >= 0 and quiet(cpu) != 0 else settled(cpu, result)
    leave(cpu)
    return result
"""
_QUICK = """
def {name}({arguments}):
    result = quick({arguments})
    return slower({arguments}) if result == SLOW else result
"""


def _make(template: str, function: FunctionType, way: str, **names: object) -> FunctionType:
    """A kernel function of the arguments of another: `way` by which the call of its name is done."""
    name, arguments = function.__name__ + way, ", ".join(function.__code__.co_varnames[: function.__code__.co_argcount])
    source = template.format(name=name, arguments=arguments)
    file = f"<call of {function.__module__}.{name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)  # the gates and the twin read it there
    space = {**names, "__name__": __name__}
    exec(compile(source, file, "exec"), space)
    space[name].__doc__ = function.__doc__
    return space[name]


def call(function: FunctionType, *quick: FunctionType, settled: FunctionType = stalls.settled) -> FunctionType:
    """Make the entry km_<name> of a kernel function: the same arguments and results. `settled` ends a call that is refused, or
    while threads wait. `quick` ways do the same without the lock, or say SLOW: the next one is tried then."""
    made = _make(
        _LOCKED, function, "_locked" if quick else "", inner=function, enter=enter, leave=leave,
        stock_drain=stock.stock_drain, again=reclaim.again, quiet=stalls.quiet, settled=settled,
        NO_FRAMES=NO_FRAMES, WOULD_BLOCK=WOULD_BLOCK,
    )  # fmt: skip
    for left in range(len(quick) - 1, -1, -1):
        made = _make(_QUICK, function, f"_{left}" if left else "", quick=quick[left], slower=rare(made), SLOW=SLOW)
    return entry(made)


FRAMES = stalls.frames_came
MEMORY = stalls.memory_came

malloc = call(heap.malloc, heap.malloc_quick, heap.malloc_next)
malloc_aligned = call(heap.malloc_aligned)
malloc_zeroed = call(heap.malloc_zeroed)
free = call(heap.free, heap.free_quick, heap.free_next, settled=MEMORY)
size_of = call(heap.size_of)
drain = call(heap.drain, settled=FRAMES)
release = call(heap.release, settled=FRAMES)

cache_create = call(caches.cache_create)
cache_get = call(caches.cache_get, caches.cache_get_quick, caches.cache_get_next)
cache_put = call(caches.cache_put, caches.cache_put_quick, caches.cache_put_next, settled=MEMORY)

frame_get = call(stock.frame_get, stock.frame_get_quick)
block_get = call(stock.block_get, stock.block_get_quick)
range_get = call(ranges.range_get)
frame_put = call(stock.frame_put, stock.frame_put_quick, settled=FRAMES)
range_put = call(ranges.range_put, settled=FRAMES)
frame_type = call(frames.frame_type)

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
umap_make = call(faults.umap_make)
umap_map = call(faults.umap_map)
umap_unmap = call(faults.umap_unmap, settled=MEMORY)
umap_free = call(faults.umap_free, settled=MEMORY)
source_open = call(source.source_open)
source_close = call(source.source_close, settled=MEMORY)
source_poll = call(source.source_poll, settled=FRAMES)

thread_make = call(stalls.thread_make)
thread_run = call(stalls.thread_run, settled=stalls.looked_after)
thread_next = call(stalls.thread_next, settled=stalls.looked_after)
thread_limit = call(stalls.thread_limit, settled=stalls.looked_after)
thread_cancel = call(stalls.thread_cancel, settled=stalls.looked_after)
thread_free = call(stalls.thread_free, settled=stalls.looked_after)
tick = call(stalls.tick, settled=stalls.looked_after)
