"""An object as a static library, which linkers take as it is: the format that ar writes, with an index of the symbols.

    !<arch>                       eight bytes
    /                             the index: how many symbols, of each the place of its member, the names
    //                            names of members that are too long for a header
    object                        each member behind a header of 60 bytes, at an even place

The numbers of headers are decimal, those of the index big-endian words. There is no date and no owner in it: the
library of one object is always the same.

Linkers refuse objects that pass floating-point numbers in other registers than the rest. The kernel passes none: there
is a library for each convention that an architecture has, of the same code.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernmalloc.build import elf
from kernmalloc.build.freestanding import freestanding
from kernmalloc.lang.layout import LAYOUT, Layout
from kernmalloc.machine.arch import ARCHES

if TYPE_CHECKING:
    from collections.abc import Mapping

MAGIC = b"!<arch>\n"
HEADER = 60


def libraries(architecture: str, layout: Layout = LAYOUT) -> dict[str, bytes]:
    """The kernel's libraries in a layout for one of `machine.arch.TARGETS`, by the files' names."""
    data, conventions = elf.either(freestanding(architecture, layout)), ARCHES[architecture].conventions
    objects = [data, *(elf.flagged(data, flags) for flags in conventions.values())]
    return {name: archive({"kernmalloc.o": made}) for name, made in zip(names(architecture), objects, strict=True)}


def names(architecture: str) -> list[str]:
    """The names of an architecture's libraries: for what its objects are made for, then for each other convention."""
    return [f"libkernmalloc-{'-'.join(parts)}.a" for parts in [(architecture,), *_others(architecture)]]


def _others(architecture: str) -> list[tuple[str, str]]:
    return [(architecture, convention) for convention in ARCHES[architecture].conventions]


def archive(members: Mapping[str, bytes]) -> bytes:
    """The library of ELF objects, by the members' names."""
    offered = [(name, each.name) for name, data in members.items() for each in elf.symbols(data) if each.offered]
    index = b"".join(symbol.encode() + b"\0" for _, symbol in offered)
    names = "".join(f"{name}/\n" for name in members)
    head = [_member("/", bytes(4 + 4 * len(offered)) + index), _member("//", names.encode())]
    places: dict[str, int] = {}
    bodies = []
    at = len(MAGIC) + sum(map(len, head))
    for name, data in members.items():
        places[name] = at
        bodies.append(_member(f"/{names.index(f'{name}/')}", data))
        at += len(bodies[-1])
    numbers = struct.pack(f">{1 + len(offered)}I", len(offered), *(places[name] for name, _ in offered))
    return b"".join([MAGIC, _member("/", numbers + index), head[1], *bodies])


def _member(name: str, data: bytes) -> bytes:
    header = f"{name:16}{0:<12}{0:<6}{0:<6}{644:<8}{len(data):<10}`\n".encode()
    assert len(header) == HEADER
    return header + data + b"\n" * (len(data) % 2)
