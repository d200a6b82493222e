"""One line of a printed memory map, taken apart: a kernel's author prints it as he likes.

    base_addr = 0x100000, length = 0x7ee0000, type = 0x1          numbers with labels
    [0x100000 - 0x7fe0000) usable                                 a range
    0x0000000000100000 | 0x0000000007EE0000 | Free Memory (1)     columns, whose heading may tell what they are

A number may have 0x (and, where it is padded, spaces), h or nothing, groups of digits (0x1_0000_0000, 0010:0000), and a
unit (639 KiB).  What is said of a range's kind is left as text: `range_list` knows all lines, and what they mean
together.
"""

import re
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from kernmalloc.inputs.memory_words import squeezed
from kernmalloc.inputs.sizes import PREFIXES

_NUMBER = re.compile(
    r"(?<!\w)(?<![0-9a-f]\.)(?:PA:|[P$+&])?"
    r"(?:(0x) {0,15}([0-9a-f]+(?:[_'`:][0-9a-f]{3,8})*)|([0-9a-f]+(?:[_'`:][0-9a-f]{3,8})*)(h?))"
    rf"(?:(?=[{PREFIXES[:4]}]i?B\b)|(?!\w)(?!\.[0-9a-f]))",
    re.I,
)
_UNGROUPED = str.maketrans("", "", "_'`:")
_UNIT = re.compile(rf"\s?([{PREFIXES}])(?:i?B|ilobytes|egabytes|igabytes)\b", re.I)
_BETWEEN = re.compile(r"[\s)]*(?:-|\u2013|~|->|=>|\.\.\.?=?|to|through)[\s(]*$", re.I)
_COLUMNS = re.compile(r"(?:\s+|\s*[|;,]\s*)$")
_LABEL = re.compile(r"([a-z_]+(?:[ .][a-z_]+)?)[\"'`]?\s*[=:@]{0,2}\s*[<\"']?$", re.I)
_BEFORE = re.compile(r"([a-z][a-z _/()-]*?)\s*[:=@-]?\s*[\[(<]?\s*$", re.I)
_LABEL_WORD = re.compile(r"[a-z_#]+", re.I)
_MEASURE = re.compile(r"\s*(?:pages|bytes|frames)\b", re.I)
_KIND = re.compile(r"(?<![a-z])(?:(?:region|memory|mem|entry)[_ ]?)?(?:type|kind|ty|typ)\b[\"']?\s*[:=]*\s*", re.I)
_CELL_END = re.compile(r"[,;}|\]]")
_LABELS = {
    word: meaning
    for meaning, words in {
        "base": "base baseaddr baseaddress basephys start startaddr startaddress startingaddress startphys begin from "
        "addr address physaddr physicaladdress physstart physicalstart physbase physicalbase regionstart paddr at",
        "size": "length len size sz regionsize regionlength lengthbytes sizebytes for",
        "end": "end endaddr endaddress endingaddress last lastaddress to until physend physicalend",
        "pages": "pages pagecount numpages npages numberofpages nrpages frames",
        "kind": "type kind ty typ regiontype memtype memorytype entrytype",
    }.items()
    for word in words.split()
}
"""What labels mean, squeezed as `memory_words` are."""

_EXTENTS = ("size", "pages", "end")
_WIDE = 5  # digits, from which on a number without 0x or label may be an address


class Number(NamedTuple):
    """A number as it stands there: its digits, whether it says that it is hexadecimal, log2 of its unit, its place."""

    digits: str
    hexadecimal: bool
    shift: int
    start: int
    end: int

    @property
    def wide(self) -> bool:
        """Whether it may be an address without a label that says so."""
        return self.hexadecimal or len(self.digits) >= _WIDE or self.digits == "0"


class Entry(NamedTuple):
    """A range that a line states.

    `second` is what `means` says: "size", "pages", "end" (the first byte after), "last" (the last one), "either" of the
    two, or "any" of all but pages.  `size` is told beside an end.  `kinds` is what the line may say of the range's
    kind, the likeliest place first, the rest of the line last; `before` are the words right before the range, `head`
    all that stands before it.  `form` is how it states the range.
    """

    line: int
    form: str
    base: Number
    second: Number
    means: str
    size: Number | None
    kinds: tuple[str, ...]
    before: str
    head: str


@lru_cache(maxsize=4)  # a line is looked at for a range, for a heading, and for a part of a range
def numbers(text: str) -> tuple[Number, ...]:
    """The numbers in a line."""
    found = []
    for match in _NUMBER.finditer(text):
        digits = (match[2] or match[3]).translate(_UNGROUPED).lower()
        if not match[1] and (digits in ("e820", "e801") or not (any(map(str.isdigit, digits)) or len(digits) >= 8)):
            continue
        unit = _UNIT.match(text, match.end())
        shift = 10 * (PREFIXES.index(unit[1].upper()) + 1) if unit else 0
        found.append(Number(digits, bool(match[1] or match[4]), shift, match.start(), match.end()))
    return tuple(found)


def heading(text: str) -> tuple[str, ...]:
    """What the columns under a heading mean ("" for one of another kind); () if it is no heading of a map."""
    if any(number.wide for number in numbers(text)):
        return ()
    for cells in (_cells(text), text.split()):
        columns = tuple(_meant(cell) for cell in cells)
        if "base" in columns and any(extent in columns for extent in _EXTENTS):
            return columns
    return ()


def labelled(text: str, told: tuple[Number, ...]) -> dict[str, Number]:
    """The numbers of a line that labels explain, by meaning; where a length and a size are told, the length."""
    found: dict[str, Number] = {}
    before = 0
    for number in told:
        label = _LABEL.search(text, max(before, number.start - 48), number.start)
        before = number.end
        meaning = _meant(label[1]) if label else ""
        if label and meaning and (meaning not in found or label[1].lower().startswith("len")):
            found[meaning] = number
    return found


@lru_cache(maxsize=1024)  # a list has few labels
def _meant(label: str) -> str:
    """What a label means, whatever words stand before it; "" if it means nothing here."""
    words = _LABEL_WORD.findall(label)[-2:]
    return _LABELS.get(squeezed("".join(words))) or _LABELS.get(squeezed("".join(words[-1:])), "")


def kinds(text: str) -> list[str]:
    """What labels in a line say of a kind of memory."""
    return [_CELL_END.split(text[match.end() : match.end() + 48])[0].strip() for match in _KIND.finditer(text)]


def entry(line: int, text: str, columns: tuple[str, ...]) -> Entry | None:
    """The range that a line states, if it states one; `columns` are those of the heading above."""
    told = numbers(text)
    if len(told) < 2:
        return None
    labels = labelled(text, told)
    extent = _extent(labels)
    if "base" in labels and extent:
        means = "either" if extent == "end" else extent
        return _made(line, "labels", text, labels["base"], labels[extent], means)
    if columns and (found := _under(line, text, columns)):
        return found
    pairs = [(first, second, text[first.end : second.start]) for first, second in pairwise(told) if first.wide]
    for first, second, between in pairs:
        if second == labels.get("size") and "base" not in labels:
            return _made(line, "size", text, first, second, "size")
        if second.wide and (_BETWEEN.match(between) or (between.strip() == "," and _closed(text, first, second))):
            means = _meaning(text, first, second, between)
            return _made(line, "range", text, first, second, means, labels.get("size"))
        if second.wide and between.strip() == "+":
            return _made(line, "sum", text, first, second, "size")
    if last := next((number for number in told[1:] if _measure(text, number)), None):
        first = labels.get("base") or next((number for number in told if number.wide), last)
        if first.start < last.start:
            return _made(line, "measure", text, first, last, _measure(text, last))
    for first, second, between in pairs:
        if second.wide and second.digits != "0" and _COLUMNS.match(between):
            return _made(line, "columns", text, first, second, "any")
    return None


def _measure(text: str, number: Number) -> str:
    """Whether a number is a "size" or "pages" for the unit or the word after it."""
    measure = _MEASURE.match(text, number.end)
    return "size" if number.shift else _LABELS.get(squeezed(measure[0]), "size") if measure else ""


def _closed(text: str, first: Number, second: Number) -> bool:
    return text[: first.start].rstrip()[-1:] in ("[", "(") and text[second.end :].lstrip()[:1] in ("]", ")")


def _meaning(text: str, first: Number, second: Number, between: str) -> str:
    """Whether the second number of a range is its last byte or the first after, if the form tells."""
    if "=" in between and "." in between:
        return "last"
    opened = text[: first.start].rstrip()[-1:]
    return "end" if opened == "[" and text[second.end :].lstrip()[:1] == ")" else "either"


def _cells(text: str) -> list[str]:
    """The cells of a table's row."""
    if "|" in text:
        return [cell.strip() for cell in text.strip().strip("|").split("|")]
    return re.split(r"\s{2,}|\t+", text.strip())


def _under(line: int, text: str, columns: tuple[str, ...]) -> Entry | None:
    """A range by the heading above its columns: cell by cell, or where cells are not apart, number by number."""
    cells = _cells(text)
    named = dict(zip(columns, cells, strict=False)) if len(cells) == len(columns) else {}
    told = {meaning: numbers(cell)[-1] for meaning, cell in named.items() if numbers(cell)}
    said, before = named.get("kind", text), ""
    if "base" not in told:
        wanted = [meaning for meaning in columns if meaning in ("base", *_EXTENTS)]
        wide = [number for number in numbers(text) if number.wide or number.shift]
        sure = [number for number in wide if number.digits != "0"]
        told = dict(zip(wanted, sure if len(sure) == len(wanted) else wide, strict=False))
        first = min((number.start for number in told.values()), default=0)
        last = max((number.end for number in told.values()), default=0)
        said, before = text[last:], _words_before(text, first)
    extent = _extent(told)
    if "base" not in told or not extent:
        return None
    size = told.get("size") if extent == "end" else None
    means = "either" if extent == "end" else extent
    return Entry(line, "table", told["base"], told[extent], means, size, (said, ""), before, "")


def _extent(told: dict[str, Number]) -> str:
    """Which of what is told of a range's extent is taken: a size in units is rounded, if an end is told, too."""
    extent = next((meaning for meaning in _EXTENTS if meaning in told), "")
    return "end" if extent == "size" and told["size"].shift and "end" in told else extent


def _made(
    line: int, form: str, text: str, base: Number, second: Number, means: str, size: Number | None = None
) -> Entry:
    first, last = min(base.start, second.start), max(base.end, second.end)
    said = (*kinds(text), text[last:])
    return Entry(line, form, base, second, means, size, said, _words_before(text, first), text[:first])


def _words_before(text: str, place: int) -> str:
    """The words right before a place in a line."""
    found = _BEFORE.search(text, max(0, place - 48), place)
    if found and _meant(found[1]) == "base":
        found = _BEFORE.search(text, max(0, found.start() - 48), found.start())
    return found[1] if found else ""
