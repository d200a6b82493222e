"""Records in use: fields of every width, references, atomics, a port."""

from __future__ import annotations

from c_sample.records import Half, Node, Root, Spot, Word
from kernmalloc.lang import (
    cas32,
    cas64,
    element,
    entry,
    kernel,
    load_acquire32,
    load_acquire64,
    pause,
    poison,
    primitive,
    store_release32,
    unpoison,
    verifier,
)

FREE, USED = 0, 1
LOCK = Root.offset("lock")
fill = primitive("km_port_c_fill", 3, "c_fill(at, value, n): set n bytes at an address.\nAfter: they are the value.")


@kernel
def node_at(root: Root, i: int) -> Node:
    return element(root.nodes, i)


@kernel
def _other(node: Node) -> Node:
    return Node(node.addr ^ 128)


@entry
def c_push(root: Root, i: int, value: int) -> int:
    """Put a node at the head of the list: its index, or -1."""
    if i < 0 or i >= root.count:
        return -1
    n = node_at(root, i)
    if n.kind == USED:
        return -1
    n.kind = USED
    n.next = root.head
    n.root = root
    root.head = n
    n.key = value
    return i


@entry
def c_pop(root: Root) -> Node:
    n = root.head
    if n == 0:
        return Node(0)
    root.head = n.next
    n.next = Node(0)
    n.kind = FREE
    return n


@entry
def c_length(root: Root) -> int:
    """Nodes in the list, which may have become a circle."""
    n = root.head
    count = 0
    while n != 0 and count < 100:
        count += 1
        if n.next == n.root.head:
            count -= 0
        n = n.next
    return count


@entry
def c_scribble(root: Root, i: int, value: int) -> int:
    """Every width takes the low bits of value."""
    n = node_at(root, i)
    n.kind = value
    n.order = value < 0
    n.default = value
    n.small = value
    n.key = value
    n.spot.pins = -1
    n.spot.word = value >> 3
    element(n.words, 1).bits = n.spot.pins
    n.words.bits = value
    n.halves.value = 70000
    element(n.halves, 2).value = n.small
    return n.default


@entry
def c_narrow(root: Root, i: int, value: int) -> int:
    """Fields compute as int64, whatever C makes of them."""
    n = node_at(root, i)
    less = n.small - 5
    product = n.small * n.small + n.default * n.default * n.default
    both = (n.small | 3) - (n.small & n.default) - (n.small ^ n.kind)
    shifted = (n.small << 8) + (n.small >> 40) + (n.kind << 30) + (n.small >> 3) + (n.default << (value & 15))
    signs = (n.small > -1) + (n.kind >= 0) * 2 + (n.small - 1 < n.default) * 4 + (n.default < n.small) * 8
    chosen = n.small if value & 1 else -1
    chosen += (n.small if value & 2 else 7) - (5 if value & 4 else n.small) - 8
    chosen += -n.small + ~n.small + -n.kind + ~n.kind + (n.small % 16) + n.small // 2
    return less ^ product ^ both ^ shifted ^ signs ^ chosen + min(n.small, n.kind) - (n.kind == 300)


@entry
def c_change(root: Root, i: int, value: int) -> int:
    """Fields that are changed in place."""
    n = node_at(root, i)
    n.small -= value & 0xFF
    n.default *= n.default
    n.kind += value & 3
    n.small >>= 2
    n.default >>= 1
    n.small <<= 3
    n.order ^= 3
    n.key |= value
    n.spot.pins += 1
    node_at(root, i).spot.word -= 1
    node_at(root, i).small <<= 1
    _other(n).order <<= 1
    element(n.words, 1).bits //= 8
    element(n.halves, value & 1).value %= 64
    return n.small


@entry
def c_addresses(root: Root, i: int) -> int:
    """Where things lie, counted from the root."""
    n = node_at(root, i)
    sum = n.words.addr - root.addr + element(n.words, i & 1).addr - n.spot.addr
    last = element(n, -1)
    again = Node(n.addr)
    spot = n.spot
    same = (again == n) + (last != n) * 2 + (n.next == 0) * 4 + (Spot(n.addr + 40) == spot) * 8
    half = Half(n.addr)
    other = n if i & 1 else Node(0)
    if other == 0:
        other = last
    sum += Node.layout
    return sum + same + half.value + (other.addr - n.addr) + Word(root.addr + 8).bits - root.nodes.addr + Node.size


@entry
def c_atomics(root: Root, value: int) -> int:
    """Atomics, as a lock would use them."""
    lock = root.addr + LOCK
    got = 0
    while cas32(lock, 0, 1) == 0:
        pause()
        got += 1
        if got > 3:
            return -1
    word = root.head.words.addr
    got = cas64(word, value, value ^ 1)
    seen = load_acquire64(word)
    locked = load_acquire32(lock)
    got += seen + locked * 2
    got ^= cas32(lock, 2, 1)
    store_release32(lock, value)
    return got


@entry
def c_wipe(root: Root, i: int, value: int) -> int:
    """The machine fills a node's words."""
    poison(node_at(root, i).words.addr, 16)
    unpoison(node_at(root, i).words.addr, 16)
    return fill(node_at(root, i).words.addr, value, 16)


verify_node = verifier(Node, namespace=globals(), cpu=Root, tally=Word)


@entry
def c_verify(root: Root, i: int, tally: Word) -> int:
    return verify_node(root, node_at(root, i), tally)
