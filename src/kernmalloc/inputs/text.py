"""From bytes to numbered lines: decoding, and the prefixes that logs gather on their way here."""

import re
from collections.abc import Iterator

from .errors import UnreadableError

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_STAMP = r"(?:\[\s*(?:\+?\d+\.\d+|[TC]?\d*|(?!mem|gap|io|bus)\w{2,5}\.? .{3,30}? \d{4})\s*\]\s*)"
_PREFIX = re.compile(
    r"[>|\s]*(?:<\d+>)?(?:\w+\s*:\w+\s*:\s*(?=\[))?\s*"  # mail quoting, <6>, kern  :info  :
    + _STAMP
    + r"*(?:[^\[\]<>]{0,80}?\bkernel(?:\[\d*\])?:\s*)?(?:<\d+>)?\s*"  # syslog and journald, any language
    + _STAMP
    + "*"
)


def decode(data: bytes, file: str) -> str:
    """Text of a file: UTF-8, UTF-16 with a byte order mark, else Latin-1.  Raises UnreadableError for binary data."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise UnreadableError(file, line, "binary data, not text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def decoded_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line, without colours, no-break spaces and carriage returns."""
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    text = text.replace("\xc2\xa0", " ").replace("\xa0", " ").replace("\r", "")
    return enumerate(text.split("\n"), 1)


def log_lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """Number, text without prefix and trailing space, and whether a time stamp or syslog prefix was removed."""
    for number, raw in decoded_lines(text):
        end = _PREFIX.match(raw).end()
        yield number, raw[end:].rstrip(), "[" in raw[:end] or "kernel" in raw[:end]
