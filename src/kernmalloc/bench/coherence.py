"""Caches of processors that share memory: who has a line, who has changed it, and why a line moves.

Concepts
  1. Each processor has a cache of lines of 64 bytes. A line is modified or exclusive in one of them, or shared by
     several, or in none (MESI). An access is one of these:

         HIT       the line is there, as the access needs it
         MISS      no cache has it: it comes from memory
         TRANSFER  another cache has it: it comes from there, and leaves there if this access writes
         UPGRADE   it is there and others share it: this access writes, and their copies go

     At a TRANSFER and at an UPGRADE a processor waits for others. They alone grow with the number of processors.
  2. Lines move for a cause: what another processor did to one since this one had it. If that was a write of the very
     bytes that are accessed now, or, where this access writes, a read of them, the processors share data. Else they
     share a line only: it would not move if the two lay further apart. Where nobody wrote, there is no cause.

Limits: caches are as large as what they meet.
"""

from typing import NamedTuple

LINE_SHIFT = 6
HIT, MISS, TRANSFER, UPGRADE = range(4)


class Cause(NamedTuple):
    """What another processor had done to a line: at which address, whether it wrote, who it was, and when: how many
    accesses there had been."""

    address: int
    write: bool
    by: int
    when: int


class Done(NamedTuple):
    """What an access was that is no HIT, and how many copies of others went. `cause`: why the line moved; None: nobody
    had written to it, and it does not move again."""

    kind: int
    gone: int = 0
    cause: Cause | None = None


class Line:
    """What is known of one line."""

    __slots__ = ("holders", "lost", "touched", "written")

    def __init__(self) -> None:
        self.holders = 0  # a bit for each processor that has it
        self.written: dict[int, tuple[int, int]] = {}  # by address: when it was written last, and by whom
        self.touched: dict[int, tuple[int, int]] = {}  # by processor: when it accessed the line last, and where
        self.lost: dict[int, int] = {}  # by processor: when its copy went


class Caches:
    """The caches of any number of processors. `now`: accesses so far."""

    def __init__(self) -> None:
        self._lines: dict[int, Line] = {}
        self.now = 0

    def access(self, processor: int, address: int, write: int) -> Done | None:
        """What an access is; None: a HIT."""
        number = address >> LINE_SHIFT
        line = self._lines.get(number)
        if line is None:
            line = self._lines[number] = Line()
        self.now += 1
        bit, holders, done = 1 << processor, line.holders, None
        others = holders & ~bit
        if not holders:
            done = Done(MISS)
        elif holders == others or (write and others):
            kind = TRANSFER if holders == others else UPGRADE
            done = Done(kind, others.bit_count() * write, self._cause(line, processor, address, write))
        if write:
            while others:
                line.lost[(others & -others).bit_length() - 1] = self.now
                others &= others - 1
            line.holders = bit
            line.written[address] = self.now, processor
        else:
            line.holders |= bit
        line.touched[processor] = self.now, address
        return done

    def _cause(self, line: Line, processor: int, address: int, write: int) -> Cause | None:
        """How another processor made the line leave or be shared."""
        since = line.lost.get(processor, 0)
        did = [(when, at, who) for at, (when, who) in line.written.items() if when >= since and who != processor]
        if write and (not did or line.holders >> processor & 1):
            did = [(when, at, who) for who, (when, at) in line.touched.items() if who != processor]
        if not did:
            return None
        when, at, who = max((each for each in did if each[1] == address), default=max(did))
        return Cause(at, line.written.get(at) == (when, who), who, when)
