"""A search tree of records that lie wherever they lie: for physical regions, and for the chunks of a device's entries.

Concepts
  1. A treap: a search tree by base, a heap by a hash of the base. Find, add and remove take expected logarithmic time
     whatever the order in which things come and go (Seidel and Aragon, 1996), and no record ever moves.
  2. Any record that begins with the fields of `Node` can hang in one. The tree has no memory of its own: `root` is the
     address of a word, and every link is the address of the word that points at a node, so that no case is special.
"""

from kernmalloc.kernel.kern import Word
from kernmalloc.lang import i64, kernel, record
from kernmalloc.lang.status import OK


@record(size=24)
class Node:
    """What every record in a tree begins with."""

    left: i64 = "VA of the subtree below base"
    right: i64 = "VA of the subtree above"
    base: i64 = "the key"


LEFT = Node.offset("left")
RIGHT = Node.offset("right")


@kernel
def _priority(node):
    """A hash of the base: the heap order."""
    x = Node(node).base
    x = (x ^ (x >> 15)) & 0xFFFFFFF
    x = (x * 0x2C1B3C6D) & 0xFFFFFFFF
    x = x ^ (x >> 13)
    x = (x * 0x297A2D39) & 0xFFFFFFFF
    return x ^ (x >> 16)


@kernel
def tree_floor(root, key):
    """VA of the node with the greatest base that is not above key, or 0."""
    found = 0
    at = Word(root).bits
    while at != 0:
        n = Node(at)
        if n.base <= key:
            found = at
            at = n.right
        else:
            at = n.left
    return found


@kernel
def tree_above(root, key):
    """VA of the node with the least base above key, or 0."""
    found = 0
    at = Word(root).bits
    while at != 0:
        n = Node(at)
        if n.base > key:
            found = at
            at = n.left
        else:
            at = n.right
    return found


@kernel
def tree_add(root, node):
    """Hang in a node whose base is set and in no other node."""
    new = Node(node)
    base = new.base
    priority = _priority(node)
    link = root
    at = Word(link).bits
    while at != 0:
        if _priority(at) < priority:
            break
        link = at + (LEFT if base < Node(at).base else RIGHT)
        at = Word(link).bits
    Word(link).bits = node
    low = node + LEFT  # the subtree that was here is split by base: smaller ones to the left of the new node
    high = node + RIGHT
    while at != 0:
        n = Node(at)
        if n.base < base:
            Word(low).bits = at
            low = at + RIGHT
            at = n.right
        else:
            Word(high).bits = at
            high = at + LEFT
            at = n.left
    Word(low).bits = 0
    Word(high).bits = 0
    return OK


@kernel
def tree_remove(root, node):
    """Take out a node that hangs in the tree."""
    gone = Node(node)
    link = root
    while Word(link).bits != node:
        at = Word(link).bits
        link = at + (LEFT if gone.base < Node(at).base else RIGHT)
    low = gone.left
    high = gone.right
    while low != 0 and high != 0:
        if _priority(low) >= _priority(high):
            Word(link).bits = low
            link = low + RIGHT
            low = Node(low).right
        else:
            Word(link).bits = high
            link = high + LEFT
            high = Node(high).left
    Word(link).bits = low + high  # one of them is 0
    return OK
