"""Several processors of one emulated machine: they take turns of a few instructions, and every access is looked at.

Concepts
  1. Unicorn has one processor. Its registers are put aside and others loaded, so that it is one of many in turn; each
     has a stack of its own. Memory and page tables are one.
  2. A processor runs a program: calls, one after the other, each made with what the one before it answered. Between
     calls nothing is executed: what is counted is the calls' own.
  3. Time is reckoned, in cycles, for each processor: so much for an instruction, more where a line comes from elsewhere
     (`coherence`). The processor that is furthest back runs next, so that who holds the lock for long is met there.
  4. A processor that waits for the lock reads it from its own cache, again and again. It is let rest until the lock's
     word is written, and goes on at that time.
  5. A call is quick if it never took the lock. Of each line that moves is noted whether the call was quick that made it
     move, and the one because of which it moved.

Stacks are left out: nobody shares them. An access that writes what it has read in one instruction is one write.

Limits: what the processor reads to walk page tables is not seen, and there is one TLB. Stores are seen at once. No two
waits overlap, as they do where a processor fills a page.
"""

import ctypes
from bisect import bisect
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from random import Random
from typing import Any, NamedTuple

from kernmalloc.bench.coherence import MISS, TRANSFER, UPGRADE, Caches, Cause
from kernmalloc.bench.emulator import COUNTS, PROCESSORS, RETURN, STACK_BYTES, STACKS, Bare
from kernmalloc.machine.lives import Fault

TURN = 32  # instructions at most
CYCLES = {MISS: 250, TRANSFER: 120, UPGRADE: 120}
"""What a processor waits, in cycles: about what it is between cores of one package, and for memory, at 3 to 4 GHz. An
access that hits costs its instruction's share alone."""
PER_INSTRUCTION = 1 / 3
ACCESSES = 1 << 12  # that a turn makes at most

_ACCESS = f"""
define void @access(ptr %uc, i32 %type, i64 %address, i32 %size, i64 %value, ptr %to) {{{{
 %inside = sub i64 %address, {STACKS}
 %stack = icmp ult i64 %inside, {PROCESSORS * STACK_BYTES}
 br i1 %stack, label %out, label %note
note:
 %n = load i64, ptr %to
 %n1 = add i64 %n, 1
 store i64 %n1, ptr %to
 %full = icmp uge i64 %n, {ACCESSES}
 br i1 %full, label %out, label %keep
keep:
 %write = icmp eq i32 %type, 17
 %bit = zext i1 %write to i64
 %instructions.at = inttoptr i64 {{counts}} to ptr
 %instructions = load i64, ptr %instructions.at
 %row = mul i64 %n1, 32
 %at = getelementptr i8, ptr %to, i64 %row
 store i64 %address, ptr %at
 %at.1 = getelementptr i64, ptr %at, i64 1
 store i64 %bit, ptr %at.1
 %at.2 = getelementptr i64, ptr %at, i64 2
 store i64 %value, ptr %at.2
 %at.3 = getelementptr i64, ptr %at, i64 3
 store i64 %instructions, ptr %at.3
 br label %out
out:
 ret void
}}}}
"""


class Call(NamedTuple):
    """What a processor does next: a call of that name, of the function at an address, with arguments."""

    name: str
    function: int
    arguments: tuple[int, ...]


Program = Generator[Call, int, Any]


class Access(NamedTuple):
    """An access: where it was, whether it wrote, and whether a quick call made it."""

    address: int
    write: bool
    quick: bool


class Reason(NamedTuple):
    """Why a line moved: an access to it, and one that another processor had made."""

    now: Access
    before: Access


@dataclass
class Cost:
    """What the calls of one name came to, in all."""

    calls: int = 0
    locked: int = 0  # those that took the lock
    instructions: int = 0
    inside: int = 0  # of these, under the lock
    misses: int = 0
    transfers: int = 0
    invalidations: int = 0  # of other caches' copies
    cycles: float = 0.0


class Found(NamedTuple):
    """What came of a run."""

    costs: dict[str, Cost]
    """By the calls' names."""
    held: float
    """Of the time that the run took, that in which somebody had the lock."""
    waited: float
    """Of the processors' time, that in which they waited for it."""
    why: Counter[Reason]
    """Why lines moved, and how often."""

    @property
    def calls(self) -> int:
        """In all."""
        return sum(cost.calls for cost in self.costs.values())

    @property
    def met(self) -> int:
        """Moves of lines from quick calls to quick calls."""
        return sum(count for reason, count in self.why.items() if reason.now.quick and reason.before.quick)


class _Core:
    """One of the processors: where it is, and what its call has done so far."""

    def __init__(self, number: int, program: Program, context: Any) -> None:
        self.number, self.program, self.context = number, program, context
        self.place, self.clock, self.instructions = RETURN, 0.0, 0
        self.cost = Cost()  # of its calls
        self.began = 0  # after how many accesses, and when
        self.started = 0.0
        self.took = False  # the lock
        self.asked: float | None = None  # for the lock: when
        self.moves: list[tuple[int, bool, Cause]] = []  # address, whether it wrote, and why the line moved


class Turns:
    """Processors of an emulated machine, and what is in their caches. `lock`: the physical address of the lock."""

    def __init__(self, bare: Bare, lock: int) -> None:
        from unicorn import x86_const as x86

        self._bare, self._lock = bare, lock
        self._registers = [getattr(x86, f"UC_X86_REG_{name}") for name in ("RDI", "RSI", "RDX", "RCX")]
        self._rsp, self._rax, self._rip = x86.UC_X86_REG_RSP, x86.UC_X86_REG_RAX, x86.UC_X86_REG_RIP
        self._buffer = (ctypes.c_int64 * (4 * (ACCESSES + 1)))()
        self._caches = Caches()
        self._slow: list[list[int]] = [[] for _ in range(PROCESSORS)]  # when calls with the lock began and ended

    def run(self, programs: Sequence[Program], seed: int = 1) -> Found:
        """Run programs, one for each processor, to their ends; caches are as the run before left them. Fault."""
        from unicorn import UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE

        uc = self._bare.uc
        base = uc.context_save()
        self._random, self._costs = Random(seed), dict[str, Cost]()
        self._holder: _Core | None = None
        self._since = (0.0, 0)  # when the lock was taken or let go of: time, and that processor's instructions
        self._held = self._waited = 0.0
        self._moves: list[tuple[Access, Cause]] = []
        text = _ACCESS.format(counts=self._bare.ram.address + COUNTS)
        hook = self._bare.hook(UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, text, "access", ctypes.addressof(self._buffer))
        try:
            cores = [_Core(number, program, uc.context_save()) for number, program in enumerate(programs)]
            self._take_turns(cores)
        finally:
            self._bare.unhook(hook)
            uc.context_restore(base)
        return self._found(cores)

    def _take_turns(self, cores: list[_Core]) -> None:
        waiting = [(core.clock, core.number) for core in cores if self._begin(core, None)]
        heapify(waiting)
        resting: list[_Core] = []
        running: _Core | None = None
        while waiting:
            core = cores[heappop(waiting)[1]]
            if core is not running:
                self._bare.uc.context_restore(core.context)
            running = core
            if self._turn(core):
                if self._holder not in (None, core) and core.asked is not None:
                    resting.append(core)
                else:
                    heappush(waiting, (core.clock, core.number))
            if self._holder is None:
                for each in resting:
                    each.clock = max(each.clock, self._since[0])
                    heappush(waiting, (each.clock, each.number))
                resting.clear()

    def _begin(self, core: _Core, answer: int | None) -> bool:
        """Let a processor make the next call of its program. False: there is none."""
        try:
            call = core.program.send(answer)  # type: ignore[arg-type]
        except StopIteration:
            return False
        uc, stack = self._bare.uc, STACKS + (core.number + 1) * STACK_BYTES - 8
        self._bare.write(stack, RETURN.to_bytes(8, "little"))
        for register, argument in zip(self._registers, call.arguments, strict=False):
            uc.reg_write(register, argument)
        uc.reg_write(self._rsp, stack)
        core.place = call.function
        uc.context_update(core.context)
        core.cost = self._costs.setdefault(call.name, Cost())
        core.cost.calls += 1
        core.began, core.started = self._caches.now, core.clock
        core.took, core.asked, core.moves = False, None, []
        return True

    def _turn(self, core: _Core) -> bool:
        """Let a processor execute some instructions. False: its program is at its end."""
        uc, start = self._bare.uc, self._bare.counts.instructions
        self._buffer[0] = 0
        try:
            uc.emu_start(core.place, RETURN, count=self._random.randint(1, TURN))
        except self._bare.error as error:
            raise Fault(f"processor {core.number}, at {uc.reg_read(self._rip):#x}: {error}") from None
        core.place = uc.reg_read(self._rip)
        executed = self._bare.counts.instructions - start
        waits = self._accesses(core, start)
        core.instructions += executed
        core.cost.instructions += executed
        core.clock += waits + executed * PER_INSTRUCTION
        if core.place != RETURN:
            uc.context_update(core.context)
            return True
        self._end(core)
        answer: int = uc.reg_read(self._rax)
        return self._begin(core, answer - (1 << 64) if answer >> 63 else answer)

    def _accesses(self, core: _Core, start: int) -> int:
        """Take the accesses of a turn to the caches: the cycles that the processor waited."""
        count, cost, waits, number, access = self._buffer[0], core.cost, 0, core.number, self._caches.access
        if count > ACCESSES:
            raise Fault(f"processor {number}: a turn of {count} accesses; there is room for {ACCESSES}")
        rows = self._buffer[4 : 4 * count + 4]
        for at in range(0, len(rows), 4):
            address, write, value, instruction = rows[at : at + 4]
            if not write and rows[at + 4 : at + 6] == [address, 1] and rows[at + 7] == instruction:
                continue
            if address == self._lock and write:
                executed = instruction - start
                self._at_lock(
                    core, value, core.clock + waits + executed * PER_INSTRUCTION, core.instructions + executed
                )
            done = access(number, address, write)
            if done is None:
                continue
            waits += CYCLES[done.kind]
            if done.kind == MISS:
                cost.misses += 1
                continue
            cost.transfers += done.kind == TRANSFER
            cost.invalidations += done.gone
            if done.cause:
                core.moves.append((address, bool(write), done.cause))
        return waits

    def _at_lock(self, core: _Core, value: int, now: float, instructions: int) -> None:
        """A processor writes the lock's word: it takes it, lets go of it, or finds it taken."""
        if not value:
            since, began = self._since
            self._held += now - since
            core.cost.inside += instructions - began
            self._holder, self._since = None, (now, instructions)
        elif self._holder is None:
            self._holder, self._since, core.took = core, (now, instructions), True
            self._waited += 0 if core.asked is None else now - core.asked
            core.asked = None
        elif core.asked is None:
            core.asked = now

    def _end(self, core: _Core) -> None:
        """Count what a call did."""
        core.cost.locked += core.took
        core.cost.cycles += core.clock - core.started
        self._moves += ((Access(address, write, not core.took), cause) for address, write, cause in core.moves)
        if core.took:
            self._slow[core.number] += core.began, self._caches.now

    def _found(self, cores: list[_Core]) -> Found:
        why = Counter(
            Reason(now, Access(cause.address, cause.write, bisect(self._slow[cause.by], cause.when - 1) & 1 == 0))
            for now, cause in self._moves
        )
        took, spent = max(core.clock for core in cores), sum(core.clock for core in cores)
        return Found(self._costs, self._held / took, self._waited / spent, why)
