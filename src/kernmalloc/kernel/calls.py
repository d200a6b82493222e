"""The calls: how the kernel is entered for all that it does.

Concepts
  1. What a call does stands in the module of its concept, as a function that either does all of it or nothing. Here it
     is made an entry, and only here: one list of what the kernel can be asked for.
  2. All that a call needs around it (who may be inside, what happens when frames are short) is in `call`, once.
"""

import linecache
from types import FunctionType

from kernmalloc.kernel import caches, devices, frames, heap, ranges, windows
from kernmalloc.lang import entry


def call(function: FunctionType) -> FunctionType:
    """Make the entry km_<name> of a kernel function: the same arguments and results."""
    name, arguments = function.__name__, ", ".join(function.__code__.co_varnames[: function.__code__.co_argcount])
    source = f"def {name}({arguments}):\n    return inner({arguments})\n"
    file = f"<call of {function.__module__}.{name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)  # the gates and the twin read it there
    space = {"inner": function, "__name__": __name__}
    exec(compile(source, file, "exec"), space)
    space[name].__doc__ = function.__doc__
    return entry(space[name])


malloc = call(heap.malloc)
malloc_aligned = call(heap.malloc_aligned)
malloc_zeroed = call(heap.malloc_zeroed)
free = call(heap.free)
size_of = call(heap.size_of)
drain = call(heap.drain)
release = call(heap.release)

cache_create = call(caches.cache_create)
cache_get = call(caches.cache_get)
cache_put = call(caches.cache_put)

frame_get = call(frames.frame_get)
block_get = call(frames.block_get)
range_get = call(ranges.range_get)
frame_put = call(frames.frame_put)
range_put = call(ranges.range_put)
frame_type = call(frames.frame_type)

window_open = call(windows.window_open)
window_close = call(windows.window_close)
zero_frame = call(windows.zero_frame)
copy_frame = call(windows.copy_frame)
copyin = call(windows.copyin)
copyout = call(windows.copyout)

publish = call(devices.publish)
withdraw = call(devices.withdraw)
device_get = call(devices.device_get)
device_put = call(devices.device_put)
device_used = call(devices.device_used)
device_attribute = call(devices.device_attribute)
device_cache = call(devices.device_cache)
