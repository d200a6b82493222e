"""Reader of dumps in text of what a boot loader handed over: what it is, and memory as debuggers print it.

    multiboot at 0x9500                                      the register that the kernel starts with
    efi at 0x7e000 bytes 0x1350 stride 48                    what GetMemoryMap answered
    limine at 0xffff8000007ef000 direct 0xffff800000000000   where physical memory is

    0000000000009500: 0x0000024f 0x0000027f       QEMU's monitor, xp /32xw 0x9500
    0x9500 <info>:  0x4f    0x02    0x00          gdb, x/64xb 0x9500
    00009500: 4f02 0000 7f02 0000  O.......       xxd; LLDB and U-Boot's md.b with a byte in each group
    00009500: 0000024f 0000027f    O.......       U-Boot's md, WinDbg's dd, od -tx4, crash's rd
    00009500  4f 02 00 00  |O...|                 hexdump -C, with its * for lines that are alike; od -tx1

A group of two digits is a byte, one of four behind a colon two of them. Others are numbers, least byte first. Addresses
are physical; where `direct` is given those above it are the kernel's. What the first piece leads to must be there, too.
"""

import re
from collections.abc import Iterator

from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import Facts
from kernmalloc.inputs.maps.loader_memory import TITLES, facts_of
from kernmalloc.inputs.maps.printed import lines
from kernmalloc.inputs.sizes import parse_size

_HEAD = re.compile(
    rf"({'|'.join(TITLES)}) at (0x[0-9a-f]{{1,16}})((?: (?:direct|bytes|stride) \w{{1,20}}){{0,3}})$", re.I
)
_HEADS = re.compile(rf"^[ \t]*{_HEAD.pattern[:-1]}[ \t]*\r?$", re.I | re.M)
_LINE = re.compile(r"(?:0x)?([0-9a-f]{4,16})(?: <[^>]{0,80}>)?(:?)\s+((?:0x)?[0-9a-f]{2,16}(?:\s.*)?)$", re.I)
_GROUP = re.compile(r"(?:0x)?((?:[0-9a-f]{2}){1,8})$", re.I)
_MOST_ALIKE = 1 << 20  # bytes of lines that are left out: the first MiB of a PC may be one dump
_ACROSS = 16  # bytes of a line of xxd and hexdump: what follows is text


def recognises(head: str) -> bool:
    """Whether `head` has a line that says what is dumped."""
    return bool(_HEADS.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The machine, once for each dump. Raises InputError."""
    dumps: list[tuple[int, re.Match[str], list[str]]] = []
    for number, line in lines(text):
        if match := _HEAD.match(line.strip()):
            dumps.append((number, match, []))
        elif dumps:
            dumps[-1][2].append(line.strip())
    return [_facts(file, number, match, told) for number, match, told in dumps]


def _facts(file: str, number: int, head: re.Match[str], told: list[str]) -> Facts:
    words = head[3].lower().split()
    try:
        more = {name: parse_size(value) for name, value in zip(words[::2], words[1::2], strict=True)}
    except InputError as error:
        raise InputError(file, number, error.reason, error.advice) from None
    direct = more.get("direct", 0)
    protocol = head[1].lower()
    args = [int(head[2], 16)]
    if protocol == "efi":
        if not {"bytes", "stride"} <= more.keys():
            raise InputError(file, number, "EFI's map has no end", "write `efi at 0x… bytes N stride N`")
        args += [more["bytes"], more["stride"]]
    pieces: dict[int, bytearray] = {}
    end = -1
    for place, data in _pieces(told):
        place -= direct if place >= direct else 0
        if place != end:
            at = pieces.setdefault(place, bytearray())
            at.clear()
        at += data
        end = place + len(data)
    return facts_of(file, number, protocol, {place: bytes(data) for place, data in pieces.items()}, direct, *args)


def _pieces(told: list[str]) -> Iterator[tuple[int, bytes]]:
    """Address and bytes of each line of memory; of lines that are alike, and left out, too."""
    last, alike = (0, b""), False
    for line in told:
        match = _LINE.match(line)
        if line == "*":
            alike = bool(last[1])
        elif match:
            place = int(match[1], 16)
            data = _bytes(match[3], bool(match[2]))
            if alike:
                place_of_last, repeated = last
                gap = place - place_of_last - len(repeated)
                if 0 < gap <= _MOST_ALIKE and gap % len(repeated) == 0:
                    yield place_of_last + len(repeated), repeated * (gap // len(repeated))
            alike, last = False, (place, data)
            yield place, data


def _bytes(text: str, colon: bool) -> bytes:
    """The memory that a line shows behind its address: groups of one width, the last perhaps shorter."""
    shown = text.split("  ")[0] if colon else text.partition("|")[0].replace("-", " ")
    groups = shown.split()
    width = len(groups[0])
    in_order = not groups[0].lower().startswith("0x") and (width == 2 or (width == 4 and colon))
    data = b""
    for group in groups:
        match = _GROUP.match(group)
        if not match or len(group) > width:
            break
        data += bytes.fromhex(match[1])[:: 1 if in_order else -1]
    return data[:_ACROSS] if in_order else data
