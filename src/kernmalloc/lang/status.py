"""Status codes: what a kernel function returns when it cannot give an address or a count.

A result is an address, a count, or one of these small negatives. Every status but OK lies in [-4095, -1], which no
address does: a window never contains the last page of the address space. `failed(x)` asks whether x is one. An address
may be any other number: in the high half of 64 bits it is negative.

Nothing fails after its first store, so where a call failed memory is as it was, with two exceptions. A malloc, before
it gives up, gives back what is only kept ready: up to 8 of its processor's empty slabs, and idle heap pages. And it has
looked at what other processors gave back.
"""

OK = 0
NO_FRAMES = -1
WOULD_BLOCK = -2
NO_VA = -3
BAD_SIZE = -4
BAD_ALIGN = -5
BAD_ADDRESS = -6
INTERIOR = -7
NOT_ALLOCATED = -8
BAD_FRAME = -9
BUSY = -10
OVERLAP = -11
WRAPS = -12
LIMIT = -13
BAD_CACHE = -14
TOO_SMALL = -15
BAD_BOOT = -16
BROKEN = -17
PROMISED = -18
NO_SOURCE = -19
IO_ERROR = -20
DEADLOCK = -21
TIMED_OUT = -22
NOT_YOURS = -23
BAD_MAP = -24
UNREADABLE = -25
NO_ROOM = -26
BAD_VERSION = -27
AREA_SMALL = -28
WINDOW_USED = -29
NO_PORT = -30
BAD_CPU = -31
NO_PAGES = -32

MEANINGS = {
    OK: "done",
    NO_FRAMES: "there are not enough frames, and none can be freed by waiting",
    WOULD_BLOCK: "it would have to wait for frames; do the whole operation again later",
    NO_VA: "the kernel's virtual window, or the heap's bound in it, is used up",
    BAD_SIZE: "the size is not one that can be allocated",
    BAD_ALIGN: "the alignment is not a power of two, or too large",
    BAD_ADDRESS: "the address was never given out by this allocator",
    INTERIOR: "the address lies inside an allocation, not at its start",
    NOT_ALLOCATED: "the address or frame is free already",
    BAD_FRAME: "no region holds that frame, or its type is not the caller's to change",
    BUSY: "it is in use",
    OVERLAP: "something else already covers part of that range",
    WRAPS: "the range wraps around or passes the physical address limit",
    LIMIT: "the object cache has reached its limit",
    BAD_CACHE: "there is no such object cache, or no room for another",
    TOO_SMALL: "the RAM cannot hold its own core table",
    BAD_BOOT: "the boot information contradicts itself",
    BROKEN: "an invariant does not hold",
    PROMISED: "the space bank would be left with fewer frames than it was promised",
    NO_SOURCE: "no source is open that pages could be read from",
    IO_ERROR: "the source could not read the page",
    DEADLOCK: "every thread waits, those that clean pages too: nothing could ever end the wait",
    TIMED_OUT: "the time to wait was over",
    NOT_YOURS: "it is the kernel's own memory, which callers cannot free, take or ask the size of",
    BAD_MAP: "what a loader handed over is of another protocol, is damaged, or tells no RAM",
    UNREADABLE: "what a loader handed over lies where nothing can be read",
    NO_ROOM: "there are more ranges than there is room for",
    BAD_VERSION: "the configuration was filled in by the header of another version",
    AREA_SMALL: "the boot area has less room than the configuration needs",
    WINDOW_USED: "something is mapped in the kernel's window already",
    NO_PORT: "the port lacks a function that this configuration needs",
    BAD_CPU: "there is no such processor",
    NO_PAGES: "this kernel has no page cache",
}

NAMES = {code: name for name, code in list(globals().items()) if name.isupper() and isinstance(code, int)}
"""Code to name."""
