"""Status codes: what a kernel function returns when it cannot give an address or a count.

A result is an address or a count (0 or more), or one of these small negatives. Nothing fails after its first store,
so on a negative result memory is as it was.
"""
OK = 0
NO_MEMORY = -1
WOULD_BLOCK = -2
INVALID = -3
NOT_FOUND = -4
BUSY = -5

MEANINGS = {
    OK: "done",
    NO_MEMORY: "no memory is left that could serve the request",
    WOULD_BLOCK: "it would have to wait; do the whole operation again later",
    INVALID: "an argument makes no sense",
    NOT_FOUND: "there is nothing there",
    BUSY: "it is in use",
}

NAMES = {code: name for name, code in list(globals().items()) if name.isupper() and isinstance(code, int)}
"""Code to name."""
