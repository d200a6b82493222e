"""From bytes to numbered lines, and from lines to the records of a log, wherever in a line they begin.

What stands before a record has no list here.  Stamps, levels, hosts, processors, a container's JSON, a terminal's
capture and the marks of mail are as many as there are programs that write logs.  A record begins where a form begins
that its reader knows: the reader gives `records` these beginnings.  The character before a beginning must
not continue a word, and three plain words before it are prose that speaks of a record.  A line may hold several
records; one that begins with the mark of a comparison (+, -, //) holds none.

What changes the text itself is undone: colours, escapes of JSON and HTML, quoted-printable mail, lines wrapped by mail
or by a terminal.
"""

import html
import quopri
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import msgspec

from kernmalloc.inputs.errors import UnreadableError

_COLOUR = re.compile(
    r"(?:\x1b|\^\[|\\x1b|\\033|#033)\[[0-9;?]*[A-Za-z]"  # as bytes, and as programs write what they do not show
    r"|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)|\x1b[()]."  # a terminal's title, and its character set
    r"|\[\d{1,2}(?:;\d{1,3})*m"  # a colour whose escape character is lost
)
_CONTROL = re.compile(r"[\0-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_ENTITY = re.compile(r"&(?:gt|lt|amp|quot|nbsp|#\d{1,4});")
_ESCAPE = re.compile(r'\\u([0-9a-fA-F]{4})|\\([tr"])')
_ENCODED = re.compile(r"=(?:[0-9A-F]{2}|$)", re.M)
_SURELY_ENCODED = re.compile(r"=(?:3D|(?:20|09)(?![0-9A-Fa-f])|C2=A0|\r?$)", re.M)  # len=204800 is a number
_QUOTING = re.compile(r"(?:[A-Za-z]{0,4}>|[|\s])*")
_COMPARED = re.compile(_QUOTING.pattern + r"(?://|[-+](?!\())")
_STAMP = re.compile(r"\[\s*\d+\.\d{3,6}|kernel(?:\[\d*\])?:|<\d>")
_WORD_AT_END = re.compile(r"[\w-]$")
_PROSE = re.compile(r"(?<!\S)(?:[A-Za-z]?[a-z']+,? ){3}$")
_NUMBER_AT_END = re.compile(r"0x[0-9a-f]+$")
_REST_OF_NUMBER = re.compile(r"[0-9a-f]+(?=[\]) ])")

_LONGEST = 1000  # characters of a record that are looked at: no memory line is longer, and matching stays linear
_BEFORE = 100  # characters before a record that are looked at
_NULLS = 50  # times as many bytes as null bytes has a text with nulls in it
_BINARY = b"\1\2\3\4\5\6"  # bytes that no text has
_WRAPS = 3  # lines that one record may go on in


class Record(msgspec.Struct, frozen=True):
    """One record of a log.

    `line` is the number of its first line, from 1.  `text` begins where a known form begins; `before` is what stands
    before that in the line, as far as it is looked at.  A line in which no form begins is a record that is not `known`.
    """

    line: int
    text: str
    before: str = ""
    known: bool = True


def decode(data: bytes, file: str) -> str:
    """Text of a file: UTF-8, UTF-16 with or without a byte order mark, else Latin-1.  Serial lines leave null bytes in
    a log: as few of them as that are dropped.  Raises UnreadableError for binary data."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    if nulls := data.count(0):
        if 2 * data[1::2].count(0) > len(data) - len(data) // 4:
            return data.decode("utf-16-le", "replace")
        if _NULLS * nulls > len(data) or any(data.count(control) for control in _BINARY):
            line = data.count(b"\n", 0, data.index(b"\0")) + 1
            raise UnreadableError(file, line, "binary data, not text")
        data = data.replace(b"\0", b"")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def clean(text: str) -> str:
    """Text as it may enter facts: without control characters, invisible ones and space around it."""
    return _CONTROL.sub("", text).strip()


def plain_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line, without colours, no-break spaces and carriage returns."""
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    text = text.replace("\xc2\xa0", " ").replace("\xa0", " ").replace("\r\n", "\n").replace("\r", " ")
    return enumerate(text.split("\n"), 1)


class Beginnings:
    """Where records of known forms begin in a line.

    Patterns that begin with a letter are searched for together, and each other one alone: `re` is quick to find either,
    but not both at once.
    """

    def __init__(self, *patterns: str) -> None:
        words = [pattern for pattern in patterns if pattern[0].isalpha()]
        others = [pattern for pattern in patterns if not pattern[0].isalpha()]
        self._patterns = [re.compile(pattern) for pattern in ("|".join(words), *others) if pattern]

    def starts(self, line: str) -> list[int]:
        """The places where records begin, in their order."""
        found = {match.start() for pattern in self._patterns for match in pattern.finditer(line)}
        return sorted(start for start in found if _may_begin(line, start)) if found else []


def _may_begin(line: str, start: int) -> bool:
    before = line[max(0, start - _BEFORE) : start]
    return not _WORD_AT_END.search(before) and not _PROSE.search(before)


def records(text: str, beginnings: Beginnings, goes_on: Callable[[Record], bool]) -> Iterator[Record]:
    """The records of a log.  A record of which `goes_on` says so goes on in
    the next line, if that begins no other."""
    last, wraps = Record(0, "", known=False), 0
    for number, line in decoded_lines(text):
        found = _records_in(number, line, beginnings)
        rest = "" if found[0].known or _STAMP.search(line, 0, _BEFORE) else found[0].text
        if rest and wraps < _WRAPS and goes_on(last):
            last, wraps = msgspec.structs.replace(last, text=_joined(last.text, rest)), wraps + 1
            continue
        yield last
        yield from found[:-1]
        last, wraps = found[-1], 0
    yield last


def _records_in(number: int, line: str, beginnings: Beginnings) -> list[Record]:
    starts = [] if _COMPARED.match(line) else beginnings.starts(line)
    if not starts:
        quoting = _QUOTING.match(line)
        start = quoting.end() if quoting else 0
        return [Record(number, line[start : start + _LONGEST].rstrip(), known=False)]
    return [
        Record(number, line[start : min(end, start + _LONGEST)].rstrip(), line[max(0, start - _BEFORE) : start])
        for start, end in pairwise((*starts, len(line)))
    ]


def _joined(record: str, rest: str) -> str:
    """A record and the rest of it from the next line: mail wraps at spaces and hyphens, a terminal anywhere."""
    cut = record.endswith("-") or (_NUMBER_AT_END.search(record) and _REST_OF_NUMBER.match(rest))
    return record + ("" if cut else " ") + rest


def decoded_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines without what mail, containers and web pages make of them; line ends of JSON in a line part it."""
    lines: Iterable[tuple[int, str]] = plain_lines(_COLOUR.sub("", text))
    if _is_quoted_printable(text):
        lines = _unquoted(lines)
    for number, line in lines:
        if "&" in line and _ENTITY.search(line):
            line = html.unescape(line).replace("\xa0", " ")
        if "\\" in line:
            line = _COLOUR.sub("", _ESCAPE.sub(_escaped, line))
            yield from ((number, part) for part in line.split("\\n"))
        else:
            yield number, line


def _escaped(escape: re.Match[str]) -> str:
    """The character that an escape of JSON stands for."""
    if escape[1]:
        return chr(int(escape[1], 16))
    return '"' if escape[2] == '"' else " "


def _is_quoted_printable(text: str) -> bool:
    """Whether a text is mail as it was sent, in which "=" stands before two digits or at a line's end and nowhere else;
    what people write around it may break the rule."""
    if not _SURELY_ENCODED.search(text):
        return False
    return 4 * sum(1 for _ in _ENCODED.finditer(text)) > 3 * text.count("=")


def _unquoted(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Lines of quoted-printable, decoded; those that were cut at a "=" are one again."""
    start, whole = 0, ""
    for number, line in lines:
        start, whole = start or number, whole + line.rstrip()
        if whole.endswith("=") and len(whole) < _LONGEST:
            whole = whole[:-1]
            continue
        yield start, quopri.decodestring(whole.encode()).decode("utf-8", "replace").replace("\xa0", " ")
        start, whole = 0, ""
    if start:
        yield start, whole
