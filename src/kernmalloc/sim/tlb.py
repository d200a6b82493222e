"""The mail's comparison: one load on one machine, the kernel's heap mapped in three ways, and what the TLB says.

Concepts
  1. A *side* is one way to map the heap, all else alike. PAGES: an entry for each page, by strategy demand; where the
     load is the boot alone, by static, which does the work that an affine one does then. LARGE: an affine strategy, an
     entry for each large page. FIXED: that one directly mapped, VA = PA + constant, its entries kept in the TLB, where
     nothing replaces them; on a processor that locks no entries, as if it did.
  2. A load is put on a heap that grows first. What that takes at most, and a share more, the affine heaps keep free for
     malloc from the boot on: they serve the load without growing.
  3. All runs in mode soft, on the processor that the profile names. Counted are the boot, and then the load.
  4. The curve says what TLBs of other sizes would miss: fully associative ones that replace what was used longest ago,
     of data. One pass tells it for all sizes (`machine/distances.py`), where a run with a scaled TLB tells of one, and
     of the ways that its replacement goes. Fixed entries are entries of each of these TLBs.
  5. Growth is what the load adds to the entries that map the kernel's window, at any time; told of each strategy that
     can serve a load. Under hybrid the heap has the spare of its profile, and grows by the rest.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import msgspec

from kernmalloc.facade.distances import Distances
from kernmalloc.facade.errors import KernelError, TooSmall
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import STRATEGIES, Bytes, Profile
from kernmalloc.facade.tlb import TlbFigures, Traffic
from kernmalloc.inputs.sizes import size
from kernmalloc.machine.arch.processors import Processor
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.plan import plan, with_strategy
from kernmalloc.sim.tlb_loads import Load

PAGES, LARGE, FIXED = "pages", "large pages", "fixed entries"
MAPPINGS = (PAGES, LARGE, FIXED)
USUAL = "reserve+release"  # where the profile's own strategy is not affine, or not all of it
SHARE = 4  # of what the heap that grows took, one part in so many more is kept free in the affine ones
SIZES = tuple(sorted([*(1 << shift for shift in range(11)), *(3 << shift for shift in range(9))]))
"""Entries of the TLBs of the curve."""
OF_THE_HEAP = ("heap", "core table")
USERS = "processes"
DEMAND, STATIC = "demand", "static"

Progress = Callable[[str, float], object]


class Counted(msgspec.Struct, frozen=True):
    """What was counted while something was done, by structure; `cycles` are what the kernel's misses cost."""

    operations: int
    cycles: int
    structures: dict[str, Traffic]

    @classmethod
    def of(cls, figures: TlbFigures) -> "Counted":
        """What the soft machine counted."""
        return cls(figures.operations, figures.cycles(figures.kernel), figures.by_structure)

    @property
    def kernel(self) -> Traffic:
        """All but what processes touch."""
        return sum((each for name, each in self.structures.items() if name != USERS), Traffic())

    @property
    def heap(self) -> Traffic:
        """Blocks and objects, and the core tables."""
        return sum((self.structures[name] for name in OF_THE_HEAP), Traffic())


class Point(msgspec.Struct, frozen=True):
    """What a TLB of so many entries misses during the load: of the heap, and of all the kernel's data."""

    entries: int
    heap: int
    all: int


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One way to map the heap. `reason` says why it could not be measured. `large` and `small` are the entries that map
    the kernel's window after the boot; of those the heap and what describes it have `heap_entries`, by the plan.
    `fixed` stay in the TLB. `grown` are what the load added at most. `refused`: requests not served in full."""

    mapping: str
    strategy: str
    reason: str = ""
    large: int = 0
    small: int = 0
    heap_entries: int = 0
    fixed: int = 0
    grown: int = 0
    refused: int = 0
    boot: Counted | None = None
    load: Counted | None = None
    curve: tuple[Point, ...] = ()


class Growth(msgspec.Struct, frozen=True):
    """Entries that the load adds to the window under a strategy; requests of it that are refused; or why there is no
    kernel."""

    strategy: str
    entries: int = 0
    refused: int = 0
    reason: str = ""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison. Sizes are bytes. `tlb_entries`: of level 1, for data of the kernel's pages. `window`: of kernel
    VA, of which mapping all RAM would take `direct_map`. `room`: what the affine heaps keep free for the load."""

    file: str
    machine: str
    kernel: str
    processor: str
    title: str
    loads: str
    locks: bool
    tlb_entries: int
    second_cycles: int
    walk_cycles: int
    cost: str
    load: str
    page: int
    large_page: int
    window: int
    direct_map: int
    room: int
    sides: tuple[Side, ...]
    growth: tuple[Growth, ...]
    seconds: float


SERVING = tuple(name for name, strategy in STRATEGIES.items() if strategy.affine or strategy.grows)
"""Strategies whose heap has something for a load: it grows, or keeps memory free for malloc."""


def compare(machine: Machine, profile: Profile, load: Load, progress: Progress = lambda what, done: None) -> Compared:
    """Measure all sides, and what each strategy grows by. Raises TooSmall where not even a page-mapped heap can be had,
    LifeError, KernelError, Stuck, NoRoom, Wrong as the load does."""
    started = time.perf_counter()
    own = STRATEGIES[profile.strategy]
    affine = profile.strategy if own.affine and not own.grows else USUAL
    progress(DEMAND, 0)
    fitted = load.fitted(profile)
    grows = measured(machine, with_strategy(fitted, DEMAND), load, PAGES)
    room = grows.room if load.mallocs else 0
    kernels = {name: _with_room(fitted, name, room) for name in SERVING if name != DEMAND}
    jobs = {name: (kernel, LARGE) for name, kernel in kernels.items()} | {FIXED: (kernels[affine], FIXED)}
    if not load.mallocs:
        jobs[PAGES] = with_strategy(fitted, STATIC), PAGES
    done = {DEMAND: grows.side, PAGES: grows.side}
    for number, (what, (kernel, mapping)) in enumerate(jobs.items(), 1):
        progress(what, number / (1 + len(jobs)))
        done[what] = _tried(machine, kernel, load, mapping)
    processor = grows.processor
    return Compared(
        file=machine.file,
        machine=machine.name,
        kernel=profile.name,
        processor=processor.name,
        title=processor.title,
        loads=processor.loads,
        locks=processor.locks,
        tlb_entries=level_1(processor, profile.page),
        second_cycles=processor.second_cycles,
        walk_cycles=processor.walk_cycles,
        cost=processor.cost,
        load=load.name,
        page=profile.page,
        large_page=profile.large_page,
        window=int(profile.va.size),
        direct_map=plan(machine, with_strategy(fitted, DEMAND)).direct_map,
        room=room,
        sides=(done[PAGES], done[affine], done[FIXED]),
        growth=tuple(Growth(name, done[name].grown, done[name].refused, done[name].reason) for name in SERVING),
        seconds=time.perf_counter() - started,
    )


class Measured(msgspec.Struct, frozen=True):
    """A side, a share more than the most that the load took of the heap, in bytes, and the processor that it ran on."""

    side: Side
    room: int
    processor: Processor


def _with_room(profile: Profile, strategy: str, room: int) -> Profile:
    """The kernel with that strategy, and so many bytes for the load: what grows may grow by them, else they are kept
    free from the boot on."""
    heap, bank = profile.heap, profile.bank
    if STRATEGIES[strategy].grows:
        heap = msgspec.structs.replace(heap, growable=Bytes(max(heap.growable, room)))
        bank = msgspec.structs.replace(bank, withheld=max(bank.withheld, room // profile.page))
    else:
        heap = msgspec.structs.replace(heap, spare=Bytes(max(heap.spare, room)))
    return msgspec.structs.replace(with_strategy(profile, strategy), heap=heap, bank=bank)


def _tried(machine: Machine, profile: Profile, load: Load, mapping: str) -> Side:
    """The side, or why there is none."""
    try:
        return measured(machine, profile, load, mapping).side
    except (TooSmall, KernelError) as error:
        return Side(mapping=mapping, strategy=profile.strategy, reason=str(error))


def measured(machine: Machine, profile: Profile, load: Load, mapping: str) -> Measured:
    """Boot the kernel, and put the load on it. Raises TooSmall, and as the load does."""
    made = plan(machine, profile)
    with Kernel.boot(machine, profile, "soft", cpus=load.cpus) as kernel:
        boot = _figures(kernel)
        taken, mapped = _taken(kernel), kernel.mappings
        go = load.begin(kernel)
        kernel.tlb_reset()
        fixed = _fix(kernel, boot.processor) if mapping == FIXED else 0
        distances = Distances(kernel)
        most = grown = 0
        figures, curve = boot, tuple[Point, ...]()

        def look() -> None:
            nonlocal most, grown, figures, curve
            now = kernel.mappings
            most = max(most, _taken(kernel) - taken)
            grown = max(grown, max(now.large - mapped.large, 0) + max(now.small - mapped.small, 0))
            figures, curve = _figures(kernel), tuple(_curve(distances, fixed))

        refused = go(look)
        side = Side(
            mapping=mapping,
            strategy=profile.strategy,
            large=mapped.large,
            small=mapped.small,
            heap_entries=made.tlb.heap,
            fixed=fixed,
            grown=grown,
            refused=refused,
            boot=Counted.of(boot),
            load=Counted.of(figures),
            curve=curve,
        )
        return Measured(side, most + most // SHARE, figures.processor)


def _taken(kernel: Kernel) -> int:
    """Bytes of frames of the heap, its map and its tables."""
    types = kernel.frames_by_type()
    return (types["heap"] + types["mapping"]) * kernel.profile.page


def _figures(kernel: Kernel) -> TlbFigures:
    """What was counted since the boot or the last reset."""
    figures = kernel.tlb()
    assert figures  # a kernel with page tables, in mode soft
    return figures


def _fix(kernel: Kernel, processor: Processor) -> int:
    """Lock the heap's large pages into the TLB, as if it locked entries if it does not: how many. Raises TooSmall where
    it has no room for them all."""
    large = kernel.profile.large_page
    wanted = int(kernel.view.kern["fixed"]) * kernel.profile.page // large
    kernel.tlb_reset(replace(processor, locks=True), locked=True)
    got = _figures(kernel).locked // int(kernel.layout["cpus"])
    if got < wanted:
        raise TooSmall(f"the heap takes {wanted:,} entries of {size(large)}, and the TLB can keep {got:,}")
    return got


def _curve(distances: Distances, fixed: int) -> Iterator[Point]:
    """What TLBs of all sizes miss, of which so many entries are fixed."""
    for entries in SIZES:
        if entries > fixed:
            missed = distances.misses(entries - fixed)
            heap = sum(missed[name] for name in OF_THE_HEAP)
            every = sum(missed.values()) - missed[USERS]
            yield Point(entries, heap, every)


def level_1(processor: Processor, page: int) -> int:
    """Entries of level 1 that hold data in pages of so many bytes, or in pieces of them."""
    fitting = [tlb for tlb in processor.tlbs if tlb.level == 1 and tlb.kind != "instruction" and tlb.pages[0] <= page]
    return max((tlb.entries for tlb in fitting), default=0)
