"""Reader of memory maps as loaders, hypervisors and small kernels print them: Multiboot, Limine, SeaBIOS, GRUB, …

No form is agreed on.  `range_line` takes each line apart; what its numbers and words mean is decided by the list as a
whole (`range_meaning`):

- Lines belong together that have one form and the same words before the range.  A text may hold several lists; the one
  is taken that tells of several kinds of memory, and of these that with more RAM.
- A number without 0x is hexadecimal where letters, leading zeros, or multiples of 1 KiB show it, else decimal.
- The second number of a range is its last byte or the first after: where one range ends and the next begins, sizes, and
  multiples of 1 KiB tell which.
- Types are words, or numbers of E820, Limine or EFI: Limine's begin at 0, and EFI's stand beside pages or attributes.
- Ranges without a type are what the line above them says: available, usable, detected, physical memory.

A list is a memory map if it names RAM and if most of its ranges are memory of some kind, begin at multiples of 1 KiB,
and are no smaller.  Mappings of processes,
areas of a kernel's virtual memory, registers of devices, partitions and symbols are none.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice, takewhile
from typing import NamedTuple

from kernmalloc.inputs.facts import Facts, Problem
from kernmalloc.inputs.limits import hold, limits
from kernmalloc.inputs.maps import range_meaning as meaning
from kernmalloc.inputs.maps.printed import lines, put
from kernmalloc.inputs.maps.range_line import Entry, Number, entry, heading, kinds, labelled, numbers
from kernmalloc.inputs.memory_words import E820_WORDS, EFI_WORDS, squeezed

_PAGE = 4096
_RECORD = 12  # lines that say one range together, at most
_GRAIN = 1024  # bytes: ranges of memory begin at multiples, and are no smaller
_LIMIT = 1 << 52  # no processor has RAM above
_MAYBE = re.compile(r"0x[0-9a-f]|[0-9a-f]{5}|base|start|addr|\b(?:begin|from)\b", re.I)
_OTHER = re.compile(
    r"\b(?:BARs?\d?|pci\w*|MTRR|reg\d\d|virtual|virt|vaddr|vmalloc|vma|heap|stack|partition|prio|irq|I/O|GDT|LDT|IDT|TSS)\b"
    r"|\bavailable for\b"
    r"|(?<!\S)[r-][w-][x-][sp](?!\S)|\.(?:text|data|bss)\b",
    re.I,
)
"""What is said of addresses that are not a machine's memory, or of what a kernel does with it."""

_PHYSICAL = re.compile(r"\bPA:0x")
_SAID_ABOVE = re.compile(
    r"\b(?:(available|usable|free|detected|physical|system)|reserved)\b[\w ]{0,30}?\b(?:memory|mem|ram)\b[\w ]{0,30}?"
    r"(?:\(s\))?\s*+(?:\(\d+\)|:\s*+\d*+|=\s*+\d+)?\s*+:?\s*+$"
    r"|/memblock/(?:(memory)|reserved)\b[ <=]{0,4}$",
    re.I,
)
"""A line above ranges that says what they are: a group if RAM."""

_TAKEN = re.compile(r"\b(?:allocated|used|occupied)\b", re.I)
_UNIT = re.compile(r"\b(?:[KMGT]i?B|bytes|pages|frames|size|len|length)\b", re.I)
_WORD = re.compile(r"[a-z]{2}", re.I)
_WORDS = re.compile(r"(?<!\w)[a-z_]+(?!\w)", re.I)
_ABOUT = re.compile(
    r"mem(?:ory)?[ _-]?(?:map|regions?|ranges?|entry|descriptor)|mmap|e820|multiboot|physical memory", re.I
)
_CERTAIN = {
    word
    for word, kind in {**EFI_WORDS, **E820_WORDS}.items()
    if kind == "ram" and not word.startswith(("loader", "ldr", "bs", "boot"))
} | {"usable"}
"""Words that nobody uses but for RAM."""


class _Line(NamedTuple):
    """An entry, its text, and what the line above the list says of ranges without a type ("ram", "reserved", "")."""

    entry: Entry
    text: str
    above: str


class _List(NamedTuple):
    """What a list of one form states: (line, base, size, kind, name) of each range, doubts, and whose types it has."""

    ranges: list[tuple[int, int, int, str, str]]
    doubts: list[Problem]
    origin: str

    @property
    def ram(self) -> int:
        """Bytes of RAM, what is listed twice counted once."""
        return sum(size for _, size, kind in {r[1:4] for r in self.ranges} if kind in ("ram", "image"))

    @property
    def weight(self) -> tuple[bool, int]:
        """Of two lists that with the greater one is taken."""
        return len({kind for _, _, _, kind, _ in self.ranges}) > 1, self.ram


def recognises(head: str) -> bool:
    """Whether `head` has a list of ranges that is a memory map."""
    return bool(_lists(head))


def read(text: str, file: str) -> list[Facts]:
    """The machine, once for each time that its list begins again.  Raises UnreadableError above the limit of ranges."""
    hold("ranges", len(_stated(text, limits().ranges)), file)
    boots = [Facts(file)]
    boots[0].lacks = "no list of ranges in it is a memory map", "print base, length and type of each range"
    found = _lists(text)
    if not found:
        return boots
    best = max(found, key=lambda each: each.weight)
    before: tuple[int, int, str, str] | None = None
    for line, base, size, kind, name in best.ranges:
        stated = base, size, kind, name
        if stated == before:
            continue  # printed on two consoles
        before = stated
        if boots[-1].memory and stated == best.ranges[0][1:]:
            boots.append(Facts(file))
        put(boots[-1], line, *stated)
    others = sorted({other.ram for other in found if other.ram > best.ram})
    for facts in boots:
        facts.origin = best.origin
        facts.missing += best.doubts
        facts.missing += [Problem(0, f"another list in it tells {ram} bytes of RAM: not taken") for ram in others]
    return boots


@lru_cache(maxsize=1)  # a text is read after it has been recognised
def _stated(text: str, limit: int) -> tuple[_Line, ...]:
    """The ranges that a text states, and one more than the limit at most."""
    return tuple(islice(_lines(text), limit + 1))


def _lists(text: str) -> list[_List]:
    """Every list in a text that is a memory map."""
    forms: dict[tuple[str, str, str], list[_Line]] = {}
    for line in _stated(text, limits().ranges):
        forms.setdefault((line.entry.form, line.entry.means, line.above), []).append(line)
    about = bool(_ABOUT.search(text))
    groups = (group for form in forms.values() for group in _by_words(form))
    return [found for group in groups if (found := _understood(group, about))]


def _by_words(form: list[_Line]) -> list[list[_Line]]:
    """Lines of one form, apart by the words before the range.

    What stands before all does not count, nor do words that say the range's kind, nor one word alone, which may.  A
    line without words goes on with the list of the line above it.
    """
    before = [tuple(word.lower() for word in _WORDS.findall(line.entry.head)) for line in form]
    shared = len(list(takewhile(lambda words: len(set(words)) == 1, zip(*before, strict=False))))
    groups: dict[tuple[str, ...], list[_Line]] = {}
    key: tuple[str, ...] = ()
    last = -1
    for line, words in zip(form, before, strict=True):
        own = words[shared:]
        if len(own) < 2 or kinds(line.entry.head) or meaning.word_before(line.entry):
            own = ()
        if own or line.entry.line != last + 1:
            key = own
        last = line.entry.line
        groups.setdefault(key, []).append(line)
    return list(groups.values())


def _lines(text: str) -> Iterator[_Line]:
    """The ranges that a text states, each in a line of its own or in several, and what stands above them."""
    columns: tuple[str, ...] = ()
    above = ""
    parts = _Parts()
    for number, line in lines(text):
        if not line.strip():
            continue
        if _OTHER.search(line) and not _PHYSICAL.search(line):
            above = ""
            continue
        if _MAYBE.search(line):
            if stated := entry(number, line, columns):
                yield _Line(stated, line, above)
                continue
            columns = heading(line) or columns
        yield from parts.take(number, line)
        said = _SAID_ABOVE.search(line)
        above = ("ram" if said.lastindex else "reserved") if said and not _TAKEN.search(line) else ""
    yield from parts.flush()


class _Parts:
    """Collects what several lines say of one range: `start: 0x1000,` and `end: 0x9f000,` as Rust prints a record."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._told: dict[str, Number] = {}
        self._kinds: list[str] = []
        self._text: list[str] = []
        self._line = 0

    def take(self, number: int, line: str) -> Iterator[_Line]:
        """Take a line; what it brings to an end."""
        told, said = labelled(line, numbers(line)), kinds(line)
        if self._kinds and self._kinds[-1].endswith("("):  # UnknownUefi( and its number in the next line
            self._kinds[-1] += line.split()[-1]
        if "base" in told or line.lstrip().startswith("}") or len(self._text) > _RECORD:
            yield from self.flush()
        if told or said:
            self._line = self._line or number
            self._told.update(told)
            self._kinds += said
            self._text.append(line)

    def flush(self) -> Iterator[_Line]:
        """The range that has been told, if it is whole."""
        extent = next((means for means in ("size", "pages", "end") if means in self._told), "")
        if "base" in self._told and extent:
            means = "either" if extent == "end" else extent
            said = (*self._kinds, "")
            stated = Entry(self._line, "lines", self._told["base"], self._told[extent], means, None, said, "", "")
            yield _Line(stated, "\n".join(self._text), "")
        self._clear()


def _understood(group: list[_Line], about: bool) -> _List | None:
    """A list of one form as a memory map; None if it is none."""
    doubts: list[Problem] = []
    numbered = meaning.system([line.entry for line in group], [line.text for line in group])
    ranges, certain = [], False
    for line, (base, size) in zip(group, _places([line.entry for line in group], doubts), strict=True):
        kind, name, by_number = meaning.kind(line.entry, numbered)
        if not kind and (said := _said(line)):
            kind, name, certain = said, "", certain or said == "ram"
        if kind in ("ram", "image"):
            if base >= _LIMIT:
                return None
            labelled_type = by_number and line.entry.form in ("labels", "table", "lines")
            certain |= squeezed(name) in _CERTAIN or labelled_type or (about and (by_number or kind == "ram"))
        ranges.append((line.entry.line, base, size, kind, name))
    certain |= len(group) > 2 and {"ram", "reserved"} <= {r[3] for r in ranges} and ranges[0][1] == 0
    likely = sum(bool(kind) and base % _GRAIN == 0 and size >= _GRAIN for _, base, size, kind, _ in ranges)
    if not certain or 2 * likely < len(ranges):
        return None
    if any(line.entry.means == "size" and line.entry.second.shift >= 20 for line in group):
        doubts.append(Problem(0, "sizes are told in MiB or more: what is less than one is missing in each range"))
    types = "" if numbered == "E820" else f", types of {numbered}"
    return _List(ranges, doubts, f"printed memory map{types}")


def _said(line: _Line) -> str:
    """The kind of memory that stands above a list, or before the range, if nothing after it says another."""
    if _WORD.search(_UNIT.sub("", line.entry.kinds[-1])):
        return ""
    before = _SAID_ABOVE.search(line.entry.head.rstrip(" \t:=@[(") + ":")
    return ("ram" if before.lastindex else "reserved") if before else line.above


def _places(entries: list[Entry], doubts: list[Problem]) -> list[tuple[int, int]]:
    """Base and size of each range."""
    told = [number for each in entries for number in (each.base, each.second, each.size) if number]
    radix = meaning.hexadecimal(told)
    if radix is None:
        radix = not any(number.hexadecimal for number in told)
        if radix:
            doubts.append(Problem(0, "nothing shows whether its numbers are hexadecimal: taken so"))
    values = [
        (
            meaning.value(each.base, radix),
            meaning.value(each.second, radix),
            each.size and meaning.value(each.size, radix),
        )
        for each in entries
    ]
    means = entries[0].means
    if means == "any":
        means = meaning.extent([(base, second) for base, second, _ in values])
        if not means:
            doubts.append(Problem(0, "nothing shows whether second numbers are lengths or ends: taken as lengths"))
            means = "size"
    if means in ("size", "pages"):
        return [(base, second * (_PAGE if means == "pages" else 1)) for base, second, _ in values]
    past = {"last": 1, "end": 0}.get(means)
    if past is None:
        past, odd = meaning.beyond(values)
        doubts += [Problem(entries[i].line, "ends otherwise than most of the list: taken as those") for i in odd]
        if past is None:
            doubts.append(Problem(0, "nothing shows whether ends are the last byte: taken as the first byte after"))
            past = 0
    return [(base, second + past - base) for base, second, _ in values]
