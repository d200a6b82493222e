"""A list of nodes, and what else a kernel does: lock, fill, count, follow references."""

from __future__ import annotations

from kernmalloc.lang import (
    cas32,
    cas64,
    element,
    entry,
    failed,
    kernel,
    load_acquire32,
    load_acquire64,
    pause,
    primitive,
    store_release32,
)
from lang_sample.records import FREE, USED, Cpu, Kern, Node, Tally, verify_node

LOCK = Kern.offset("lock")
LARGEST = Kern.offset("inner") + Tally.offset("largest")
fill = primitive("km_port_fill", 3, "set n bytes at an address to a value")


@entry
def push(cpu: Cpu, i: int) -> int:
    """Put node i at the head of the list: its index, or -1 if there is none or it is there already."""
    kern = cpu.kern
    if i < 0 or i >= kern.nodes:
        return -1
    n = element(kern.table, i)
    if n.kind == USED:
        return -1
    n.kind = USED
    n.pins += 1
    n.next = kern.head
    n.key -= i
    kern.head = i
    kern.inner.nodes += 1
    return i


@entry
def pop(cpu: Cpu) -> int:
    kern = cpu.kern
    i = kern.head
    n = element(kern.table, i)
    if n.kind == FREE:
        return -1
    kern.head = n.next
    n.kind = FREE
    n.pins = n.pins - 1
    kern.inner.nodes -= 1
    return i


@kernel
def listed(cpu: Cpu) -> int:
    """Length of the list. Node 0 ends it."""
    n = 0
    i = cpu.kern.head
    while i != 0:
        n += 1
        i = element(cpu.kern.table, i).next
    return n


@entry
def length(cpu: Cpu) -> int:
    return listed(cpu)


@entry
def wipe(cpu: Cpu, i: int, value: int) -> int:
    """The machine fills a node's words."""
    return fill(element(cpu.kern.table, i).words.addr, value, 16)


@entry
def scribble(cpu: Cpu, i: int, value: int) -> int:
    """Every width takes the low bits of value."""
    n = element(cpu.kern.table, i)
    n.kind = value
    n.order = value < 0
    n.pins = value
    n.next = value
    n.key = value
    element(n.words, 1).value = value
    return n.kind + n.pins + n.next + (element(n.words, 1).value == n.key)


@entry
def befriend(cpu: Cpu, i: int, j: int) -> int:
    """Make j the friend of i, or none if j is negative: a status, or the friend's friend's index."""
    n = element(cpu.kern.table, i)
    n.friend = element(cpu.kern.table, j) if j >= 0 else Node(0)
    if n.friend == 0:
        return -7
    n.friend.key ^= i
    other = n.friend.friend
    if other == 0 or other == n:
        return 0
    return (other.addr - cpu.kern.table.addr) // 8


@kernel
def friend_of(n: Node, tally: Tally) -> Node:
    """The friend of a node, counted."""
    tally.free += 1
    return n.friend


@entry
def last_friend(cpu: Cpu, i: int, most: int) -> Node:
    """Where at most `most` steps from friend to friend lead, or the null reference."""
    n = element(cpu.kern.table, i)
    for _ in range(most):
        n = friend_of(n, cpu.kern.inner)
        if n == 0:
            return Node(0)
    return n


@entry
def refused(cpu: Cpu, i: int, j: int) -> int:
    return failed(befriend(cpu, i, j))


@entry
def checked(cpu: Cpu, i: int) -> int:
    """What the verifier of records says of node i, told that no order is above 9."""
    kern = cpu.kern
    kern.inner.largest = 9
    return verify_node(cpu, element(kern.table, i), kern.inner)


@entry
def locked_add(cpu: Cpu, rounds: int) -> int:
    """Add 1 to two counters under the lock and 2 to a third by an atomic."""
    kern = cpu.kern
    lock = kern.addr + LOCK
    largest = kern.addr + LARGEST
    for _ in range(rounds):
        while cas32(lock, 0, 1) == 0:
            while load_acquire32(lock) != 0:
                pause()
        kern.inner.nodes += 1
        kern.inner.free += 1
        store_release32(lock, 0)
        old = load_acquire64(largest)
        while cas64(largest, old, old + 2) == 0:
            old = load_acquire64(largest)
    return load_acquire32(lock)
