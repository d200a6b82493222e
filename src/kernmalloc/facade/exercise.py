"""Use a kernel as a kernel would: allocate in every way that it has, then free it all."""

from collections.abc import Callable, Iterator
from contextlib import suppress

from kernmalloc.facade.errors import OutOfMemory, Promised, WouldBlock
from kernmalloc.facade.kernel import Kernel

SIZES = (*(1 << shift for shift in range(21)), 3, 24, 100, 556, 3000, 5000, 70_000)  # bytes
ROUNDS = 4

Undo = tuple[Callable[[int], None], int]  # what gives back, and what it is given


def exercise(kernel: Kernel) -> int:
    """Allocates blocks of many sizes, objects of every type and frames, then frees them in another order. Returns the
    operations done. On a machine too full for all of it, what fits; nothing stays allocated, nor ready for more."""
    undo: list[Undo] = []
    with suppress(OutOfMemory, Promised, WouldBlock):  # the machine is full, or the rest is the bank's
        undo.extend(_allocations(kernel))  # what came before a refusal is in the list
    for give_back, what in undo[::2] + undo[1::2]:
        give_back(what)
    kernel.drain()
    return 2 * len(undo)


def _allocations(kernel: Kernel) -> Iterator[Undo]:
    """Allocate one after the other."""
    for _ in range(ROUNDS):
        for size in SIZES:
            yield kernel.free, kernel.malloc(size)
        for cache in kernel.caches:
            if not cache.own:
                yield cache.put, cache.get()
        yield kernel.frame_put, kernel.frame_get()
