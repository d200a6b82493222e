"""The lives that a kernel can have in this process: raw, soft and twin, behind one interface.

life.call("malloc", cpu, 100)     run an entry of the kernel
life.phys                         what makes a physical address one that `prepare` can use, before paging
life.enter(...)                   turn paging on
"""

import ctypes
import gc
import mmap
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from kernmalloc.lang import objects, twin
from kernmalloc.lang.functions import REGISTRY, group
from kernmalloc.lang.records import hexadecimal
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.cores import Cores
from kernmalloc.machine.hosted import Hosted
from kernmalloc.machine.mmu import Format, entry_pa, walk
from kernmalloc.machine.ram import FIXED, NORESERVE, PAGE, PAGE_SHIFT, Ram, libc
from kernmalloc.machine.soft import NO_ROOT, Soft, Span


class LifeError(Exception):
    """A life cannot start, or what runs in it went wrong: one line."""


class WindowBusy(LifeError):
    """Another raw kernel of this process, or the process itself, has the addresses that the kernel's window needs."""


class HostLimit(LifeError):
    """The host refused a mapping: what the kernel wrote since is lost, and it must be closed."""


class Fault(LifeError):
    """The kernel accessed an address that nothing maps."""


class Paging(Protocol):
    """What a machine needs to know to walk the tables."""

    format_pa: int  # where a `mmu.Format` record is that has been filled in
    page_shift: int
    root: int  # NO_ROOT: there are no tables, the window is a direct map of RAM
    window: int
    target: int
    window_bytes: int
    reach: int
    parts: tuple[int, int, int, int]  # where in the window its tables, the heap's map, the heap and the windows begin
    processors: range  # addresses of the kernel's records of them


class Life(Protocol):
    """One way to run the kernel on a machine's RAM."""

    ram: Ram
    phys: int

    def call(self, name: str, *args: int) -> int:
        """Run the entry `name`; its result. OverflowError for an argument of more than 64 bits."""

    def enter(self, paging: Any) -> None:
        """Turn paging on: what the tables map up to `reach` bytes into the window, or all RAM that a direct map
        reaches, can be accessed from now on."""

    def processors(self, count: int) -> int:
        """Let so many processors run processes: the host address of their TLBs. LifeError: it cannot."""

    def refresh(self) -> None:
        """Forget every translation: memory was replaced as a whole."""

    def reach(self, top: int) -> None:
        """There is RAM up to physical address `top` now."""

    def close(self) -> None:
        """Let go of everything but the RAM; after that `call` raises LifeError."""


_functions: dict[str, Callable[..., int]] = {}
LEAST, MOST = -(1 << 63), (1 << 63) - 1
SINK = 1 << 16  # bytes: no page is larger


def _fit(name: str, args: tuple[int, ...]) -> None:
    """Raise OverflowError for what is no int64: ctypes would cut it to one."""
    for argument in args:
        if not LEAST <= argument <= MOST:
            raise OverflowError(f"{name}: {argument:#x} does not fit 64 bits")


def _closed(name: str) -> LifeError:
    """The refusal of a call after `close`: there is no memory behind the kernel's addresses any more."""
    return LifeError(f"{name}: this kernel is closed")


_load: objects.Load = objects.load
_idle: dict[tuple[objects.Load, str], list[objects.Library]] = {}
"""By what loaded them and for which life, objects that no life uses just now: loading one takes longer than a plan."""


@contextmanager
def loading(load: objects.Load) -> Iterator[None]:
    """Kernels that are booted meanwhile, raw or soft, run the code that `load` gives for their life."""
    global _load
    before, _load = _load, load
    try:
        yield
    finally:
        _load = before


class _Compiled:
    """What raw and soft share: a loaded object and its entries."""

    def __init__(self, life: str, ram: Ram, record: Any, state: Any) -> None:
        self.ram = ram
        self._idle = _idle.setdefault((_load, life), [])
        self.library = self._idle.pop() if self._idle else _load(life)
        self.record = record  # keeps the memory
        self.state = state
        self.library.machine = record.ctypes.data
        self._entries: dict[str, Callable[..., int]] = {}  # those called so far; none once closed
        self._closed = False
        self._direct = MOST  # bytes of RAM that a direct map reaches

    def call(self, name: str, *args: int) -> int:
        entry = self._entries.get(name)
        if entry is None:
            if self._closed:
                raise _closed(name)
            entry = self._entries[name] = self.library.function(name)
        _fit(name, args)
        return entry(*args)

    def _walks(self, paging: Paging) -> None:
        """Tell the machine what it needs to know to walk the tables."""
        import numpy

        self.state["format"] = numpy.frombuffer(self.ram.bytes, Format.dtype, 1, paging.format_pa)[0]
        self.state["root"], self.state["window"], self.state["target"] = paging.root, paging.window, paging.target
        if paging.root == NO_ROOT:
            self._direct = paging.window_bytes
            self.reach(self.ram.top)

    def _have(self, cores: Cores) -> int:
        """Let processors be these: the address of the first."""
        self.cores = cores
        self.state["users"], self.state["processors"] = cores.address(0), cores.count
        return cores.address(0)

    def _cores(self, count: int) -> Cores:
        """So many processors as there usually are for the format."""
        number = self.state["format"]["number"]
        return Cores.of(next(each for each in FORMATS.values() if each.number == number), count)

    def processors(self, count: int) -> int:
        """Give so many processors TLBs to run processes with: their host address."""
        return self._have(self._cores(count))

    def reach(self, top: int) -> None:
        self.ram.reach(top)
        self.state["ram_bytes"] = min(self.ram.top, self._direct)

    def address(self, name: str) -> int:
        """Where in this process the C function of the entry `name` is; KeyError if there is none."""
        return self.library.address(name)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._entries.clear()
            self._idle.append(self.library)


def _record(kind: Any) -> tuple[Any, Any]:
    import numpy

    array = numpy.zeros(1, kind.dtype)
    return array, array[0]


_windows: dict["Raw", range] = {}  # of the raw kernels that are open
PLACES = range(1 << 44, 1 << 46, 1 << 40)  # where windows are looked for: far from programs, libraries and stacks
FIXED_NOREPLACE = 0x100000
READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE  # see machine/hosted.py


def _mapped(window: range, access: int, flags: int) -> bool:
    """Whether all of a window could be mapped; nothing was there before."""
    got = libc.mmap(window.start, len(window), access, flags | FIXED_NOREPLACE, -1, 0)
    if got not in (window.start, -1):
        libc.munmap(got, len(window))
    return bool(got == window.start)


def free_place(size: int) -> int:
    """An address where this process has nothing, for a window of so many bytes. WindowBusy: there is none."""
    for start in PLACES:
        if _mapped(range(start, start + size), 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE):
            libc.munmap(start, size)
            return start
    raise WindowBusy(f"this process has no place for a kernel's window of {size:#x} bytes: use mode soft")


def _holder(window: range) -> str:
    """Which kernel of this process has addresses of a window, in words; empty if none has."""
    for life, other in list(_windows.items()):  # a kernel may be let go meanwhile, by whoever collects garbage
        if other.start < window.stop and window.start < other.stop:
            return life.whose
    return ""


def _taken(window: range) -> str:
    """Who has addresses of a window, and what to do about it."""
    if whose := _holder(window):
        return f"is that of {whose}: close it"
    return f"holds what this process has loaded: set [va] hosted_base = {free_place(len(window)):#x} in the profile"


MEMBARRIER = {"x86_64": 324, "aarch64": 283, "riscv64": 283}
"""Numbers of that system call of Linux, by machine."""


class Raw(_Compiled):
    """Machine code; this computer's MMU maps the kernel's window at its true address."""

    def __init__(self, ram: Ram) -> None:
        array, state = _record(Hosted)
        super().__init__("raw", ram, array, state)
        self.window = self.window_bytes = 0
        self.whose = "another kernel of this process"  # in words, for whoever wants the same window
        self.displaced_by = ""  # whose the place is where the window was wanted, in words
        state["ram"], state["ram_bytes"] = ram.address, ram.top
        state["fd"], state["fresh"] = ram.fd, ram.fresh
        state["membarrier"] = MEMBARRIER.get(platform.machine(), 0) if sys.platform == "linux" else 0
        self.phys = ram.address

    def _take(self, window: range) -> bool:
        """Have these addresses, if nobody has any of them; whether it could be."""
        _windows[self] = window  # first, so that whoever finds it taken finds out whose it is
        if not _mapped(window, READ_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE):
            del _windows[self]
            return False
        self.window, self.window_bytes = window.start, len(window)
        return True

    def claim(self, at: int, size: int) -> int:
        """Have a window of so many bytes at `at`, before paging is on. Where another kernel of this process has that,
        or `at` is 0, have one elsewhere. Its address. WindowBusy: the process itself has that, or there is no place."""
        wanted = range(at, at + size)
        if at and _holder(wanted):
            gc.collect()  # a kernel that nobody refers to any more lets its window go
        if at and not self._take(wanted) and not _holder(wanted):
            self._refuse(wanted)
        if not self.window:
            self.displaced_by = _holder(wanted) if at else ""
        if not self.window and not any(self._take(range(start, start + size)) for start in PLACES):
            whose = ", ".join(life.whose for life in list(_windows)[:1])
            raise WindowBusy(
                f"this process has no place for another window of {size:#x} bytes: {len(_windows)} kernels are open, "
                f"{whose} is the first: close those that nobody needs, or use mode soft"
            )
        return self.window

    def _refuse(self, window: range) -> None:
        raise WindowBusy(f"the kernel's window {window[0]:#x}-{window[-1]:#x} {_taken(window)}, or use mode soft")

    def enter(self, paging: Paging) -> None:
        direct = paging.root == NO_ROOT
        size = min(paging.window_bytes, self.ram.limit) if direct else paging.window_bytes
        window = range(paging.window, paging.window + size)
        if not self.window and not self._take(window):
            self._refuse(window)
        self._walks(paging)
        if direct:
            flags = mmap.MAP_SHARED | NORESERVE | FIXED
            libc.mmap(window.start, len(window), READ_WRITE, flags, self.ram.fd, 0)
        else:
            self.call("port_flush", paging.window, paging.reach >> paging.page_shift)

    def call(self, name: str, *args: int) -> int:
        result = super().call(name, *args)
        if self.state["failed"]:
            raise HostLimit(
                f"{name}: this process cannot hold more separate mappings (vm.max_map_count): the kernel's memory is "
                "too scattered for mode raw; close it, and use mode soft"
            )
        return result

    def refresh(self) -> None:
        if self.state["root"] != NO_ROOT:
            self.call("port_flush", self.window, self.window_bytes >> int(self.state["format"]["page_shift"]))

    def close(self) -> None:
        super().close()
        if self.window:
            libc.munmap(self.window, self.window_bytes)
            del _windows[self]
            self.window = 0


class SoftLife(_Compiled):
    """Machine code; every access walks the kernel's own page tables, through the TLBs of a processor."""

    def __init__(self, ram: Ram) -> None:
        array, state = _record(Soft)
        super().__init__("soft", ram, array, state)
        self._sink = ctypes.create_string_buffer(PAGE + SINK)
        state["ram"], state["ram_bytes"], state["fresh"], state["root"] = ram.address, ram.top, ram.fresh, NO_ROOT
        state["page_shift"] = PAGE_SHIFT
        state["sink"] = -(-ctypes.addressof(self._sink) // PAGE) * PAGE
        self.phys = 0
        self._runs: dict[int, int] = {}  # the kernel's record of a processor -> the processor's address
        self._have(Cores(None, PAGE_SHIFT, (), 1))

    def _have(self, cores: Cores) -> int:
        """Let processors be these. The first one runs."""
        core = self.state["core"] = super()._have(cores)
        cores.records["notes"] = self.record.ctypes.data + Soft.offset("core")
        self._runs = dict(zip(self._runs, range(core, core + cores.bytes, cores.bytes // cores.count), strict=False))
        return core

    def call(self, name: str, *args: int) -> int:
        if args and (core := self._runs.get(args[0])):
            self.state["core"] = core
        result = super().call(name, *args)
        if self.state["faults"]:
            address, self.state["faults"] = int(self.state["fault"]), 0
            raise Fault(f"{name}: nothing maps {hexadecimal(address)}")
        return result

    def enter(self, paging: Paging) -> None:
        self._walks(paging)
        self.state["page_shift"] = paging.page_shift
        for name, at in zip(("tables", "heap_map", "heap", "windows"), paging.parts, strict=True):
            self.state[name] = at
        self._runs = dict.fromkeys(paging.processors, 0)
        self._have(self._cores(len(self._runs)))

    def processors(self, count: int) -> int:
        """The kernel's own."""
        if count > self.cores.count:
            raise LifeError(f"this kernel was booted for {self.cores.count} processors, not {count}")
        return self.cores.address(0)

    def watch(self, distances: Any) -> None:
        """Let each processor note in a record of its own (`distances.Distances`) what other TLBs would miss."""
        size = distances.itemsize
        self._distances = distances  # keeps the memory
        self.cores.records["distances"] = range(distances.ctypes.data, distances.ctypes.data + distances.nbytes, size)
        self.call("tlb_settle")

    def declare(self, text_pages: int, stack_pages: int, image_end: int) -> None:
        """Let each operation touch the first pages of the image as text, and the last ones as stack."""
        self.state["text_pages"], self.state["stack_pages"], self.state["image_end"] = (
            text_pages,
            stack_pages,
            image_end,
        )

    def core_tables(self, spans: list[tuple[int, int]]) -> None:
        """Say which addresses are core tables: (start, end), in order. They count as such from now on."""
        import numpy

        self._spans = numpy.array(spans, numpy.int64).reshape(len(spans), 2).view(Span.dtype)
        self.state["cores"], self.state["core_count"] = self._spans.ctypes.data, len(spans)
        self.call("tlb_settle")

    def refresh(self) -> None:
        self.call("tlb_forget")


class _Physical:
    """RAM by physical address, for code executed with paging off."""

    def __init__(self, ram: Ram) -> None:
        view = memoryview(ram.bytes)
        self.views = {1: view.cast("B"), 2: view.cast("H"), 4: view.cast("I"), 8: view.cast("q")}
        self.machine = None

    def load(self, addr: int, width: int) -> int:
        return self.views[width][addr // width]

    def store(self, addr: int, width: int, value: int) -> None:
        self.views[width][addr // width] = value


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait: a call of the kernel that is interpreted ends with its lock given back, as compiled ones do."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[Any] = []
    signal.signal(signal.SIGINT, lambda *what: came.append(what))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if came:
        handler(*came[0])


class Twin:
    """Interpreted by CPython, with every check; memory as the soft machine sees it."""

    def __init__(self, ram: Ram) -> None:
        self.ram = ram
        self.phys = 0
        self.machine = self  # the primitives are methods
        self.physical = _Physical(ram)
        self.views = self.physical.views
        self.pages: dict[int, int] = {}  # number of a host's page -> its physical address
        self.paging: Paging | None = None
        self.shift = PAGE_SHIFT  # of the kernel's pages
        self._closed = False
        entries = [function for function, exported in REGISTRY.items() if exported and _is_kernel(function)]
        if any(entry.__name__ not in _functions for entry in entries):  # none yet, or not those declared since
            _functions.update(twin.compile(entries))

    def call(self, name: str, *args: int) -> int:
        if self._closed:
            raise _closed(name)
        _fit(name, args)
        twin.use(self)
        with _uninterrupted():
            return _functions[name](*args)

    def load(self, addr: int, width: int) -> int:
        page = self.pages.get(addr >> PAGE_SHIFT)
        if page is None:
            page = self._miss(addr)
        if addr & (width - 1):
            raise Fault(f"misaligned load of {width} bytes at {hexadecimal(addr)}")
        return self.views[width][(page + (addr & (PAGE - 1))) // width]

    def store(self, addr: int, width: int, value: int) -> None:
        page = self.pages.get(addr >> PAGE_SHIFT)
        if page is None:
            page = self._miss(addr)
        if addr & (width - 1):
            raise Fault(f"misaligned store of {width} bytes at {hexadecimal(addr)}")
        self.views[width][(page + (addr & (PAGE - 1))) // width] = value

    def _miss(self, addr: int) -> int:
        pa = addr & -PAGE
        p = self.paging
        if p is not None and p.root == NO_ROOT:
            pa -= p.window
            if not 0 <= pa < p.window_bytes:
                raise Fault(f"nothing maps {hexadecimal(addr)}")
        elif p is not None:
            twin.use(self.physical)
            try:
                format = Format(p.format_pa)
                entry = walk(format, 0, self.ram.top, p.root, addr - p.window + p.target)
                pa = entry_pa(format, entry) + (addr & ((1 << self.shift) - PAGE))
            finally:
                twin.use(self)
            if not entry or not p.window <= addr < p.window + p.window_bytes:
                raise Fault(f"nothing maps {hexadecimal(addr)}")
        if not 0 <= pa < self.ram.top:
            raise Fault(f"no memory at physical address {pa:#x}")
        self.pages[addr >> PAGE_SHIFT] = pa
        return pa

    def enter(self, paging: Paging) -> None:
        self.paging, self.shift = paging, paging.page_shift
        self.pages.clear()

    def refresh(self) -> None:
        self.pages.clear()

    def reach(self, top: int) -> None:
        self.ram.reach(top)

    def close(self) -> None:
        self._closed = True
        for view in self.views.values():
            view.release()

    def processors(self, count: int) -> int:
        """Interpreted, there is nobody but the kernel."""
        raise LifeError("processes run compiled: use mode raw or soft")

    # the primitives

    def km_port_flush(self, va: int, pages: int) -> int:
        for page in range(va >> PAGE_SHIFT, (va + (pages << self.shift)) >> PAGE_SHIFT):
            self.pages.pop(page, None)
        return 0

    km_port_shootdown = km_port_unmap = km_port_flush

    def km_port_map(self, va: int, pa: int, pages: int) -> int:
        self.km_port_flush(va, pages)
        return 1

    def km_port_reach(self) -> int:
        return sys.maxsize  # there is one memory for all processors

    def km_port_interrupts_save(self) -> int:
        return 0

    def km_port_interrupts_restore(self, flags: int) -> int:
        return 0

    def _pa(self, va: int) -> int:
        self.load(va & -8, 8)  # faults where nothing is mapped
        return self.pages[va >> PAGE_SHIFT] + va % PAGE

    def km_port_barrier(self) -> int:
        return 1  # accesses of the twin are in the order of the program

    def km_port_forget(self, root: int, va: int) -> int:
        return 0  # processes of the twin have no TLB

    def km_port_zero(self, va: int, size: int) -> int:
        at = va
        while at < va + size:
            n = min(PAGE - at % PAGE, va + size - at)
            pa = self._pa(at)
            self.ram.bytes[pa : pa + n] = bytes(n)
            at += n
        return 0

    def km_port_zero_ram(self, pa: int, size: int) -> int:
        return 0  # windows are checked, too

    def km_port_copy(self, to: int, of: int, size: int) -> int:
        done = 0
        while done < size:
            n = min(PAGE - (to + done) % PAGE, PAGE - (of + done) % PAGE, size - done)
            here, there = self._pa(to + done), self._pa(of + done)
            self.ram.bytes[here : here + n] = self.ram.bytes[there : there + n]
            done += n
        return 0

    def km_port_known_zero(self, pa: int, size: int) -> int:
        return int(self.ram.fresh)


def _is_kernel(function: Any) -> bool:
    return group(function) == "kernel" and function.__module__.startswith(("kernmalloc.kernel.", "kernmalloc.drivers."))


LIVES: dict[str, Callable[[Ram], Life]] = {"raw": Raw, "soft": SoftLife, "twin": Twin}
