"""Exercise 6: the deadlock of the writer. Who frees memory needs memory to do so.

Threads of a kernel whose page cache is dirty ask for frames in a given order, each by the kernel's own calls. What the
kernel says to the driver, and how many pages are written before a worker is woken, is read off. The least reserve is
found by booting with reserve after reserve.
"""

import tempfile
from contextlib import ExitStack
from itertools import count
from random import Random
from typing import NamedTuple

from kernmalloc.course.machines import IMAGE, MIB, booted, kernel_toml, machine_toml, take_all
from kernmalloc.course.shape import Question, Task
from kernmalloc.facade.errors import checked
from kernmalloc.kernel.core.kern import Word
from kernmalloc.lang import failed, status

TITLE = "The deadlock of the writer"
RAM = IMAGE[0], 2 * MIB
DRIVER = "driver"
MOST = 64  # frames that one of them asks for at a time


class Event(NamedTuple):
    """Somebody asks for frames; below 0: gives so many back."""

    who: str
    frames: int

    def __str__(self) -> str:
        what = f"asks for {self.frames}" if self.frames > 0 else f"gives back {-self.frames}"
        return f"{self.who} {what} frame{'s' if abs(self.frames) != 1 else ''}"


class Story(NamedTuple):
    """Free frames at the beginning beside the reserve, pages that are dirty, and what happens."""

    free: int
    dirty: int
    events: list[Event]


class World:
    """A kernel at the beginning of a story, with a reserve of so many frames, and its threads."""

    def __init__(self, story: Story, reserve: int) -> None:
        self.driver: list[int] = []  # frames that it has
        with ExitStack() as end:
            file = end.enter_context(tempfile.NamedTemporaryFile())
            kernel = self.kernel = end.enter_context(booted(machine_toml(RAM), profile(reserve)))
            self.threads: dict[str, int] = {}
            self.arrays: dict[str, int] = {}
            for who in dict.fromkeys(event.who for event in story.events):
                self.threads[who] = checked(kernel.call("thread_make", int(who == DRIVER)), "thread_make")
                self.arrays[who] = kernel.malloc(MOST * Word.size)
            self.source = end.enter_context(kernel.pages.source(file.name, pages=story.dirty))
            held = take_all(kernel)
            for oid in range(story.dirty):
                kernel.frame_put(held.pop())
                kernel.pages.get(oid).dirty()
            for _ in range(story.free):
                kernel.frame_put(held.pop())
            self.end = end.pop_all()

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_: object) -> None:
        self.end.close()

    def happens(self, event: Event) -> int:
        """Let it happen: what the kernel says."""
        kernel, array = self.kernel, self.arrays[event.who]
        checked(kernel.call("thread_run", self.threads[event.who]), "thread_run")
        if event.frames < 0:
            back = [self.driver.pop() for _ in range(-event.frames)]
            for pfn in back:
                kernel.frame_put(pfn)
            said = status.OK
        else:
            said = min(kernel.call("frames_get", event.frames, array), status.OK)
            if not failed(said) and event.who == DRIVER:
                self.driver += kernel.view.shared(array, event.frames * Word.size).cast("q")
        kernel.call("thread_run", 0)
        return said

    def told(self, events: list[Event]) -> int:
        """Let events happen, those of a driver that waits left out: the number of the one, from 1, to which the kernel
        says DEADLOCK; 0: to none."""
        waits = False
        for number, event in enumerate(events, 1):
            if waits and event.who == DRIVER:
                continue
            said = self.happens(event)
            if said == status.DEADLOCK:
                return number
            waits = waits or (event.who == DRIVER and said != status.OK)
        return 0

    def written_until(self, event: Event) -> int:
        """Pages that the driver must write until whoever waits can have what it asked for; it has it then."""
        for written in count():
            if self.kernel.call("thread_next") == self.threads[event.who]:
                checked(self.happens(event), str(event))
                return written
            if not self.source.run(most=1):
                break
        raise LookupError(f"{event}: nothing is left to write")


def profile(reserve: int) -> str:
    """The kernel with a reserve for threads that write pages back."""
    return kernel_toml(bank=f"lenient = true\ncleaners = {reserve}")


def story(numbers: Random) -> Story:
    """A driver takes frames before two workers wait, and while they do."""
    free = numbers.randrange(2, 7)
    early, wanted = numbers.randrange(1, 3), numbers.randrange(1, 8)
    events = [
        Event(DRIVER, early),
        Event("A", free - early + numbers.randrange(1, 9)),
        Event(DRIVER, numbers.randrange(2, 6)),
        Event(DRIVER, -numbers.randrange(1, 3)),
        Event(DRIVER, numbers.randrange(2, 8)),
    ]
    events.insert(numbers.randrange(2, len(events) + 1), Event("B", wanted))
    return Story(free, 48, events)


def least(told: Story) -> int:
    """The least reserve with which a story has no deadlock."""
    for reserve in count():
        with World(told, reserve) as world:
            if not world.told(told.events):
                return reserve
    raise AssertionError  # with a reserve of all that the driver asks for there is none


def task(numbers: Random) -> Task:
    """A story, without a reserve and with the least one that is enough."""
    told = story(numbers)
    first, second = (event for event in told.events if event.who != DRIVER)
    reserve = least(told)
    with World(told, 0) as world:
        deadlock = world.told(told.events)
    with World(told, reserve) as world:
        world.told(told.events)
        held = len(world.driver)
        until_first, until_second = world.written_until(first), world.written_until(second)
    with World(told, reserve) as world:
        world.told(told.events)
        world.happens(Event(DRIVER, -held))
        empty_handed = world.written_until(first)
    return Task(
        _text(told),
        (
            Question(
                prompt="Without a reserve: the kernel says DEADLOCK to one of these requests. To which?",
                unit="number of the line",
                answer=deadlock,
                why="While A lacks frames nobody behind it may take one, however many are free, the driver neither. "
                "Once all three wait, nothing could ever wake one of them: whoever would wait last is told so.",
            ),
            Question(
                prompt="How many frames must the reserve, [bank] cleaners, have at least so that nobody is told that?",
                unit="frames",
                answer=reserve,
                why="Each request that the driver makes while others wait must fit into the reserve; and all that it "
                f"has at a time into the reserve and the {told.free} other free frames.",
            ),
            Question(
                prompt="With that reserve: how many pages must the driver write until A is woken? It keeps its frames.",
                unit="pages",
                answer=until_first,
                why=f"A gets no frame of the reserve. Of the {told.free} others the driver has taken {held}, out of "
                f"the reserve or not, and the reserve is filled up first: {first.frames} - {told.free} + {held}.",
            ),
            Question(
                prompt="And how many more until B is woken, once A has its frames?",
                unit="pages",
                answer=until_second,
                why="Threads are served in the order in which they began to wait. What A got is gone.",
            ),
            Question(
                prompt="And until A is woken if the driver gives all its frames back before it writes the first page?",
                unit="pages",
                answer=empty_handed,
                why=f"{first.frames} are wanted, and {told.free} are free beside the reserve.",
            ),
        ),
        machine_toml(RAM),
        profile(0),  # the reserve is an answer
    )


def _text(told: Story) -> str:
    lines = "\n".join(f"  {number}  {event}" for number, event in enumerate(told.events, 1))
    return f"""\
A kernel has {told.free} free frames, and those of its reserve if it has one. {told.dirty} other frames hold pages of
the page cache, and all of these are dirty: each can be taken for something else once it has been written. All other
frames are held for good. A and B are threads that work; the driver is a thread that writes pages back. This happens:

{lines}

A request is served in full or not at all. Whose request cannot be served waits, and what it would do next does not
happen. The driver needs all of its frames before it can write; it writes when the last line is over.

Threads wait in a queue. While the first of it lacks frames, those behind it and those that do not wait yet get none.
The reserve is for the driver alone: it may take as many frames at a time as the reserve has, past the queue, as long
as so many are free; that may be frames beside the reserve, which then stand for it. For all others as many frames as
the reserve has must stay free. The kernel says DEADLOCK to whoever would wait when all threads wait, the driver among
them."""
