"""A guest that boots small and grows: what hot-added RAM costs before it is there, and in which steps it comes.

Concepts
  1. Each frame of RAM has a page structure, which must be paid for. This project's kernel lets added RAM pay for itself
     (`boot/added`); what that takes, and whether it is refused, its own plan says. A kernel whose profile has a table
     `hotadd`, such as Linux, takes all structures of a step from RAM that is there already, or cannot add it.
  2. Linux adds whole memory blocks (drivers/base/memory.c). Their page structures lie in large pages
     (mm/sparse-vmemmap.c), and for each GiB of RAM, and of structures, there is one page table of large pages.
  3. Linux serves no structures from its last free frames (mm/page_alloc.c): the watermark `min`, 4 * sqrt(KiB of RAM)
     KiB, from 128 KiB to 256 MiB (calculate_min_free_kbytes); in each of the two lower zones a page block, the size of
     a large page, by which that is raised while memory is short (boost_watermark); in the lowest zone, of 16 MiB, 1/256
     of the RAM (setup_per_zone_lowmem_reserve).
  4. RAM that was added pays for later steps, but not where it comes online as movable: nothing of the kernel may lie
     there (Documentation/admin-guide/mm/memory-hotplug.rst).
  5. With memory_hotplug.memmap_on_memory the structures of a memory block lie in the block itself. Linux 6.1 does so
     only where one block is added at a time (mm/memory_hotplug.c, mhp_supports_memmap_on_memory): so are the steps.
  6. A step is as large as can be, and the next follows when it is online. No order needs fewer steps: a larger step
     leaves more to pay with, or, of movable RAM, as much as two smaller ones.

    free' = free - taken + size of the step, if its RAM pays for later steps

Limits: what the page structures of the first step leave is all that the guest has until the step is online. Processes
and reclaimable memory are told by `used`. Linux's small records of a block, some KiB, are not counted.
"""

from collections.abc import Iterator
from functools import cache
from math import isqrt
from typing import NamedTuple

import msgspec

from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import Profile
from kernmalloc.fleet.need import Need
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.sizes import Ram, size
from kernmalloc.machine.added_ram import place_ram
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.least import last_that
from kernmalloc.plan.plan import Plan, plan

UNIT = 1 << 20  # bytes: boot memory is looked for in multiples of this
WATERMARKS = 128 << 10, 256 << 20  # bytes between which Linux's lies
ZONES, LOWEST = 2, 16 << 20  # zones of a small guest; bytes of the lowest (include/linux/mmzone.h, ZONE_DMA)
RESERVE = 256  # the part of RAM that the lowest keeps for itself: sysctl_lowmem_reserve_ratio


class Policy(NamedTuple):
    """What else decides: bytes that processes of the guest hold; whether RAM comes online as movable
    (memhp_default_state=online_movable); whether a block's structures lie in it (memory_hotplug.memmap_on_memory)."""

    used: int = 0
    movable: bool = False
    on_memory: bool = False


AS_BOOTED = Policy()


class Step(NamedTuple):
    """Bytes that are added at once; those that are taken for them of memory that was there before, or that comes with
    them where it pays for itself; those that the kernel may take afterwards."""

    size: int
    taken: int
    free: int


class Growth(msgspec.Struct, frozen=True):
    """How a guest of `boot` bytes of RAM grows by `more`.

    `free`: bytes that its kernel may take when it has booted. `cost`: bytes that all of `more` takes in one step, and
    `missing`: the bytes of them that are not there; both 0 where the kernel refuses for another reason. `steps` lead to
    all of `more`; else `reason` says in one line why the next one cannot be made."""

    boot: int
    more: int
    free: int
    cost: int
    missing: int
    steps: tuple[Step, ...]
    reason: str = ""

    @property
    def largest(self) -> int:
        """Bytes of the largest first step, at most `more`; 0: there is none."""
        return self.steps[0].size if self.steps else 0


def growth(machine: Machine, profile: Profile, target: int, policy: Policy = AS_BOOTED) -> Growth:
    """How a machine grows to `target` bytes of RAM, rounded up to what its kernel can add. Raises TooSmall where it
    cannot boot; InputError: its kernel knows no such policy."""
    made, boot = plan(machine, profile), boot_memory(machine)
    guest = _FromOutside(made, policy) if profile.hotadd else _OfItself(made, policy)
    more = -(-max(target - boot, 0) // guest.block) * guest.block
    free, at_once = guest.free, guest.reckon(more) if more else _Reckoned(0)
    steps = tuple(_steps(guest, more))
    rest = more - sum(step.size for step in steps)
    reason = guest.reckon(guest.block).reason if rest else ""
    return Growth(boot, more, free, at_once.taken, at_once.missing, steps, reason)


def need(machine: Machine, profile: Profile, target: int, policy: Policy = AS_BOOTED, at_once: bool = False) -> Need:
    """Boot memory, in whole MiB, with which a machine grows to `target` bytes: in steps, or in one. There is a `most`
    where a kernel of this project that boots with more has so many objects that its heap's bound leaves no room to
    grow; boot memory near the target, which needs little growth, may do again. InputError: its kernel knows no such
    policy."""

    @cache
    def refusal(units: int) -> str:
        try:
            found = growth(with_boot_memory(machine, units * UNIT), profile, target, policy)
        except TooSmall as error:
            return str(error)
        return found.reason or ("it takes several steps" if at_once and len(found.steps) > 1 else "")

    end = max(-(-target // UNIT), 1)
    image = int(profile.image.size) // UNIT  # no kernel boots with less
    rungs = [*(1 << n for n in range(image.bit_length(), (end - 1).bit_length())), end]
    first = next((rung for rung in rungs if not refusal(rung)), None)
    if first is None:
        return Need(None, None, refusal(end))
    least = last_that(
        lambda units: bool(refusal(units)), max((rung for rung in rungs if rung < first), default=0), first
    )
    over = next((rung for rung in rungs if rung > first and refusal(rung)), None)
    if over is None:
        return Need((least + 1) * UNIT)
    below = max(rung for rung in rungs if rung < over)
    return Need((least + 1) * UNIT, last_that(lambda units: not refusal(units), below, over) * UNIT)


def boot_memory(machine: Machine) -> int:
    """Bytes of RAM that a machine boots with, in whole MiB: as a hypervisor is told, whose firmware keeps a little."""
    return -(-machine.ram_bytes // UNIT) * UNIT


def with_boot_memory(machine: Machine, memory: int) -> Machine:
    """A machine that boots with so many bytes of RAM: the highest is cut off, or more is placed above."""
    off = boot_memory(machine) - memory
    ram = list(machine.ram) if off >= 0 else [*machine.ram, *place_ram(machine, [Ram(-off)])]
    while off > 0 and ram:
        last = ram.pop()
        if last.size > off:
            ram.append(msgspec.structs.replace(last, size=last.size - off))
        off -= last.size
    top = max((r.end for r in ram), default=0)
    carved = tuple(r for r in machine.carved if r.end <= top)
    return msgspec.structs.replace(machine, ram=tuple(ram), carved=carved, unused=())


class _Reckoned(NamedTuple):
    """Bytes that a step takes, bytes of these that are missing, and why the step is refused; "" if it is not."""

    taken: int
    missing: int = 0
    reason: str = ""


class _FromOutside:
    """A kernel that takes the structures of added RAM from RAM that is there. `free` is what it may take, `block` and
    `most` are the bytes that it adds at least and at most at once."""

    def __init__(self, made: Plan, policy: Policy) -> None:
        table = made.profile.hotadd
        assert table is not None
        self.profile, self.policy, self.block = made.profile, policy, int(table.block)
        self.ram = made.available * made.page - table.bounce
        self.free = self.ram - policy.used
        self.most = self.block if policy.on_memory else 1 << made.profile.phys_bits

    def reckon(self, more: int) -> _Reckoned:
        """What adding so many bytes at once takes."""
        structures = self._structures(more)
        taken = self._tables(more) + self._tables(structures) + (0 if self.policy.on_memory else structures)
        missing = taken + self._kept() - self.free
        if missing <= 0:
            return _Reckoned(taken)
        why = f"{size(more)} more take {size(taken)} before they are there, of which {size(missing)} are missing"
        return _Reckoned(taken, missing, why)

    def add(self, more: int) -> None:
        """Add so many bytes, which are not refused."""
        self.free -= self.reckon(more).taken
        if not self.policy.movable:
            gained = more - (self._structures(more) if self.policy.on_memory else 0)
            self.free += gained
            self.ram += gained

    def _kept(self) -> int:
        """Bytes that are free, and not for structures."""
        ram, (least, highest) = max(self.ram, 0), WATERMARKS
        watermark = min(max(4 * isqrt(ram >> 10) << 10, least), highest)
        return watermark + ZONES * self.profile.large_page + min(ram // RESERVE, LOWEST)

    def _structures(self, more: int) -> int:
        """Bytes of page structures, in whole large pages."""
        large = self.profile.large_page
        return -(-more // self.profile.page * self.profile.core.stride // large) * large

    def _tables(self, mapped: int) -> int:
        """Bytes of the page tables that map so many in large pages."""
        return -(-mapped // (self.profile.large_page << FORMATS[self.profile.arch].index_bits)) * self.profile.page


class _OfItself:
    """This project's kernel, in which added RAM pays for itself: its own plan is asked. As `_FromOutside`."""

    block = UNIT

    def __init__(self, made: Plan, policy: Policy) -> None:
        if policy.movable or policy.on_memory:
            what = "movable RAM" if policy.movable else "memmap_on_memory"
            raise InputError(made.profile.name, 0, f"this kernel has no {what}", "leave it out, or take linux-x86_64")
        self.made, self.used, self.added = made, policy.used, list[Ram]()
        self.most = 1 << made.profile.phys_bits

    @property
    def free(self) -> int:
        return self.made.after.available * self.made.page - self.used

    def reckon(self, more: int) -> _Reckoned:
        if self.free < 0:
            return _Reckoned(0, -self.free, f"{size(-self.free)} are missing for what runs on it")
        last = self._with(more).added[-1]
        return _Reckoned(last.taken * self.made.page, reason=last.reason)

    def add(self, more: int) -> None:
        self.made = self._with(more)
        self.added.append(Ram(more))

    def _with(self, more: int) -> Plan:
        """The plan with all that has been added, and so many bytes more."""
        return plan(self.made.machine, self.made.profile, place_ram(self.made.machine, [*self.added, Ram(more)]))


def _steps(guest: _FromOutside | _OfItself, more: int) -> Iterator[Step]:
    """Add so many bytes, in steps as large as can be, until all are there or no step can be made."""
    while step := _largest(guest, more):
        taken = guest.reckon(step).taken
        guest.add(step)
        more -= step
        yield Step(step, taken, guest.free)


def _largest(guest: _FromOutside | _OfItself, more: int) -> int:
    """Bytes of the largest step, in whole blocks, at most `more`; 0: there is none."""
    most = min(more, guest.most) // guest.block
    if most and guest.reckon(most * guest.block).reason:
        most = last_that(lambda blocks: not guest.reckon(blocks * guest.block).reason, 0, most)
    return most * guest.block
