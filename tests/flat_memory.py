"""Memory for kernel functions that need no machine: bytes without paging, handed out by a bump allocator."""

from typing import Any

from kernmalloc.lang import twin


class FlatMemory:
    """`size` bytes of zeros from address 0, of which the first page is no one's, so that following a null link is seen.

    Counts loads, stores and the bytes that are made zero. Kernel functions work on it after `twin.use(memory)`."""

    def __init__(self, size: int = 1 << 22) -> None:
        self.bytes = bytearray(size)
        whole = memoryview(self.bytes)
        self.views = {1: whole, 2: whole.cast("H"), 4: whole.cast("I"), 8: whole.cast("q")}
        self.top = 4096
        self.loads = self.stores = self.cleared = 0
        self.vouches = False  # that memory is zero which was zero at the start
        self.machine = self

    def new(self, size: int) -> int:
        """Address of `size` zeroed bytes, on a cache line of their own."""
        at, self.top = self.top, -(-(self.top + size) // 64) * 64
        assert self.top <= len(self.bytes), "the test needs more memory"
        return at

    def clear(self, addr: int, size: int) -> None:
        self.bytes[addr : addr + size] = bytes(size)

    def load(self, addr: int, width: int) -> Any:
        self.loads += 1
        return self.views[width][self._place(addr, width)]

    def store(self, addr: int, width: int, value: int) -> None:
        self.stores += 1
        self.views[width][self._place(addr, width)] = value

    def _place(self, addr: int, width: int) -> int:
        if not 4096 <= addr <= self.top - width or addr % width:
            raise twin.TwinFault(f"{width} bytes at {addr:#x}")
        return addr // width

    # the primitives that kernel functions without a machine call

    def km_port_zero(self, va: int, size: int) -> int:
        self.cleared += size
        self.clear(va, size)
        return 0

    def km_port_copy(self, to: int, of: int, size: int) -> int:
        self.bytes[to : to + size] = self.bytes[of : of + size]
        return 0

    def km_port_map(self, va: int, pa: int, pages: int) -> int:
        return 0  # there is nobody around who maps

    def km_port_known_zero(self, pa: int, size: int) -> int:
        return int(self.vouches)

    def km_port_reach(self) -> int:
        return 1

    def km_port_barrier(self) -> int:
        return 0
