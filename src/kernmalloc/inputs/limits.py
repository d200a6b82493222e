"""Limits: how much is taken of what comes from outside.

A file may be a bomb: a few bytes that unpack to terabytes, a million nested brackets, a device that never ends.  Each
limit is far above what real machines, kernels and recordings need, and what exceeds one is refused in one line before
it costs time or memory.  Whoever has more raises the limit: `--limit lines=5000000` on the command line, from Python

    with raised(lines=5_000_000):
        machine = Machine.read("long.log")

docs/limits.md lists them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

from kernmalloc.inputs.errors import InputError, UnreadableError
from kernmalloc.inputs.sizes import parse_size, size


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most so many: what each is a limit of is told in `OF`."""

    bytes: int = 64 << 20
    lines: int = 1_000_000
    machines: int = 100_000
    ranges: int = 100_000
    toml: int = 16 << 20
    tree: int = 2 << 20
    depth: int = 64
    trace: int = 8 << 30
    operations: int = 1 << 27
    live: int = 2 << 30
    memory: int = 4 << 30
    dump: int = 8 << 30
    fleet: int = 16 << 30
    files: int = 1_000_000


OF = {
    "bytes": "in a file",
    "lines": "lines in a file",
    "machines": "machines in a file",
    "ranges": "ranges of one machine",
    "toml": "of TOML",
    "tree": "of device tree",
    "depth": "levels of nesting",
    "trace": "in a trace",
    "operations": "operations in a trace",
    "live": "live at once in a trace",
    "memory": "of core tables to check",
    "dump": "of a dump to copy",
    "fleet": "in a fleet or an archive",
    "files": "files in an archive or a folder",
}
"""What is limited, as a refusal says it.  Where no unit is named, it is bytes."""

BYTES = ("bytes", "toml", "tree", "trace", "live", "memory", "dump", "fleet")
"""Limits that count bytes; of a packed file those that come out of it."""

_USUAL = Limits()
_NOW = ContextVar("limits", default=_USUAL)


def limits() -> Limits:
    """The limits that hold here."""
    return _NOW.get()


@contextmanager
def raised(**values: int) -> Iterator[None]:
    """Other limits while the block runs, by name."""
    token = _NOW.set(msgspec.structs.replace(_NOW.get(), **values))
    try:
        yield
    finally:
        _NOW.reset(token)


def excess(name: str, count: int) -> tuple[str, str]:
    """What is wrong with `count` if it is above the limit of that name, and what to do about it; else "" twice."""
    limit: int = getattr(limits(), name)
    if count <= limit:
        return "", ""
    shown = size(limit) if name in BYTES else f"{limit:,}"
    return f"more than {shown} {OF[name]}", f"--limit {name}=N takes more"


def hold(name: str, count: int, file: str, line: int = 0) -> None:
    """Raises UnreadableError if `count` is above the limit of that name; `file` and `line` say where."""
    reason, advice = excess(name, count)
    if reason:
        raise UnreadableError(file, line, reason, advice)


def parse_limit(text: str) -> tuple[str, int]:
    """Name and value of a limit: "lines=5000000", "bytes=1GiB".  Raises InputError."""
    name, _, value = text.partition("=")
    if name not in OF:
        raise InputError(repr(text[:40]), 0, "not a limit", f"write NAME=N; names are {', '.join(OF)}")
    return name, parse_size(value)
