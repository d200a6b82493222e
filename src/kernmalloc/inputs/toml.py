"""TOML as machines, profiles and scenarios have it: parsed within the limits, and refused in one line.

`tomllib` takes time and memory beyond measure for a key of many parts (`a.a.a.a…`), and fails on numbers of more digits
than Python reads; so both are looked for before it sees the text.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.limits import hold, limits

_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_DIGITS = 100  # of a number: no size or address has more
_NUMBER = re.compile(rf"(?<![\w.\"'-])[+-]?(?:0[xob])?([\da-f_]{{{_DIGITS + 1},}})", re.I | re.ASCII)


def text_of(path: str | Path) -> str:
    """The text of a TOML file.  Raises UnreadableError, also where there is no end to it."""
    file, most = str(path), limits().toml
    try:
        with open(path, "rb") as stream:
            data = stream.read(most + 1)
    except OSError as error:
        raise UnreadableError(file, 0, error.strerror or str(error)) from None
    hold("toml", len(data), file)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableError(file, data.count(b"\n", 0, error.start) + 1, "not text in UTF-8") from None


def parse_toml(text: str, file: str) -> dict[str, Any]:
    """What a TOML text says.  Raises UnreadableError, with the line where it is known."""
    hold("toml", len(text), file)
    hold("lines", text.count("\n"), file)
    depth = limits().depth
    if deep := re.search(rf"(?:^|[\[{{,])[ \t]*{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{depth}}}", text, re.M | re.A):
        hold("depth", depth + 1, file, _line(text, deep.start()))
    if number := _NUMBER.search(text):
        reason = f"a number of {len(number[1]):,} digits"
        raise UnreadableError(file, _line(text, number.start()), reason, f"at most {_DIGITS}")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"line (\d+)", str(error))
        raise UnreadableError(file, int(where[1]) if where else 0, f"not TOML: {error}") from None
    except RecursionError:
        raise UnreadableError(file, 0, "not TOML: nested too deeply") from None
    except ValueError as error:
        raise UnreadableError(file, 0, f"not TOML: {error}") from None


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
