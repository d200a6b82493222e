"""What goes wrong while a machine's description is read."""

LONGEST = 500  # characters of a reason


class InputError(ValueError):
    """A file that cannot be read as a machine, or a statement in it that cannot be true.

    `file` and `line` (1-based, 0 if no single line is to blame) say where, `reason` what, and `advice` what to do
    about it.  `str()` gives one line, and what it quotes of an input is cut after `LONGEST` characters.
    """

    def __init__(self, file: str, line: int, reason: str, advice: str = ""):
        reason = " ".join(reason.split()) if len(reason.splitlines()) > 1 else reason
        reason = reason if len(reason) <= LONGEST else reason[: LONGEST - 1] + "…"
        self.file, self.line, self.reason, self.advice = file, line, reason, advice
        place = f"{file}:{line}" if line else file
        super().__init__(f"{place}: {reason}" + (f" ({advice})" if advice else ""))

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, int, str, str]]:
        return type(self), (self.file, self.line, self.reason, self.advice)  # as processes hand it to each other


class UnreadableError(InputError):
    """The file as a whole tells no memory map: not a known form, no RAM in it, or addresses hidden."""


class NoEventError(UnreadableError):
    """The file as a whole tells no event: no trace, or one of other things."""
