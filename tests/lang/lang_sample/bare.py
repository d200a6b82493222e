from kernmalloc.lang import entry, record, u8


@record(size=8)
class Byte:
    """A byte, addressed alone."""

    value: u8 = "it"


@entry
def fill(addr, value, n):
    for i in range(n):
        Byte(addr + i).value = value
    return n
