"""A running kernel: boot it on a machine, allocate in it, look at its state, check it.

    >>> from kernmalloc import Kernel, Machine, Profile
    >>> kernel = Kernel.boot(Machine.shipped("desktop-16g"), Profile.load("eros2"))
    >>> va = kernel.malloc(100)
    >>> kernel.free(va)
    >>> kernel.check().passed
    True
    >>> kernel.close()

Addresses are kernel virtual addresses, sizes are bytes, frames are pfns. What the kernel refuses raises an exception of
`facade.errors`, and nothing has changed. Where it would have to wait it raises WouldBlock; a `thread` waits instead. A
kernel booted for several processors has a handle for each, `kernel.cpu(1)`. Python threads take turns at a handle; in
mode raw those with handles of their own run at the same time.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import copy
from pathlib import Path

import numpy

import kernmalloc.drivers.replay  # noqa: F401
import kernmalloc.kernel.boot.steps  # noqa: F401
import kernmalloc.kernel.calls  # noqa: F401
from kernmalloc.facade.caches import Caches, ObjectCache, cache_names
from kernmalloc.facade.devices import Devices, Ledger
from kernmalloc.facade.dump import chosen, opened
from kernmalloc.facade.errors import KernelError, TooSmall, checked
from kernmalloc.facade.handle import Handle
from kernmalloc.facade.loader import Placement, load
from kernmalloc.facade.origin import origin
from kernmalloc.facade.pages import Pages
from kernmalloc.facade.profile import Profile
from kernmalloc.facade.state import (
    Check,
    CoreTable,
    Donation,
    HeapState,
    RegionState,
    Snapshot,
    Step,
    failure,
    refuse_large,
)
from kernmalloc.facade.story import refusal, told
from kernmalloc.facade.threads import as_thread
from kernmalloc.facade.tlb import TlbCounts, TlbFigures, counts, figures, reset, tell_core_tables
from kernmalloc.facade.view import Mappings
from kernmalloc.inputs import sizes
from kernmalloc.inputs.dumps import Dump
from kernmalloc.kernel.boot.added import ITSELF, PAGE_SPACE
from kernmalloc.kernel.core import kern as k
from kernmalloc.lang import failed, status
from kernmalloc.lang.records import hexadecimal
from kernmalloc.machine.arch.processors import Processor
from kernmalloc.machine.lives import LIVES, LifeError, Raw
from kernmalloc.machine.memory_map import Machine
from kernmalloc.machine.ram import HIGHEST, LATER, Ram
from kernmalloc.results.shown import html
from kernmalloc.results.tables import Rows


def _type(name: str) -> int:
    """A frame type's number; what no frame can be is refused by the kernel."""
    return k.TYPE_NAMES.index(name) if name in k.TYPE_NAMES else k.TYPES


def _named(profile: Profile, machine: Machine) -> str:
    return f"kernel {profile.name} on {(machine.name or machine.file)!r}"


class Kernel:
    """A booted kernel. Make one with `Kernel.boot`; use it in a `with` block or `close` it."""

    def __init__(self, handle: Handle) -> None:
        self.handle, self.view = handle, handle.view
        self.machine, self.profile, self.mode = handle.machine, handle.profile, handle.mode
        self.steps: Rows[Step] = Rows.of(Step, ())
        self.origin = ""  # where it was booted, in words
        self.displaced_by = ""  # in mode raw: which kernel has the place of its window, so that it lies elsewhere
        self.pages = Pages(handle)
        self.names = cache_names(handle.profile, handle.loaded.placement.frames)

    _repr_html_ = html

    # --- life

    @classmethod
    def boot(
        cls,
        machine: Machine,
        profile: Profile,
        mode: str = "raw",
        observe: Callable[[Step], None] | None = None,
        prepare: Callable[[Ram], None] | None = None,
        cpus: int = 1,
    ) -> "Kernel":
        """Boot `profile` on `machine` in mode raw, soft or twin, for so many processors.

        In mode raw the kernel's window lies elsewhere in this process where another kernel has its place, which
        `displaced_by` names. `observe` is called after each step of the bootstrap; `prepare` may change the RAM before
        anything is in it.
        Raises TooSmall where the machine or the window cannot hold this kernel, LifeError where the mode cannot run.
        """
        kernel = cls.load(machine, profile, mode, prepare, cpus)
        try:
            _boot(kernel, observe)
            return kernel
        except BaseException:
            kernel.close()
            raise

    @classmethod
    def load(
        cls,
        machine: Machine,
        profile: Profile,
        mode: str = "raw",
        prepare: Callable[[Ram], None] | None = None,
        cpus: int = 1,
    ) -> "Kernel":
        """The same kernel before its first step: loaded, paging on, nothing allocated. For planning."""
        if mode not in LIVES:
            raise LifeError(f"no mode {mode!r}: raw, soft or twin")
        if not 1 <= cpus <= k.CPUS:
            raise LifeError(f"no kernel has {cpus} processors: 1 to {k.CPUS}")
        ends = [r.end for r in machine.ram if r.base < 1 << profile.phys_bits]
        top = min(max(ends, default=0), 1 << profile.phys_bits)
        if not top:
            raise TooSmall(f"no RAM below the physical address limit of {sizes.size(1 << profile.phys_bits)}")
        if top > HIGHEST:
            raise TooSmall(f"RAM ends at {top:#x}, above the 64 TiB of addresses that a hosted machine can have")
        end = ExitStack()
        try:
            ram = Ram(top, min(top + LATER, 1 << profile.phys_bits, HIGHEST))
            end.callback(ram.close)
            if prepare:
                prepare(ram)
            life = LIVES[mode](ram)
            end.callback(life.close)
            where = origin()
            if isinstance(life, Raw):  # said before its window is taken
                life.whose = f"{_named(profile, machine)}, booted at {where}"
            handle = Handle(life, load(life, machine, profile, cpus), machine, profile, mode, end)
            reset(handle, None, locked=False)
            kernel = cls(handle)
            kernel.origin = where
            kernel.displaced_by = life.displaced_by if isinstance(life, Raw) else ""
            return kernel
        except BaseException:
            end.close()
            raise

    @classmethod
    def open(cls, dump: str | Path, at: int | None = None, mode: str = "soft") -> "Kernel":
        """The kernel in a dump: a file of RAM, an ELF core, the /proc/PID/mem of a process that runs. It goes on where
        it was, and the dump stays as it is. Of several, `at` chooses that whose record is at this physical address, or
        place in the dump. Mode raw copies the memory, and wants the window where it was.

        Raises InputError where there is no kernel, LifeError where the mode cannot run. Where a processor was inside
        the kernel, it never leaves: the kernel can be looked at and checked, and every other call raises LifeError."""
        with Dump.open(dump) as memory:
            return cls(opened(memory, chosen(memory, at), mode))

    def __repr__(self) -> str:
        closed = ", closed" if self.handle.monitor.closed else ""
        where = f", booted at {self.origin}" if self.origin else ""
        return f"<{_named(self.profile, self.machine)}, mode {self.mode}{where}{closed}>"

    def close(self) -> None:
        """Let the machine's memory go, once: its addresses mean nothing any more. Waits for calls of other threads that
        are under way. A thread lets itself go."""
        self.handle.close()

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, entry: str, *args: int) -> int:
        """Run an entry of the kernel on this processor: the plain result, which may be a status (`lang.failed`)."""
        return self.handle.call(entry, *args)

    def thread(self, cleaner: bool = False, wait: float | None = None) -> "Kernel":
        """This kernel for one thread: calls wait for frames, at most `wait` seconds. `cleaner`: it is a driver's that
        writes pages back; it may take the frames that the profile keeps for such (`[bank] cleaners`). Calls raise
        TimedOut when the time is over, and Deadlock where waiting would be in vain; then nothing has changed."""
        return self._called_by(as_thread(self.handle, cleaner, wait), self.pages)

    def call_kern(self, entry: str, *args: int) -> int:
        """Run an entry of the kernel that takes the kernel record instead of a processor."""
        return self.handle.call_kern(entry, *args)

    def cpu(self, number: int) -> "Kernel":
        """The same kernel as its processor `number`, from 0, calls it. IndexError if there is none."""
        if not 0 <= number < int(self.layout["cpus"]):
            raise IndexError(f"no processor {number}: this kernel was booted for {int(self.layout['cpus'])}")
        handle = self.handle.on(number)
        return self._called_by(handle, self.pages.on(handle))

    def _called_by(self, handle: Handle, pages: Pages) -> "Kernel":
        """The same kernel by another handle."""
        other = copy(self)
        other.handle, other.pages = handle, pages
        return other

    def run(self, loop: str, *args: int) -> int:
        """Run a compiled loop of `drivers`: its arguments are addresses of this process."""
        return self.handle.loop(loop, *args)

    def processors(self, count: int) -> int:
        """Let so many processors run processes: the host address of their TLBs. LifeError in mode twin."""
        return self.handle.life.processors(count)

    def entry(self, name: str) -> int:
        """Address of the C function km_call_<name>, int64 for every argument and the result, for callers that are
        compiled; its first argument is `processor`. Good while the kernel is open. KeyError: there is none; LifeError:
        not mode raw."""
        life = self.handle.life
        if not isinstance(life, Raw):
            raise LifeError(f"entry({name!r}): code of mode {self.mode} cannot be called by address: use mode raw")
        return life.address(name)

    @property
    def processor(self) -> int:
        """VA of the record of the processor that this handle calls the kernel on."""
        return self.handle.processor

    @property
    def layout(self) -> numpy.void:
        """What the loader told the kernel and what `layout` answered: a `Config` record."""
        return self.handle.loaded.info

    @property
    def placement(self) -> Placement:
        """What the loader decided: where RAM, firmware and image lie, in frames."""
        return self.handle.loaded.placement

    # --- the heap

    def malloc(self, size: int, align: int = 16) -> int:
        """`size` bytes at a multiple of `align`: their address. Raises OutOfMemory, WouldBlock, BadRequest."""
        return checked(self.call("malloc_aligned", size, align), f"malloc({size}, align={align})")

    def free(self, va: int) -> None:
        """Give memory back. Raises BadAddress: never given out, free already, inside an allocation, or the kernel's."""
        checked(self.call("free", va), f"free({hexadecimal(va)})")

    def size_of(self, va: int) -> int:
        """Bytes that the allocation at `va` can hold. Raises BadAddress."""
        return checked(self.call("size_of", va), f"size_of({hexadecimal(va)})")

    def drain(self) -> None:
        """Give all memory that is only kept ready back to page space (C11)."""
        checked(self.call("drain"), "drain()")

    def cache(self, name: str, size: int | None = None, limit: int | None = None) -> ObjectCache:
        """The cache of the profile's object type `name`; with `size` and `limit`, a new one of that name."""
        if size is None:
            for cache in self.caches:
                if cache.name == name:
                    return cache
            known = ", ".join(cache.name for cache in self.caches)
            raise KernelError(status.BAD_CACHE, f"cache({name!r}); there are {known}")
        id = checked(self.call("cache_create", size, limit or 0), f"cache({name!r}, {size}, {limit})")
        cache = ObjectCache(self.handle, id, name)
        self.names.typed[id] = name
        return cache

    def release(self) -> int:
        """Give the heap memory reserved in excess back, in whole large pages, for good: how many bytes (C18)."""
        return checked(self.call("release"), "release()") * self.profile.page

    @property
    def devices(self) -> Devices:
        """Device ranges: publish, withdraw, use."""
        return Devices(self.handle)

    @property
    def ledger(self) -> Ledger:
        """How page space stands against what the bank was promised."""
        kern = self.view.kern
        return Ledger(
            promised=int(kern["promised"]),
            available=int(kern["free_frames"] + kern["page_frames"]),
            opening=int(kern["opening"]),
            added=int(kern["added"]),
            withheld=int(kern["withheld"]),
            heap=int(kern["heap_frames"] + kern["mapping_frames"] + kern["reserved_frames"] - kern["opening_heap"]),
            dma=int(kern["dma_frames"]),
            lenient=bool(kern["lenient"]),
        )

    # --- frames

    def frame_get(self, type: str = "page") -> int:
        """A frame of page space for a page or for DMA: its pfn. Raises OutOfMemory."""
        return checked(self.call("frame_get", _type(type)), f"frame_get({type})")

    def block_get(self, order: int, type: str = "dma") -> int:
        """2 ** order frames, aligned to their size: the first pfn. Raises OutOfMemory, BadRequest."""
        return checked(self.call("block_get", order, _type(type)), f"block_get({order}, {type})")

    def range_get(
        self, frames: int, align: int = 1, low: int = 0, high: int = 1 << 52, boundary: int = 0, type: str = "dma"
    ) -> int:
        """Contiguous frames of zeros within physical addresses [low, high) bytes, at a multiple of `align` frames, not
        across a multiple of `boundary` bytes (0: any): the first pfn (E12). Pages may be moved for it. Raises
        OutOfMemory, WouldBlock, BadRequest."""
        shift = self.profile.page_shift
        cut = boundary >> shift if boundary % self.profile.page == 0 else -1
        found = self.call("range_get", frames, align, -(-low >> shift), high >> shift, cut, _type(type))
        return checked(
            found, f"range_get({frames}, align={align}, low={low:#x}, high={high:#x}, boundary={boundary:#x})"
        )

    def frame_put(self, pfn: int) -> None:
        """Give a frame or block back. Raises BadAddress, Busy."""
        checked(self.call("frame_put", pfn), f"frame_put({pfn:#x})")

    def frames_get(self, count: int) -> list[int]:
        """So many frames of page space for pages, or none: their pfns. Raises OutOfMemory, WouldBlock, BadRequest."""
        with self.handle.numbers(count) as (va, numbers):
            checked(self.call("frames_get", count, va), f"frames_get({count})")
            return list(map(int, numbers))

    def frames_put(self, pfns: Sequence[int]) -> None:
        """Give all of these frames or blocks back, or none. Raises BadAddress, Busy, BadRequest (none at all)."""
        with self.handle.numbers(len(pfns)) as (va, numbers):
            numbers[: len(pfns)] = pfns
            checked(self.call("frames_put", len(pfns), va), f"frames_put of {len(pfns)}")

    def range_put(self, pfn: int, frames: int) -> None:
        """Give a range back. Raises BadAddress, Busy."""
        checked(self.call("range_put", pfn, frames), f"range_put({pfn:#x}, {frames})")

    def add_ram(self, base: int, size: int, *, self_hosted: bool = False) -> int:
        """Make RAM that came after the boot page space, [base, base + size) bytes: hot plug, or what the loader left
        in RAM and nobody needs any more (E39). `self_hosted`: what describes it lies in its own first frames, not in
        those that were there. Returns how many of its own frames it took. Raises BadRequest (not whole pages, or too
        few to pay for their core table), Busy (what is there already, or beyond the address limit), OutOfMemory,
        WouldBlock; LifeError beyond what this process keeps addresses for, 1 TiB above the RAM of the boot."""
        what, page = f"add_ram({base:#x}, {size:#x})", self.profile.page
        if base % page or size % page or size <= 0:
            checked(status.BAD_SIZE, f"{what}: not whole pages of {page} bytes")
        end, limit = base + size, self.view.ram.limit
        if end <= 1 << self.profile.phys_bits:
            if end > limit:
                raise LifeError(f"{what}: this process keeps no addresses for RAM above {limit:#x}")
            self.handle.life.reach(end)
        checked(self.call("ram_add", base // page, size // page, ITSELF if self_hosted else PAGE_SPACE), what)
        self.view.ram.later += size
        return int(self.view.kern["adding"]["hosted"])

    def frame_type(self, pfn: int) -> str:
        """What a frame is. Raises BadAddress where there is none."""
        return k.TYPE_NAMES[checked(self.call("frame_type", pfn), f"frame_type({pfn:#x})")]

    @property
    def frames(self) -> CoreTable:
        """The core table."""
        return CoreTable(self.handle)

    def frames_by_type(self) -> dict[str, int]:
        """Frames of RAM by type, and "device" for frames of published ranges in use, which are none of RAM. "reserved"
        counts what was carved out of RAM before the kernel ran."""
        counts = self.view.frames()
        counts["reserved"] += sum(int(r["count"]) for r in self.view.regions() if r["kind"] == k.CARVED_MEMORY)
        return counts

    # --- state

    @property
    def heap(self) -> HeapState:
        """The heap's sizes."""
        kern, page = self.view.kern, self.profile.page
        backed = int(kern["backed"] + kern["map_pages"])
        bound = int(kern["heap_pages"]) + -(-(int(kern["heap_pages"]) << int(kern["record_shift"])) // page)
        plan = kern["plan"]
        planned = int(plan["top"] - plan["headroom"] - plan["excess"] - plan["padding"])
        used = self.view.used_pages()
        return HeapState(used * page, planned * page, backed * page, bound * page, int(kern["mapping_frames"]) * page)

    @property
    def mappings(self) -> Mappings:
        """Entries that map the kernel's window: what a TLB would hold if it held all of them (C2, C3)."""
        return self.view.mappings()

    def tlb(self) -> TlbFigures | None:
        """What the soft machine's TLBs counted since the boot, or `tlb_reset`. None: in other modes and in a direct map
        nothing is counted."""
        return figures(self.handle)

    def tlb_counts(self) -> TlbCounts | None:
        """`tlb` in plain numbers."""
        return counts(self.handle)

    def tlb_reset(self, processor: Processor | None = None, locked: bool = False) -> None:
        """Let the TLBs of mode soft be empty, those of a processor, by default of the profile's, and count from 0.
        `locked`: the large pages of the heap's fixed part are locked entries, as many as there is room for. Raises
        ValueError where its TLBs hold no pages of this size, or lock nothing."""
        reset(self.handle, processor, locked)

    @property
    def donation(self) -> Donation:
        """The donation."""
        kern = self.view.kern
        pfn, frames, heap, maps = (
            int(kern[n]) for n in ("donation_pfn", "donation_frames", "donated_heap", "donated_maps")
        )
        return Donation(pfn, frames, self.profile.page, heap, maps)

    @property
    def regions(self) -> Rows[RegionState]:
        """All regions, from the lowest."""
        return Rows.of(RegionState, [self._region(r) for r in self.view.regions()])

    def _region(self, r: numpy.void) -> RegionState:
        base, count, area = int(r["base"]), int(r["count"]), int(r["area"])
        size = self.call_kern("table_bytes", base, count) if area else 0
        return RegionState(base, count, k.CLASS_NAMES[r["kind"]], int(r["free"]), area, size)

    @property
    def caches(self) -> Caches:
        """The typed caches, in the order of the profile; those made later follow."""
        count = int(self.view.kern["cache_count"])
        known = self.names.typed.items()
        return Caches.of(ObjectCache, [ObjectCache(self.handle, id, name) for id, name in known if id < count])

    @property
    def last_words(self) -> dict[str, ObjectCache]:
        """What is kept for console and boot devices, and for nobody else, beside the entries (`devices.last_words`):
        mapping frames, which are a page of the heap each, and objects, by the name of their type (C22)."""
        return {name: ObjectCache(self.handle, id, name) for id, name in self.names.last_words.items()}

    @property
    def scale(self) -> float:
        """Share of the objects wanted by ratio that the window holds, 0 to 1."""
        return int(self.view.kern["plan"]["scale"]) / 65536

    @property
    def clipped(self) -> int:
        """Bytes of RAM above the profile's physical address limit."""
        return self.handle.loaded.placement.clipped

    @property
    def lost(self) -> int:
        """Bytes of RAM in pages that are only partly RAM."""
        return self.handle.loaded.placement.lost

    def check(self) -> Check:
        """Hold every invariant of every record against a recount. Raises TooLarge where that would read more core
        tables than the limit of `memory`: those of RAM that nobody has used have no memory behind them before that."""
        core = self.profile.core
        frames = self.placement.frames + self.view.ram.later // self.profile.page
        refuse_large(frames * (core.stride + core.identity))
        result = self.call("check")
        if result == status.BAD_ADDRESS:
            where = hexadecimal(self.processor)
            return Check(False, 0, f"Cpu at {where}: its seal does not hold, and it may lead anywhere")
        asserted = int(self.view.kern["checked"]["asserted"])
        return Check(result == status.OK, asserted, "" if result == status.OK else self.failure())

    def failure(self) -> str:
        """What the last check that failed found."""
        return failure(self.view)

    def snapshot(self) -> Snapshot:
        """The machine's whole memory: every page that is not all zeros, by physical address."""
        self.handle.refuse_closed("snapshot()")
        with self.handle.alone():
            taken = Snapshot(self.view.ram.snapshot())
            taken.written, taken.cached = self.pages.written, sum(self.pages.counts().values())
        return taken

    def restore(self, snapshot: dict[int, bytes]) -> None:
        """Make the machine what it was when the snapshot was taken. Raises LifeError for what is none of this kernel,
        and Busy where pages in it could be written over newer ones: while a source is open, and for a snapshot with
        pages in memory, if sources have written some since. Then nothing has changed."""
        self.pages.refuse_restore(snapshot)
        told = self.layout.tobytes()  # what the loader left in memory, for good
        if snapshot.get(int(self.layout["area_pa"]), b"")[: len(told)] != told:
            raise LifeError("restore: no snapshot of this kernel: what it was booted with is not in it")
        with self.handle.alone():
            self.view.ram.restore(snapshot)
            self.handle.life.refresh()


def _boot(kernel: Kernel, observe: Callable[[Step], None] | None) -> None:
    """Run the bootstrap, step by step."""
    stage = k.DONATE
    while stage != k.UP:
        done = int(kernel.view.kern["stage"])
        started = time.perf_counter()
        stage = kernel.call("boot_step")
        seconds = time.perf_counter() - started
        if failed(stage):
            raise TooSmall(refusal(kernel.handle, done, stage))
        tell_core_tables(kernel.handle)
        step = Step(done, *told(kernel.handle, done), seconds)
        kernel.steps = Rows.of(Step, (*kernel.steps, step))
        if observe:
            observe(step)
