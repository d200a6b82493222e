"""What the bare machine supplies."""

from kernmalloc.lang import Record, field, port, u8


class Byte(Record):
    """A byte, addressed alone."""

    value: u8 = field("it")


@port
def fill(addr: int, value: int, n: int) -> int:
    for i in range(n):
        Byte(addr + i).value = value
    return n
