"""The MMU of ColdFire V4e, written from its manual: no emulator has it, and nothing of the kernel's own code is used.

MCF547x Reference Manual, chapter 5 (in the CF4e Core User's Manual it is chapter 10): registers 5.5.3, the TLB 5.5.4,
replacement 5.6.2; 3.8.1 for what an access error says. Where the manual leaves something open, a comment says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

ENTRIES = 32  # of each TLB; 0 to 31 are those of instructions, 32 to 63 those of data (5.6.1)

CR, OR, SR, AR, TR, DR = 0x00, 0x04, 0x08, 0x10, 0x14, 0x18  # registers, from MMUBAR on

EN, ASM = 1 << 0, 1 << 1  # MMUCR
UAA, ACC, RW, ADR, ITLB, CAS, CNL, CA, STLB = (1 << bit for bit in range(9))  # MMUOR
HIT, WF, RF, SPF = 1 << 1, 1 << 3, 1 << 4, 1 << 5  # MMUSR
V, SG = 1 << 0, 1 << 1  # MMUTR
LK, X, W, R, SP = (1 << bit for bit in range(1, 6))  # MMUDR
SIZES = {0: 1 << 20, 1: 4 << 10, 2: 8 << 10, 3: 1 << 10}  # SZ

READ, WRITE, FETCH = "read", "write", "fetch"


class AccessError(Exception):
    """Vector 2, with the fault status FS of its stack frame (table 3-22)."""

    def __init__(self, status: int) -> None:
        super().__init__(f"access error, FS {status:04b}")
        self.status = status


MISS = {FETCH: 0b0101, WRITE: 0b1010, READ: 0b1110}
PROTECTED = {FETCH: 0b0100, WRITE: 0b1001, READ: 0b1101}


class Entry(NamedTuple):
    """One translation: its tag and its data."""

    tag: int = 0
    data: int = 0

    @property
    def size(self) -> int:
        return SIZES[self.data >> 8 & 3]

    def maps(self, va: int) -> bool:
        """Whether it is valid, and for that address: of the tag those bits count that lie above the page's size."""
        return bool(self.tag & V) and (self.tag ^ va) & 0xFFFF_FC00 & -self.size == 0


class Recent:
    """31 bits of a TLB, one for each pair of neighbouring groups of 16, 8, 4, 2 or 1 entries: is the upper one the more
    recent (table 5-13)?"""

    def __init__(self) -> None:
        self.upper = {(first, half): False for half in (16, 8, 4, 2, 1) for first in range(0, ENTRIES, 2 * half)}

    def touch(self, number: int) -> None:
        for half in (16, 8, 4, 2, 1):
            self.upper[number & -2 * half, half] = bool(number & half)

    def oldest(self, locked: set[int]) -> int:
        """The entry that the bits point to. A locked entry is never picked (5.5.3.4): of two groups, one that is locked
        as a whole counts as the more recent."""
        first = 0
        for half in (16, 8, 4, 2, 1):
            lower, upper = ({*range(at, at + half)} for at in (first, first + half))
            first += half if lower <= locked or (not self.upper[first, half] and not upper <= locked) else 0
        return first


class Mmu:
    """Registers, and two TLBs behind them."""

    def __init__(self) -> None:
        self.registers = dict.fromkeys((CR, OR, SR, AR, TR, DR), 0)
        self.asid = 0  # a control register of the processor
        self.entries = [Entry() for _ in range(2 * ENTRIES)]
        self.recent = {0: Recent(), ENTRIES: Recent()}
        self.misses = 0

    # the registers

    def read(self, offset: int) -> int:
        return self.registers[offset]

    def write(self, offset: int, value: int) -> None:
        if offset == OR:
            self._operate(value)
        elif offset != SR:
            self.registers[offset] = value & (3 if offset == CR else 0xFFFF_FFFF)

    @property
    def allocation(self) -> int:
        """MMUOR's AA."""
        return self.registers[OR] >> 16

    @allocation.setter
    def allocation(self, number: int) -> None:
        self.registers[OR] = number << 16

    def _operate(self, told: int) -> None:
        base = 0 if told & ITLB else ENTRIES
        for number, each in enumerate(self.entries):
            locked = bool(each.data & LK)
            own = not each.tag & SG and each.tag >> 2 & 0xFF == self.asid
            if told & CA or (told & CNL and not locked) or (told & CAS and not locked and own):
                self.entries[number] = Entry()
        if told & CA:
            self.recent = {0: Recent(), ENTRIES: Recent()}
        if told & STLB:
            found = self._find(base, self.registers[AR], supervisor=False)
            self.registers[SR] = self.registers[SR] & ~HIT | (HIT if found is not None else 0)
            self.allocation = self._pick(base) if found is None else found
        elif told & UAA:
            self.allocation = self._pick(base)
        if told & ACC:
            number = self.registers[AR] & 0x3F if told & ADR else self.allocation
            if told & RW:
                self.registers[TR], self.registers[DR] = self.entries[number]
            else:
                self._load(number)

    def _load(self, number: int) -> None:
        tag, data = self.registers[TR], self.registers[DR]
        if number < ENTRIES:
            data &= ~(R | W | 1 << 6)  # the TLB of instructions ignores them
        self.entries[number] = Entry(tag, data & 0xFFFF_FFFE)
        base = number & ENTRIES
        self.recent[base].touch(number - base)

    def _pick(self, base: int) -> int:
        """The entry to replace: the lowest that is not valid, else the one that has not been used for longest."""
        own = self.entries[base : base + ENTRIES]
        empty = [number for number, each in enumerate(own) if not each.tag & V]
        locked = {number for number, each in enumerate(own) if each.tag & V and each.data & LK}
        return base + (empty[0] if empty else self.recent[base].oldest(locked))

    # accesses

    def _find(self, base: int, va: int, supervisor: bool) -> int | None:
        space = 0 if supervisor and self.registers[CR] & ASM else self.asid
        for number in range(base, base + ENTRIES):
            each = self.entries[number]
            # with ASM a shared entry is the supervisor's only if its ID is 0 (table 5-5)
            shared = each.tag & SG and not (supervisor and self.registers[CR] & ASM and each.tag >> 2 & 0xFF)
            if each.maps(va) and (shared or each.tag >> 2 & 0xFF == space):
                return number
        return None

    def translate(self, va: int, access: str = READ, supervisor: bool = True) -> int:
        """The physical address of va. AccessError."""
        base = 0 if access == FETCH else ENTRIES
        number = self._find(base, va, supervisor)
        if number is None:
            self.misses += 1
            if base:
                self.registers[AR], self.allocation = va, self._pick(base)
            self._status(access, 0)
            raise AccessError(MISS[access])
        each = self.entries[number]
        if not each.data & LK:
            self.recent[base].touch(number - base)
        denied = bool(each.data & SP) and not supervisor
        if denied or not each.data & {READ: R, WRITE: W, FETCH: X}[access]:
            if base:
                self.registers[AR], self.allocation = va, number
            self._status(access, SPF if denied else 0)
            raise AccessError(PROTECTED[access])
        return each.data & 0xFFFF_FC00 & -each.size | va & (each.size - 1)

    def _status(self, access: str, denied: int) -> None:
        self.registers[SR] = denied | {READ: RF, WRITE: WF, FETCH: 0}[access]

    @property
    def locked(self) -> int:
        """Locked translations of data."""
        return sum(bool(each.tag & V and each.data & LK) for each in self.entries[ENTRIES:])


class Processor:
    """Accesses of a supervisor or of a process. On a miss `handler` is asked what to load, as a port's exception
    handler does it: tag << 32 | data, or 0."""

    def __init__(self, handler: Callable[[int], int]) -> None:
        self.mmu, self.handler = Mmu(), handler
        self.mmu.write(CR, EN)

    def load(self, words: int, operation: int = ACC | UAA) -> None:
        self.mmu.write(TR, words >> 32 & 0xFFFF_FFFF)
        self.mmu.write(DR, words & 0xFFFF_FFFF)
        self.mmu.write(OR, operation)

    def forget(self, va: int) -> None:
        """Drop the translations of an address, locked ones among them."""
        for tlb in (0, ITLB):
            self.mmu.write(AR, va)
            self.mmu.write(OR, STLB | tlb)
            if self.mmu.read(SR) & HIT:
                self.load(0, ACC | tlb)

    def access(self, va: int, access: str = READ, supervisor: bool = True) -> int:
        """The physical address. AccessError: the kernel is to be called."""
        try:
            return self.mmu.translate(va, access, supervisor)
        except AccessError as error:
            if error.status not in MISS.values():
                raise
            words = self.handler(va)
            if not words:
                raise
        self.load(words, ACC | UAA | (ITLB if access == FETCH else 0))
        return self.mmu.translate(va, access, supervisor)
