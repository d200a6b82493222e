"""What a boot loader handed over, as memory that somebody dumped: the kernel's own functions read it.

`kernel/loaders` turns it into ranges, as it does on a machine, and is executed as the Python that it is. It needs no
kernel, and stands below inputs.
"""

from bisect import bisect_right
from collections.abc import Mapping

from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.facts import CARVED_KINDS, MAP_KINDS, Facts, Problem, Range
from kernmalloc.inputs.limits import excess, limits

TITLES = {
    "multiboot": "Multiboot",
    "multiboot2": "Multiboot2",
    "limine": "Limine",
    "efi": "EFI",
    "fdt": "a device tree",
    "pvh": "PVH",
    "linux": "Linux's boot_params",
}
"""Protocols, and what they are called."""

ADDRESSES = 1 << 64
_OWN = 1 << 62  # where the reader's own records are: above any memory
_REACH = 1 << 62
_MOST_TOLD = 8  # places
_MOST_ABSENT = 512  # bytes that may be read where nobody has dumped anything


class _Absent(Exception):
    """Too much is not there."""


class _Memory:
    """Pieces of memory by physical address, and records of the reader's own. Physical address 0 is at `direct`.

    What is in no piece reads as 0. `absent` are the addresses of that, one for each stretch that was read.
    """

    def __init__(self, pieces: Mapping[int, bytes], direct: int) -> None:
        self.machine = None
        self._direct = direct
        self._places = sorted(pieces)
        self._data = [pieces[place] for place in self._places]
        self._own: dict[int, int] = {}
        self.absent: list[int] = []
        self._last = self._count = 0

    def load(self, addr: int, width: int) -> int:
        if addr in self._own:
            return self._own[addr]
        pa = addr - self._direct
        index = bisect_right(self._places, pa) - 1
        if index < 0 or pa >= self._places[index] + len(self._data[index]):
            return self._nothing(pa)
        return self._data[index][pa - self._places[index]]

    def _nothing(self, pa: int) -> int:
        if pa != self._last + 1:
            self.absent.append(pa)
        self._last, self._count = pa, self._count + 1
        if self._count > _MOST_ABSENT:
            raise _Absent
        return 0

    def store(self, addr: int, width: int, value: int) -> None:
        self._own[addr] = value


def facts_of(file: str, line: int, protocol: str, pieces: Mapping[int, bytes], direct: int, *args: int) -> Facts:
    """What a loader hands over by one of `TITLES`, in pieces of memory by physical address; `args` are those of the
    kernel's function. Physical address 0 was at `direct` when it was made. Raises UnreadableError."""
    # late: it costs every start 10 ms, and is needed only here
    from kernmalloc.kernel.loaders.found import RANGE_FIRMWARE, RANGE_RAM, LoaderMap, LoaderRange
    from kernmalloc.kernel.loaders.protocols import PROTOCOLS
    from kernmalloc.lang import element, status
    from kernmalloc.lang.memory import use

    base = _signed(direct)
    memory = _Memory(pieces, base)
    use(memory)
    map = LoaderMap(_OWN)
    map.direct, map.reach = base, _REACH
    map.ranges, map.room = LoaderRange(_OWN + LoaderMap.size), limits().ranges
    map.count = map.before = map.dropped = 0
    title = TITLES[protocol]
    try:
        result = PROTOCOLS[protocol](map, *(_signed(arg) for arg in args))
    except _Absent:
        result = status.UNREADABLE
    if result == status.NO_ROOM:
        raise UnreadableError(file, line, *excess("ranges", map.room + 1))
    leads = "".join(f"; it leads to {pa:#x}, which is not in the file" for pa in memory.absent[:1])
    if result != status.OK:
        advice = "dump that, too" if leads else ""
        raise UnreadableError(file, line, f"as what {title} hands over: {status.MEANINGS[result]}{leads}", advice)
    facts = Facts(file)
    facts.origin = f"what {title} hands over"
    for i in range(map.count):
        found = element(map.ranges, i)
        if found.kind < RANGE_FIRMWARE:
            facts.memory.append(Range(found.base, found.bytes, MAP_KINDS[found.kind - RANGE_RAM], line=line))
        else:
            facts.carved.append(Range(found.base, found.bytes, CARVED_KINDS[found.kind - RANGE_FIRMWARE], line=line))
    for pa in memory.absent[:_MOST_TOLD]:
        facts.missing.append(
            Problem(line, f"{title} leads to {pa:#x}, which is not in the file: what is there is unknown")
        )
    if map.dropped:
        facts.problems.append(Problem(line, "ranges that are empty or reach above 2^63: dropped", str(map.dropped)))
    return facts


def _signed(value: int) -> int:
    """A number of 64 bits as the kernel has it."""
    return value - ADDRESSES if value >= ADDRESSES >> 1 else value
