"""Numbers as kernel people write them."""

from kernmalloc.lang.records import hexadecimal


def span(base: int, end: int) -> str:
    """A range as /proc/iomem prints it: hexadecimal, at least eight digits, the last address included."""
    return f"{base:08x}-{end - 1:08x}"


def address(va: int) -> str:
    """A kernel address in hexadecimal, as /proc/iomem prints it."""
    return hexadecimal(va)[2:]


def several(count: int, noun: str, plural: str = "") -> str:
    """ "1 frame", "12 frames"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
