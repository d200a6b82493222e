"""Threads that wait, as a plain Python model sees them: who stands where, and who may take what."""

from copy import copy
from typing import NamedTuple

from heap_model import altered
from msgspec.structs import replace
from page_source import Source
from small_machines import MIB, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Bank
from kernmalloc.kernel.core.kern import PAGE
from kernmalloc.kernel.frames.claims import LATE, READY, RUNNABLE, STALLED, Thread
from kernmalloc.lang.status import BUSY, DEADLOCK, NOT_ALLOCATED, OK, TIMED_OUT, WOULD_BLOCK

NAMES = "ABCD"
CLEANER = "D"
CALLS = ("frame", "malloc", "page")
RESERVE = 3
FREE = 5  # frames that a world begins with, beside the reserve


class Waiting(NamedTuple):
    """What the kernel's record says of a thread."""

    state: int
    need: int
    owed: int


def tight(mode: str, reserve: int = RESERVE, window: int = 32 * MIB, cpus: int = 1) -> Kernel:
    """A kernel on a small machine, with a reserve for cleaners."""
    profile = replace(altered("eros2", window=window), bank=Bank(lenient=True, cleaners=reserve), objects=())
    return Kernel.boot(machine((0, 4 * MIB)), profile, mode, cpus=cpus)


class World:
    """Threads A, B, C and the cleaner D on a kernel that is nearly full, and what must hold after each step."""

    def __init__(self, kernel: Kernel, free: int = FREE) -> None:
        self.kernel = kernel
        self.source = Source(kernel)
        self.threads = {name: kernel.call("thread_make", int(name == CLEANER)) for name in NAMES}
        assert min(self.threads.values()) > 0
        kernel.drain()
        self.queue: list[str] = []
        self.blocks: list[int] = []
        self.frames: list[int] = []
        self.pages: list[int] = []
        self.ballast = [kernel.frame_get() for _ in range(self.free() - free - self.reserve)]
        self.now, self.limits = 0, dict.fromkeys(NAMES, 0)
        self.pending: dict[str, tuple] = {}
        self.log: list[tuple] = []
        self.verify()

    def fork(self) -> "World":
        """A copy of the model, for memory that was restored to what it was when the model was as it is now."""
        other = copy(self)
        other.source = copy(self.source)
        for name in ("queue", "blocks", "frames", "ballast", "log"):
            setattr(other, name, list(getattr(self, name)))
        for name in ("threads", "pending", "limits"):
            setattr(other, name, dict(getattr(self, name)))
        return other

    # --- what the kernel says

    def free(self) -> int:
        return self.kernel.view.frames()["free"]

    def listed(self) -> int:
        """Those of them that are in no stock."""
        return int(self.kernel.view.kern["free_frames"] - self.kernel.view.kern["stocked"])

    def waiting(self, name: str) -> Waiting:
        r = self.kernel.view.read(Thread, self.threads[name])[0]
        return Waiting(int(r["state"]), int(r["need"]), int(r["owed"]))

    def lacking(self, name: str | None = None) -> bool:
        """Whether threads before that one, or any, lack frames."""
        before = self.queue[: self.queue.index(name)] if name in self.queue else self.queue
        return any(w.need > w.owed for w in map(self.waiting, before))

    def may_take(self, name: str | None) -> int:
        """Free frames that a thread, or who is none, may take."""
        owed = {other: self.waiting(other).owed for other in self.queue}
        spare = self.free() - sum(owed.values())
        mine = owed.get(name, 0)
        if self.lacking(name):
            return mine + (min(spare, self.reserve) if name == CLEANER else 0)
        return mine + (spare if name == CLEANER else max(spare - self.reserve, 0))

    @property
    def reserve(self) -> int:
        return self.kernel.profile.bank.cleaners

    # --- what can be done

    def act(self, what: str, *args: object) -> int:
        self.log.append((what, *args))
        if what in CALLS and args[0] is not None and self.waiting(args[0]).state != STALLED:
            self.pending[args[0]] = (what, *args)
        result = getattr(self, what)(*args)
        self.log[-1] += ("->", result)
        self.verify()
        return result

    def attempt(self, name: str | None, entry: str, *args: int) -> int:
        """A call by a thread, or by nobody; it takes no more than it may, and stands in the queue if it must wait."""
        if name is not None:
            state, late = self.waiting(name).state, 0
            result = self.kernel.call("thread_run", self.threads[name])
            if state == STALLED:
                assert result == BUSY
                return BUSY
            if state == LATE:
                assert result == TIMED_OUT
                self.queue.remove(name)
                late = TIMED_OUT
            else:
                assert result == OK
            if late:
                self.kernel.call("thread_run", 0)
                return late
        granted = name in self.queue and self.waiting(name).owed > 0
        before, most = self.free(), self.may_take(name)
        result = self.kernel.call(entry, *args)
        if result >= 0 and entry in ("malloc", "frame_get", "malloc_zeroed"):
            grown = self.kernel.view.kern["pages"]["evictions"] - self.evictions
            assert before + grown - self.free() <= max(most, 0) + grown, "nobody overtakes"
        if granted and entry == "frame_get":
            assert result >= 0, "what is owed is there"
        if name is not None:
            if result == WOULD_BLOCK:
                assert self.waiting(name).state in (STALLED, READY)
                if name not in self.queue:
                    self.queue.append(name)
            else:
                assert self.waiting(name).state == RUNNABLE
                if name in self.queue:
                    self.queue.remove(name)
            self.kernel.call("thread_run", 0)
        return result

    @property
    def evictions(self) -> int:
        return self._evictions

    def resume(self) -> int:
        """Whoever is to run next does his call again."""
        turn = self.kernel.call("thread_next")
        name = next((n for n, va in self.threads.items() if va == turn), None)
        if name is None:
            return turn
        what, *args = self.pending[name]
        return getattr(self, what)(*args)

    def malloc(self, name: str | None, pages: int) -> int:
        result = self.attempt(name, "malloc", 32768 + pages * 4096)
        if result > 0:
            self.blocks.append(result)
        return min(result, OK)

    def frame(self, name: str | None) -> int:
        result = self.attempt(name, "frame_get", PAGE)
        if result >= 0:
            self.frames.append(result)
        return min(result, OK)

    def page(self, name: str | None, oid: int, write: int = 0) -> int:
        """A page, and it is written to."""
        result = self.attempt(name, "page_get", oid)
        if result >= 0 and write:
            assert self.kernel.call("page_dirty", result) == OK
        return min(result, OK)

    def free_block(self, index: int) -> int:
        return self.kernel.call("free", self.blocks.pop(index % len(self.blocks))) if self.blocks else OK

    def put(self, index: int) -> int:
        return self.kernel.call("frame_put", self.frames.pop(index % len(self.frames))) if self.frames else OK

    def give(self, count: int) -> int:
        """Frames come back that belong to nobody in this world."""
        for _ in range(min(count, len(self.ballast))):
            assert self.kernel.call("frame_put", self.ballast.pop()) == OK
        return OK

    def give_all(self) -> int:
        while self.frames:
            self.put(0)
        while self.blocks:
            self.free_block(0)
        return self.give(len(self.ballast))

    def expire(self, name: str) -> int:
        self.limit(name, 1)
        return self.tick(1)

    def answer(self) -> int:
        return self.source.poll()

    def cancel(self, name: str) -> int:
        result = self.kernel.call("thread_cancel", self.threads[name])
        assert result == (OK if name in self.queue else NOT_ALLOCATED)
        if result == OK:
            self.queue.remove(name)
        return result

    def die(self, name: str) -> int:
        """A thread goes, and another one comes if there is memory for it."""
        assert self.kernel.call("thread_free", self.threads[name]) == OK
        if name in self.queue:
            self.queue.remove(name)
        made = self.kernel.call("thread_make", int(name == CLEANER))
        assert made > 0, "its own slot is free"
        self.threads[name] = made
        self.limits[name] = 0
        return OK

    def limit(self, name: str, time: int) -> int:
        self.limits[name] = self.now + time if time else 0
        return self.kernel.call("thread_limit", self.threads[name], self.limits[name])

    def tick(self, time: int) -> int:
        self.now += time
        due = [n for n in self.queue if self.waiting(n).state == STALLED and 0 < self.limits[n] <= self.now]
        result = self.kernel.call("tick", self.now)
        assert result == len(due) and all(self.waiting(n).state == LATE for n in due)
        return result

    # --- what must hold

    def verify(self) -> None:
        kern = self.kernel.view.kern
        stalls, by_va = kern["stalls"], {va: name for name, va in self.threads.items()}
        order, at = [], int(stalls["first"])
        while at:
            order.append(by_va[at])
            at = int(self.kernel.view.read(Thread, at)[0]["next"])
        assert order == self.queue, "served in order of their first refusal"
        waits = [self.waiting(name) for name in order]
        assert sum(w.owed for w in waits) == stalls["owed"] <= self.listed()
        behind, spare = False, self.listed() - int(stalls["owed"])
        for name, w in zip(order, waits, strict=True):
            if w.state == STALLED and w.need > 0:
                kept = 0 if name == CLEANER else self.reserve
                there = (min(spare, self.reserve) if name == CLEANER else 0) if behind else spare - kept
                assert w.need > there, f"{name} was not woken"
            behind |= w.need > w.owed
        ready = [n for n, w in zip(order, waits, strict=True) if w.state in (READY, LATE)]
        turn = self.kernel.call("thread_next")
        assert turn in (0, DEADLOCK) if not ready else by_va[turn] == ready[0]
        if turn == DEADLOCK:
            assert len(order) == len(self.threads)
        self._evictions = int(self.kernel.view.kern["pages"]["evictions"])

    def finish(self) -> None:
        """All memory comes back: everyone who waits is served; then nothing is lost."""
        self.act("give_all")
        for _ in range(99):
            self.act("answer")
            if not self.queue:
                break
            assert self.kernel.call("thread_next") > 0, "all memory is free, and still somebody waits"
            self.act("resume")
            self.act("give_all")
        assert not self.queue, "nobody waits for ever"
        conserved(self.kernel)
