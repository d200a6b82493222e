"""Numbers as kernel people write them."""

PREFIXES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size(count: int) -> str:
    """A byte count with a binary unit and three digits or so: "556 B", "64 KiB", "15.9 GiB"."""
    power = min(max(count.bit_length() - 1, 0) // 10, len(PREFIXES) - 1)
    value = count / (1 << 10 * power)
    digits = 0 if value >= 100 or count % (1 << 10 * power) == 0 else 1
    return f"{value:.{digits}f} {PREFIXES[power]}"


def span(base: int, end: int) -> str:
    """A range as /proc/iomem prints it: hexadecimal, at least eight digits, the last address included."""
    return f"{base:08x}-{end - 1:08x}"


def several(count: int, noun: str, plural: str = "") -> str:
    """ "1 frame", "12 frames"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
