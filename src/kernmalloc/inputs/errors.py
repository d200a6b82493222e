"""What goes wrong while a machine's description is read."""


class InputError(ValueError):
    """A file that cannot be read as a machine, or a statement in it that cannot be true.

    `file` and `line` (1-based, 0 if no single line is to blame) say where, `reason` what, and `advice` what to do
    about it.  `str()` gives one line.
    """

    def __init__(self, file: str, line: int, reason: str, advice: str = ""):
        self.file, self.line, self.reason, self.advice = file, line, reason, advice
        place = f"{file}:{line}" if line else file
        super().__init__(f"{place}: {reason}" + (f" ({advice})" if advice else ""))


class UnreadableError(InputError):
    """The file as a whole tells no memory map: not a known form, no RAM in it, or addresses hidden."""
