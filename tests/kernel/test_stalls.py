"""Calls that wait: who is served when, and that nothing is lost on the way (E26, E30, E31)."""

import random
from collections import Counter
from itertools import product

import pytest
from effort import EFFORT
from heap_model import PAGE as PAGE_BYTES
from heap_model import effort
from small_machines import MODES, conserved
from stall_model import CLEANER, NAMES, RESERVE, World, tight

from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.threads import waits
from kernmalloc.kernel.core.kern import PAGE
from kernmalloc.kernel.frames.claims import READY, RUNNABLE, STALLED, Thread
from kernmalloc.lang.status import (
    BAD_ADDRESS,
    BUSY,
    DEADLOCK,
    NO_FRAMES,
    NOT_ALLOCATED,
    OK,
    TIMED_OUT,
    WOULD_BLOCK,
)


def step(chance: random.Random) -> tuple:
    """Anything that a thread, its owner, a driver or somebody without a thread may do."""
    name, draw = chance.choice(NAMES), chance.randrange(100)
    for limit, action in (
        (15, ("frame", name)), (30, ("malloc", name, chance.randrange(12))),
        (42, ("page", name, chance.randrange(12), chance.randrange(2))),
        (46, ("frame", None)), (50, ("malloc", None, 1)), (64, ("put", chance.randrange(100))),
        (70, ("free_block", chance.randrange(100))),
        (82, ("resume",)), (88, ("answer",)), (91, ("cancel", name)), (94, ("die", name)),
        (97, ("limit", name, chance.randrange(4))),
    ):  # fmt: skip
        if draw < limit:
            return action
    return ("tick", 1)


def run(world: World, seed: int, steps: int) -> Counter:
    """A random sequence with `check` after each step, and then all memory comes back."""
    chance, seen = random.Random(seed), Counter()
    try:
        for _ in range(steps):
            action = step(chance)
            result = world.act(*action)
            seen[action[0], result if result < 0 else OK] += 1
            conserved(world.kernel)
        world.finish()
    except AssertionError as error:
        error.add_note(f"seed {seed}:\n" + "\n".join(map(str, world.log)))
        raise
    return seen


def test_E26_nobody_overtakes_nothing_is_lost():
    """Random calls, gifts, answers, cancels, deaths and timeouts: served in order, every wait ends when memory is back,
    and every frame is where it was."""
    seen = Counter()
    for seed in range(effort(0.3).max_examples):
        with tight("raw") as kernel:
            seen += run(World(kernel, free=1 + seed % 9), seed, 80)
    for event in (
        ("frame", WOULD_BLOCK), ("malloc", WOULD_BLOCK), ("page", WOULD_BLOCK), ("resume", OK),
        ("resume", WOULD_BLOCK), ("resume", TIMED_OUT), ("cancel", OK), ("malloc", DEADLOCK), ("frame", BUSY),
    ):  # fmt: skip
        assert seen[event] > 0, (event, seen)


def test_E26_the_same_in_each_life():
    """A sequence gives the same results and leaves the same memory, interpreted and compiled."""
    logs, memories = [], []
    for mode in MODES:
        with tight(mode) as kernel:
            world = World(kernel)
            chance = random.Random(7)
            for _ in range(120):
                world.act(*step(chance))
            conserved(kernel)
            memories.append(kernel.snapshot())
            logs.append(world.log)
            world.finish()
    assert logs[0] == logs[1] == logs[2]
    assert memories[0] == memories[1] == memories[2]


DEPTH = 4 if EFFORT == 1 else 6  # actions in a row
ACTIONS = (
    ("malloc", "A", 1), ("frame", "B"), ("page", "B", 7), ("frame", "C"), ("frame", CLEANER), ("frame", None),
    ("give", 9), ("put", 0), ("free_block", 0), ("answer",), ("resume",), ("cancel", "A"), ("cancel", "B"),
    ("die", "A"),
    ("expire", "B"),
)  # fmt: skip


class Small(World):
    """A world whose states can be told apart."""

    def state(self) -> tuple:
        kern = self.kernel.view.kern
        return (
            tuple((name, *self.waiting(name)) for name in self.queue), self.free(), len(self.blocks), len(self.frames),
            kern["pages"]["counts"].tobytes(), self.limits["B"] != 0, int(kern["idle"]),
        )  # fmt: skip


def test_E26_all_short_histories():
    """Every order of a few calls, gifts, answers, cancels, timeouts and deaths, each state once: from each of them all
    waits end when memory comes back."""
    with tight("soft") as kernel:
        first = Small(kernel, free=1)
        start = kernel.snapshot()
        known, paths, stalled = {first.state()}, [()], 0
        for _ in range(DEPTH):
            found = []
            for path, action in product(paths, ACTIONS):
                kernel.restore(start)
                world = first.fork()
                for earlier in path:
                    world.act(*earlier)
                world.act(*action)
                if world.state() not in known:
                    known.add(world.state())
                    found.append((*path, action))
                    stalled += len(world.queue) > 1
                    conserved(kernel)
                    world.finish()
            paths = found
        assert len(known) > 200 and stalled > 50, (len(known), stalled)
        print(f"{len(known):,} states, {stalled:,} with two threads or more that wait")


@pytest.fixture(params=MODES)
def world(request):
    """A world with no free frame but the reserve."""
    with tight(request.param) as kernel:
        yield World(kernel, free=0)
        conserved(kernel)


def test_E26_frames_are_owed_in_order(world):
    """Frames that come are set aside for the first who waits; nobody behind it gets one, nor anybody new, until it has
    run."""
    assert world.act("frame", "A") == world.act("malloc", "B", 1) == world.act("frame", "C") == WOULD_BLOCK
    world.act("give", 1)
    assert world.waiting("A") == (READY, 1, 1) and world.waiting("B").state == STALLED
    world.act("give", 3)
    assert world.act("frame", None) == WOULD_BLOCK and world.waiting("C").state == STALLED, "B is before them"
    assert world.act("resume") == OK and world.waiting("A") == (RUNNABLE, 0, 0)
    world.act("give", 9)
    assert world.waiting("B").state == READY
    assert world.act("resume") == OK
    assert world.act("resume") == OK
    assert world.queue == []


@pytest.mark.parametrize("end", ["cancel", "die"])
def test_E26_who_gives_up_loses_no_frame(world, end):
    """What was owed to a thread that gives up, or dies, goes to the next at once."""
    world.act("frame", "A")
    world.act("frame", "B")
    world.act("give", 1)
    assert world.waiting("A").owed == 1 and world.waiting("B").owed == 0
    world.act(end, "A")
    assert world.queue == ["B"] and world.waiting("B") == (READY, 1, 1)
    assert world.act("resume") == OK


def test_E26_a_wait_ends_in_time(world):
    """A thread waits until its time is up, not shorter; its call has failed then, and others are served."""
    world.act("limit", "A", 5)
    world.act("malloc", "A", 9)
    world.act("frame", "B")
    world.act("give", 1)
    assert world.act("tick", 4) == 0 and world.act("tick", 1) == 1
    assert world.waiting("B") == (READY, 1, 1), "nobody is before B any more"
    assert world.act("resume") == TIMED_OUT and world.queue == ["B"]
    assert world.act("tick", 9) == 0
    assert world.act("resume") == OK


def test_E26_heap_memory_wakes_too(world):
    """A call that a freed block can serve is served, though no frame came."""
    world.act("give", 40)
    kernel = world.kernel
    blocks = []
    while (block := kernel.call("malloc", 3000)) > 0:
        blocks.append(block)
    world.pending["A"] = ("block", "A")
    world.block = lambda name: min(world.attempt(name, "malloc", 3000), OK)
    assert world.block("A") == WOULD_BLOCK
    assert kernel.call("free", blocks[5]) == OK
    assert world.waiting("A").state == READY
    world.verify()
    assert world.act("resume") == OK
    assert world.queue == []


def test_E26_E30_a_wait_for_a_write_back(world):
    """All frames hold dirty pages: malloc waits until some have been written back, and takes these frames. Nobody
    reads."""
    kernel, source = world.kernel, world.source
    world.act("give", 30)
    for oid in range(30):
        pfn = source.call("page_get", oid)
        assert pfn > 0 and kernel.call("page_dirty", pfn) == OK
        kernel.handle.life.ram.bytes[pfn * PAGE_BYTES] = oid
    assert world.act("frame", "B") == world.act("malloc", "A", 1) == WOULD_BLOCK
    assert source.word(0, 4) > source.taken, "write-backs were asked for"
    while world.queue:
        assert world.act("answer") > 0 or world.kernel.call("thread_next") > 0
        while world.kernel.call("thread_next") > 0:
            world.act("resume")
        conserved(kernel)
    evicted = int(kernel.view.kern["pages"]["evictions"])
    assert 10 <= evicted < 30 and source.writes >= evicted
    assert all(source.disk[oid][0] == oid for oid in source.disk)


def test_E26_who_waits_for_a_page_is_woken_by_its_answer(world):
    """Two threads wait for one page, a third for another: each is woken when its own has been read, or could not be."""
    world.act("give", 9)
    for name, oid in (("A", 5), ("B", 6), ("C", 5)):
        assert world.act("page", name, oid) == WOULD_BLOCK
        assert world.waiting(name) == (STALLED, ~oid, 0)
    first, second = world.source.waiting()
    world.source.answer(first[1], 0, -1)
    world.kernel.call("source_poll")
    world.verify()
    assert [world.waiting(name).state for name in "ABC"] == [READY, STALLED, READY]
    world.source.answer(second[1], 0, 0)
    world.kernel.call("source_poll")
    assert world.waiting("B").state == READY
    assert world.act("resume") < 0, "the first who asks is told that the page could not be read"
    assert world.act("resume") == OK
    assert world.act("resume") == WOULD_BLOCK, "the other one has it read again"
    world.finish()


def test_E26_a_deadlock_is_named(world):
    """The last thread that could run is not let wait when the one that cleans pages waits too: it is told, who waits
    for what is known, and what it then gives back serves the others."""
    world.act("give", 1)
    assert world.act("frame", "C") == OK
    for _ in range(RESERVE):
        assert world.act("frame", CLEANER) == OK
    assert world.act("frame", CLEANER) == world.act("malloc", "A", 1) == world.act("frame", "B") == WOULD_BLOCK
    before = world.kernel.snapshot()
    world.kernel.call("thread_run", world.threads["C"])
    assert world.kernel.call("malloc", 70_000) == DEADLOCK
    found = [str(wait) for wait in waits(world.kernel.view, world.threads["C"])]
    assert found[1:] == [
        "thread 2 waits for 1 frame", "thread 3 waits for 18 frames", "thread 4, which cleans pages, waits for 1 frame",
    ]  # fmt: skip
    assert found[0].startswith("thread 1 waits for ") and len(before) == len(world.kernel.snapshot())
    world.kernel.call("thread_run", 0)
    assert world.act("put", -1) == OK
    assert world.waiting(CLEANER) == (READY, 1, 1)
    assert world.act("resume") == OK


def test_E26_a_deadlock_by_death_is_named(world):
    """When the last thread that runs goes, and the others wait for pages, the driver's among them, whoever asks for the
    next one to run is told."""
    world.act("give", 3)
    for oid, name in enumerate(NAMES[1:]):
        world.act("page", name, oid)
    assert world.queue == [*NAMES[1:]]
    assert world.kernel.call("thread_next") == 0, "A may still do something"
    assert world.kernel.call("thread_free", world.threads["A"]) == OK
    assert world.kernel.call("thread_next") == DEADLOCK
    world.threads["A"] = world.kernel.call("thread_make", 0)
    assert world.kernel.call("thread_next") == 0
    world.act("answer")
    assert world.act("resume") == OK


def test_E26_cleaners_have_their_reserve(world):
    """A thread that cleans pages gets the planned frames when nobody else gets one, and past the queue; the bank was
    never promised them, and who comes for the rest waits until the reserve is whole again."""
    kern = world.kernel.view.kern
    assert kern["stalls"]["reserve"] == RESERVE == world.free()
    assert kern["promised"] == kern["opening"] - RESERVE
    assert world.act("frame", "A") == WOULD_BLOCK
    for _ in range(RESERVE):
        assert world.act("frame", CLEANER) == OK
    assert world.act("frame", CLEANER) == WOULD_BLOCK
    world.act("give", 1)
    assert world.waiting(CLEANER).owed == 1 and world.waiting("A").state == STALLED
    assert world.act("resume") == OK
    world.act("give", RESERVE)
    assert world.waiting("A").state == STALLED
    world.act("give", 1)
    assert world.waiting("A").state == READY


def test_the_reserve_is_planned():
    """A machine that has not as many frames left is refused at boot; one that has exactly as many boots."""
    with tight("raw", reserve=0) as kernel:
        free = int(kernel.view.kern["opening"])
    with tight("raw", reserve=free) as kernel:
        assert kernel.view.kern["free_frames"] == free and kernel.view.kern["promised"] == 0
        assert kernel.call("frame_get", PAGE) == NO_FRAMES
        conserved(kernel)
    with pytest.raises(TooSmall):
        tight("raw", reserve=free + 1)


def test_what_a_thread_can_not_do(world):
    """Misuse is refused and changes nothing."""
    call, a, before = world.kernel.call, world.threads["A"], world.kernel.snapshot()
    for entry, more in (("thread_run", ()), ("thread_free", ()), ("thread_cancel", ()), ("thread_limit", (1,))):
        for wrong in (-1, 16, a + 8, world.source.ring, 1 << 62):
            assert call(entry, wrong, *more) == BAD_ADDRESS
    assert call("thread_limit", a, -1) == BAD_ADDRESS
    assert call("thread_cancel", a) == NOT_ALLOCATED
    assert world.kernel.snapshot() == before
    assert world.act("frame", "A") == WOULD_BLOCK
    before = world.kernel.snapshot()
    assert call("thread_run", a) == BUSY
    assert world.kernel.snapshot() == before


def test_E26_what_could_never_come_is_not_waited_for(world):
    """A thread whose call the machine could not serve with all its pages given back is told so, though others wait."""
    assert world.act("frame", "B") == WOULD_BLOCK
    assert world.act("malloc", "A", 4000) == NO_FRAMES
    assert world.queue == ["B"]


@pytest.mark.parametrize("mode", MODES)
def test_E26_nothing_passes_a_waiter_by_in_a_stock(mode):
    """While a thread waits, another processor's puts are listed at once, with all that is in its stock, and it gets
    nothing past the queue; the reserve is not served from stocks either."""
    with tight(mode, cpus=2) as kernel:
        a, b = kernel, kernel.cpu(1)
        thread, cleaner = a.call("thread_make", 0), a.call("thread_make", 1)
        a.drain()
        taken = []
        while (pfn := b.call("frame_get", PAGE)) >= 0:
            taken.append(pfn)
        assert b.call("frame_put", taken.pop()) == OK and kernel.view.stocks()[:, 0].tolist() == [0, 1]
        a.call("thread_run", thread)
        assert a.call("malloc", 40_000) == WOULD_BLOCK
        conserved(kernel)
        assert b.call("frame_get", PAGE) == WOULD_BLOCK, "its own frame, too, is for who waits"
        conserved(kernel)
        assert kernel.view.stocks()[:, 0].tolist() == [0, 0]
        while kernel.view.read(Thread, thread)[0]["state"] == STALLED:
            assert b.call("frame_put", taken.pop()) == OK
            assert b.call("frame_get", PAGE) == WOULD_BLOCK
            conserved(kernel)
        assert a.call("thread_run", thread) == OK
        va = a.call("malloc", 40_000)
        assert va > 0 and a.call("free", va) == OK and a.call("thread_run", cleaner) == OK
        conserved(kernel)
        a.drain()
        while (pfn := a.call("frame_get", PAGE)) >= 0:
            taken.append(pfn)
        a.call("thread_cancel", cleaner)
        assert b.call("frame_put", taken.pop()) == OK and kernel.view.stocks()[:, 0].tolist() == [0, 0]
        assert b.call("frame_get", PAGE) == NO_FRAMES, "the reserve is filled up first"
        conserved(kernel)
        a.call("thread_run", 0)
        for pfn in taken:
            assert b.call("frame_put", pfn) == OK
        assert kernel.view.kern["stalls"]["short"] == 0
        conserved(kernel)
