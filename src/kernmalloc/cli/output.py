"""What every command says, and with which exit status it ends.

0 where every machine booted, or was refused for a stated reason of size; 1 where an invariant did not hold, and from
`check` where something is wrong with a machine; 2 where a file could not be read or anything else went wrong; 141, as
of a process that a closed pipe ends, where whoever read had seen enough.  What goes wrong is one line.
"""

import os
import sys
from collections.abc import Iterable
from typing import TextIO

import typer

HELD, BROKEN, FAILED, UNREAD = 0, 1, 2, 141


def say(text: str, stream: TextIO | None = None) -> None:
    """One line, at once: whoever reads it through a pipe sees a machine as soon as it is done."""
    try:
        print(text, file=stream or sys.stdout, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(UNREAD) from None


def say_all(lines: Iterable[str]) -> None:
    """Lines, each as soon as it is there."""
    for line in lines:
        say(line)


def complain(text: str) -> None:
    """One line of what is wrong, to standard error."""
    say(text, sys.stderr)
