"""A device tree as nodes: of a flattened tree (Devicetree Specification 0.4, chapter 5), or of a folder.

    header      ten words: the magic number, the length of all, where the parts are, the version
    reservations   pairs of address and size, 64 bits each; a pair of zeros ends them
    structure   tokens: a node begins, it has a property, it ends, nothing (what was edited out in place), all ends
    strings     the names of properties, which these name by their place

A folder such as /proc/device-tree has a file for each property and a folder for each node.

Everything is big-endian and begins at a multiple of four bytes.  Reading takes time and memory that grow with the
length of the tree alone, whatever is in it.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.limits import hold, limits

MAGIC = b"\xd0\x0d\xfe\xed"
BEGIN, END_NODE, PROPERTY, NOTHING, END = 1, 2, 3, 4, 9
NEWEST, NAMED = 17, 16  # version that is read; version from which on nodes are named without their path
LONGEST = 1024  # bytes of a name: the specification allows 31


class Node(NamedTuple):
    """A node: its name with the unit's address, the bytes of each property, and the nodes in it."""

    name: str
    properties: dict[str, bytes]
    children: "list[Node]"

    def at(self, path: str) -> "Node | None":
        """The node at a path below this one, such as /soc/memory@20000000; None if there is none."""
        node: Node | None = self
        for name in filter(None, path.split("/")):
            node = next((child for child in node.children if child.name == name), None) if node else None
        return node


class Tree(NamedTuple):
    """The root, and what is reserved beside the nodes: addresses and sizes in bytes."""

    root: Node
    reserved: list[tuple[int, int]]


def parse(data: bytes, file: str) -> Tree:
    """The tree in a blob.  Raises UnreadableError for one that is damaged."""
    hold("tree", len(data), file)
    try:
        _, _, structure, strings, reserved, version, oldest = struct.unpack_from(">7I", data)
        if oldest > NEWEST:
            raise _damaged(file, f"it is of version {version}, and {NEWEST} is known")
        return Tree(_root(data, structure, strings, version, file), list(_pairs(data, reserved)))
    except struct.error:
        raise _damaged(file, "it ends too early") from None


def _damaged(file: str, why: str) -> UnreadableError:
    return UnreadableError(file, 0, f"not a device tree that can be read: {why}")


def _pairs(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Reservations; what lies behind the end of the data is none."""
    while (pair := struct.unpack_from(">QQ", data, at)) != (0, 0):
        yield pair
        at += 16


def _root(data: bytes, at: int, strings: int, version: int, file: str) -> Node:
    """The root of the nodes that the structure at `at` tells."""
    top = Node("", {}, [])  # holds the root as its only child
    path, names = [top], dict[int, str]()
    while True:
        (token,), at = struct.unpack_from(">I", data, at), at + 4
        if token == BEGIN:
            name, at = _string(data, at, file)
            node = Node(name.rpartition("/")[2] if version < NAMED else name, {}, [])
            path[-1].children.append(node)
            path.append(node)
            hold("depth", len(path) - 2, file)
            at += -at % 4
        elif token == END_NODE and len(path) > 1:
            path.pop()
        elif token == PROPERTY and len(path) > 1:
            length, place = struct.unpack_from(">II", data, at)
            at += 8
            if version < NAMED and length >= 8:
                at += -at % 8
            if at + length > len(data):
                raise _damaged(file, "a property reaches beyond its end")
            if place not in names:
                names[place] = _string(data, strings + place, file)[0]
            path[-1].properties.setdefault(names[place], data[at : at + length])
            at += length + -length % 4
        elif token == END and len(path) == 1 and len(top.children) == 1:
            return top.children[0]
        elif token != NOTHING:
            raise _damaged(file, f"token {token} at byte {at - 4}")


def _string(data: bytes, at: int, file: str) -> tuple[str, int]:
    """The string that begins at `at`, and where it has ended."""
    end = data.find(b"\0", at, at + LONGEST)
    if end < 0:
        raise _damaged(file, f"a name at byte {at} without an end")
    return data[at:end].decode("utf-8", "replace"), end + 1


def of_folder(folder: Path) -> Tree:
    """The tree in a folder; files that may not be read are no properties.  Raises UnreadableError."""
    root, size, depth = Node("", {}, []), 0, 0
    level = [(root, folder)]
    while level:
        hold("depth", depth, str(folder))
        below = []
        for node, place in level:
            for entry in _entries(place):
                if entry.is_dir(follow_symlinks=False):
                    child = Node(entry.name, {}, [])
                    node.children.append(child)
                    below.append((child, Path(entry.path)))
                elif entry.is_file(follow_symlinks=False):
                    value = _content(entry)
                    size += len(value or b"") + len(entry.name)
                    hold("tree", size, str(folder))
                    if value is not None:
                        node.properties[entry.name] = value
        level, depth = below, depth + 1
    return Tree(root, [])


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name; nothing if it may not be read."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []


def _content(entry: os.DirEntry[str]) -> bytes | None:
    """The bytes of a file; None if it may not be read."""
    try:
        with open(entry.path, "rb") as stream:
            return stream.read(limits().tree + 1)
    except OSError:
        return None
