"""What a relocatable ELF object says of itself: its sections and symbols. Little-endian, of 32 or 64 bits (TIS ELF 1.2;
System V ABI, edition 4.1, chapter 4). And what a linker asks of it: how it passes floating-point numbers.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

SYMTAB, RELA, REL = 2, 4, 9  # sh_type
EXECUTABLE, ALLOCATED = 1 << 2, 1 << 1  # sh_flags
LOCAL = 0  # st_info >> 4
UNDEFINED = 0  # st_shndx

ARM = 40  # e_machine
ATTRIBUTES = 0x7000_0003  # sh_type of ARM's
FP_EXCEPTIONS, VFP_ARGS = 21, 28  # tags: Addenda to, and Errata in, the ABI for the Arm Architecture, 3.3.6
NEEDED, EITHER = 0, 3

_HEADER = {1: struct.Struct("<16x2H5I6H"), 2: struct.Struct("<16x2HI3QI6H")}  # by EI_CLASS
_SECTION = {1: struct.Struct("<10I"), 2: struct.Struct("<2I4Q2I2Q")}
_RELOCATION = {(1, REL): struct.Struct("<2I"), (1, RELA): struct.Struct("<2Ii"), (2, RELA): struct.Struct("<2Qq")}
_SYMBOL = {1: struct.Struct("<3I2BH"), 2: struct.Struct("<I2BH2Q")}


class Section(NamedTuple):
    """A section: where its bytes lie in the file, and what it is."""

    name: str
    type: int
    flags: int
    start: int
    size: int
    link: int
    info: int

    @property
    def code(self) -> bool:
        """True of what a processor executes."""
        return bool(self.flags & EXECUTABLE)

    @property
    def loaded(self) -> bool:
        """True of what takes memory when the program runs."""
        return bool(self.flags & ALLOCATED)


class Symbol(NamedTuple):
    """A symbol: the section that it lies in, by number, and where in it."""

    name: str
    binding: int
    section: int
    value: int
    size: int

    @property
    def missing(self) -> bool:
        """True of what another object must define."""
        return self.section == UNDEFINED and self.name != ""

    @property
    def offered(self) -> bool:
        """True of what other objects can refer to."""
        return self.binding != LOCAL and self.section != UNDEFINED


class Relocation(NamedTuple):
    """What a linker puts at a place: section and symbol by number. The addend is None where it lies at the place."""

    section: int
    offset: int
    symbol: int
    kind: int
    addend: int | None


def sections(data: bytes) -> list[Section]:
    """Every section, by number; the first is none."""
    kind = data[4]
    *_, start = _HEADER[kind].unpack_from(data)[:6]
    size, count, names = _HEADER[kind].unpack_from(data)[-3:]
    rows = [_SECTION[kind].unpack_from(data, start + size * number) for number in range(count)]
    strings = rows[names][4]
    return [Section(_text(data, strings + row[0]), row[1], row[2], row[4], row[5], row[6], row[7]) for row in rows]


def symbols(data: bytes) -> list[Symbol]:
    """Every symbol, in the order of the table."""
    kind, every = data[4], sections(data)
    table = next(section for section in every if section.type == SYMTAB)
    strings = every[table.link].start
    made = []
    for row in _SYMBOL[kind].iter_unpack(data[table.start : table.start + table.size]):
        if kind == 1:
            name, value, size, info, _, section = row
        else:
            name, info, _, section, value, size = row
        made.append(Symbol(_text(data, strings + name), info >> 4, section, value, size))
    return made


def relocations(data: bytes) -> list[Relocation]:
    """Every relocation, in the order of the file."""
    kind, found = data[4], []
    for section in sections(data):
        if (row := _RELOCATION.get((kind, section.type))) is not None:
            for offset, info, *addend in row.iter_unpack(data[section.start : section.start + section.size]):
                symbol, what = divmod(info, 1 << (8 if kind == 1 else 32))
                found.append(Relocation(section.info, offset, symbol, what, addend[0] if addend else None))
    return found


def kept(data: bytes, roots: Iterable[str]) -> set[int]:
    """The sections that a linker keeps of an object if it leaves out what `roots` do not lead to: by number."""
    table = symbols(data)
    leads: dict[int, set[int]] = {}
    for each in relocations(data):
        leads.setdefault(each.section, set()).add(table[each.symbol].section)
    wanted = set(roots)
    todo, found = [each.section for each in table if each.name in wanted], {UNDEFINED}
    while todo:
        section = todo.pop()
        if section not in found:
            found.add(section)
            todo += leads.get(section, ())
    return found - {UNDEFINED}


def flagged(data: bytes, flags: int) -> bytes:
    """The object with further bits of e_flags."""
    at = 36 if data[4] == 1 else 48
    (known,) = struct.unpack_from("<I", data, at)
    return data[:at] + struct.pack("<I", known | flags) + data[at + 4 :]


def either(data: bytes) -> bytes:
    """The object; of ARM one that says that it goes with both ways to pass floating-point numbers. It has none.

    That attribute takes the place of another, whose value is what it is where it is not given."""
    (machine,) = struct.unpack_from("<H", data, 18)
    if machine != ARM:
        return data
    section = next(each for each in sections(data) if each.type == ATTRIBUTES)
    end = section.start + section.size
    at = data.index(bytes([FP_EXCEPTIONS, NEEDED]), section.start, end)
    return data[:at] + bytes([VFP_ARGS, EITHER]) + data[at + 2 :]


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()
