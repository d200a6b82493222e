"""From bytes to numbered lines: decoding, the prefixes that logs gather on their way here, and mail wrapping."""

import re
from collections.abc import Iterator

from .errors import UnreadableError

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_STAMP = r"(?:\[\s*(?:\+?\d+\.\d+(?:\s*<[^<>]*>)?|[TC]?\d*|(?!mem|gap|io|bus)[^\W\d_]{2,5}\.? .{3,30}? \d{4})\s*\]\s*)"
_PREFIX = re.compile(
    r"[>|\s]*"  # mail quoting
    r"(?:\d{4}-\d\d-\d\d \S+ [A-Z]+:\s*)?"  # a log program's own
    r"(?:<\d+>|\w+\s*:\w+\s*:\s*(?=\[))?\s*"  # <6>, or "kern  :info  :" as dmesg -x prints it
    r"(?:[^\[\]]{0,100}(?=\[\s*\d+\.\d{3,6}))?" + _STAMP + "*"
    r"(?:[^\[\]<>]{0,80}?\bkernel(?:\[\d*\])?:\s*)?"  # syslog and journald, in any language
    r"(?:<\d+>)?\s*" + _STAMP + "*"
)
_OPEN = re.compile(
    r"\[(?:mem|io|bus|gap)\b[^\]\[]*$|range=\[[^\])]*$|(?:MMIO|==>|\]:|BIOS-\w+:|setup_data:|user:)$"
    r"|\b(?:resource|window|(?<!\]: )assigned|space:|reg 0x[0-9a-f]+:|BAR \d+:?|ROM|node +\d+:)$"
    r"|\b(?:memory at|nosave|region)$"
    r"|^(?:BIOS-\w+|user|modified|reserve setup_data): \[mem [^\]]*\]$"
)
_RECORD = re.compile(r"(?:\S+ [0-9a-f]{4,5}:[0-9a-f]{2}|BIOS-|user:|reserve setup_data|e820|efi:|node +\d|\w+:)")


_LONGEST = 1000  # characters of a record that are looked at: no memory line is longer, and matching stays linear


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


def plain_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line, without colours, no-break spaces and carriage returns."""
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    text = text.replace("\xc2\xa0", " ").replace("\xa0", " ").replace("\r", "")
    return enumerate(text.split("\n"), 1)


def log_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each log record: without prefix and trailing space, wrapped ones (by mail) joined."""
    number, record, joined = 0, "", 0
    for here, raw in plain_lines(text):
        prefix = _PREFIX.match(raw)
        end = prefix.end() if prefix else 0
        line = raw[end : end + _LONGEST].rstrip()
        stamped = "[" in raw[:end] or "kernel" in raw[:end]
        if number and not stamped and line and joined < 3 and _OPEN.search(record) and not _RECORD.match(line):
            record += line if record.endswith("-") else " " + line
            joined += 1
            continue
        if number:
            yield number, record
        number, record, joined = here, line, 0
    yield number, record
