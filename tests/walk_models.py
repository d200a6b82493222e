"""What a processor makes of page tables, for one architecture after the other, as its manual tells it step by step.

Written apart from `machine/walker`, and from what `machine/arch` says: bits are numbers here. This is all that there is
for the MMU of ColdFire, which is in no emulator, and for those bits of Svnapot and Svpbmt that QEMU does not look at.
"""

from collections.abc import Callable
from dataclasses import dataclass, field


class Fault(Exception):
    """Why there is no page, by the name that the walker has for it."""


@dataclass
class Memory:
    """Words at physical addresses."""

    read: Callable[[int, int], int]  # address, bytes
    top: int
    marks: dict[int, int] = field(default_factory=dict)  # what the walk leaves at an address

    def load(self, at: int, width: int) -> int:
        if not 0 <= at <= self.top - width:
            raise Fault("no memory")
        return self.read(at, width)


def bit(word: int, n: int) -> int:
    return word >> n & 1


def bits(word: int, high: int, low: int) -> int:
    return word >> low & (1 << high - low + 1) - 1


Answer = tuple[int, int]  # physical address, log2 of the bytes of the page


def allow(condition: object) -> None:
    if not condition:
        raise Fault("no right")


def x86(memory: Memory, root: int, va: int, kind: str, user: bool, *, levels: int, pae: bool, width: int) -> Answer:
    """Intel SDM volume 3A, 4.3 to 4.8: `levels` of tables, entries of 8 bytes or of 4, MAXPHYADDR = width."""
    size = 8 if pae else 4
    index = 9 if pae else 10
    if levels > 3:
        top = 11 + 9 * levels
        signed = va - (1 << 64) if va >> 63 else va
        if not -(1 << top) <= signed < 1 << top:
            raise Fault("no address")
    table, writable, users, executable = root, 1, 1, 1
    used: list[tuple[int, int]] = []
    for level in range(levels, 0, -1):
        shift = 12 + (level - 1) * index
        entries = 4 if pae and levels == 3 and level == 3 else 1 << index
        at = table + (va >> shift) % entries * size
        e = memory.load(at, size)
        if not bit(e, 0):
            raise Fault("not present")
        pdpte_of_pae = pae and levels == 3 and level == 3
        page = level == 1 or (bit(e, 7) and level in (2, 3) and not pdpte_of_pae and (pae or level == 2))
        if pae:
            reserved = bits(e, 51, width) if width < 52 else 0
            if pdpte_of_pae:
                reserved |= bits(e, 2, 1) | bits(e, 8, 6) | bits(e, 63, 52)  # bit 5: asked when CR3 is loaded only
            elif levels == 3:
                reserved |= bits(e, 62, 52)
            if level >= 4:
                reserved |= bit(e, 7)
            if page and level == 2:
                reserved |= bits(e, 20, 13)
            if page and level == 3:
                reserved |= bits(e, 29, 13)
        else:
            reserved = bits(e, 21, 13) if page and level == 2 else 0
        if reserved:
            raise Fault("reserved")
        if not pdpte_of_pae:
            writable, users = writable & bit(e, 1), users & bit(e, 2)
            executable &= 1 - bit(e, 63) if pae else 1
            used.append((at, e))
        address = bits(e, 51, 12) << 12 if pae else bits(e, 31, 12) << 12
        if not page:
            table = address
            continue
        allow(users or not user)
        allow(kind != "write" or writable)
        allow(kind != "execute" or executable)
        for where, entry in used:
            memory.marks[where] = entry | 1 << 5
        if kind == "write":
            memory.marks[at] |= 1 << 6
        offset = (1 << shift) - 1
        return address & ~offset | va & offset, shift
    raise AssertionError


def riscv(
    memory: Memory, root: int, va: int, kind: str, user: bool, *, levels: int, extended: bool, sets: bool
) -> Answer:
    """Privileged ISA 1.12: the steps of 4.3.2, with chapters 5 and 6 if extended. sstatus.SUM and MXR are 0."""
    size, index = (4, 10) if levels == 2 else (8, 9)
    if levels > 2:
        top = 11 + 9 * levels
        signed = va - (1 << 64) if va >> 63 else va
        if not -(1 << top) <= signed < 1 << top:
            raise Fault("no address")
    a, i = root, levels - 1
    while True:
        shift = 12 + i * index
        at = a + (va >> shift) % (1 << index) * size  # step 2
        pte = memory.load(at, size)
        v, r, w, x, u = (bit(pte, n) for n in range(5))
        if not v:
            raise Fault("not present")
        if not r and w:  # step 3
            raise Fault("reserved")
        leaf = r or x
        if size == 8:
            n, pbmt = bit(pte, 63), bits(pte, 62, 61)
            if bits(pte, 60, 54) or (not extended and (n or pbmt)) or (not leaf and (n or pbmt)):
                raise Fault("reserved")
        else:
            n = pbmt = 0
        if leaf:
            break
        if bit(pte, 4) or bit(pte, 6) or bit(pte, 7):  # U, A and D are for extensions to come
            raise Fault("reserved")
        i -= 1  # step 4
        if i < 0:
            raise Fault("reserved")
        a = bits(pte, 53 if size == 8 else 31, 10) << 12
    ppn = bits(pte, 53 if size == 8 else 31, 10)
    if pbmt == 3 or (n and (i > 0 or bits(ppn, 3, 0) != 0b1000)):
        raise Fault("reserved")
    if i > 0 and ppn % (1 << i * index):  # step 6, which no other fault hides
        raise Fault("reserved")
    allow(u if user else not u)  # step 5
    allow({"read": r, "write": w, "execute": x}[kind])
    unmarked = not bit(pte, 6) or (kind == "write" and not bit(pte, 7))  # step 7
    if unmarked and not sets:
        raise Fault("not used")
    memory.marks[at] = pte | 1 << 6 | (1 << 7 if kind == "write" else 0)
    page = 16 if n else shift
    offset = (1 << page) - 1
    return ppn << 12 & ~offset | va & offset, page


def aarch64(
    memory: Memory, root: int, va: int, kind: str, user: bool, *, granule: int, width: int, pa_bits: int
) -> Answer:
    """ARM DDI 0487, D8.2 to D8.4, stage 1 of EL1&0: a granule's log2, bits of an address and of a physical one. The
    access flag is software's."""
    signed = va - (1 << 64) if va >> 63 else va
    if not -(1 << width) <= signed < 1 << width:
        raise Fault("no address")
    index = granule - 3
    level = 4 - -(-(width - granule) // index)
    table = root
    el0 = write = user_execute = execute = 1
    while True:
        shift = granule + (3 - level) * index
        top = min(shift + index, width)
        d = memory.load(table + bits(va, top - 1, shift) * 8, 8)
        block = {12: (1, 2), 14: (2,), 16: (2,)}[granule]
        kind_of = bits(d, 1, 0)
        if kind_of & 1 == 0 or (kind_of == 1 and level not in block):
            raise Fault("not present")
        leads = kind_of == 3 and level < 3
        low = granule if leads or level == 3 else shift
        address = bits(d, 47, low) << low
        if address >> pa_bits:
            raise Fault("too high")
        if leads:
            execute &= 1 - bit(d, 59)
            user_execute &= 1 - bit(d, 60)
            el0 &= 1 - bit(d, 61)
            write &= 1 - bit(d, 62)
            table, level = address, level + 1
            continue
        if not bit(d, 10):
            raise Fault("not used")
        el0 &= bit(d, 6)
        write &= 1 - bit(d, 7)
        execute &= 1 - bit(d, 53)
        user_execute &= 1 - bit(d, 54)
        if kind == "execute":
            allow(user_execute if user else execute and not (el0 and write))
        else:
            allow((el0 or not user) and (write or kind == "read"))
        return address | va & (1 << shift) - 1, shift


def armv7(memory: Memory, root: int, va: int, kind: str, user: bool) -> Answer:
    """ARM DDI 0406C, B3.5: short descriptors, with PXN, SCTLR.AFE = 1, and DACR = 1."""
    va &= (1 << 32) - 1
    first = memory.load(root + (va >> 20) * 4, 4)
    if first & 3 == 0:
        raise Fault("not present")
    if first & 3 == 1:
        domain, pxn = bits(first, 8, 5), bit(first, 2)
        second = memory.load((first & 0xFFFF_FC00) + bits(va, 19, 12) * 4, 4)
        if second & 3 == 0:
            raise Fault("not present")
        if second & 2:
            xn, page = bit(second, 0), 12
        else:
            xn, page = bit(second, 15), 16
        ap, d = bit(second, 9) << 2 | bits(second, 5, 4), second
    else:
        pxn, xn, ap, d = bit(first, 0), bit(first, 4), bit(first, 15) << 2 | bits(first, 11, 10), first
        supersection = bit(first, 18)
        domain, page = (0, 24) if supersection else (bits(first, 8, 5), 20)
    if not ap & 1:
        raise Fault("not used")
    allow(domain == 0)
    allow(not user or ap & 2)
    allow(kind != "write" or not ap & 4)
    allow(kind != "execute" or not (xn or (pxn and not user)))
    offset = (1 << page) - 1
    return d & ~offset & 0xFFFF_FFFF | va & offset, page


def lpae(memory: Memory, root: int, va: int, kind: str, user: bool) -> Answer:
    """ARM DDI 0406C, B3.6: long descriptors, from a root of four entries."""
    va &= (1 << 32) - 1
    table, pl0, write, never, privileged_never = root, 1, 1, 0, 0
    for level, (high, shift) in enumerate([(31, 30), (29, 21), (20, 12)], 1):
        d = memory.load(table + bits(va, high, shift) * 8, 8)
        if not bit(d, 0) or (level == 3 and not bit(d, 1)):
            raise Fault("not present")
        if level < 3 and bit(d, 1):
            table = bits(d, 39, 12) << 12
            never, privileged_never = never | bit(d, 60), privileged_never | bit(d, 59)
            pl0, write = pl0 & 1 - bit(d, 61), write & 1 - bit(d, 62)
            continue
        if not bit(d, 10):
            raise Fault("not used")
        pl0, write = pl0 & bit(d, 6), write & 1 - bit(d, 7)
        never, privileged_never = never | bit(d, 54), privileged_never | bit(d, 53)
        allow(pl0 or not user)
        allow(write or kind != "write")
        allow(kind != "execute" or not (never or (privileged_never and not user)))
        return bits(d, 39, shift) << shift | va & (1 << shift) - 1, shift
    raise AssertionError


def coldfire(memory: Memory, root: int, va: int, kind: str, user: bool) -> Answer:
    """MCF547x Reference Manual, 5.5.3.4 and 5.5.3.5, by the kernel's own tables, of entries 64 bytes apart."""
    table = root
    for high, shift in ((31, 27), (26, 20), (19, 13)):
        at = table + bits(va, high, shift) * 64
        e = memory.load(at, 4)
        if not bit(e, 0):
            raise Fault("not present")
        if shift == 27 and bit(e, 4):
            raise Fault("reserved")
        if shift == 13 or bit(e, 4):
            allow(not (user and bit(e, 5)))
            allow(bit(e, {"read": 4, "write": 3, "execute": 2}[kind]))  # each by itself
            memory.marks[at] = e | 1 << 10
            return bits(e, 31, shift) << shift | va & (1 << shift) - 1, shift
        table = bits(e, 31, 13) << 13
    raise AssertionError
