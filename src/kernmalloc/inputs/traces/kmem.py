"""Reader of recordings of Linux's kmem events, as text; `events` knows how each form prints one.

Concepts
  1. An object may be freed by kfree, too; a free ends whatever its address names. A block of pages is freed as a whole,
     when the first of it is freed. `mm_page_free_batched` tells of pages for which `mm_page_free` follows: not a free.
  2. A kernel's slabs lie in pages that it also reports as allocated: in a trace of both, these are replayed as both.
  3. A program's events are read, too, where a tracer of kernels recorded them: LTTng's of the C library, and memleak's.
  4. A recording may lie in something: in a page (Android's systrace), or in a log (the dump of ftrace's buffer after an
     oops). The page and the log are passed over, as headings and stack traces are. Events of other kinds are counted.
  5. An event that a mailer or a terminal wrapped goes on in the next line. A value at the end of its line may be cut,
     unless it is as long as can be: the next line tells.
  6. What is none of these, and an event whose fields cannot be used, is unread: it is counted, and the first are named.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from kernmalloc.inputs.errors import InputError, NoEventError
from kernmalloc.inputs.limits import limits
from kernmalloc.inputs.traces.events import (
    BARE,
    EVENT,
    INSIDE,
    PROGRAM,
    QUICK,
    Said,
    Unsaid,
    form_of,
    record,
    record_program,
    said,
)
from kernmalloc.inputs.traces.trace import Recorder, Trace
from kernmalloc.inputs.traces.trace_lines import LOST, OTHER, PASSED

RECORD = "record one: sudo trace-cmd record -e kmem COMMAND, then trace-cmd report"

_PASSED = re.compile("|".join(f"({rule.pattern})" for rule in PASSED))
_OTHER, _LOST = (re.compile("|".join(rule.pattern for rule in rules)) for rules in (OTHER, LOST))
_BEFORE = ("", "kmem:")  # between a time and an event
_HEADS = ("# tracer:", "cpus=")
_PAGE = re.compile(r"\s*</?(?:!doctype html|html|head|body|script|style|title)\b|\s*<!-- (?:BEGIN|END) TRACE", re.I)
_SYSTRACE = re.compile(r'class="trace-data"|linuxPerfData = ')
_DUMP = "Dumping ftrace buffer:"
_RULE = re.compile(r"(?<!-)-{33}\s*$")
_FIELD = re.compile(r"\b\w+\s?[=:]")
_JOINED = 3  # lines that an event may go on
_SHOWN = 60  # characters of a line that cannot be read


def tells(lines: list[str]) -> bool:
    """Whether a file that begins with `lines` tells what was allocated: some line of it is an event, or the heading."""
    return any(line.startswith(_HEADS) or EVENT.search(line) or PROGRAM.search(line) for line in lines)


def recognises(lines: list[str]) -> bool:
    """Whether a file that begins with `lines` is a recording, of whatever."""
    return tells(lines) or any(_OTHER.search(line) for line in lines)


def read(lines: Iterator[tuple[int, str]], file: str) -> Trace:
    """The trace in numbered lines. Raises UnreadableError where no event is in it, and where most of it is unread."""
    reading = _Reading(file)
    made, events, line = reading.made, 0, "\n"
    for number, line in lines:
        event = EVENT.search(line)
        if event is None:
            reading.between(number, line)
            continue
        made.line = number
        match, take = QUICK[event[1]]
        fields, begin = match(line, event.end()), event.start()
        colon = line.find(": ", 0, begin)  # after a time, or after another event
        if fields is None or not reading.plain or (colon >= 0 and line[colon + 1 : begin].strip() not in _BEFORE):
            reading.event(event, line)
            continue
        events += 1
        try:
            take(made, fields)
        except InputError as error:
            made.damaged(error)
    return reading.trace(events, line.endswith("\n"))


class _Held(NamedTuple):
    """An event that may go on in the next line. `line`: the number of its first; `texts`: what its fields may be, the
    likeliest first; `joined`: how many lines it has besides."""

    line: int
    event: str
    texts: tuple[str, ...]
    zeros: bool
    joined: int = 0

    def said(self) -> Said | Unsaid:
        """What it says as it stands."""
        found = [said(self.event, text, self.zeros) for text in self.texts]
        return next((each for each in found if isinstance(each, Said)), found[-1])

    def longer(self, line: str) -> "_Held":
        """It with one more line: cut within a word, as a terminal does, or between words, as a mailer does."""
        texts = tuple(text.rstrip("\r\n") + gap + line for gap in ("", " ") for text in self.texts)
        return self._replace(texts=texts, joined=self.joined + 1)


class _Reading:
    """What was read so far. `plain`: the next line is of the recording, and nothing is held."""

    def __init__(self, file: str) -> None:
        self.made, self.plain = Recorder(file), False
        self._form = self._lies_in = ""
        self._events = self._known = self._rules = 0
        self._held: _Held | None = None
        self._around = self._seen = False  # what follows is around the recording; there was an event

    def event(self, event: re.Match[str], line: str) -> None:
        """A line with an event that needs a closer look: the first, one that may go on, one inside another."""
        number = self.made.line
        self._release()
        if INSIDE.search(line, 0, event.start()):
            self.made.skipped.other += 1
            self._known += 1
            return
        self._begin(form_of(event))
        self._hold(_Held(number, event[1], (line[event.end() :],), event[2] == "("))

    def between(self, number: int, line: str) -> None:
        """A line in which no event begins with its fields."""
        if not self._seen and number > limits().lines:
            found = f"no kmem event in its first {limits().lines:,} lines"
            raise NoEventError(self.made.file, 0, found, "--limit lines=N takes more")
        if line.isspace() or (self._held and self._goes_on(self._held, line)):
            return
        self._release()
        if program := PROGRAM.search(line):
            self._begin("LTTng" if program[1] else "memleak")
            self._take(number, lambda made: record_program(made, program))
        elif lost := _LOST.search(line):
            self.made.skipped.lost += int(next(filter(None, lost.groups()), 1))
            self._known += 1
        elif self._is_border(line):
            self._known += 1
        elif passed := _PASSED.search(line):
            self.made.passed(PASSED[(passed.lastindex or 0) - 1].name)
            self._known += 1
        elif bare := BARE.search(line):
            self._hold(_Held(number, bare[1], (bare[2],), False))
        elif _OTHER.search(line):
            self.made.skipped.other += 1
            self._known += 1
        elif not line.endswith("\n"):
            self.made.skipped.cut = 1
        elif not self._around:
            self.made.unread(number, f"no event: {line.strip()[:_SHOWN]!r}")

    def trace(self, events: int, ended: bool) -> Trace:
        """All of it, with so many events that were taken elsewhere. `ended`: the last line has its end."""
        if self._held and not ended:
            self._held, self.made.skipped.cut = None, 1
        self._release()
        if not self._seen:
            other = self.made.skipped.other
            found = f"{other} other events" if other else "no event at all"
            raise NoEventError(self.made.file, 0, f"no kmem event in it, {found}", RECORD)
        events += self._events
        return self.made.trace(self._form, events and events + self._known, RECORD)

    def _begin(self, form: str) -> None:
        """There is an event, of a form."""
        self._form = self._form or self._lies_in or form
        self._seen, self._around, self.plain = True, False, True

    def _hold(self, held: _Held) -> None:
        """Take an event, or keep it if it may go on."""
        found = held.said()
        if isinstance(found, Said) and found.whole:
            self._take(held.line, lambda made: record(made, found))
        else:
            self._held, self.plain, self._seen = held, False, True

    def _release(self) -> None:
        """What is held does not go on: take it as it is."""
        held, self._held = self._held, None
        if held:
            self.plain, found = True, held.said()
            if isinstance(found, Said):
                self._take(held.line, lambda made: record(made, found))
            else:
                self.made.unread(held.line, found.reason, found.advice, 1 + held.joined)

    def _take(self, line: int, take: Callable[[Recorder], None]) -> None:
        """Take the event of a line, which may not be possible."""
        self.made.line = line
        try:
            take(self.made)
        except InputError as error:
            self.made.damaged(error)
        else:
            self._events += 1

    def _goes_on(self, held: _Held, line: str) -> bool:
        """Whether what is held goes on in a line; then it is longer now, or taken."""
        if held.joined == _JOINED or _OTHER.search(line):
            return False
        longer = held.longer(line)
        before, now = held.said(), longer.said()
        if isinstance(now, Said):
            if now[:3] == before[:3]:
                return False
        elif isinstance(before, Said) or not _FIELD.search(line):
            return False
        self._held, self.plain = None, True
        self._hold(longer)
        return True

    def _is_border(self, line: str) -> bool:
        """Whether the recording ends or begins at a line."""
        if line.startswith(_HEADS):
            self._around = False
            return False
        if _PAGE.match(line) or (self._around and _SYSTRACE.search(line)):
            self._around, self.plain = True, False
            if _SYSTRACE.search(line):
                self._lies_in = "systrace"
        elif _DUMP in line:
            self._around, self._lies_in, self._rules = False, "ftrace dump", 0
            if not self._seen:
                self.made.forget_unread()
        elif self._lies_in == "systrace" and line.rstrip().endswith('";'):  # the old page's string
            self._around, self.plain = True, False
        elif self._lies_in == "ftrace dump" and _RULE.search(line):
            self._rules += 1
            self._around = self._rules == 2
            self.plain = self.plain and not self._around
        else:
            return False
        return True
