"""A search tree of records that lie wherever they lie: for physical regions, and for the chunks of a device's entries.

Concepts
  1. A treap: a search tree by base, a heap by a hash of the base. Find, add and remove take expected logarithmic time
     whatever the order in which things come and go (Seidel and Aragon, 1996), and no record ever moves.
  2. Any record that begins with the fields of `Node` can hang in one. The tree has no memory of its own: `root` is
     a `Link`, as either side of a node is, so that no case is special.
"""

from __future__ import annotations

from kernmalloc.lang import Record, field, i64, inline, kernel
from kernmalloc.lang.status import OK


class Link(Record):
    """What points at a node: the root of a tree, or a side of another node."""

    node: Node = field("the node; 0: none")


class Node(Record):
    """What every record in a tree begins with."""

    left: Link = inline("the subtree below base")
    right: Link = inline("the subtree above")
    base: i64 = field("the key")


@kernel
def _priority(node: Node) -> int:
    """A hash of the base: the heap order."""
    x = node.base
    x = (x ^ (x >> 15)) & 0xFFFFFFF
    x = (x * 0x2C1B3C6D) & 0xFFFFFFFF
    x = x ^ (x >> 13)
    x = (x * 0x297A2D39) & 0xFFFFFFFF
    return x ^ (x >> 16)


@kernel
def tree_floor(root: Link, key: int) -> Node:
    """The node with the greatest base that is not above key, or null."""
    found = Node(0)
    at = root.node
    while at != 0:
        if at.base <= key:
            found = at
            at = at.right.node
        else:
            at = at.left.node
    return found


@kernel
def tree_above(root: Link, key: int) -> Node:
    """The node with the least base above key, or null."""
    found = Node(0)
    at = root.node
    while at != 0:
        if at.base > key:
            found = at
            at = at.left.node
        else:
            at = at.right.node
    return found


@kernel
def tree_add(root: Link, node: Node) -> int:
    """Hang in a node whose base is set and in no other node."""
    base = node.base
    priority = _priority(node)
    link = root
    at = link.node
    while at != 0:
        if _priority(at) < priority:
            break
        link = at.left if base < at.base else at.right
        at = link.node
    link.node = node
    low = node.left  # the subtree that was here is split by base: smaller ones to the left of the new node
    high = node.right
    while at != 0:
        if at.base < base:
            low.node = at
            low = at.right
            at = low.node
        else:
            high.node = at
            high = at.left
            at = high.node
    low.node = Node(0)
    high.node = Node(0)
    return OK


@kernel
def tree_remove(root: Link, node: Node) -> int:
    """Take out a node that hangs in the tree."""
    link = root
    while link.node != node:
        link = link.node.left if node.base < link.node.base else link.node.right
    low = node.left.node
    high = node.right.node
    while low != 0 and high != 0:
        if _priority(low) >= _priority(high):
            link.node = low
            link = low.right
            low = link.node
        else:
            link.node = high
            link = high.left
            high = link.node
    link.node = high if low == 0 else low
    return OK
