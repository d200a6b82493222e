"""The command line: a file for each command, and beside them what commands share.

Everything here is reachable in three lines of Python with `Machine`, `Profile` and `Kernel`; a command parses, prints
and chooses the exit status (`output`).  What a command needs is imported by that command, so that `--version` and
`--help` answer at once.
"""

from kernmalloc.cli.commands import app, main

__all__ = ["app", "main"]
