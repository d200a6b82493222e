"""Records of every width, with references to each other."""

from __future__ import annotations

from kernmalloc.lang import Record, array, field, i64, inline, u8, u16, u32, verifier

FREE, USED = 0, 1
KINDS = 2


class Word(Record):
    """Eight bytes."""

    value: i64 = field("what is in them")


class Tally(Record):
    """Sums over all nodes."""

    nodes: i64 = field("nodes seen")
    free: i64 = field("free nodes seen")
    largest: i64 = field("largest order seen")


class Node(Record, size=40):
    """One node of every width."""

    kind: u8 = field("FREE or USED")
    order: u8 = field("log2 of its size")
    pins: u16 = field("users")
    next: u32 = field("index of the next node")
    key: i64 = field("signed")
    words: Word = array(2, "two words that lie here")
    friend: Node = field("another node, or none")
    invariants = (
        "kind < KINDS",
        "pins == 0 or kind != FREE",
        "tally.largest >= order",
        "next < kern.nodes and not (key < 0 and order > (1 << 2) - 1)",
        "friend == 0 or kind != FREE or order != 7",
    )


class Kern(Record):
    """All state."""

    table: Node = field("the first node")
    nodes: i64 = field("how many")
    head: u32 = field("index of the first node in the list")
    lock: u32 = field("spin lock")
    inner: Tally = inline("a record that lies here")


class Cpu(Record):
    """Where everything starts."""

    kern: Kern = field("the kernel record")


verify_node = verifier(Node, namespace=globals(), tally=Tally, cpu=Cpu)
