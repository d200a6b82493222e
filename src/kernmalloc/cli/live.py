"""Work that goes on in a thread while somebody watches: it can be paused, go on by one moment, and be ended.

The thread stops where its observer looks (`sim/observer.py`), for as long as it is paused. It makes a `Shot` of the
kernel there when whoever watches has taken the last one: a busy screen does not hold up the work.
"""

import contextvars
import threading
from collections.abc import Callable
from typing import NamedTuple

from kernmalloc.sim.observer import Observer, Subject
from kernmalloc.sim.outcome import Load
from kernmalloc.sim.slabinfo import CacheLine, cache_lines

RUNNING, PAUSED, OVER = "running", "paused", "over"


class Ended(Exception):
    """Whoever watched has seen enough."""


class Shot(NamedTuple):
    """What is to be seen at one moment: `total` work of which `figures` say how much is done."""

    title: str
    unit: str
    total: int
    figures: dict[str, float]
    loads: list[Load]
    caches: list[CacheLine]


class Told(NamedTuple):
    """What came of the work: whether all held, and the line that says so."""

    held: bool
    verdict: str


Work = Callable[[Observer, Callable[[str], None]], Told]
"""Does the work, seen by an observer; now and then it says what it is at, "" for what can be seen."""


class Live:
    """The thread. `shot` is the newest moment, `at` what is done that cannot be seen, `told` what came of it; `error`
    what it ended by, if it did not end as it should."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._turn = threading.Condition()
        self._paused = self._stopped = self._ended = False
        self._steps = 0
        self._shot: Shot | None = None
        self._taken = True
        self.at = ""
        self.told: Told | None = None
        self.error: Exception | None = None
        context = contextvars.copy_context()  # the limits of what is read
        self._thread = threading.Thread(target=lambda: context.run(self._run), name="kernmalloc top")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """End the work where it is, and wait until it has let the kernel go."""
        with self._turn:
            self._ended = True
            self._turn.notify_all()
        if self._thread.ident:
            self._thread.join()

    @property
    def state(self) -> str:
        """RUNNING, PAUSED once the work has stopped, or OVER."""
        if self.told or self.error:
            return OVER
        return PAUSED if self._stopped else RUNNING

    def pause(self) -> None:
        """Stop at the next moment, or go on."""
        with self._turn:
            self._paused = not self._paused
            self._turn.notify_all()

    def step(self) -> None:
        """Go on to the next moment, and stop there."""
        with self._turn:
            self._steps += self._paused
            self._paused = True
            self._turn.notify_all()

    def take(self) -> Shot | None:
        """The newest moment; None if there is none that was not taken."""
        with self._turn:
            shot, self._taken = None if self._taken else self._shot, True
        return shot

    def _run(self) -> None:
        try:
            self.told = self._work(Observer(seen=self._seen), self._says)
        except Ended:
            pass
        except Exception as error:
            self.error = error

    def _says(self, at: str) -> None:
        self.at = at
        if self._ended:
            raise Ended

    def _seen(self, subject: Subject, figures: dict[str, float], map: object) -> None:
        with self._turn:
            if self._taken or self._paused or figures["done"] >= subject.total:
                caches = list(cache_lines(subject.kernel, subject.kernel.names.typed))
                self._shot = Shot(subject.title, subject.unit, subject.total, figures, subject.loads(), caches)
                self._taken = False
            self._stopped = self._paused and not self._steps
            self._turn.wait_for(lambda: self._ended or self._steps or not self._paused)
            self._stopped = False
            self._steps = max(self._steps - 1, 0)
            if self._ended:
                raise Ended
