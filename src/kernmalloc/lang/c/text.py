"""Lines of C: comments, and lines broken at 100 columns."""

from __future__ import annotations

import re
import textwrap

COLUMNS, TAB = 100, 8


def safe(text: str) -> str:
    """A text that may stand in a comment."""
    return text.replace("*/", "* /").replace("/*", "/ *")


def comment(text: str, depth: int = 0) -> str:
    """A text as a comment: of one line if it fits, else of a block."""
    tabs, lines = "\t" * depth, safe(text).split("\n")
    if len(lines) == 1 and len(text) + TAB * depth + 6 <= COLUMNS:
        return f"{tabs}/* {lines[0]} */"
    return "\n".join([f"{tabs}/*", *(f"{tabs} * {line}".rstrip() for line in filled(lines, depth)), f"{tabs} */"])


def filled(lines: list[str], depth: int = 0) -> list[str]:
    """The lines of a comment. From a line that is too long on, a paragraph or an item of a list is filled anew."""
    room, found, rest = COLUMNS - TAB * depth - 3, list[str](), lines
    while rest:
        line, *rest = rest
        if len(line) <= room or _is_row(line):
            found.append(line)
            continue
        indent = len(line) - len(line.lstrip())
        mark = re.match(r" *(\d+\.|-) ", line)
        hang = " " * (len(mark[0]) if mark else indent)
        paragraph = [line]
        while rest and re.match(rf"{hang}\S", rest[0]) and not _is_row(rest[0]):
            paragraph.append(rest.pop(0))
        found += textwrap.wrap(
            " ".join(part.strip() for part in paragraph),
            room,
            initial_indent=" " * indent,
            subsequent_indent=hang,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return found


def _is_row(line: str) -> bool:
    """True of a row of a table, or of an equation that is set apart: its blanks mean something."""
    return "   " in line.strip()


def aligned(lines: list[tuple[str, str]], tabs: str = "") -> list[str]:
    """Lines with comments, which stand one below the other."""
    width = max((len(text) for text, _ in lines), default=0)
    room = max(COLUMNS - TAB * len(tabs) - width - 7, 40)
    found = []
    for text, remark in lines:
        if not remark:
            found.append(tabs + text)
            continue
        first, *more = textwrap.wrap(safe(remark), room, break_long_words=False, break_on_hyphens=False)
        found.append(f"{tabs}{text:{width}} /* {first}")
        found += [f"{tabs}{' ' * width}  * {part}" for part in more]
        found[-1] += " */"
    return found


def wrapped(text: str, depth: int) -> list[str]:
    """A statement as lines. A long one is broken behind a comma or before an operator, inside few parentheses."""
    tabs = "\t" * depth
    lines: list[str] = []
    room = COLUMNS - TAB * depth
    while len(text) > room:
        at = _break(text, room)
        if at == 0:
            break
        lines.append(tabs + text[:at])
        text = text[at:].lstrip()
        if len(lines) == 1:
            tabs, room = tabs + "\t\t", room - 2 * TAB
    return [*lines, tabs + text]


def _break(text: str, room: int) -> int:
    """Where to break a text that has no room: 0 if nowhere."""
    best, least, depth = 0, len(text), 0
    for match in re.finditer(r"[()]|, | (&&|\|\||[-+?:|&^]) ", text[:room]):
        if match.group() in "()":
            depth += 1 if match.group() == "(" else -1
        elif depth <= least or best < room // 3:
            best, least = match.start() + match.group().startswith(","), depth
    return best
