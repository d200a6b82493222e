"""What a kernel refuses, as exceptions: one class per kind of status, the status code in `.status`."""

from collections.abc import Sequence

from kernmalloc.lang import failed
from kernmalloc.lang import status as codes


class KernelError(Exception):
    """The kernel refused an operation; nothing changed that a caller could see. `status` is the code, see
    `kernmalloc.lang.status`."""

    def __init__(self, status: int, what: str) -> None:
        self.status = status
        super().__init__(f"{what}: {codes.MEANINGS[status]} ({codes.NAMES[status]})")


class OutOfMemory(KernelError):
    """NO_FRAMES, NO_VA or LIMIT: there is no more, and waiting does not help (C1)."""


class WouldBlock(KernelError):
    """WOULD_BLOCK: do the whole operation again when frames have come back (E26)."""


class BadRequest(KernelError):
    """BAD_SIZE, BAD_ALIGN, BAD_CACHE, TOO_SMALL: no memory could serve this request."""


class BadAddress(KernelError):
    """BAD_ADDRESS, INTERIOR, NOT_ALLOCATED, BAD_FRAME, NOT_YOURS: it is not the caller's to give back."""


class Busy(KernelError):
    """BUSY, OVERLAP, WRAPS: a range or frame is taken, or cannot exist."""


class Promised(KernelError):
    """PROMISED: the space bank would be left with fewer frames than it was promised (C13, C14)."""


class SourceError(KernelError):
    """NO_SOURCE, NO_PAGES, IO_ERROR: there is nothing to read pages from, or it could not read this one."""


class TimedOut(KernelError):
    """TIMED_OUT: frames did not come in the time that a thread was to wait (E26)."""


class Deadlock(KernelError):
    """DEADLOCK: waiting would be in vain. `waits` says in words who waits for what."""

    def __init__(self, status: int, what: str, waits: Sequence[str] = ()) -> None:
        super().__init__(status, what)
        self.waits = list(waits)
        self.args = (": ".join([str(self), *filter(None, ["; ".join(waits)])]),)


class TooSmall(Exception):
    """The machine or the window cannot hold this kernel: why, in figures, on one line."""


class TooLarge(Exception):
    """It would take more of this computer's memory than a limit allows: of what, and how to have more, on one line."""


KINDS = {
    codes.NO_FRAMES: OutOfMemory,
    codes.NO_VA: OutOfMemory,
    codes.LIMIT: OutOfMemory,
    codes.WOULD_BLOCK: WouldBlock,
    codes.BAD_SIZE: BadRequest,
    codes.BAD_ALIGN: BadRequest,
    codes.BAD_CACHE: BadRequest,
    codes.TOO_SMALL: BadRequest,
    codes.BAD_ADDRESS: BadAddress,
    codes.INTERIOR: BadAddress,
    codes.NOT_ALLOCATED: BadAddress,
    codes.BAD_FRAME: BadAddress,
    codes.NOT_YOURS: BadAddress,
    codes.BUSY: Busy,
    codes.OVERLAP: Busy,
    codes.WRAPS: Busy,
    codes.PROMISED: Promised,
    codes.TIMED_OUT: TimedOut,
    codes.DEADLOCK: Deadlock,
    codes.NO_SOURCE: SourceError,
    codes.NO_PAGES: SourceError,
    codes.IO_ERROR: SourceError,
}


def checked(result: int, what: str) -> int:
    """The result of a kernel entry; raises the exception of its status if it is one that refuses."""
    if failed(result):
        raise KINDS.get(result, KernelError)(result, what)
    return result
