"""The kernel's own sizing functions, asked about a kernel that has not started.

They are kernel Python: CPython executes them as they are, on a copy of the kernel record. So a plan has no formula of
its own, and a question costs microseconds.
"""

from collections.abc import Callable
from functools import cache

from kernmalloc.kernel.boot.added import Adding
from kernmalloc.kernel.boot.sizing import heap_frames
from kernmalloc.kernel.core.kern import Cpu, Kern
from kernmalloc.kernel.frames.space import bank_open
from kernmalloc.kernel.heap.caches import object_pages, object_slabs, slot_bytes
from kernmalloc.kernel.heap.slabs import slab_pages, slab_slots
from kernmalloc.lang.memory import use

KERN = 4096
CPU = KERN + -(-Kern.size // 64) * 64


class Scratch:
    """A copy of one kernel record, for kernel functions that read nothing else. `more`: zeroed bytes behind it."""

    def __init__(self, record: bytes, more: int = 0) -> None:
        self._bytes = bytearray(KERN) + record + bytes(more)
        whole = memoryview(self._bytes)
        self._views = {1: whole, 2: whole.cast("H"), 4: whole.cast("I"), 8: whole.cast("q")}
        self.machine = self

    def load(self, addr: int, width: int) -> int:
        return self._views[width][addr // width]

    def store(self, addr: int, width: int, value: int) -> None:
        self._views[width][addr // width] = value

    def ask(self, function: Callable[..., int], *args: int) -> int:
        """What a kernel function of (kern, …) answers."""
        use(self)
        return function(Kern(KERN), *args)

    def get(self, field: str) -> int:
        """A field of the record."""
        use(self)
        value: int = getattr(Kern(KERN), field)
        return value

    def put(self, field: str, value: int) -> None:
        """Change a field of the record."""
        use(self)
        setattr(Kern(KERN), field, value)

    def copy(self) -> "Scratch":
        """Another copy of the record."""
        return Scratch(bytes(self._bytes[KERN:]))

    def reckoned(self) -> dict[str, int]:
        """What adding RAM was last reckoned to take."""
        use(self)
        adding = Kern(KERN).adding
        return {name: getattr(adding, name) for name in Adding.fields}

    def promise(self, free: int) -> int:
        """Frames that the bank is promised when `free` are left at the end of the boot."""
        self.put("free_frames", free)
        # a processor's record is five times as long as the kernel's, and nothing else reads it
        with_processor = Scratch(bytes(self._bytes[KERN:]), CPU + Cpu.size - len(self._bytes))
        use(with_processor)
        Cpu(CPU).kern = Kern(KERN)
        bank_open(Cpu(CPU))
        self._bytes[KERN:] = with_processor._bytes[KERN : len(self._bytes)]
        return self.get("promised")

    def growth(self, top: int, most: int, frames: int) -> int:
        """Pages by which a heap of `top` can grow, at most `most`, if that may take `frames`."""
        start = self.ask(heap_frames, top)
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            if self.ask(heap_frames, top + middle) - start <= frames:
                low = middle
            else:
                high = middle - 1
        return low


class Slabs:
    """What slabs of one object size hold: bytes of a slot, pages of a slab, slots in it."""

    def __init__(self, page_shift: int, size: int) -> None:
        self.page_shift, self.object = page_shift, size
        self.size = slot_bytes(size)
        self.pages = slab_pages(self.size, page_shift)
        self.slots = slab_slots(self.size, page_shift)

    def slabs(self, count: int) -> int:
        """Slabs that `count` objects need."""
        return object_slabs(self.page_shift, self.object, count)


@cache
def slabs(page_shift: int, size: int) -> Slabs:
    """The slabs of objects of `size` bytes."""
    return Slabs(page_shift, size)


@cache
def pages_of(page_shift: int, size: int, count: int) -> int:
    """Heap pages that `count` objects of `size` bytes take."""
    return object_pages(page_shift, size, count)
