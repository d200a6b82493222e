"""A flattened tree in memory: its tokens, nodes and properties (Devicetree Specification 0.4, chapter 5).

    header       ten words: the magic number, the length of all, where the parts are, the version
    reservations pairs of address and size, 64 bits each; a pair of zeros ends them
    structure    tokens: a node begins, it has a property, it ends, nothing (what was edited out in place), all ends
    strings      the names of properties, which these name by their place

Numbers are big-endian; one from 2^63 on is none here (-1). A place is the physical address of a token; a node's is that
where it begins. `tree_whole` looks through the whole structure. What is done then needs no care for tokens that are
none: nothing else here fails. Properties come before the nodes in a node.
"""

from __future__ import annotations

from kernmalloc.kernel.loaders.found import LoaderMap, byte_at
from kernmalloc.kernel.loaders.names import name_end, number_at, spelled
from kernmalloc.lang import failed, kernel
from kernmalloc.lang.status import BAD_MAP, OK

BEGIN, END_NODE, PROPERTY, NOTHING, END = 1, 2, 3, 4, 9  # tokens
DEPTH = 65  # nodes in each other at most
VALUE = 12  # bytes of a property before its value: token, length, name

STATUS, FINE, OKAY, EMPTY = spelled("status"), spelled("ok"), spelled("okay"), spelled("")


@kernel
def big_at(map: LoaderMap, pa: int, bytes: int) -> int:
    """The number of so many bytes there, highest first; -1 from 2^63 on."""
    value = 0
    for i in range(bytes):
        if value >> 55 != 0:
            return -1
        value = value << 8 | byte_at(map, pa + i)
    return value


@kernel
def cell_at(map: LoaderMap, pa: int) -> int:
    """The number in one cell, of 32 bits."""
    return big_at(map, pa, 4)


@kernel
def tree_end(map: LoaderMap, tree: int) -> int:
    """Where the tree ends."""
    return tree + cell_at(map, tree + 4)


@kernel
def place_behind(map: LoaderMap, tree: int, at: int) -> int:
    """The place behind a token with what belongs to it. BAD_MAP: it is none, or is not all in the tree."""
    end = tree_end(map, tree)
    if at + 4 > end:
        return BAD_MAP
    token = cell_at(map, at)
    if token == BEGIN:
        stop = name_end(map, at + 4, end, 0)
        return (stop + 4) & -4 if stop < end and byte_at(map, stop) == 0 else BAD_MAP
    if token == PROPERTY:
        if at + 12 > end or cell_at(map, at + 4) > end - at - 12:
            return BAD_MAP
        return (at + 15 + cell_at(map, at + 4)) & -4
    return at + 4 if token == END_NODE or token == NOTHING or token == END else BAD_MAP


@kernel
def property_name(map: LoaderMap, tree: int, property: int) -> int:
    """Where the name of a property is; BAD_MAP if it is not all in the tree."""
    end = tree_end(map, tree)
    at = tree + cell_at(map, tree + 12) + cell_at(map, property + 8)
    if at >= end:
        return BAD_MAP
    stop = name_end(map, at, end, 0)
    return at if stop < end and byte_at(map, stop) == 0 else BAD_MAP


@kernel
def tree_whole(map: LoaderMap, tree: int) -> int:
    """OK if the structure is one root with all that is in it, else BAD_MAP."""
    at = tree + cell_at(map, tree + 8)
    depth = 0
    roots = 0
    while True:
        behind = place_behind(map, tree, at)
        if failed(behind):
            return behind
        token = cell_at(map, at)
        if token == BEGIN:
            roots += 1 if depth == 0 else 0
            depth += 1
        elif token == END_NODE:
            depth -= 1
        elif token == PROPERTY:
            if failed(property_name(map, tree, at)):
                return BAD_MAP
        elif token == END:
            return OK if depth == 0 and roots == 1 else BAD_MAP
        if depth < 0 or depth > DEPTH or (depth == 0 and token == PROPERTY):
            return BAD_MAP
        at = behind


@kernel
def tree_root(map: LoaderMap, tree: int) -> int:
    """The place of the root."""
    at = tree + cell_at(map, tree + 8)
    while cell_at(map, at) == NOTHING:
        at += 4
    return at


@kernel
def node_child(map: LoaderMap, tree: int, at: int) -> int:
    """The place of the next node in the one in which `at` is, which is not in a child of it; 0 if there is none."""
    while cell_at(map, at) == PROPERTY or cell_at(map, at) == NOTHING:
        at = place_behind(map, tree, at)
    return at if cell_at(map, at) == BEGIN else 0


@kernel
def node_end(map: LoaderMap, tree: int, node: int) -> int:
    """The place behind a node with all that is in it."""
    at = place_behind(map, tree, node)
    depth = 1
    while depth > 0:
        token = cell_at(map, at)
        depth += 1 if token == BEGIN else -1 if token == END_NODE else 0
        at = place_behind(map, tree, at)
    return at


@kernel
def node_property(map: LoaderMap, tree: int, node: int, name: int) -> int:
    """The place of a node's property, of which the number of the name is given; 0 if the node has none of that name."""
    at = place_behind(map, tree, node)
    while cell_at(map, at) == PROPERTY or cell_at(map, at) == NOTHING:
        if cell_at(map, at) == PROPERTY:
            if number_at(map, property_name(map, tree, at), tree_end(map, tree)) == name:
                return at
        at = place_behind(map, tree, at)
    return 0


@kernel
def value_bytes(map: LoaderMap, property: int) -> int:
    """How long the value of a property is; 0 of none."""
    return cell_at(map, property + 4) if property != 0 else 0


@kernel
def node_number(map: LoaderMap, tree: int, node: int, name: int, default: int) -> int:
    """The number that a property of a node is."""
    property = node_property(map, tree, node, name)
    bytes = value_bytes(map, property)
    return big_at(map, property + 12, min(bytes, 8)) if bytes > 0 else default


@kernel
def node_text(map: LoaderMap, tree: int, node: int, name: int) -> int:
    """The number of the string that a property of a node is; that of an empty string if there is none."""
    property = node_property(map, tree, node, name)
    return number_at(map, property + 12, property + 12 + value_bytes(map, property)) if property != 0 else EMPTY


@kernel
def node_in_use(map: LoaderMap, tree: int, node: int) -> int:
    """1 unless the status of a node says that it is not there."""
    status = node_text(map, tree, node, STATUS)
    return 1 if status == EMPTY or status == OKAY or status == FINE else 0
