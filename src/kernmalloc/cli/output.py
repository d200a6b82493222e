"""What every command says, and with which exit status it ends.

0 where every machine booted, or was refused for a stated reason of size; 1 where an invariant did not hold, and from
`check` where something is wrong with a machine; 2 where a file could not be read or anything else went wrong; 130, as
of a process that Ctrl-C ends, where it was interrupted; 141, as of one that a closed pipe ends, where whoever read had
seen enough.  What goes wrong is one line.

All that is printed passes `say`, which lets no text of somebody else's command the terminal (`report/printable.py`).
"""

import os
import sys
from collections.abc import Iterable
from typing import TextIO

import typer

from kernmalloc.report.printable import printable

HELD, BROKEN, FAILED, INTERRUPTED, UNREAD = 0, 1, 2, 130, 141


def say(text: str, stream: TextIO | None = None) -> None:
    """One line, at once: whoever reads it through a pipe sees a machine as soon as it is done."""
    stream = stream or sys.stdout
    try:
        print(printable(text, stream.encoding or "utf-8"), file=stream, flush=True)
    except BrokenPipeError:
        raise typer.Exit(UNREAD) from None


def say_all(lines: Iterable[str]) -> None:
    """Lines, each as soon as it is there."""
    for line in lines:
        say(line)


def say_json(value: object) -> None:
    """One JSON object, on one line."""
    import msgspec

    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # the name of a file is not UTF-8
        import json

        text = json.dumps(msgspec.to_builtins(value))
    say(text)


def complain(text: str) -> None:
    """One line of what is wrong, to standard error."""
    say(text, sys.stderr)


def write_whole(name: str, option: str, made: str | bytes) -> None:
    """Write the file that an option names: whole, or it stays as it was. What is no plain file, as a pipe, is written
    to.  Raises InputError, which names the option."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from kernmalloc.inputs.errors import InputError

    data = made.encode(errors="surrogateescape") if isinstance(made, str) else made
    try:
        path = Path(name).resolve()  # through a link, which stays
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        with TemporaryDirectory(dir=path.parent, prefix=".kernmalloc.") as work:
            new = Path(work, "made")
            new.write_bytes(data)
            os.replace(new, path)
    except (OSError, ValueError, RuntimeError) as error:  # the latter two: no name of a file, links in a circle
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"--{option} {name}", 0, reason, "name a file to write") from None


def open_streams() -> None:
    """What the caller has closed of standard input, output and error leads nowhere: no other file gets its number, and
    who writes to it is not told."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            if number:
                setattr(sys, name, os.fdopen(number, "w", closefd=False))


def close_streams() -> bool:
    """Whether all that was said could be written. Python's end does not try again, and says nothing."""
    written = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            written = False
    return written
